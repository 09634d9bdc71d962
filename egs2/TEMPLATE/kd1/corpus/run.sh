#!/usr/bin/env bash
# @CORPUS@: a recogniser as teacher, and small students without and with knowledge distillation.
# Fill in the names of sets; the configs in conf/ are of sizes for some hours of speech. Those of the
# paper are in ${TEMPLATE}/../../conf: train_asr_base.yaml, train_asr_small*.yaml. ./run.sh --help lists
# every option, and ${TEMPLATE}/kd1/README.md says what the stages do.
set -euo pipefail

export CALLER_DIR=${PWD}
CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=/dev/null
. ./path.sh

train_set=train
valid_set=dev
test_sets="test"
# NAME=TRAIN_SET/DEV_SET of each teacher, or NAME=exp:DIR of one that another recipe trained
teachers="own=${train_set}/${valid_set}"
students=(
    conf/train_asr_student.yaml
    conf/train_asr_student_tok.yaml
    conf/train_asr_student_unc.yaml
)

# char31: A-Z, apostrophe and space; other scripts: --token_type char, or --token_type bpe --nbpe N
exec bash "${TEMPLATE}/kd1/kd.sh" \
    --python "${PYTHON}" \
    --local_data "bash local/data.sh" \
    --train_set "${train_set}" \
    --valid_set "${valid_set}" \
    --test_sets "${test_sets}" \
    --teachers "${teachers}" \
    --token_type char31 \
    --lm_config conf/train_lm.yaml \
    --teacher_config conf/train_asr_teacher.yaml \
    --student_config "${students[*]}" \
    --inference_config conf/decode.yaml \
    "$@"
