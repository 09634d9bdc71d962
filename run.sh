#!/usr/bin/env bash
# From a fresh clone to the tables of both methods on the embedded corpus. Sets up the environment
# (see local/setup_env.sh; PYTHON=... names the interpreter), then runs the recipes.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
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
page to look at (exp/report.html beside it). What was done is not done
again, and an interrupted run goes on where it was. PYTHON=python3.12 chooses the interpreter.

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
for recipe in "${recipes[@]}"; do
    ${tied[@]+"${tied[@]}"} "${corpus}/${recipe}/run.sh" "$@"
done
