#!/usr/bin/env bash
# From a fresh clone to a table of word error rates on the embedded corpus. Sets up the environment
# (see local/setup_env.sh; PYTHON=... names the interpreter), then hands its arguments to the
# corpus's recipe: ./run.sh --help, ./run.sh --stage 5 --stop_stage 7
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
recipe=egs2/mini_synth/kd1/run.sh
case " $* " in
    *" -h "* | *" --help "*) exec "$recipe" --help ;; # needs no environment
esac
venv=$(local/setup_env.sh)
export PATH="$venv/bin:$PATH"
exec "$recipe" "$@"
