#!/usr/bin/env bash
# TED-LIUM 2, 207 h: a teacher for uncertainty-matching distillation (Kim et al. 2021). It is trained as a
# student without KD; egs2/wsj/kd1 takes it from exp/asr_base_seed0.
#   ./run.sh --corpus DIR           DIR: TEDLIUM_release2 as it is distributed (.sph and .stm)
#   ./run.sh --data_dir DIR         DIR: data/ or dump/raw of Kaldi's or ESPnet's recipe
#   ./run.sh --espnet_root DIR      an ESPnet checkout: runs the data stage of its recipe tedlium2
#
# What it costs. m: measured rate here, times the corpus; e: estimated, see README.md.
#   stage                time                              disk             memory
#   1 data               10 core-minutes (e)               0.1 GB (e)       1 GB (e)
#   2 features           1.2 core-hours (m)                26 GB (m)        1 GB a process (e)
#   3 tokens             a minute                          –                1 GB (e)
#   4–6                  none: no LM, no teacher
#   7 the model          19 h on an A100 (e): 100k         2 GB (e)         30 GB of GPU (e)
#                        updates of 1200 s, float32
#   8 average            seconds
#   9 decoding           12 core-hours (m)                 –                1 GB a process (e)
#   10, 11 score, export a minute                          0.2 GB (e)       2 GB (e)
# Its WER on TED-LIUM 2 is not published; on WSJ eval92, with WSJ's LM, 4.5 (Kim et al. 2021).
set -euo pipefail

export CALLER_DIR=${PWD}
CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")"

# shellcheck disable=SC2016  # $PYTHON, $CORPUS and $SETS are for stage 1
exec ../../TEMPLATE/kd1/kd.sh \
    --local_data '$PYTHON local/tedlium2_data.py --corpus "$CORPUS" --out data $SETS' \
    --corpus "${PWD}/downloads/TEDLIUM_release2" \
    --espnet_recipe tedlium2 \
    --text_rules tedlium2 \
    --train_set train \
    --valid_set dev \
    --test_sets "dev test" \
    --student_config conf/train_asr_base.yaml \
    --use_lm false \
    "$@"
