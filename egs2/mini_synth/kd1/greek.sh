#!/usr/bin/env bash
# The embedded corpus in Greek: a recipe whose alphabet is learnt from the transcripts, beside ./run.sh.
#   ./greek.sh --token_type bpe --nbpe 60 --expdir exp_greek_bpe     pieces in the place of characters
set -euo pipefail

students=(
    conf/train_asr_mini_few_student.yaml
    conf/train_asr_mini_few_student_tok.yaml
)

# shellcheck disable=SC2016  # $PYTHON and $NJ are for stage 1
make='$PYTHON local/mini_synth/make.py --config local/mini_synth/greek.yaml --out data_greek --overwrite --jobs $NJ'
exec "$(dirname "${BASH_SOURCE[0]}")/run.sh" \
    --local_data "${make}" \
    --datadir data_greek \
    --dumpdir dump_greek \
    --expdir exp_greek \
    --token_type char \
    --lm_train_text data_greek/lm_text/train.txt \
    --lm_dev_text data_greek/lm_text/dev.txt \
    --student_config "${students[*]}" \
    "$@"
