# shellcheck shell=bash
# The Python that has ESPnet and espnet_dice (PYTHON=... names another), and its recipes' stages.
PYTHON=${PYTHON:-@PYTHON@}
# shellcheck disable=SC2034  # for run.sh
TEMPLATE=$("${PYTHON}" -m espnet_dice stages) || exit
