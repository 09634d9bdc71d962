#!/usr/bin/env bash
# Lint and tests. Sets up the environment (see local/setup_env.sh; PYTHON=... names the
# interpreter); arguments go to pytest: ./test.sh tests/io -k atomic
# Two files of tests run at a time; -n 0 runs them in this process, for --pdb.
set -euo pipefail

CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")"
venv=$(local/setup_env.sh)
export PATH="$venv/bin:$PATH"

# All tracked shell files; without git, those outside environments and experiments.
shell_files() {
    if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
        git ls-files '*.sh' .ci/run
    else
        find . \( -name '.venv*' -o -name exp -o -name .git \) -prune -o \
            \( -name '*.sh' -o -path ./.ci/run \) -type f -print
    fi
}

python -m ruff check .
shell_files | xargs shellcheck --external-sources
# Packages are compiled once, not by each process that imports them.
unset PYTHONDONTWRITEBYTECODE
# Threads that wait soon give the core away: spinning ones cost minutes where others use it too.
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-10000}
# Files begin in their order: reordered by their number of tests, the longest few would come last.
exec python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
