#!/usr/bin/env bash
# The embedded corpus: three domains of synthetic English. Two teachers; a small student with few
# transcripts, without KD, with one teacher and with two, by tokens alone and by tokens and uncertainty.
# ./wrong.sh: the student with more transcripts, many of them wrong.
# ./greek.sh: all of it in another alphabet.
set -euo pipefail

CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")"

students=(
    conf/train_asr_mini_few_student.yaml
    conf/train_asr_mini_few_student_tok_b.yaml
    conf/train_asr_mini_few_student_tok.yaml
    conf/train_asr_mini_few_student_unc.yaml
)

# One thread a training on every machine: sums, and with them the table, depend on it.
# shellcheck disable=SC2016  # $PYTHON and $NJ are for stage 1
exec ../../TEMPLATE/kd1/kd.sh \
    --local_data '$PYTHON local/mini_synth/make.py --out data --overwrite --jobs $NJ' \
    --train_set s_train_few \
    --valid_set s_valid \
    --test_sets "s_test" \
    --teachers "a=a_train/a_dev b=b_train/b_dev" \
    --lm_train_text data/lm_text/train.txt \
    --lm_dev_text data/lm_text/dev.txt \
    --lm_config conf/train_lm_mini.yaml \
    --teacher_config conf/train_asr_mini_teacher.yaml \
    --student_config "${students[*]}" \
    --inference_config conf/decode_mini.yaml \
    --lm_weights "0.3 0.5 0.7" \
    --dev_set s_dev \
    --noise_snr 10 \
    --threads 1 \
    "$@"
