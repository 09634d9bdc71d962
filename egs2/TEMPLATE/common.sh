# shellcheck shell=bash
# What the recipes' stage scripts share: options, one run at a time, titles and times of stages.
# A script sources this, sets its options' defaults, defines help_message, and calls
#   parse_options "$@"; check_numbers …; check_bools …; start_recipe; if begin 1 "title"; then …; end_recipe FILE

log() {
    echo "$(date '+%Y-%m-%dT%H:%M:%S') ($(basename "$0")) $*" >&2
}
die() {
    echo "error: $*" >&2
    exit 2
}

# The options are those of help_message: lines that begin with --name; each sets the variable "name".
parse_options() {
    local known name value show_help=false
    run_args="$(basename "$0") $*"
    known=" $(help_message | sed -n 's/^ *--\([a-z_0-9]*\) .*/\1/p' | tr '\n' ' ')"
    while [ $# -gt 0 ]; do
        case "$1" in
            -h | --help)
                show_help=true
                shift
                continue
                ;;
            --*=*)
                name=${1%%=*}
                value=${1#*=}
                shift
                ;;
            --*)
                name=$1
                [ $# -ge 2 ] || die "$1 needs a value (see --help)"
                value=$2
                shift 2
                ;;
            *) die "unexpected argument '$1': options are --name value (see --help)" ;;
        esac
        name=${name#--}
        name=${name//-/_}
        case "${known}" in
            *" ${name} "*) printf -v "${name}" '%s' "${value}" ;;
            *) die "unknown option --${name} (see --help)" ;;
        esac
    done
    if "${show_help}"; then
        help_message
        exit 0
    fi
}
check_numbers() {
    local name
    for name in "$@"; do
        [[ "${!name}" =~ ^[0-9]+$ ]] || die "--${name} must be a whole number, not '${!name}'"
    done
}
check_bools() {
    local name
    for name in "$@"; do
        [[ "${!name}" =~ ^(true|false)$ ]] || die "--${name} must be true or false, not '${!name}'"
    done
}

# Finds the package and the interpreter, and holds the recipe's directory until the script ends.
start_recipe() {
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
    export PYTHONPATH="${root}${PYTHONPATH:+:${PYTHONPATH}}"
    # One thread a process: the stages run as many processes as --nj says.
    export OMP_NUM_THREADS=1
    # Where a stage does use threads: waiting ones give the core away. Spinning, they made k-means
    # 16 times slower on two cores that others worked on too.
    export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
    # shellcheck disable=SC2154  # --python
    read -ra py <<< "${python}"
    "${py[@]}" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("espnet2") is None)' ||
        die "'${python}' is not a Python with ESPnet: start ./run.sh at the top, which sets one up, " \
            "or give --python"
    # One run at a time in a recipe directory: two would write the same files.
    mkdir -p log
    exec 9>>log/.lock
    if command -v flock >/dev/null && ! flock -n 9; then
        die "another run works in $(pwd): $(tail -n 1 log/.lock). Wait for it, or end it"
    fi
    echo "process $$ since $(date '+%Y-%m-%d %H:%M:%S'): ${run_args}" > log/.lock
}

# Adds names to the array "sets", each once.
add_sets() {
    local name known
    for name in "$@"; do
        for known in ${sets[@]+"${sets[@]}"}; do
            [ "${known}" != "${name}" ] || continue 2
        done
        sets+=("${name}")
    done
}
# Name of a config without its prefix: stem_of conf/train_asr_small.yaml train_asr_ → small
stem_of() {
    local stem
    stem=$(basename "$1" .yaml)
    echo "${stem#"$2"}"
}
# Options beside a config show in the tag, but for max_epoch: more epochs go on where fewer ended.
args_tag() {
    echo "$*" | sed -E 's/--max_epoch[= ]+[0-9]+ ?//; s/^ *$//; /./s/^ *-*/_/; s/ +-*/_/g; s/[^A-Za-z0-9._=-]//g'
}

timing=()
started=0
current=
begin() { # number, title: true if the stage is asked for
    finish_stage
    # shellcheck disable=SC2154  # --stage, --stop_stage
    if [ "${stage}" -gt "$1" ] || [ "${stop_stage}" -lt "$1" ]; then
        return 1
    fi
    current="Stage $1: $2"
    started=${SECONDS}
    log "${current}"
}
finish_stage() {
    if [ -n "${current}" ]; then
        timing+=("$(printf '%5d s  %s' $((SECONDS - started)) "${current}")")
        current=
    fi
}
run() { # stage, arguments
    "${py[@]}" -m "espnet_dice.stages.$1" "${@:2}"
}
# Says how long each stage took, and shows a table if one is given and there.
end_recipe() {
    local line
    finish_stage
    log "done in ${SECONDS} s"
    for line in ${timing[@]+"${timing[@]}"}; do
        echo "${line}" >&2
    done
    if [ -n "${1:-}" ] && [ -e "$1" ]; then
        echo
        cat "$1"
    fi
}
