# shellcheck shell=bash
# What the recipes' stage scripts share: options, the corpus in every form, one run at a time, titles
# and times of stages. A script sources this, sets its options' defaults, defines help_message, calls
#   parse_options "$@"; check_numbers …; check_bools …; start_recipe; if begin 1 "title"; then …; end_recipe FILE
# and, in its first stage, make_data SETS.

unset CDPATH                                   # cd goes where it is told, and prints nothing
shopt -u patsub_replacement 2>/dev/null || :   # bash 5.2: & in the name of a directory is a letter

# The corpus: options of every recipe
local_data=
corpus=
data_dir=
data_names=
espnet_root=
espnet_recipe=
espnet_data_opts=
text_rules=none
corpus_help() {
    cat <<END
    --local_data       Shell command that makes the data directories; it may use \$PYTHON, \$NJ,
                       \$CORPUS (see --corpus) and \$SETS (default='${local_data}')
    --corpus           The corpus as it is distributed, for --local_data (default="${corpus}")
    --data_dir         Instead: a data/ or dump/raw of Kaldi or ESPnet, whose sets are taken by name;
                       nothing in it is changed (default="${data_dir}")
    --espnet_root      Instead: an ESPnet checkout, whose recipe prepares the corpus. This runs that
                       recipe's shell, which may download (default="${espnet_root}")
    --espnet_recipe    Corpus, or corpus/recipe, under its egs2/ (default="${espnet_recipe}")
    --espnet_data_opts Options for that recipe's local/data.sh (default="${espnet_data_opts}")
    --data_names       SET=NAME of sets that have another name there, quoted (default="${data_names}")
    --text_rules       Transcripts from there: none (as they are), letters, wsj or tedlium2, see
                       local/text_rules.py (default="${text_rules}")
END
}

# For the cards of exported models: options of every recipe
lang=noinfo
dataset=
cards_help() {
    cat <<END
    --lang             Language of the speech, such as en, for the model cards (default="${lang}")
    --dataset          Its name on the Hugging Face hub, for the model cards (default="${dataset}")
END
}

# What is skipped, by kind: options of every recipe that has stages of each kind
skip_data_prep=false
skip_train=false
skip_eval=false
skip_help() {
    cat <<END
    --skip_data_prep   Skip the stages up to the first training (default="${skip_data_prep}")
    --skip_train       Skip trainings and what is made for them (default="${skip_train}")
    --skip_eval        Skip decoding, probes, scores and report (default="${skip_eval}")
END
}

# Where jobs run: options of every recipe; a cmd.sh as ESPnet's recipes have it may set the first two
train_cmd=
cuda_cmd=
num_nodes=1
launch=
if [ -e cmd.sh ]; then
    # shellcheck source=/dev/null
    . ./cmd.sh
fi
jobs_help() {
    cat <<END
    --train_cmd        What starts arrays of --nj jobs for features, labels and teacher outputs, such
                       as "slurm.pl --mem 4G"; empty: processes here (default="${train_cmd}")
    --cuda_cmd         What starts trainings, through ESPnet's launcher, and labels on a GPU; empty:
                       this host (default="${cuda_cmd}")
    --num_nodes        Hosts of a training with --cuda_cmd (default="${num_nodes}")
    --launch           Instead: what starts the processes of a training, see
                       egs2/TEMPLATE/DISTRIBUTED.md (default="${launch}")
  What is done and printed
    --dry_run          Print what is done, stale and why, what it takes, and end (no value)
    --quiet            Warnings and results only (no value)
    --verbose          Details, too (no value)
END
}

# --dry_run
dry_run=
# What --quiet and --verbose set, for the stages too: quiet, verbose or empty.
export ESPNET_DICE_LOG=${ESPNET_DICE_LOG:-}
log() {
    [ "${ESPNET_DICE_LOG}" = quiet ] ||
        echo "$(date '+%Y-%m-%dT%H:%M:%S') ($(basename "$0")) $*" >&2
}
die() {
    echo "error: $*" >&2
    exit 2
}

# What a recipe starts ends with it, even when it is killed: scripts by setpriv, where that is
# installed; our Python commands by themselves, see espnet_dice/io/processes.py.
export ESPNET_DICE_TIED=true
tied=()
if setpriv --pdeathsig TERM true 2>/dev/null; then
    tied=(setpriv --pdeathsig TERM --)
fi

# Ctrl-C ends the script whatever the command that it met made of it: one that was just at its end
# succeeds, and bash would go on with the next. The command is given time to end as it should.
trap 'stop_driver; exit 130' INT

# The options are those of help_message: lines that begin with --name; each sets the variable "name".
parse_options() {
    local known name value show_help=false
    run_args="$(basename "$0") $*"
    known=" $(help_message | sed -n 's/^ *--\([a-z_0-9]*\) .*/\1/p' | tr '\n' ' ')"
    read -ra option_names <<< "${known}"
    while [ $# -gt 0 ]; do
        case "$1" in
            -h | --help)
                show_help=true
                shift
                continue
                ;;
            --dry_run | --dry-run)
                dry_run=true
                shift
                continue
                ;;
            --quiet | --verbose)
                ESPNET_DICE_LOG=${1#--}
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
        case "${name}" in
            local_data | python | launch | *_cmd) ;;
            *) value=${value//$'\n'/ } ;; # a list may stand on several lines
        esac
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
check_counts() { # at least 1
    local name
    check_numbers "$@"
    for name in "$@"; do
        [ "${!name}" -gt 0 ] || die "--${name} ${!name}: give at least 1"
    done
}
check_lengths() { # seconds, or inf
    local name
    for name in "$@"; do
        [[ "${!name}" =~ ^([0-9]+([.][0-9]*)?|[.][0-9]+|inf)$ ]] ||
            die "--${name} must be a number of seconds, not '${!name}'"
    done
}
check_each() { # option, values: whole numbers
    local value
    for value in "${@:2}"; do
        [[ "${value}" =~ ^[0-9]+$ ]] || die "--$1 must be whole numbers, not '${value}'"
    done
}
check_bools() {
    local name
    for name in "$@"; do
        [[ "${!name}" =~ ^(true|false)$ ]] || die "--${name} must be true or false, not '${!name}'"
    done
}

# What ESPnet's options cannot hold is said before anything is made.
check_paths() {
    local name
    for name in "$@"; do
        [[ "${!name}" != *,* ]] ||
            die "--${name} '${!name}': ESPnet's options cannot hold a path with a comma: choose" \
                "another directory (relative ones start below the recipe and are good)"
    done
}

# Sets py: --python is a command of several words, or an interpreter, whose path may have spaces.
words_of_python() {
    # shellcheck disable=SC2154  # --python
    if [ -x "${python}" ]; then
        py=("${python}")
    else
        read -ra py <<< "${python}"
    fi
}

# Finds the package and the interpreter, and holds the recipe's directory until the script ends.
start_recipe() {
    [ -z "${espnet_root}" ] || [ -z "${data_dir}" ] || die "give --espnet_root or --data_dir, not both"
    [ -z "${espnet_root}" ] || [ -n "${espnet_recipe}" ] ||
        die "--espnet_root needs --espnet_recipe: whose data stage is to be run"
    root=$(CDPATH='' cd -P "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
    [[ "${root}" != *:* ]] ||
        die "${root}: a colon separates directories in PYTHONPATH: move the checkout to one without"
    export PYTHONPATH="${root}${PYTHONPATH:+:${PYTHONPATH}}"
    # One thread a process: the stages run as many processes as --nj says.
    export OMP_NUM_THREADS=1
    # Where a stage does use threads: waiting ones soon give the core away. Spinning on, they made
    # k-means 16 times slower on two cores that others worked on too; not spinning at all costs a
    # training with two threads a fifth of its time.
    export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-10000}
    words_of_python
    "${py[@]}" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("espnet2") is None)' ||
        die "'${python}' is not a Python with ESPnet: start ./run.sh at the top, which sets one up," \
            "or give --python"
    # shellcheck disable=SC2154  # --ngpu
    if [ -n "${cuda_cmd}" ] && [ -z "${launch}" ]; then
        launch="$(printf '%q ' "${py[@]}")-m espnet2.bin.launch --cmd '${cuda_cmd}' --num_nodes ${num_nodes}"
        launch+=" --ngpu ${ngpu} --log {out}/launch.log --init_file_prefix {out}/.dist_init_ --"
    fi
    [ "${num_nodes}" = 1 ] || [ -n "${launch}" ] || die "--num_nodes needs --cuda_cmd"
    # models at a time, for the stages' scripts
    # shellcheck disable=SC2034,SC2154
    if [ "${ngpu}" -gt 0 ] || [ -n "${launch}" ]; then
        models=1
    else
        models=${nj}
    fi
    [ -n "${dry_run}" ] || hold_directory
}

# One run at a time in a recipe directory: two would write the same files. What a run has started
# holds it too, so that a run whose script was killed is over when its last process is.
hold_directory() {
    local holder number left=()
    { mkdir -p log && : >> log/.lock; } 2>/dev/null ||
        die "$(pwd)/log cannot be written: choose a directory that you may write to, on a disk" \
            "with free space"
    exec 9>>log/.lock
    if command -v flock >/dev/null && ! flock -n 9; then
        holder=$(tail -n 1 log/.lock)
        number=${holder#process }
        number=${number%% *}
        if [[ "${holder}" != *" on $(uname -n): "* ]] ||
            [ "/proc/${number}/fd/9" -ef log/.lock ]; then
            die "another run works in $(pwd): ${holder}. Wait for it, or end it"
        fi
        if ! flock -w 10 9; then # they were told to end, and may be writing a file
            for number in /proc/[0-9]*; do
                number=${number#/proc/}
                if [ "${number}" != $$ ] && [ "/proc/${number}/fd/9" -ef log/.lock ]; then
                    left+=("${number}")
                fi
            done
            die "a run in $(pwd) was killed (${holder}), but processes that it started still work:" \
                "${left[*]}. Wait for them, or end them: kill ${left[*]}"
        fi
    fi
    echo "process $$ since $(date '+%Y-%m-%d %H:%M:%S') on $(uname -n): ${run_args}" > log/.lock
}

# Refuses, before a stage works, what cannot end well; --dry_run prints the plan, and ends the script.
# Stage 1 calls it again where there was no data yet.
look_ahead() { # recipe, then --made NUMBER TITLE DIRECTORY … and --job TAG CONFIG …
    local name pairs=() more=()
    for name in "${option_names[@]}"; do
        case "${name}" in
            dry_run | quiet | verbose) ;;
            *) pairs+=("${name}=${!name}") ;;
        esac
    done
    [ -z "${dry_run}" ] || more=(--dry_run)
    run plan "$@" ${more[@]+"${more[@]}"} --option "${pairs[@]}" "skipped=${skipped}" \
        "lm_tag=${lm_tag:-}" "lm_train=${lm_train[*]:-}" "lm_dev=${lm_dev[*]:-}"
    [ -z "${dry_run}" ] || exit 0
}
data_there() { # sets: whether all were there before stage 1, so that nothing new can be known
    local name
    [ -z "${data_dir}" ] || return 1
    for name in "$@"; do
        # shellcheck disable=SC2154  # --datadir
        [ -e "${datadir}/${name}/wav.scp" ] || return 1
    done
}

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
    # shellcheck disable=SC2154  # --datadir
    local options=(--out "${datadir}" --text_rules "${text_rules}" "${names[@]}")
    if [ -n "${espnet_root}" ]; then
        ${tied[@]+"${tied[@]}"} "${py[@]}" "${root}/local/espnet_data.py" --espnet_root "$(from_caller "${espnet_root}")" \
            --recipe "${espnet_recipe}" --data_opts="${espnet_data_opts}" "${options[@]}"
    elif [ -n "${data_dir}" ]; then
        ${tied[@]+"${tied[@]}"} "${py[@]}" "${root}/local/take_data.py" --data_dir "$(from_caller "${data_dir}")" \
            "${options[@]}"
    elif [ -n "${local_data}" ]; then
        # shellcheck disable=SC2154  # --nj
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
# Options beside a config show in the tag, but for what leaves the model the same, and for max_epoch:
# more epochs go on where fewer ended.
args_tag() {
    local free='max_epoch|num_workers|log_[a-z]+|num_att_plot|use_(tensorboard|matplotlib|wandb)|wandb_[a-z_]+'
    echo "$*" | sed -E "s/--(${free})[= ]+[^ ]+ ?//g"'; s/^ *$//; /./s/^ *-*/_/; s/ +-*/_/g; s/=/-/g; s/[^A-Za-z0-9._-]//g'
}

skipped=
skip_stages() { # option, stages: they are not begun if the option is true
    ! "${!1}" || skipped+=" ${*:2} "
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
    [[ "${skipped}" != *" $1 "* ]] || return 1
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
# The process that imports ESPnet once and forks the commands of all stages.
driver_pid=
start_driver() {
    local once=true
    [ "${ngpu:-0}" -eq 0 ] || once=false # ESPnet's import starts CUDA, which does not survive a fork
    trap : PIPE # it was killed: said below
    exec {said}>&1 {unsaid}>/dev/null
    # shellcheck disable=SC2154  # py
    coproc driver { exec ${tied[@]+"${tied[@]}"} "${py[@]}" -m espnet_dice.stages.driver --espnet "${once}"; }
    driver_pid=$!
    # bash forgets a coprocess, and its ends, as soon as it is gone
    local ends=(${driver[@]+"${driver[@]}"})
    { [ ${#ends[@]} -eq 2 ] && exec {ask}>&"${ends[1]}" {answer}<&"${ends[0]}"; } 2>/dev/null ||
        driver_ended
    eval "exec ${ends[1]}>&- ${ends[0]}<&-" # only ours: its input ends when they are closed
}
driver_ended() { # what was to be run
    local code=0
    wait "${driver_pid}" || code=$?
    [ "${code}" -lt 128 ] ||
        die "${1:-}the process that runs the stages was killed (out of memory?): run again to go on"
    die "${1:-}the process that runs the stages ended (code ${code}), see above"
}
stop_driver() {
    [ -n "${driver_pid}" ] || return 0
    exec {ask}>&-
    wait "${driver_pid}" || true
}
call() { # file descriptor for its output, command, arguments
    local code
    if ! { printf '%s\0' $(($# - 1)) "$@" >&"${ask}" && read -r code <&"${answer}"; } 2>/dev/null; then
        driver_ended "$2: "
    fi
    return "${code}"
}
run() { # stage, arguments
    [ -n "${driver_pid}" ] || start_driver
    call "${said}" "$@"
}
run_silently() { # stage, arguments: without its table
    [ -n "${driver_pid}" ] || start_driver
    call "${unsaid}" "$@"
}
# Says how long each stage took, shows a table if one is given and there, and warns of what ended well
# and may be worth nothing.
end_recipe() {
    local line
    finish_stage
    log "done in ${SECONDS} s"
    [ "${ESPNET_DICE_LOG}" = quiet ] ||
        for line in ${timing[@]+"${timing[@]}"}; do
            echo "${line}" >&2
        done
    if [ -n "${1:-}" ] && [ -e "$1" ]; then
        echo
        cat "$1"
    fi
    # shellcheck disable=SC2154  # --expdir
    if [ -e "${expdir}/report.html" ]; then
        echo
        echo "report: $(cd "${expdir}" && pwd)/report.html (open it in a browser)"
    fi
    # shellcheck disable=SC2154  # --expdir
    if [ -d "${expdir}" ]; then
        run checks --exp "${expdir}" ${datadir:+--data "${datadir}"} \
            ${dumpdir:+--dump "${dumpdir}"} || log "this run could not be checked for warnings"
    fi
}
