#!/usr/bin/env bash
# The embedded corpus, another student: three times as many transcripts as in ./run.sh, of which almost a
# third of the words are wrong. Teachers and language model are those of ./run.sh.
set -euo pipefail

students=(
    conf/train_asr_mini_wrong_student.yaml
    conf/train_asr_mini_wrong_student_tok_b.yaml
    conf/train_asr_mini_wrong_student_unc_b.yaml
    conf/train_asr_mini_wrong_student_tok.yaml
    conf/train_asr_mini_wrong_student_unc.yaml
)

exec "$(dirname "${BASH_SOURCE[0]}")/run.sh" \
    --train_set s_train \
    --student_config "${students[*]}" \
    "$@"
