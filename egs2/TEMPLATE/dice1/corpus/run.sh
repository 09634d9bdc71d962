#!/usr/bin/env bash
# @CORPUS@: DiceHuBERT students of half their teacher's width. Fill in the names of sets and, if there
# is one, the teacher; the configs in conf/ are of sizes for some hours of speech. Those of the paper
# are in ${TEMPLATE}/../../conf: train_dice_narrow_hard.yaml and others. ./run.sh --help lists every
# option, and ${TEMPLATE}/dice1/README.md says what the stages do.
set -euo pipefail

export CALLER_DIR=${PWD}
CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=/dev/null
. ./path.sh

train_set=train
valid_set=dev
test_sets="test"
# A checkpoint, such as /path/to/hubert-base-ls960 with layer="4 8 12" and clusters=500; empty: a small
# HuBERT is trained here, from MFCC labels. One layer (the paper: 9) or several
teacher=
layer="2 4 6"
clusters=100
students=(
    conf/train_dice_narrow_hard.yaml
    conf/train_dice_narrow_soft.yaml
    conf/train_dice_narrow_feature.yaml
)

# The probes char and kws need transcripts, sid utt2spk; --probe_tasks names those to run
exec bash "${TEMPLATE}/dice1/dice.sh" \
    --python "${PYTHON}" \
    --local_data "bash local/data.sh" \
    --train_set "${train_set}" \
    --valid_set "${valid_set}" \
    --test_sets "${test_sets}" \
    --teacher "${teacher}" \
    --teacher_config conf/train_dice_teacher.yaml \
    --layer "${layer}" \
    --clusters "${clusters}" \
    --student_config "${students[*]}" \
    --scratch_config conf/train_dice_narrow_scratch.yaml \
    --probe_args "--char_head conv" \
    "$@"
