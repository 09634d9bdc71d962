# shellcheck shell=bash
# shellcheck disable=SC2034  # what scripts that source this read
# Options of every recipe, with their defaults and their lines of --help; how a command line is read and
# checked; names of sets, configs and tags.

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
