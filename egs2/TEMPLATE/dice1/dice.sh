#!/usr/bin/env bash
# The stages of DiceHuBERT, from data to a table of what small students are worth. A corpus's run.sh
# gives the names; --help lists every option with its value. A stage that was done is skipped when
# nothing it depends on changed, and goes on where it was interrupted.
set -euo pipefail

{ # bash reads to the closing brace before it starts: the file may be edited while it runs

# shellcheck source=egs2/TEMPLATE/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

# General
stage=1
stop_stage=9
nj=$(nproc 2>/dev/null || echo 2)
threads=0
ngpu=0
python=python3
seed=0
datadir=data
dumpdir=dump
expdir=exp

# Data
train_set=
valid_set=
probe_train=
probe_dev=
test_sets=
fs=16000
resample=false
channel=
allow_pipes=false

# Teacher
teacher=
teacher_config=conf/train_dice_teacher.yaml
teacher_args=
iterations=1
features=mfcc
mfcc_clusters=100
it1_layer=6
it1_clusters=500

# Labels
layer=9
clusters=500
alignment=
abx_sets=
pca=
quantizer=
trust_pickle=false
sample_frames=200000
soft=true
tau=1

# Students
student_config=conf/train_dice_narrow_hard.yaml
scratch_config=
student_args=
seeds=

# Probes
probe_tasks="char sid kws"
probe_args=
probe_seeds=

# Export
onnx=true

help_message() {
    cat <<END
Usage: $(basename "$0") [--option value] …

  General
    --stage            First stage, see below (default="${stage}")
    --stop_stage       Last stage (default="${stop_stage}")
$(skip_help)
    --nj               Processes: models trained at a time, labelling (default="${nj}")
    --threads          CPU threads of a training; 0: the cores, shared out (default="${threads}")
    --ngpu             GPUs a training; if any, teachers and k-means use one too; 0: CPU
                       (default="${ngpu}")
    --python           Python interpreter (default="${python}")
    --seed             Seed of k-means and of the teacher (default="${seed}")
    --datadir          Data directories (default="${datadir}")
    --dumpdir          Checked audio (default="${dumpdir}")
    --expdir           Quantizers, labels, models, results (default="${expdir}")
  Jobs
$(jobs_help)
  Data
$(corpus_help)
    --train_set        Speech to learn from; needs no transcripts (default="${train_set}")
    --valid_set        Validation set; k-means never sees it (default="${valid_set}")
    --probe_train      Transcribed set of the probes; empty: --train_set (default="${probe_train}")
    --probe_dev        Its validation set; empty: --valid_set (default="${probe_dev}")
    --test_sets        Set on which the probes are scored (default="${test_sets}")
    --fs               Sampling rate in Hz: HuBERT's, 16000 (default="${fs}")
    --resample         Convert speech at other rates to it, in stage 1 (default="${resample}")
    --channel          Channel to take of recordings with several, from 0; empty: refuse them
                       (default="${channel}")
    --allow_pipes      Run wav.scp entries that are shell commands (default="${allow_pipes}")
  Teacher
    --teacher          Checkpoint: Hugging Face directory or name, file of torchaudio, fairseq or
                       s3prl, ESPnet experiment (TEACHERS.md); empty: HuBERT is trained from MFCC
                       labels (default="${teacher}")
    --teacher_config   Config of that training (default="${teacher_config}")
    --teacher_args     Options that win over it (default="${teacher_args}")
    --iterations       1, or 2: trained once more, on its own labels (default="${iterations}")
    --features         What the first iteration's labels are clusters of: mfcc, HuBERT's, mfcc_cmvn, of
                       mean 0 and deviation 1 in each utterance, or mfcc_mel, MFCC and 80 log-mel energies
                       (default="${features}")
    --mfcc_clusters    Clusters of these frames (default="${mfcc_clusters}")
    --it1_layer        Layer whose labels iteration 2 learns (default="${it1_layer}")
    --it1_clusters     Clusters of that layer (default="${it1_clusters}")
  Labels
    --layer            Layer of the teacher, from 1, after the whole block; 0: the input of the
                       first; several, quoted: a codebook each; auto: the layer whose triphone
                       ABX on at most an hour of the aligned speech is lowest, which needs
                       --alignment (default="${layer}")
    --clusters         Clusters K of that layer; several, quoted: so many codebooks of each layer
                       (default="${clusters}")
    --alignment        Phones' times: ZeroSpeech item files, CTM, TextGrids, quoted; PNMI and purity
                       of all labels, and what they say of speakers, are then printed and reported (default="${alignment}")
    --abx_sets         Sets of them on which triphone ABX compares all systems, quoted; empty: none
                       (default="${abx_sets}")
    --pca              Cluster so many principal directions of each layer; empty: the layer as it is
                       (default="${pca}")
    --quantizer        Centroids to use instead of k-means: .npy, or the pickle of a scikit-learn
                       KMeans (default="${quantizer}")
    --trust_pickle     Run the pickle of --quantizer or --teacher where it cannot be read otherwise,
                       and with it any code in it (default="${trust_pickle}")
    --sample_frames    Frames that k-means sees at most (default="${sample_frames}")
    --soft             Keep what soft labels need in the label stores, too; false: two bytes a frame
                       and codebook (default="${soft}")
    --tau              Smallest temperature that soft labels must be good at; a student's own τ, which
                       may not be below it, is in its config (default="${tau}")
  Students
    --student_config   Configs of the students, quoted (default="${student_config}")
    --scratch_config   Configs of students that learn MFCC labels, without a teacher, for comparison,
                       quoted (default="${scratch_config}")
    --student_args     Options that win over them (default="${student_args}")
    --seeds            Each student is trained once a seed, quoted; empty: --seed
                       (default="${seeds}")
  Probes and export
    --probe_tasks      char, sid, kws, quoted; char and kws need transcripts, sid utt2spk
                       (default="${probe_tasks}")
    --probe_args       More options for espnet_dice.stages.probes (default="${probe_args}")
    --probe_seeds      Seeds of the probes' heads, quoted; empty: --seed (default="${probe_seeds}")
    --onnx             Export to ONNX too (default="${onnx}")
$(cards_help)

  Stages: 1 data, 2 teacher, 3 k-means, 4 labels, 5 students, 6 probes, 7 results, 8 export,
  9 report
END
}

parse_options "$@"
check_numbers stage stop_stage nj threads ngpu num_nodes seed fs iterations it1_layer
check_counts mfcc_clusters it1_clusters sample_frames
[ -z "${channel}" ] || check_numbers channel
check_bools resample allow_pipes trust_pickle soft onnx skip_data_prep skip_train skip_eval
check_paths dumpdir expdir train_set valid_set
skip_stages skip_data_prep 1
skip_stages skip_train 2 3 4 5
skip_stages skip_eval 6 7 9
[ "${fs}" = 16000 ] || die "--fs ${fs}: HuBERT hears 16000 Hz; leave --fs out, and give" \
    "--resample true for speech at other rates: it is converted in stage 1"
for name in train_set valid_set test_sets; do
    [ -n "${!name}" ] || die "--${name} is empty: a corpus's run.sh names the sets"
done
[[ "${test_sets}" != *" "* ]] ||
    die "--test_sets '${test_sets}': the probes are scored on one set; name one"
[ "${iterations}" = 1 ] || [ "${iterations}" = 2 ] ||
    die "--iterations must be 1 or 2, not '${iterations}'"

read -ra seed_list <<< "${seeds:-${seed}}"
check_each seeds "${seed_list[@]}"
read -ra layers <<< "${layer}"
[ "${layer}" = auto ] || check_each layer "${layers[@]}"
read -ra alignments <<< "${alignment}"
read -ra heard <<< "${abx_sets}"
[ ${#heard[@]} -eq 0 ] || [ ${#alignments[@]} -gt 0 ] ||
    die "--abx_sets needs phones' times: give --alignment FILE"
[ "${layer}" != auto ] || [ ${#alignments[@]} -gt 0 ] ||
    die "--layer auto chooses by triphone ABX, which needs phones' times: give --alignment FILE," \
        "or name a layer"
read -ra numbers <<< "${clusters}"
check_each clusters "${numbers[@]}"
for one in "${numbers[@]}"; do
    [ "${one}" -gt 0 ] || die "--clusters ${clusters}: each at least 1"
done
for name in layer clusters; do
    [ -n "${!name// /}" ] || die "--${name} must be a whole number, or several, not '${!name}'"
done
[ -z "${pca}" ] || check_counts pca
[ -z "${quantizer}" ] || [ -z "${pca}" ] ||
    die "--pca ${pca}: --quantizer has centroids already; leave one of them out"
[[ "${features}" =~ ^mfcc(_cmvn|_mel)?$ ]] ||
    die "--features must be mfcc, mfcc_cmvn or mfcc_mel, not '${features}'"
[ -z "${quantizer}" ] || [ ${#layers[@]} -eq 1 ] ||
    die "--quantizer ${quantizer} is one codebook: name one --layer, not '${layer}'"

start_recipe
read -ra student_configs <<< "${student_config}"
read -ra scratch_configs <<< "${scratch_config}"
read -ra probe_seed_list <<< "${probe_seeds:-${seed}}"
read -ra tasks <<< "${probe_tasks}"
read -ra probe_options <<< "${probe_args}"
probe_train=${probe_train:-${train_set}}
probe_dev=${probe_dev:-${valid_set}}
dump=${dumpdir}/raw
sets=()
add_sets "${train_set}" "${valid_set}" "${probe_train}" "${probe_dev}" "${test_sets}" ${heard[@]+"${heard[@]}"}
device=cpu
[ "${ngpu}" -eq 0 ] || device=cuda
audio=(--fs "${fs}" --resample "${resample}" --allow_pipes "${allow_pipes}")
[ -z "${channel}" ] || audio+=(--channel "${channel}")

joined() {
    local IFS=-
    echo "$*"
}

# A teacher that is given, or the last of those that are trained here.
teacher_tag=$(stem_of "${teacher_config}" train_dice_)$(args_tag "${teacher_args}")
mfcc=${features}_k${mfcc_clusters}_seed${seed}
it1=${teacher_tag}_it1_seed${seed}
it1_labels=${it1}_l${it1_layer}_k${it1_clusters}
if [ -n "${teacher}" ]; then
    source=${teacher}
    teacher_name=$(basename "${teacher}")
    teacher_name=${teacher_name//[^A-Za-z0-9._+-]/-}
elif [ "${iterations}" = 1 ]; then
    teacher_name=${it1}
    source=${expdir}/dice_${it1}
else
    teacher_name=${teacher_tag}_it2_seed${seed}
    source=${expdir}/dice_${teacher_name}
fi
if [ -n "${quantizer}" ]; then
    labels=${teacher_name}_l${layer}_$(basename "${quantizer%.*}")
else
    labels=${teacher_name}_l$(joined "${layers[@]}")${pca:+_pca${pca}}
    labels+=_k$(joined "${numbers[@]}")_seed${seed}
fi

students=()
jobs=()
job_seeds=()
add_students() { # labels, configs …: one job a config and seed
    local config one tag
    for config in "${@:2}"; do
        for one in "${seed_list[@]}"; do
            tag=$(stem_of "${config}" train_dice_)$(args_tag "${student_args}")_seed${one}
            jobs+=(--job "${tag}" "${config}" "labels=${expdir}/labels/$1")
            job_seeds+=("${one}")
            students+=("${expdir}/dice_${tag}")
        done
    done
}
add_students "${labels}" "${student_configs[@]}"
add_students "${mfcc}" ${scratch_configs[@]+"${scratch_configs[@]}"}

quantize() { # tag, source, layers, clusters, more options
    local layers numbers
    read -ra layers <<< "$3"
    read -ra numbers <<< "$4"
    run kmeans --source "$2" --layer "${layers[@]}" --clusters "${numbers[@]}" --dump "${dump}" \
        --sets "${train_set}" --out "${expdir}/quantizer/$1" --seed "${seed}" \
        --sample_frames "${sample_frames}" --device "${device}" \
        --trust_pickle "${trust_pickle}" "${@:5}"
}
label() { # tag, source, layers
    local layers
    read -ra layers <<< "$3"
    run labels --source "$2" --layer "${layers[@]}" --quantizer "${expdir}/quantizer/$1" \
        --dump "${dump}" --sets "${train_set}" "${valid_set}" --out "${expdir}/labels/$1" \
        --nj "${nj}" --soft "${soft}" --tau "${tau}" --device "${device}" \
        --trust_pickle "${trust_pickle}" --cmd "${label_cmd}" ${aligned[@]+"${aligned[@]}"}
}
aligned=()
[ ${#alignments[@]} -eq 0 ] || aligned=(--alignment "${alignments[@]}")
auto_layer=${expdir}/abx/chosen_${teacher_name}/layer
choose_layer() {
    run abx --system "${teacher_name}=${source}" --dump "${dump}" --sets "${train_set}" \
        "${valid_set}" "${aligned[@]}" --seconds 3600 --choose "${auto_layer}" \
        --nj "${nj}" --device "${device}" --trust_pickle "${trust_pickle}"
}
use_layer() {
    [ "${layer}" = auto ] || return 0
    [ -s "${auto_layer}" ] || die "--layer auto: run stage 3, which chooses the layer"
    layer=$(cat "${auto_layer}")
}
label_cmd=${train_cmd}
[ "${device}" = cpu ] || label_cmd=${cuda_cmd:+${cuda_cmd} --gpu 1}
training=(--task dice --dump "${dump}" --train "${train_set}" --valid "${valid_set}" --exp "${expdir}"
    --nj "${models}" --threads "${threads}" --ngpu "${ngpu}" --launch "${launch}")

# Names of what each stage makes, for the look ahead.
stores() { # labels
    echo "${expdir}/labels/$1/${train_set}"
    echo "${expdir}/labels/$1/${valid_set}"
}
mapfile -t teacher_dirs < <(
    if [ -z "${teacher}" ] || [ ${#scratch_configs[@]} -gt 0 ]; then
        echo "${expdir}/quantizer/${mfcc}"
        stores "${mfcc}"
    fi
    if [ -z "${teacher}" ]; then
        echo "${expdir}/dice_${it1}"
        if [ "${iterations}" = 2 ]; then
            echo "${expdir}/quantizer/${it1_labels}"
            stores "${it1_labels}"
            echo "${source}"
        fi
    fi
)
mapfile -t label_dirs < <(stores "${labels}")
mapfile -t probed < <(
    for system in "${teacher_name}" "${students[@]#"${expdir}"/dice_}"; do
        for task in "${tasks[@]}"; do
            for one in "${probe_seed_list[@]}"; do
                echo "${expdir}/probes/${system}/${task}_seed${one}.json"
            done
        done
    done
)
ahead=(dice1
    --made 1 "data, checked audio" "${sets[@]/#/${datadir}/}" "${sets[@]/#/${dump}/}"
    --made 2 "teacher: ${teacher_name}" ${teacher_dirs[@]+"${teacher_dirs[@]}"}
    --made 3 "k-means: layer ${layer}" "${expdir}/quantizer/${labels}"
    --made 4 "labels: ${labels}" "${label_dirs[@]}"
    --made 5 "${#students[@]} students" "${students[@]}"
    --made 6 "probes: ${tasks[*]}" "${probed[@]}"
    --made 7 "results"
    --made 8 "export" "${students[@]/%//export}"
    --made 9 "report"
    "${jobs[@]}")
if [ -z "${teacher}" ]; then
    ahead+=(--job "${it1}" "${teacher_config}")
    [ "${iterations}" = 1 ] || ahead+=(--job "${teacher_name}" "${teacher_config}")
fi
new_data=true
! data_there "${sets[@]}" || new_data=false
look_ahead "${ahead[@]}"

if begin 1 "data: ${sets[*]}"; then
    make_data "${sets[@]}"
    ! "${new_data}" || look_ahead "${ahead[@]}" --data_made
    run data --data_dir "${sets[@]/#/${datadir}/}" --transcripts false "${audio[@]}"
    run features --data "${datadir}" --dump "${dumpdir}" --feats_type raw --sets "${sets[@]}" \
        --nj "${nj}" --cmd "${train_cmd}" "${audio[@]}"
fi

if begin 2 "teacher: ${teacher_name}"; then
    if [ -z "${teacher}" ] || [ ${#scratch_configs[@]} -gt 0 ]; then
        quantize "${mfcc}" "${features}" 0 "${mfcc_clusters}"
        label "${mfcc}" "${features}" 0
    fi
    if [ -z "${teacher}" ]; then
        run train "${training[@]}" --job "${it1}" "${teacher_config}" \
            "labels=${expdir}/labels/${mfcc}" --seed "${seed}" "--args=${teacher_args}"
        if [ "${iterations}" = 2 ]; then
            quantize "${it1_labels}" "${expdir}/dice_${it1}" "${it1_layer}" "${it1_clusters}"
            label "${it1_labels}" "${expdir}/dice_${it1}" "${it1_layer}"
            run train "${training[@]}" --job "${teacher_name}" "${teacher_config}" \
                "labels=${expdir}/labels/${it1_labels}" --seed "${seed}" "--args=${teacher_args}"
        fi
    fi
fi

if begin 3 "k-means: layer ${layer}"; then
    [ "${layer}" != auto ] || choose_layer
    use_layer
    if [ -n "${quantizer}" ]; then
        log "its centroids and their number are those of ${quantizer}, not of --clusters ${clusters}"
        run kmeans --source "${source}" --layer "${layer}" --given "${quantizer}" \
            --trust_pickle "${trust_pickle}" --out "${expdir}/quantizer/${labels}" \
            --dump "${dump}" --sets "${train_set}"
    else
        quantize "${labels}" "${source}" "${layer}" "${clusters}" ${pca:+--pca "${pca}"}
    fi
fi

if begin 4 "labels: ${labels}"; then
    use_layer
    label "${labels}" "${source}" "${layer}"
fi

if begin 5 "${#students[@]} students"; then
    run train "${training[@]}" "${jobs[@]}" --seed "${job_seeds[@]}" \
        "--args=${student_args}" --teacher "${source}"
fi

if begin 6 "probes: ${tasks[*]}"; then
    systems=(--system "${teacher_name}=${source}")
    for student in "${students[@]}"; do
        systems+=(--system "$(stem_of "${student}" dice_)=${student}")
    done
    run probes "${systems[@]}" --dump "${dump}" --train "${probe_train}" --dev "${probe_dev}" \
        --test "${test_sets}" --tasks "${tasks[@]}" --seeds "${probe_seed_list[@]}" \
        --exp "${expdir}" --nj "${nj}" --device "${device}" --trust_pickle "${trust_pickle}" \
        ${probe_options[@]+"${probe_options[@]}"}
    if [ ${#heard[@]} -gt 0 ]; then
        run_silently abx --system mfcc=mfcc "${systems[@]}" --dump "${dump}" --sets "${heard[@]}" \
            "${aligned[@]}" --seconds 900 --exp "${expdir}" --nj "${nj}" --device "${device}" \
            --trust_pickle "${trust_pickle}"
    fi
fi

if begin 7 "results"; then
    run_silently dice_results --exp "${expdir}"
fi

if begin 8 "export: Hugging Face$("${onnx}" && echo ", ONNX")"; then
    run export --systems "${students[@]}" --onnx "${onnx}" --nj "${nj}" --lang "${lang}" \
        --dataset "${dataset}"
fi

if begin 9 "report"; then
    run_silently report "${expdir}" --data "${datadir}"
fi

table=
[ "${stop_stage}" -lt 7 ] || table=${expdir}/RESULTS.md
end_recipe "${table}"

exit 0
}
