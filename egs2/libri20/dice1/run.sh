#!/usr/bin/env bash
# Twenty speakers of LibriSpeech dev-clean, 2.7 h of real speech: what DiceHuBERT's students are worth
# beside feature distillation and training from scratch, at one small budget and over three seeds.
#   ./run.sh --corpus DIR      DIR: Kaldi-style train/, dev/ and test/, split by speaker
# One core: half an hour for the teacher, 6 to 7 minutes for a student, 12 where it hears the teacher's features.
set -euo pipefail

export CALLER_DIR=${PWD}
CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")"

students=(
    conf/train_dice_libri20_narrow_hard.yaml
    conf/train_dice_libri20_narrow_soft.yaml
    conf/train_dice_libri20_narrow_feature.yaml
)

# shellcheck disable=SC2016  # $PYTHON and $CORPUS are for stage 1
exec ../../TEMPLATE/dice1/dice.sh \
    --local_data '$PYTHON local/libri20_data.py --libri20 "$CORPUS" --out data' \
    --corpus "${PWD}/downloads/libri20" \
    --train_set train \
    --valid_set dev \
    --test_sets "test" \
    --features mfcc_cmvn \
    --teacher_config conf/train_dice_libri20_teacher.yaml \
    --layer 0 \
    --alignment "data/train/phones.item data/dev/phones.item data/test/phones.item" \
    --abx_sets "dev test" \
    --clusters 100 \
    --mfcc_clusters 100 \
    --student_config "${students[*]}" \
    --scratch_config conf/train_dice_libri20_narrow_scratch.yaml \
    --seeds "0 1 2" \
    --threads 1 \
    --probe_args "--char_head conv" \
    "$@"
