#!/bin/bash
# Runs the whole pipeline on SLURM as dependent jobs: prepare in parts, join, train, evaluate.
#   launch/pipeline.sh photos shards/photos configs/tail.toml [--set KEY=VALUE ...]
# Environment variables pass options to sbatch:
#   TASKS=16 PREPARE_OPTIONS="--partition=cpu --time=4:00:00" TRAIN_OPTIONS="--gpus-per-node=4 --cpus-per-task=20" \
#   EVALUATE_OPTIONS="--partition=gpu" launch/pipeline.sh photos shards/photos configs/full.toml
# PREPARE_ARGUMENTS and EVALUATE_ARGUMENTS go to the commands themselves (--config ...; --offline).
# A job that fails cancels the jobs after it. You may run this again: finished work is kept.
set -euo pipefail
usage="usage: launch/pipeline.sh PHOTOS SHARDS CONFIG.toml [--set KEY=VALUE ...]"
PHOTOS=${1:?$usage} SHARDS=${2:?$usage} CONFIG=${3:?$usage}
SET=(--set "data.shards=$SHARDS" "${@:4}")
cd "$(dirname "$0")/.."
source "${ARCHSR_VENV:-.venv}/bin/activate"
# checks the config now, before hours of preparation
RUN=$(python -c 'import sys; from archsr.runs.summary import folder_of; print(folder_of(sys.argv[1:]))' "$CONFIG" "${SET[@]}")

read -ra prepare <<<"${PREPARE_OPTIONS:-}"
read -ra train <<<"${TRAIN_OPTIONS:-}"
read -ra evaluate <<<"${EVALUATE_OPTIONS:-}"
read -ra prepare_arguments <<<"${PREPARE_ARGUMENTS:-}"
read -ra evaluate_arguments <<<"${EVALUATE_ARGUMENTS:-}"
submit() {  # prints the job id without the cluster name that some sites add
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
