#!/usr/bin/env bash
# Stage 1: writes data/<set>/{wav.scp,text,utt2spk} for each of ${SETS}, from ${CORPUS} (--corpus DIR);
# ${PYTHON} and ${NJ} (processes) are the recipe's. wav.scp: "utterance file", text: "utterance
# TRANSCRIPT", utt2spk: "utterance speaker", a line each. Until it does, it takes what is there.
set -euo pipefail

# "${PYTHON}" local/prepare.py "${CORPUS}" data

for set in ${SETS}; do
    if [ ! -e "data/${set}/wav.scp" ]; then
        echo "error: data/${set}/wav.scp: missing; write it in local/data.sh or by hand, name other" \
            "sets in run.sh, or take sets of Kaldi or ESPnet: --data_dir DIR" >&2
        exit 2
    fi
done
