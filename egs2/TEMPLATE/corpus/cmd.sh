# shellcheck shell=bash
# Where jobs run: as ESPnet's cmd.sh. Empty: processes on this host. On a cluster, such as
#   train_cmd="slurm.pl --mem 4G"            arrays of --nj jobs: features, labels, teacher outputs
#   cuda_cmd="slurm.pl --mem 16G --gpu 1"    trainings, through ESPnet's launcher
# shellcheck disable=SC2034
train_cmd=
# shellcheck disable=SC2034
cuda_cmd=
