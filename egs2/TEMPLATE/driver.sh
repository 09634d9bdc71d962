# shellcheck shell=bash
# shellcheck disable=SC2154  # variables of options.sh and common.sh
# How a script runs the commands of its stages: in forks of one process, espnet_dice/stages/driver.py.

# Sets py: --python is a command of several words, or an interpreter, whose path may have spaces.
words_of_python() {
    if [ -x "${python}" ]; then
        py=("${python}")
    else
        read -ra py <<< "${python}"
    fi
}

driver_pid=
start_driver() {
    local once=true
    [ "${ngpu:-0}" -eq 0 ] || once=false # ESPnet's import starts CUDA, which does not survive a fork
    trap : PIPE # it was killed: said below
    exec {said}>&1 {unsaid}>/dev/null
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
