#!/usr/bin/env bash
# LibriSpeech, 960 h: a teacher for uncertainty-matching distillation (Kim et al. 2021). It is trained as a
# student without KD; egs2/wsj/kd1 takes it from exp/asr_base_seed0.
#   ./run.sh --corpus DIR           DIR: LibriSpeech as it is distributed (FLAC and .trans.txt)
#   ./run.sh --data_dir DIR         DIR: data/ or dump/raw of Kaldi's or ESPnet's recipe
#   ./run.sh --espnet_root DIR      an ESPnet checkout: runs the data stage of its recipe librispeech
#
# What it costs. m: measured rate here, times the corpus; e: estimated, see README.md.
#   stage                time                              disk             memory
#   1 data               1 core-hour (e)                   0.1 GB (e)       1 GB (e)
#   2 features           5 core-hours (m)                  117 GB (m)       1 GB a process (e)
#   3 tokens             minutes                           –                1 GB (e)
#   4–6                  none: no LM, no teacher
#   7 the model          19 h on an A100 (e): 100k         2 GB (e)         30 GB of GPU (e)
#                        updates of 1200 s, float32
#   8 average            seconds
#   9 decoding           30 core-hours (m)                 –                1 GB a process (e)
#   10, 11 score, export a minute                          0.2 GB (e)       2 GB (e)
# Its WER on LibriSpeech is not published; on WSJ eval92, with WSJ's LM, 2.9 (Kim et al. 2021).
set -euo pipefail

export CALLER_DIR=${PWD}
CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")"

# shellcheck disable=SC2016  # $PYTHON, $CORPUS and $SETS are for stage 1
exec ../../TEMPLATE/kd1/kd.sh \
    --local_data '$PYTHON local/librispeech_data.py --corpus "$CORPUS" --out data $SETS' \
    --corpus "${PWD}/downloads/LibriSpeech" \
    --espnet_recipe librispeech \
    --lang en \
    --dataset openslr/librispeech_asr \
    --train_set train_960 \
    --valid_set dev \
    --test_sets "test_clean test_other" \
    --student_config conf/train_asr_base.yaml \
    --use_lm false \
    "$@"
