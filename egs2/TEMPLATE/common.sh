# shellcheck shell=bash
# What the recipes' stage scripts share: one run at a time, the plan, titles and times of stages. Options,
# the corpus, and the process that runs the stages' commands are in files of their own. A script sources
# this, sets its options' defaults, defines help_message, calls
#   parse_options "$@"; check_numbers …; check_bools …; start_recipe; if begin 1 "title"; then …; end_recipe FILE
# and, in its first stage, make_data SETS.

unset CDPATH                                   # cd goes where it is told, and prints nothing
shopt -u patsub_replacement 2>/dev/null || :   # bash 5.2: & in the name of a directory is a letter

# shellcheck source=egs2/TEMPLATE/options.sh
source "$(dirname "${BASH_SOURCE[0]}")/options.sh"
# shellcheck source=egs2/TEMPLATE/driver.sh
source "$(dirname "${BASH_SOURCE[0]}")/driver.sh"
# shellcheck source=egs2/TEMPLATE/make_data.sh
source "$(dirname "${BASH_SOURCE[0]}")/make_data.sh"

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
