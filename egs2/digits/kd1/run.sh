#!/usr/bin/env bash
# Digit strings, real speech: a student that heard two speakers for ten minutes, tested on three unseen
# ones. Its teachers heard 64 speakers of AN4, who say these words among others, and synthetic digits.
#   ./run.sh --corpus DIR     DIR: digits/{train,dev,test} and an4/{train,test}, Kaldi-style
set -euo pipefail

export CALLER_DIR=${PWD}
CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")"

students=(
    conf/train_asr_digits_student_nohead.yaml
    conf/train_asr_digits_student.yaml
    conf/train_asr_digits_student_tok_dec.yaml
    conf/train_asr_digits_student_tok_an4.yaml
    conf/train_asr_digits_student_unc_an4.yaml
    conf/train_asr_digits_student_tok.yaml
    conf/train_asr_digits_student_unc.yaml
)

# AN4's own dev set is split off below data/.an4, and taken under another name.
# shellcheck disable=SC2016  # $PYTHON, $CORPUS and $NJ are for stage 1
take='$PYTHON local/take_data.py --out data --data_dir'
# shellcheck disable=SC2016
an4='$PYTHON local/an4_data.py --an4 "$CORPUS/an4" --out data/.an4'
# shellcheck disable=SC2016
synth='$PYTHON local/mini_synth/make.py --out data --overwrite --jobs $NJ'
synth+=' --config local/mini_synth/digits.yaml --only synth_train synth_dev'
exec ../../TEMPLATE/kd1/kd.sh \
    --local_data "${take} \"\$CORPUS/digits\" train dev test && ${an4} &&
        ${take} data/.an4 an4_train=train an4_dev=dev && ${synth}" \
    --corpus "${PWD}/downloads" \
    --train_set train \
    --valid_set dev \
    --test_sets "test" \
    --teachers "an4=an4_train/an4_dev synth=synth_train/synth_dev" \
    --fs 8000 \
    --resample true \
    --use_lm false \
    --teacher_config conf/train_asr_an4_teacher.yaml \
    --student_config "${students[*]}" \
    --inference_config conf/decode_mini.yaml \
    --threads 1 \
    "$@"
