#!/usr/bin/env bash
# From a fresh clone to the tables of both methods on the embedded corpus. Sets up the environment
# (see local/setup_env.sh; PYTHON=... names the interpreter), then runs the recipes.
set -euo pipefail

CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")"
corpus=egs2/mini_synth

usage() {
    cat <<'END'
Usage: ./run.sh                                 both recipes of the embedded corpus, kd1 and dice1
       ./run.sh kd1 [--option value] …          uncertainty-matching distillation of a recogniser
       ./run.sh dice1 [--option value] …        DiceHuBERT
       ./run.sh dicekd1 [--option value] …      both, and recognisers on DiceHuBERT's students
       ./run.sh --option value …                kd1 with these options
       ./run.sh kd1|dice1|dicekd1 --help        a recipe's stages and options

Each ends with a table (also in egs2/mini_synth/<recipe>/exp/RESULTS.md), and kd1 and dice1 with a
page to look at (exp/report.html beside it). Both recipes run side by side: each has long stages
that keep one core busy. What was done is not done again, and an interrupted run goes on where it
was. PYTHON=python3.12 chooses the interpreter.

END
}

case "${1:-}" in
    kd1 | dice1 | dicekd1)
        recipes=("$1")
        shift
        ;;
    "") recipes=(kd1 dice1) ;;
    *) recipes=(kd1) ;;
esac
case " $* " in
    *" -h "* | *" --help "*) # needs no environment
        usage
        exec "${corpus}/${recipes[0]}/run.sh" --help
        ;;
esac
venv=$(local/setup_env.sh)
export PATH="${venv}/bin:${PATH}"
tied=() # a recipe ends with this script, even when that is killed
if setpriv --pdeathsig TERM true 2>/dev/null; then
    tied=(setpriv --pdeathsig TERM --)
fi
# Packages are compiled once, not by each process that imports them: 9 s of the 15 that this takes.
unset PYTHONDONTWRITEBYTECODE

if [ ${#recipes[@]} -eq 1 ]; then
    exec "${corpus}/${recipes[0]}/run.sh" "$@"
fi

said=$(mktemp -d)
trap 'rm -rf "${said}"' EXIT
named() { # what it reads, a name before each line
    while IFS= read -r line; do
        printf '%-6s %s\n' "$1:" "${line}"
    done
}
start() { # recipe; the table waits until both are done
    ${tied[@]+"${tied[@]}"} "${corpus}/$1/run.sh" \
        > "${said}/$1" 2> >(named "$1" >&2) &
    started+=("$1")
    running+=($!)
}
"${corpus}/kd1/run.sh" --stop_stage 1 # dice1 takes its corpus
started=()
running=()
trap 'kill "${running[@]}" 2>/dev/null || true; exit 130' INT
trap 'kill "${running[@]}" 2>/dev/null || true; exit 143' TERM
start dice1 # neither gives way: dice1 trains one model for a third of its time, kd1 two at a time
start kd1
failed=()
for i in "${!running[@]}"; do
    wait "${running[i]}" || { code=$? && failed+=("${started[i]}"); }
done
cat "${said}/kd1"
echo
cat "${said}/dice1"
if [ ${#failed[@]} -gt 0 ]; then
    echo "error: not done: ${failed[*]}, see above; ./run.sh goes on from there" >&2
    exit "${code}"
fi
