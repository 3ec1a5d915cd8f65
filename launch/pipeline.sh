#!/bin/bash
# The whole way on SLURM as jobs that wait for each other: prepare in parts, join, train, evaluate.
#   launch/pipeline.sh photos shards/photos configs/tail.toml [--set KEY=VALUE ...]
# Resources are options of sbatch in the environment:
#   TASKS=16 PREPARE_OPTIONS="--partition=cpu --time=4:00:00" TRAIN_OPTIONS="--gpus-per-node=4 --cpus-per-task=20" \
#   EVALUATE_OPTIONS="--partition=gpu" launch/pipeline.sh photos shards/photos configs/full.toml
# PREPARE_ARGUMENTS and EVALUATE_ARGUMENTS go to the commands themselves (--config ...; --offline).
# A job that fails cancels those behind it; submitted again, what is done stays done.
set -euo pipefail
usage="usage: launch/pipeline.sh PHOTOS SHARDS CONFIG.toml [--set KEY=VALUE ...]"
PHOTOS=${1:?$usage} SHARDS=${2:?$usage} CONFIG=${3:?$usage}
SET=(--set "data.shards=$SHARDS" "${@:4}")
cd "$(dirname "$0")/.."
source "${ARCHSR_VENV:-.venv}/bin/activate"
# refuses a config with mistakes now, before hours of preparation
RUN=$(python -c 'import sys; from archsr.runs.summary import folder_of; print(folder_of(sys.argv[1:]))' "$CONFIG" "${SET[@]}")

read -ra prepare <<<"${PREPARE_OPTIONS:-}"
read -ra train <<<"${TRAIN_OPTIONS:-}"
read -ra evaluate <<<"${EVALUATE_OPTIONS:-}"
read -ra prepare_arguments <<<"${PREPARE_ARGUMENTS:-}"
read -ra evaluate_arguments <<<"${EVALUATE_ARGUMENTS:-}"
submit() {  # prints the job's number, without the cluster's name that some sites add
  local answer
  answer=$(sbatch --parsable --kill-on-invalid-dep=yes "$@") && echo "${answer%%;*}"
}
parts=$(submit "${prepare[@]}" --array="1-${TASKS:-4}" launch/prepare_array.sbatch "$PHOTOS" "$SHARDS" "${prepare_arguments[@]}")
joined=$(submit "${prepare[@]}" --dependency="afterok:$parts" launch/prepare_array.sbatch "$PHOTOS" "$SHARDS" "${prepare_arguments[@]}")
trained=$(submit "${train[@]}" --dependency="afterok:$joined" launch/train.sbatch "$CONFIG" "${SET[@]}")
evaluated=$(submit "${evaluate[@]}" --dependency="afterok:$trained" launch/evaluate.sbatch "$RUN" "${evaluate_arguments[@]}")
echo "jobs: prepare $parts (${TASKS:-4} tasks), join $joined, train $trained, evaluate $evaluated"
echo "look: squeue -j $parts,$joined,$trained,$evaluated    archsr runs $(dirname "$RUN")"
echo "end all: scancel $parts $joined $trained $evaluated"
