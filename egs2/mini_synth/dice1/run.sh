#!/usr/bin/env bash
# The embedded corpus, for DiceHuBERT: a small HuBERT is trained on the speech of both teacher domains,
# from MFCC labels; students of half its width learn labels of its layer 0, hard and soft, and, for comparison,
# its features, or nothing of it. The probes are scored on unseen voices of the third domain.
set -euo pipefail

CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")"

students=(
    conf/train_dice_mini_narrow_hard.yaml
    conf/train_dice_mini_narrow_soft.yaml
    conf/train_dice_mini_narrow_feature.yaml
)

# One thread a training on every machine: sums, and with them the table, depend on it.
# shellcheck disable=SC2016  # $PYTHON and $NJ are for stage 1
make='$PYTHON local/mini_synth/make.py --out data --like ../kd1/data --overwrite --jobs $NJ'
# shellcheck disable=SC2016
join='$PYTHON local/combine_data.py data/train data/a_train data/b_train'
exec ../../TEMPLATE/dice1/dice.sh \
    --local_data "${make} && ${join}" \
    --train_set train \
    --valid_set a_dev \
    --probe_train a_train \
    --test_sets s_test \
    --probe_args "--char_head conv --sid_sets train s_test" \
    --teacher_config conf/train_dice_mini_teacher.yaml \
    --layer 0 \
    --alignment "data/a_train/phones.item data/b_train/phones.item data/a_dev/phones.item data/s_test/phones.item" \
    --abx_sets s_test \
    --clusters 100 \
    --mfcc_clusters 50 \
    --student_config "${students[*]}" \
    --scratch_config conf/train_dice_mini_narrow_scratch.yaml \
    --threads 1 \
    "$@"
