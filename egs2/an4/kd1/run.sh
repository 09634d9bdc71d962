#!/usr/bin/env bash
# AN4: an hour of real speech, spelt words and numbers. One teacher, one student, the same data.
#   ./run.sh --corpus DIR           DIR: Kaldi-style train/ and test/, or train_nodev/, train_dev/,
#                                   test/ as ESPnet's recipe prepares them (…/an4/asr1/data)
#   ./run.sh --espnet_root DIR      an ESPnet checkout: runs the data stage of its recipe an4
set -euo pipefail

export CALLER_DIR=${PWD}
CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")"

students=(
    conf/train_asr_an4_student.yaml
    conf/train_asr_an4_student_tok.yaml
    conf/train_asr_an4_student_unc.yaml
)

# shellcheck disable=SC2016  # $PYTHON and $CORPUS are for stage 1
exec ../../TEMPLATE/kd1/kd.sh \
    --local_data '$PYTHON local/an4_data.py --an4 "$CORPUS" --out data' \
    --corpus "${PWD}/downloads/an4" \
    --espnet_recipe an4 \
    --data_names "train=train_nodev dev=train_dev" \
    --train_set train \
    --valid_set dev \
    --test_sets "test" \
    --teachers "an4=train/dev" \
    --lm_config conf/train_lm_mini.yaml \
    --teacher_config conf/train_asr_an4_teacher.yaml \
    --student_config "${students[*]}" \
    --inference_config conf/decode.yaml \
    "$@"
