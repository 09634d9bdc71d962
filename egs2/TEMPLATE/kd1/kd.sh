#!/usr/bin/env bash
# The stages of uncertainty-matching knowledge distillation, from data to a table of word error
# rates. A corpus's run.sh gives the names; --help lists every option with its value. A stage that
# was done is skipped when nothing it depends on changed, and goes on where it was interrupted.
set -euo pipefail

{ # bash reads to the closing brace before it starts: the file may be edited while it runs

# shellcheck source=egs2/TEMPLATE/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

# General
stage=1
stop_stage=12
nj=$(nproc 2>/dev/null || echo 2)
threads=0
ngpu=0
python=python3
seed=0
datadir=data
dumpdir=dump
expdir=exp

# Data and features
train_set=
valid_set=
test_sets=
teachers=
feats_type=fbank_pitch
teacher_feats_type=
fs=16000
resample=false
channel=
allow_pipes=false
speed_perturb_factors=
min_wav_duration=0
max_wav_duration=inf

# Tokens
token_type=char31
nbpe=30
bpemode=unigram
bpe_train_text=

# Language model
use_lm=true
lm_config=conf/train_lm_transformer.yaml
lm_args=
lm_train_text=
lm_dev_text=

# Teachers and students
teacher_config=conf/train_asr_base.yaml
teacher_args=
student_config=conf/train_asr_small.yaml
student_args=
asr_tag=
seeds=
teacher_mode=cached
teacher_samples=50
teacher_ctc=auto

# Decoding
inference_config=conf/decode.yaml
inference_args=
inference_tag=
lm_modes="no yes"
lm_weights=
dev_set=
teacher_lm_modes=no

# Export and report
demo=false
noise_snr=

help_message() {
    cat <<END
Usage: $(basename "$0") [--option value] …

  General
    --stage            First stage, see below (default="${stage}")
    --stop_stage       Last stage (default="${stop_stage}")
$(skip_help)
    --nj               Processes: models trained at a time, decoding workers (default="${nj}")
    --threads          CPU threads of a training; 0: the cores, shared out (default="${threads}")
    --ngpu             GPUs a training, and for decoding; 0: CPU (default="${ngpu}")
    --python           Python interpreter (default="${python}")
    --seed             Seed of the teachers and the language model (default="${seed}")
    --datadir          Data directories (default="${datadir}")
    --dumpdir          Features (default="${dumpdir}")
    --expdir           Models, decodings, results (default="${expdir}")
  Jobs
$(jobs_help)
  Data
$(corpus_help)
    --train_set        Student's training set (default="${train_set}")
    --valid_set        Student's validation set (default="${valid_set}")
    --test_sets        Sets to decode, quoted (default="${test_sets}")
    --teachers         NAME=TRAIN_SET/DEV_SET of each teacher, or NAME=exp:DIR of one that another
                       recipe trained (DIR: its exp/asr_…), quoted (default="${teachers}")
    --feats_type       fbank_pitch, fbank or raw (default="${feats_type}")
    --teacher_feats_type  The same for teachers whose outputs are cached; empty: --feats_type
                       (default="${teacher_feats_type}")
    --fs               Sampling rate in Hz (default="${fs}")
    --resample         Convert other sampling rates (default="${resample}")
    --channel          Channel to take of recordings with several, from 0; empty: refuse them
                       (default="${channel}")
    --allow_pipes      Run wav.scp entries that are shell commands (default="${allow_pipes}")
    --speed_perturb_factors  Of the students' and teachers' training sets, such as "0.9 1.0 1.1"
                       (default="${speed_perturb_factors}")
    --min_wav_duration Leave shorter utterances, in seconds, out of training and validation sets
                       (default="${min_wav_duration}")
    --max_wav_duration Leave longer ones out, too; inf: none (default="${max_wav_duration}")
  Tokens
    --token_type       char31: A-Z, apostrophe and space; char: every character of the training
                       transcripts; bpe: pieces learnt from them; one list for teachers, students
                       and language model (default="${token_type}")
    --nbpe             Tokens of bpe (default="${nbpe}")
    --bpemode          Its kind: unigram or bpe (default="${bpemode}")
    --bpe_train_text   Texts that char and bpe are learnt from, quoted; empty: all training
                       transcripts of students and teachers (default="${bpe_train_text}")
  Language model
    --use_lm           Train and use one (default="${use_lm}")
    --lm_config        Its config (default="${lm_config}")
    --lm_args          Options that win over it (default="${lm_args}")
    --lm_train_text    Texts: Kaldi text, or .txt of sentences, quoted; empty: the student's
                       training transcripts (default="${lm_train_text}")
    --lm_dev_text      As above, of the student's dev set (default="${lm_dev_text}")
  Teachers and students
    --teacher_config   Config of every teacher (default="${teacher_config}")
    --teacher_args     Options that win over it (default="${teacher_args}")
    --student_config   Configs of the students, quoted (default="${student_config}")
    --student_args     Options that win over them (default="${student_args}")
    --asr_tag          Name of the only student, exp/asr_TAG; empty: its config, --student_args and
                       seed name it (default="${asr_tag}")
    --seeds            Each student is trained once a seed, quoted; empty: --seed
                       (default="${seeds}")
    --teacher_mode     cached: teachers' outputs are read; online: computed in each training step
                       (default="${teacher_mode}")
    --teacher_samples  Noise draws in the cached outputs (default="${teacher_samples}")
    --teacher_ctc      Cache the CTC branch too; auto: if a student has kd_ctc > 0
                       (default="${teacher_ctc}")
  Decoding
    --inference_config Beam search (default="${inference_config}")
    --inference_args   Options that win over it (default="${inference_args}")
    --inference_tag    Name of the results, decode_TAG_…; empty: config and options name them
                       (default="${inference_tag}")
    --lm_modes         Students without the LM (no), with it (yes), quoted (default="${lm_modes}")
    --lm_weights       Weights of the LM to try for every system on --dev_set, the best of which
                       decodes its test sets, quoted; empty: that of the inference config
                       (default="${lm_weights}")
    --dev_set          Set to choose them on; empty: --valid_set (default="${dev_set}")
    --teacher_lm_modes The same for teachers (default="${teacher_lm_modes}")
  Export and report
$(cards_help)
    --demo             Also a page that transcribes in a browser, export/demo (default="${demo}")
    --noise_snr        White noise, in dB, in which the uncertainty is judged too, quoted; empty: none
                       (default="${noise_snr}")

  Stages: 1 data, 2 features, 3 tokens, 4 language model, 5 teachers, 6 teacher decoding and
  outputs, 7 students, 8 training curves, 9 decoding, 10 scoring, 11 export, 12 report
END
}

parse_options "$@"
check_numbers stage stop_stage nj threads ngpu num_nodes seed teacher_samples fs
check_counts nbpe
[ -z "${channel}" ] || check_numbers channel
check_bools resample allow_pipes use_lm demo skip_data_prep skip_train skip_eval
check_paths dumpdir expdir train_set valid_set test_sets dev_set
check_lengths min_wav_duration max_wav_duration
[[ "${token_type}" =~ ^(char31|char|bpe)$ ]] || die "--token_type must be char31, char or bpe"
[[ "${bpemode}" =~ ^(unigram|bpe)$ ]] || die "--bpemode must be unigram or bpe"
skip_stages skip_data_prep 1 2 3
skip_stages skip_train 4 5 7 8
skip_stages skip_eval 9 10 12
for name in train_set valid_set test_sets; do
    [ -n "${!name}" ] || die "--${name} is empty: a corpus's run.sh names the sets"
done
[ "${teacher_mode}" = cached ] || [ "${teacher_mode}" = online ] ||
    die "--teacher_mode must be cached or online, not '${teacher_mode}'"
[[ "${teacher_ctc}" =~ ^(true|false|auto)$ ]] || die "--teacher_ctc must be true, false or auto"

read -ra seed_list <<< "${seeds:-${seed}}"
check_each seeds "${seed_list[@]}"

start_recipe
read -ra student_configs <<< "${student_config}"
read -ra tests <<< "${test_sets}"
read -ra teacher_list <<< "${teachers}"
dump=${dumpdir}/${feats_type}
teacher_feats_type=${teacher_feats_type:-${feats_type}}
teacher_dump=${dumpdir}/${teacher_feats_type}
tokens=${datadir}/token_list/${token_type}
[ "${token_type}" != bpe ] || tokens+=_${bpemode}${nbpe}
# Features of speech at other speeds, or of utterances of some lengths only, have names of their own:
# a test set may be a validation set, too.
cut=
if [ "${min_wav_duration}" != 0 ] || [ "${max_wav_duration}" != inf ]; then cut=_cut; fi
sp=${speed_perturb_factors:+_sp}
train_sets=("${train_set}")
valid_sets=("${valid_set}")
train_dump=${train_set}${sp}${cut}
dev_dump=${valid_set}${cut}
sets=()
dev_set=${dev_set:-${valid_set}}
devs=()
[ -z "${lm_weights}" ] || [ "${dev_set}" = "${valid_set}" ] || devs=("${dev_set}")
add_sets "${train_set}" "${valid_set}" ${devs[@]+"${devs[@]}"} "${tests[@]}"

teacher_jobs=()
teacher_options=()
teacher_systems=()
adopted=()
for entry in ${teacher_list[@]+"${teacher_list[@]}"}; do
    name=${entry%%=*}
    if [[ "${entry}" =~ ^[A-Za-z0-9._-]+=exp:.+$ ]]; then
        adopted+=(--teacher "${name}=${entry#*=exp:}")
        teacher_options+=(--teacher "${name}=${expdir}/asr_teacher_${name}")
        teacher_systems+=("${expdir}/asr_teacher_${name}")
        continue
    fi
    [[ "${entry}" =~ ^[A-Za-z0-9._-]+=[^/]+/[^/]+$ ]] ||
        die "--teachers '${entry}': write NAME=TRAIN_SET/DEV_SET or NAME=exp:DIR"
    train=${entry#*=}
    valid=${train#*/}
    train=${train%%/*}
    add_sets "${train}" "${valid}"
    train_sets+=("${train}")
    valid_sets+=("${valid}")
    tag=$(stem_of "${teacher_config}" train_asr_)_${name}$(args_tag "${teacher_args}")
    teacher_jobs+=(--job "${tag}" "${teacher_config}" "train=${train}${sp}${cut}" "valid=${valid}${cut}")
    teacher_options+=(--teacher "${name}=${expdir}/asr_${tag}")
    teacher_systems+=("${expdir}/asr_${tag}")
done
student_jobs=()
student_seeds=()
student_systems=()
for config in "${student_configs[@]}"; do
    for one in "${seed_list[@]}"; do
        tag=${asr_tag:-$(stem_of "${config}" train_asr_)$(args_tag "${student_args}")_seed${one}}
        student_jobs+=(--job "${tag}" "${config}" "train=${train_dump}" "valid=${dev_dump}")
        student_seeds+=("${one}")
        student_systems+=("${expdir}/asr_${tag}")
    done
done

[ -z "${asr_tag}" ] || [ ${#student_systems[@]} -eq 1 ] ||
    die "--asr_tag names one student, not ${#student_systems[@]}: give one --student_config and one seed"

audio=(--fs "${fs}" --resample "${resample}" --allow_pipes "${allow_pipes}")
[ -z "${channel}" ] || audio+=(--channel "${channel}")
lm_tag=$(stem_of "${lm_config}" train_lm_)$(args_tag "${lm_args}")
lm_options=()
if "${use_lm}"; then
    lm_options=(--lm "${expdir}/lm_${lm_tag}")
else
    lm_modes=no
    teacher_lm_modes=no
fi
read -ra lm_train <<< "${lm_train_text}"
read -ra lm_dev <<< "${lm_dev_text}"
if [ ${#lm_train[@]} -eq 0 ]; then
    lm_train=("${dump}/${train_dump}/text")
    [ -z "${sp}" ] || lm_train=("${datadir}/${train_set}/text") # every sentence once
fi
[ ${#lm_dev[@]} -gt 0 ] || lm_dev=("${dump}/${dev_dump}/text")
read -ra bpe_train <<< "${bpe_train_text}"
read -ra modes <<< "${lm_modes}"
read -ra teacher_modes <<< "${teacher_lm_modes}"
read -ra snrs <<< "${noise_snr}"
training=(--task asr --dump "${dump}" --token_list "${tokens}" --exp "${expdir}" --nj "${models}"
    --threads "${threads}" --ngpu "${ngpu}" --launch "${launch}")
decoding=(--config "${inference_config}" "--args=${inference_args}" "--tag=${inference_tag}"
    --nj "${nj}" --ngpu "${ngpu}"
    ${lm_options[@]+"${lm_options[@]}"})
if [ -n "${lm_weights}" ]; then
    read -ra weights <<< "${lm_weights}"
    decoding+=(--lm_weights "${weights[@]}")
fi
weights_dump=${dev_set}
[ "${dev_set}" != "${valid_set}" ] || weights_dump=${dev_dump}

# Names of what each stage makes, for the look ahead.
decodings() { # LM modes quoted, dump, systems: patterns of their results
    local mode system name stem
    stem=$(basename "${inference_config}" .yaml)
    [ -z "${inference_tag}" ] || stem=decode_${inference_tag}
    for mode in $1; do
        for system in "${@:3}"; do
            for name in "${tests[@]}"; do
                case "${mode}" in
                    yes) echo "${system}/${stem}*_lm_${lm_tag}/${name}" ;;
                    *) echo "${system}/${stem}*_no_lm/${name}" ;;
                esac
            done
        done
    done
}
outputs() {
    local entry
    [ "${teacher_mode}" = cached ] || return 0
    for entry in ${teacher_list[@]+"${teacher_list[@]}"}; do
        echo "${expdir}/teacher_outputs/${entry%%=*}/${train_dump}"
        echo "${expdir}/teacher_outputs/${entry%%=*}/${dev_dump}"
    done
}
mapfile -t feature_dirs < <(
    for name in "${train_sets[@]}"; do echo "${teacher_dump}/${name}${sp}${cut}"; done
    for name in "${valid_sets[@]}"; do echo "${teacher_dump}/${name}${cut}"; done
    for name in "${tests[@]}"; do echo "${teacher_dump}/${name}"; done
    if [ "${teacher_feats_type}" != "${feats_type}" ]; then
        echo "${dump}/${train_dump}"
        echo "${dump}/${dev_dump}"
        for name in "${tests[@]}"; do echo "${dump}/${name}"; done
    fi
)
mapfile -t output_dirs < <(
    decodings "${teacher_lm_modes}" "${teacher_dump}" ${teacher_systems[@]+"${teacher_systems[@]}"}
    outputs
)
mapfile -t student_decodings < <(decodings "${lm_modes}" "${dump}" "${student_systems[@]}")
ahead=(kd1
    --made 1 "data" "${sets[@]/#/${datadir}/}"
    --made 2 "features: ${feats_type}" "${feature_dirs[@]}"
    --made 3 "tokens: ${tokens##*/}" "${tokens}"
    ${lm_options[@]+--made 4 "language model" "${lm_options[1]}"}
    --made 5 "${#teacher_systems[@]} teachers" ${teacher_systems[@]+"${teacher_systems[@]}"}
    --made 6 "teachers: results, outputs" ${output_dirs[@]+"${output_dirs[@]}"}
    --made 7 "${#student_systems[@]} students" "${student_systems[@]}"
    --made 8 "curves"
    --made 9 "decoding" "${student_decodings[@]}"
    --made 10 "scoring"
    --made 11 "export" "${student_systems[@]/%//export}"
    --made 12 "report"
    ${teacher_jobs[@]+"${teacher_jobs[@]}"} "${student_jobs[@]}")
new_data=true
! data_there "${sets[@]}" || new_data=false
look_ahead "${ahead[@]}"

if begin 1 "data: ${sets[*]}"; then
    make_data "${sets[@]}"
    ! "${new_data}" || look_ahead "${ahead[@]}" --data_made
    run data --data_dir "${sets[@]/#/${datadir}/}" --transcripts true "${audio[@]}"
fi

make_features() { # type, ending of the names, options quoted, sets
    local outs=("${@:4}") sets=("${@:4}") more
    read -ra more <<< "$3"
    outs=("${outs[@]/#/${dumpdir}/$1/}")
    run features --data_dir "${sets[@]/#/${datadir}/}" --out_dir "${outs[@]/%/$2}" --feats_type "$1" \
        --nj "${nj}" --cmd "${train_cmd}" "${audio[@]}" ${more[@]+"${more[@]}"} \
        ${speeds[@]+--speed_perturb "${speeds[@]}"}
}
make_all_features() { # type, training sets, validation sets, quoted
    local train valid lengths=
    read -ra train <<< "$2"
    read -ra valid <<< "$3"
    if [ -z "${sp}${cut}" ]; then
        make_features "$1" "" "" "${train[@]}" "${valid[@]}" ${devs[@]+"${devs[@]}"} "${tests[@]}"
        return
    fi
    [ -z "${cut}" ] ||
        lengths="--min_wav_duration ${min_wav_duration} --max_wav_duration ${max_wav_duration}"
    local speeds=("${speed_perturb_factors:-1.0}")
    make_features "$1" "${sp}${cut}" "${lengths}" "${train[@]}"
    speeds=()
    make_features "$1" "${cut}" "${lengths}" "${valid[@]}"
    make_features "$1" "" "" ${devs[@]+"${devs[@]}"} "${tests[@]}"
}
if begin 2 "features: ${feats_type}"; then
    make_all_features "${teacher_feats_type}" "${train_sets[*]}" "${valid_sets[*]}"
    if [ "${teacher_feats_type}" != "${feats_type}" ]; then
        make_all_features "${feats_type}" "${train_set}" "${valid_set}"
    fi
fi

if begin 3 "tokens: ${tokens##*/}"; then
    texts=("${valid_sets[@]/%/${cut}/text}" "${tests[@]/%//text}")
    texts=("${texts[@]/#/${teacher_dump}/}")
    train_texts=("${train_sets[@]/%/${sp}${cut}/text}")
    if "${use_lm}"; then
        texts+=("${lm_train[@]}" "${lm_dev[@]}")
    fi
    run tokens "${texts[@]}" --out "${tokens}" --type "${token_type}" --nbpe "${nbpe}" \
        --bpemode "${bpemode}" --train "${train_texts[@]/#/${teacher_dump}/}" \
        --learn ${bpe_train[@]+"${bpe_train[@]}"}
fi

if "${use_lm}" && begin 4 "language model: ${lm_tag}"; then
    run train --task lm --job "${lm_tag}" "${lm_config}" --token_list "${tokens}" \
        --exp "${expdir}" --train "${lm_train[@]}" --valid "${lm_dev[@]}" --seed "${seed}" "--args=${lm_args}" \
        --threads "${threads}" --ngpu "${ngpu}" --launch "${launch}"
fi

if [ ${#teacher_systems[@]} -gt 0 ]; then
    if begin 5 "${#teacher_systems[@]} teachers"; then
        if [ ${#adopted[@]} -gt 0 ]; then
            run import_teacher "${adopted[@]}" --token_list "${tokens}" --exp "${expdir}" \
                --dump "${teacher_dump}/${train_dump}"
        fi
        if [ ${#teacher_jobs[@]} -gt 0 ]; then
            run train "${training[@]}" --dump "${teacher_dump}" "${teacher_jobs[@]}" \
                --role teacher --seed "${seed}" "--args=${teacher_args}"
        fi
    fi
    if begin 6 "teachers on the student's test sets, and their outputs"; then
        if ! "${skip_eval}"; then
            run decode "${decoding[@]}" --dev "${teacher_dump}/${weights_dump}" \
                --systems "${teacher_systems[@]}" --sets "${tests[@]/#/${teacher_dump}/}" --lm_modes "${teacher_modes[@]}"
        fi
        if [ "${teacher_mode}" = cached ] && ! "${skip_train}"; then
            run teacher_outputs "${teacher_options[@]}" --dump "${teacher_dump}" \
                --sets "${train_dump}" "${dev_dump}" --token_list "${tokens}" \
                --out "${expdir}/teacher_outputs" --samples "${teacher_samples}" \
                --ctc "${teacher_ctc}" --students "${student_configs[@]}" \
                "--student_args=${student_args}" --nj "${nj}" --cmd "${train_cmd}"
        fi
    fi
fi

students=("${training[@]}" "${student_jobs[@]}" --seed "${student_seeds[@]}"
    --role student "--args=${student_args}" --teacher_mode "${teacher_mode}"
    --teacher_outputs "${expdir}/teacher_outputs" --teacher_dump "${teacher_dump}"
    ${teacher_options[@]+"${teacher_options[@]}"})

if begin 7 "${#student_systems[@]} students"; then
    run train "${students[@]}"
fi

if begin 8 "training curves"; then
    run_silently curves --exp "${expdir}" --plot "${expdir}/curves.svg"
fi

if begin 9 "decoding: ${tests[*]}, LM ${lm_modes}"; then
    run decode "${decoding[@]}" --dev "${dump}/${weights_dump}" --systems "${student_systems[@]}" \
        --sets "${tests[@]/#/${dump}/}" --lm_modes "${modes[@]}"
fi

if begin 10 "scoring"; then
    run_silently score --exp "${expdir}"
fi

if begin 11 "export to plain ESPnet"; then
    run export --systems "${student_systems[@]}" --token_list "${tokens}" --nj "${nj}" \
        --test_set "${dump}/${tests[0]}" --data "${datadir}" --allow_pipes "${allow_pipes}" \
        --lang "${lang}" --dataset "${dataset}" --demo "${demo}" ${lm_options[@]+"${lm_options[@]}"}
fi

if begin 12 "report"; then
    asking=(--token_list "${tokens}" --nj "${nj}" --data "${datadir}" --allow_pipes "${allow_pipes}"
        --noise_snr ${snrs[@]+"${snrs[@]}"})
    [ "${ngpu}" -eq 0 ] || asking+=(--device cuda)
    if [ "${teacher_feats_type}" = "${feats_type}" ]; then
        run uncertainty "${asking[@]}" --sets "${tests[@]/#/${dump}/}" \
            --systems "${student_systems[@]}" ${teacher_systems[@]+"${teacher_systems[@]}"}
    else
        run uncertainty "${asking[@]}" --sets "${tests[@]/#/${dump}/}" --systems "${student_systems[@]}"
        run uncertainty "${asking[@]}" --sets "${tests[@]/#/${teacher_dump}/}" \
            --systems "${teacher_systems[@]}"
    fi
    run_silently report "${expdir}" --data "${datadir}" --allow_pipes "${allow_pipes}"
fi
table=
[ "${stop_stage}" -lt 10 ] || table=${expdir}/RESULTS.md
end_recipe "${table}"

exit 0
}
