#!/usr/bin/env bash
# The recognisers of dicekd1: kd1's stages on waveforms. Both teachers have dice1's HuBERT as their encoder,
# the students its DiceHuBERT student; one student has a new encoder of that size.
set -euo pipefail

export CALLER_DIR=${CALLER_DIR:-${PWD}}
CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")"

students=(
    conf/train_asr_mini_ssl_student_scratch.yaml
    conf/train_asr_mini_ssl_student.yaml
    conf/train_asr_mini_ssl_student_tok.yaml
    conf/train_asr_mini_ssl_student_unc.yaml
)

# shellcheck disable=SC2016  # $PYTHON and $NJ are for stage 1
exec ../../TEMPLATE/kd1/kd.sh \
    --local_data '$PYTHON local/mini_synth/make.py --out data --overwrite --jobs $NJ' \
    --feats_type raw \
    --train_set s_train_few \
    --valid_set s_valid \
    --test_sets "s_test" \
    --teachers "a=a_train/a_dev b=b_train/b_dev" \
    --use_lm false \
    --teacher_config conf/train_asr_mini_ssl_teacher.yaml \
    --student_config "${students[*]}" \
    --inference_config conf/decode_mini.yaml \
    "$@"
