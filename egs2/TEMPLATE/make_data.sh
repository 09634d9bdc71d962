# shellcheck shell=bash
# shellcheck disable=SC2154  # variables of options.sh and common.sh
# The corpus in the form that the user has, for the first stage.

# Data directories of the sets named, from the corpus in the form that the user has.
make_data() {
    local name entry names=()
    for entry in ${data_names}; do
        [[ " $* " == *" ${entry%%=*} "* && "${entry}" == *=?* ]] ||
            die "--data_names '${entry}': write SET=NAME, SET one of: $*"
    done
    for name in "$@"; do
        for entry in ${data_names}; do
            [ "${entry%%=*}" != "${name}" ] || name=${entry}
        done
        names+=("${name}")
    done
    local options=(--out "${datadir}" --text_rules "${text_rules}" "${names[@]}")
    if [ -n "${espnet_root}" ]; then
        ${tied[@]+"${tied[@]}"} "${py[@]}" "${root}/local/espnet_data.py" --espnet_root "$(from_caller "${espnet_root}")" \
            --recipe "${espnet_recipe}" --data_opts="${espnet_data_opts}" "${options[@]}"
    elif [ -n "${data_dir}" ]; then
        ${tied[@]+"${tied[@]}"} "${py[@]}" "${root}/local/take_data.py" --data_dir "$(from_caller "${data_dir}")" \
            "${options[@]}"
    elif [ -n "${local_data}" ]; then
        PYTHON=${python} NJ=${nj} CORPUS=$(from_caller "${corpus}") SETS=$* \
            ${tied[@]+"${tied[@]}"} bash -c "${local_data}"
    fi
}
# A corpus's run.sh goes to its own directory; what a user names starts where the user was.
from_caller() {
    case "$1" in
        "" | /*) echo "$1" ;;
        *) echo "${CALLER_DIR:-${PWD}}/$1" ;;
    esac
}
