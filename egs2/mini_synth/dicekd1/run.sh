#!/usr/bin/env bash
# The embedded corpus, both halves: a HuBERT and its DiceHuBERT students (dice1), then recognisers with
# the HuBERT as the teachers' encoder and the DiceHuBERT student as the students' (asr.sh), beside those on
# features (kd1). Size, speed and WER at each step.
set -euo pipefail

export CALLER_DIR=${PWD}
CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../TEMPLATE/dicekd1/dicekd.sh \
    --encoder_recipe ../dice1 \
    --features_recipe ../kd1 \
    "$@"
