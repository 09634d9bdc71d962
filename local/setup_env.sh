#!/usr/bin/env bash
# Set up the environment that run.sh and test.sh use, once; later calls return at once.
set -euo pipefail

usage() {
    cat <<'END'
Usage: local/setup_env.sh [--python PYTHON]

Makes .venv-<version of Python> in the checkout, with ESPnet, torch and this package, and prints
its path on stdout (all else goes to stderr). Python 3.11 gets ESPnet 202511, Python 3.12 and 3.13
get ESPnet 202611. It needs about 7 GB of disk, and the package registry that pip is set up for.

  --python PYTHON   the interpreter to build on; also by PYTHON=... (default: the first usable of
                    python3, python3.13, python3.12, python3.11)
END
}

readonly UV="uv==0.13.8"
readonly NEEDED_KB=7000000
root=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
readonly root

say() { printf '[%4d s] set-up: %s\n' "$SECONDS" "$*" >&2; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

# Sets $version and $minor to those of a usable interpreter, or else $why.
probe() {
    local found
    if ! command -v "$1" >/dev/null; then
        why="$1 was not found"
    elif ! found=$("$1" -E -s -c 'import sys
v = sys.version_info
parts = []
if v >= (3, 11):
    from importlib.util import find_spec
    parts = [name for name in ("venv", "ensurepip") if find_spec(name)]
print("%d.%d.%d %d.%d %d" % (v[0], v[1], v[2], v[0], v[1], len(parts)))' 2>/dev/null); then
        why="$1 does not start"
    else
        local parts
        read -r version minor parts <<<"$found"
        case $minor in
            3.11 | 3.12 | 3.13)
                ((parts < 2)) || return 0
                why="$1 ($version) has no venv module (on Debian and Ubuntu: apt install python$minor-venv)"
                ;;
            *) why="$1 is Python $version" ;;
        esac
    fi
    return 1
}

choose_python() {
    local name reasons=""
    local -a names=(python3 python3.13 python3.12 python3.11)
    [[ -z $1 ]] || names=("$1")
    for name in "${names[@]}"; do
        if probe "$name"; then
            python=$name
            return
        fi
        [[ $why == *"not found" && -z $1 ]] || reasons+="${reasons:+; }$why"
    done
    fail "Python 3.11, 3.12 or 3.13 is needed${reasons:+, but $reasons}: install one," \
        "or name it with PYTHON=/path/to/python3"
}

free_kb() { df -Pk "$1" | awk 'NR == 2 {print $4}'; }

check_disk() {
    local free
    free=$(free_kb "$root")
    if ((free < NEEDED_KB)); then
        fail "the environment needs $((NEEDED_KB / 1000000)) GB of disk and $root has" \
            "$((free / 1000000)) GB free: free some, or clone to a larger disk"
    fi
}

# Repeats what a command says, with the time, and a sign of life when it is silent; all of it also
# goes to the log; lists of packages and pip's warnings go there only.
relay() {
    local line
    while true; do
        if IFS= read -r -t 20 line; then
            printf '%s\n' "$line" >>"$log"
            case $line in
                ' + '* | ' - '* | ' ~ '* | 'WARNING: '* | '') ;;
                *) say "$line" ;;
            esac
        elif (($? > 128)); then
            say "still at it"
        else
            break
        fi
    done
}

# run_logged WHAT COMMAND...: on failure, says why in one line.
run_logged() {
    local what=$1 reason
    shift
    printf '$ %s\n' "$*" >>"$log"
    if "$@" 2>&1 | relay; then
        return
    fi
    if grep -q -i -E 'no space left|os error 28' "$log"; then
        reason="the disk is full; free some"
    elif grep -q -i -E 'failed to fetch|sending request|dns error|NewConnection|name resolution|connection (refused|reset)|timed out|tunnel error|ProxyError' "$log"; then
        reason="the package registry could not be reached; check the network and pip's settings"
    else
        reason=$(grep -v '^[[:space:]]*$' "$log" | tail -n 1)
    fi
    fail "$what failed: $reason, and run the same command again (log: ${log#"$root"/})"
}

# uv does not read pip's settings: hand over where the registry is and how to trust it.
pip_setting() {
    "$venv/bin/python" -I -m pip config list 2>/dev/null |
        sed -n "s/^[^=]*\\.$1='\\(.*\\)'\$/\\1/p" | tail -n 1
}

tell_uv() {
    local variable=$1 value
    if [[ -z ${!variable:-} ]]; then
        value=$(pip_setting "$2")
        [[ -z $value ]] || export "$variable=$value"
    fi
}

# What the environment is made from; a change of any of it brings it up to date.
fingerprint() {
    {
        printf '%s\n' "$UV"
        cat "${pins[@]}"
    } | sha256sum | cut -d ' ' -f 1
}

wanted=${PYTHON:-}
while (($#)); do
    case $1 in
        -h | --help)
            usage
            exit 0
            ;;
        --python)
            (($# > 1)) || fail "--python needs a value"
            wanted=$2
            shift 2
            ;;
        --python=*)
            wanted=${1#*=}
            shift
            ;;
        *) fail "unknown option $1: see local/setup_env.sh --help" ;;
    esac
done

unset PYTHONHOME PYTHONPATH VIRTUAL_ENV
choose_python "$wanted"
espnet=202611
[[ $minor != 3.11 ]] || espnet=202511
venv=$root/.venv-$minor
stamp=$venv/.set-up.done
log=$venv/.set-up.log
requirements=$root/local/requirements-$espnet.txt
pins=("$root/setup.py" "$requirements" "$root/local/constraints-$espnet.txt" "$root/local/excludes.txt")
made_from="$(fingerprint) $root"

is_ready() { [[ -x $venv/bin/python && -f $stamp && $(<"$stamp") == "$made_from" ]]; }

if ! is_ready; then
    exec 9<"$root/local"
    if command -v flock >/dev/null && ! flock -n 9; then
        say "another set-up of this checkout is running: waiting for it"
        flock 9
    fi
fi

if ! is_ready; then
    # Without its stamp an environment may be half-written; with another root its paths are wrong.
    # uv keeps what it has downloaded, so a new start costs seconds.
    if [[ ! -x $venv/bin/python || ! -f $stamp || $(<"$stamp") != *" $root" ]]; then
        rm -rf "$venv"
        check_disk
        say "making ${venv#"$root"/} from Python $version, for ESPnet $espnet (about 5 GB, a few minutes)"
        mkdir "$venv" 2>/dev/null || fail "$root cannot be written to: clone to a directory of your own"
        run_logged "making the environment" "$python" -I -m venv "$venv"
    fi
    rm -f "$stamp"
    : >"$log"
    export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-180}"
    run_logged "installing uv" "$venv/bin/python" -I -m pip install --quiet --retries 2 "$UV"
    [[ -n ${UV_INDEX_URL:-} ]] || tell_uv UV_DEFAULT_INDEX index-url
    tell_uv SSL_CERT_FILE cert
    tell_uv HTTPS_PROXY proxy
    tell_uv UV_INSECURE_HOST trusted-host
    run_logged "installing ESPnet $espnet" "$venv/bin/uv" pip install --python "$venv/bin/python" \
        --excludes "$root/local/excludes.txt" -r "$requirements" -e "${root}[synth,onnx,test]"
    if [[ $espnet == 202511 ]]; then
        # its speech synthesis, which is imported along, else asks the network for these at every
        # start; nothing here reads them
        "$venv/bin/python" -I - "$venv/nltk_data" <<'END'
import sys, zipfile
from pathlib import Path

tagger = "taggers/averaged_perceptron_tagger"
for name in (tagger, f"{tagger}_eng", "corpora/cmudict"):
    path = Path(sys.argv[1], f"{name}.zip")
    path.parent.mkdir(parents=True, exist_ok=True)
    zipfile.ZipFile(path, "w").close()
END
    fi
    run_logged "the check of the environment" "$venv/bin/python" -I -c '
import espnet2, torch, espnet_dice
print(f"ready: ESPnet {espnet2.__version__}, torch {torch.__version__}, "
      f"espnet_dice {espnet_dice.__version__}")'
    printf '%s\n' "$made_from" >"$stamp.new"
    mv "$stamp.new" "$stamp"
fi

printf '%s\n' "$venv"
