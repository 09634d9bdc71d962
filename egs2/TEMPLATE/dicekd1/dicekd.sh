#!/usr/bin/env bash
# Both distillations in a chain: the encoder (dice1), then the recogniser on it (asr.sh, kd1's stages on
# waveforms), beside recognisers on features (kd1); then one table of all steps. Each step is a recipe
# of its own, which skips what it has done; --help lists every option with its value.
set -euo pipefail

{ # bash reads to the closing brace before it starts: the file may be edited while it runs

# shellcheck source=egs2/TEMPLATE/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

stage=1
stop_stage=4
nj=$(nproc 2>/dev/null || echo 2)
ngpu=0
python=python3
allow_pipes=false
encoder_recipe=../dice1
encoder_args=
features_recipe=
features_args=
recogniser_args=
expdir=exp

help_message() {
    cat <<END
Usage: $(basename "$0") [--option value] …

  General
    --stage            First stage, see below (default="${stage}")
    --stop_stage       Last stage (default="${stop_stage}")
    --nj               Processes: models trained at a time, decoding workers (default="${nj}")
    --ngpu             GPUs a training, and for decoding; 0: CPU (default="${ngpu}")
    --python           Python interpreter (default="${python}")
    --allow_pipes      Run wav.scp entries that are shell commands (default="${allow_pipes}")
    --expdir           Models and results of stage 3, and the table (default="${expdir}")
  Where jobs of all steps run
$(jobs_help)
  Steps, with options for each in quotes; inner quotes are kept ("--student_args '--max_epoch 9'")
    --encoder_recipe   Directory of the dice1 recipe that makes the encoders; the configs of the
                       recognisers name its experiments (default="${encoder_recipe}")
    --encoder_args     Options for its run.sh (default="${encoder_args}")
    --features_recipe  Directory of a kd1 recipe, for comparison; empty: none
                       (default="${features_recipe}")
    --features_args    Options for its run.sh (default="${features_args}")
    --recogniser_args  Options for ./asr.sh (default="${recogniser_args}")

  Stages: 1 encoder: dice1, 2 recognisers on features: kd1, 3 recognisers on the encoders: asr.sh,
  4 table: ${expdir}/STEPS.md
END
}

parse_options "$@"
check_numbers stage stop_stage nj ngpu num_nodes
check_bools allow_pipes
root=$(CDPATH='' cd -P "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PYTHONPATH="${root}${PYTHONPATH:+:${PYTHONPATH}}"
words_of_python

# Runs a recipe, which holds its own directory meanwhile, with options in a string.
recipe() { # script, options
    local words=()
    if [ -n "${2// /}" ]; then
        mapfile -t words < <(xargs printf '%s\n' <<< "$2")
    fi
    ${tied[@]+"${tied[@]}"} "$1" --nj "${nj}" --ngpu "${ngpu}" --python "${python}" \
        --allow_pipes "${allow_pipes}" --train_cmd "${train_cmd}" --cuda_cmd "${cuda_cmd}" \
        --num_nodes "${num_nodes}" --launch "${launch}" ${dry_run:+--dry_run} ${words[@]+"${words[@]}"} >&2
}

if begin 1 "encoder: ${encoder_recipe}"; then
    recipe "${encoder_recipe}/run.sh" "${encoder_args}"
fi

if [ -n "${features_recipe}" ] && begin 2 "recognisers on features: ${features_recipe}"; then
    recipe "${features_recipe}/run.sh" "${features_args}"
fi

if begin 3 "recognisers on the encoders"; then
    recipe ./asr.sh "--expdir '${expdir}' ${recogniser_args}"
fi

[ -z "${dry_run}" ] || exit 0
if begin 4 "table"; then
    features=()
    [ -z "${features_recipe}" ] || features=(--features "${features_recipe}/exp")
    run_silently step_results --encoders "${encoder_recipe}/exp" ${features[@]+"${features[@]}"} \
        --exp "${expdir}"
fi

table=
[ "${stop_stage}" -lt 4 ] || table=${expdir}/STEPS.md
end_recipe "${table}"

exit 0
}
