#!/usr/bin/env bash
# AN4: an hour of real speech, spelt words and numbers. One teacher, one student, the same data.
#   ./run.sh --an4 DIR      DIR: Kaldi-style train/ and test/, or train_nodev/, train_dev/, test/ as
#                           ESPnet's recipe prepares them (<espnet>/egs2/an4/asr1/data)
set -euo pipefail

an4=${AN4:-downloads/an4}
here=${PWD}
cd "$(dirname "${BASH_SOURCE[0]}")"

options=()
while [ $# -gt 0 ]; do
    case "$1" in
        --an4)
            an4=${2:?--an4 needs a directory}
            case "${an4}" in
                /*) ;;
                *) an4=${here}/${an4} ;;
            esac
            shift 2
            ;;
        *)
            options+=("$1")
            shift
            ;;
    esac
done
export AN4=${an4}

students=(
    conf/train_asr_an4_student.yaml
    conf/train_asr_an4_student_tok.yaml
    conf/train_asr_an4_student_unc.yaml
)

# shellcheck disable=SC2016  # $PYTHON and $AN4 are for stage 1
../../TEMPLATE/kd1/kd.sh \
    --local_data '$PYTHON local/an4_data.py --an4 "$AN4" --out data' \
    --student_train train \
    --student_dev dev \
    --student_tests "test" \
    --teachers "an4=train/dev" \
    --lm_train_text data/lm_text/train.txt \
    --lm_dev_text data/lm_text/dev.txt \
    --lm_config conf/train_lm_mini.yaml \
    --teacher_config conf/train_asr_an4_teacher.yaml \
    --student_config "${students[*]}" \
    --inference_config conf/decode.yaml \
    ${options[@]+"${options[@]}"}
