#!/usr/bin/env bash
# LibriSpeech, 960 h: DiceHuBERT's headline (Chi et al. 2025). Teacher HuBERT-base iteration 2, layer 9,
# K = 500; student narrow D/2, hard labels.
#   ./run.sh --corpus DIR           DIR: LibriSpeech as it is distributed (FLAC and .trans.txt)
#   ./run.sh --data_dir DIR         DIR: data/ or dump/raw of Kaldi's or ESPnet's recipe
#   ./run.sh --espnet_root DIR      an ESPnet checkout: runs the data stage of its recipe librispeech
#   ./run.sh … --teacher DIR        where HuBERT-base is, if not in downloads/hubert-base-ls960
#
# What it costs. m: measured rate here, times the corpus; e: estimated, see README.md; p: published.
#   stage                time                              disk             memory
#   1 data               1 core-hour (e)                   0.1 GB (e)       1 GB (e)
#   2 teacher            given                             0.4 GB
#   3 k-means            minutes on a GPU (e)              2 MB             1.6 GB (m)
#   4 labels             1.4 h on an A100 (e),             1.4 GB (m)       2 GB a process (e)
#                        180 core-hours without GPU (m)
#   5 student            100 h on an A100 (e): 400k        2 GB (e)         40 GB of GPU (e)
#                        updates of 2800 s, bfloat16
#   6 probes             1 h on a GPU (e)                  –                8 GB (e)
#   7, 8 export, table   minutes                           0.3 GB (e)       2 GB (e)
# Published SUPERB: PER 6.23, WER 7.64, EER 5.25, SID 79.23 (p). The probes' figures are others.
set -euo pipefail

export CALLER_DIR=${PWD}
CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")"

# Also in conf/: train_dice_narrow_soft (τ = 5), …_narrow_feature, …_narrow_ssl_feature, …_narrow_d4_hard,
# …_shallow_2l_hard, …_shallow_3l_hard; not in the paper: …_slim_hard, …_tapered_hard, …_conv_hard,
# …_narrow_mel_hard.
# shellcheck disable=SC2016  # $PYTHON, $CORPUS and $SETS are for stage 1
exec ../../TEMPLATE/dice1/dice.sh \
    --local_data '$PYTHON local/librispeech_data.py --corpus "$CORPUS" --out data $SETS' \
    --corpus "${PWD}/downloads/LibriSpeech" \
    --espnet_recipe librispeech \
    --lang en \
    --dataset openslr/librispeech_asr \
    --train_set train_960 \
    --valid_set dev \
    --probe_train train_clean_100 \
    --probe_dev dev_clean \
    --test_sets test_clean \
    --teacher "${PWD}/downloads/hubert-base-ls960" \
    --layer 9 \
    --clusters 500 \
    --tau 5 \
    --student_config conf/train_dice_narrow_hard.yaml \
    "$@"
