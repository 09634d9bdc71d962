#!/usr/bin/env bash
# WSJ, 81 h: small recognisers taught by teachers of LibriSpeech and TED-LIUM 2 (Kim et al. 2021), which
# egs2/librispeech/kd1 and egs2/tedlium2/kd1 train first.
#   ./run.sh --corpus DIR           DIR: the disks of LDC93S6B and LDC94S13B; needs sph2pipe, see below
#   ./run.sh --data_dir DIR         DIR: data/ or dump/raw of Kaldi's or ESPnet's recipe
#   ./run.sh --espnet_root DIR      an ESPnet checkout: runs the data stage of its recipe wsj
#   ./run.sh … --teachers "libri=exp:DIR"       one teacher; then choose --student_config too
# The speech on the disks is packed by shorten, which libsndfile does not read: sph2pipe must be installed,
# and --allow_pipes true lets stages 1 and 2 run it.
#
# What it costs. m: measured rate here, times the corpus; e: estimated, see README.md; p: published.
#   stage                time                              disk             memory
#   1 data               20 core-minutes (e)               0.1 GB (e)       1 GB (e)
#   2 features           0.5 core-hours (m)                10 GB (m)        1 GB a process (e)
#   3 tokens             a minute                          –                1 GB (e)
#   4 LM                 0.7 h on an A100 (e), of the      1 GB (e)         10 GB of GPU (e)
#                        transcripts alone
#   5 teachers           copied                            0.2 GB (m)
#   6 their decoding     as in 9, each                     –                2 GB a process (e)
#     and outputs        6 core-hours each (e)             1 GB each (e)    2 GB a process (e)
#   7 students           each, on an A100 (e): base 19 h,  2 GB each (e)    30 GB of GPU (e)
#                        small 11 h, tiny 6 h
#   8 average            seconds
#   9 decoding           base: 5 core-hours without (m),   –                2 GB a process (e)
#                        10 with the LM (e)
#   10, 11 score, export a minute                          0.2 GB (e)       2 GB (e)
# Published WER on eval92, with LM: teachers Libri 2.9, Ted 4.5; base student 4.9, token KD 3.5 (Libri) and
# 3.7 (Ted), with uncertainty 3.0 and 3.3, both teachers 3.1 (p).
set -euo pipefail

export CALLER_DIR=${PWD}
CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")"

students=(
    conf/train_asr_base.yaml
    conf/train_asr_base_tok_libri.yaml
    conf/train_asr_base_tok_ted.yaml
    conf/train_asr_base_unc_libri.yaml
    conf/train_asr_base_unc_ted.yaml
    conf/train_asr_base_unc_both.yaml
    conf/train_asr_small.yaml
    conf/train_asr_small_unc_libri.yaml
    conf/train_asr_small_unc_both.yaml
    conf/train_asr_tiny.yaml
    conf/train_asr_tiny_unc_libri.yaml
    conf/train_asr_tiny_unc_both.yaml
)
libri=../../librispeech/kd1/exp/asr_base_seed0
ted=../../tedlium2/kd1/exp/asr_base_seed0

# shellcheck disable=SC2016  # $PYTHON, $CORPUS and $SETS are for stage 1
exec ../../TEMPLATE/kd1/kd.sh \
    --local_data '$PYTHON local/wsj_data.py --corpus "$CORPUS" --out data $SETS' \
    --corpus "${PWD}/downloads/wsj" \
    --espnet_recipe wsj \
    --text_rules wsj \
    --train_set train_si284 \
    --valid_set test_dev93 \
    --test_sets "test_dev93 test_eval92" \
    --teachers "libri=exp:${libri} ted=exp:${ted}" \
    --teacher_lm_modes "no yes" \
    --lm_config conf/train_lm_transformer.yaml \
    --student_config "${students[*]}" \
    --inference_config conf/decode_wsj.yaml \
    "$@"
