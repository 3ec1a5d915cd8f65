#!/usr/bin/env bash
# The first day with a GPU, in pieces of ten minutes:
#
#   bash tests/gpu_day.sh check OUT      tests on the GPU, figures of every mode, the PyPI release on the same work
#   bash tests/gpu_day.sh profile OUT    the ten largest kernels, gaps, kernels per iteration
#   bash tests/gpu_day.sh nccl OUT       two GPUs: a run in two processes through every stage, stopped and resumed
#
# Add --small to rehearse on a CPU. What one part finds wrong does not stop the next; OUT holds a log of each part, and
# OUT/figures.md the rows for the README. Without internet, set PIP_NO_INDEX=1 and PIP_FIND_LINKS to a folder of wheels.
set -uo pipefail
export PYTHONUNBUFFERED=1
what=${1:?check, profile or nccl} out=${2:?a folder for the results} small=${3:-}
cd "$(dirname "$0")/.."
mkdir -p "$out"
failed=0
part() { # NAME SECONDS COMMAND...: run it, keep its output, go on if it fails
    local name=$1 limit=$2 code=0
    shift 2
    echo "== $name"
    timeout "$limit" "$@" >"$out/$name.log" 2>&1 || code=$?
    tail -n 15 "$out/$name.log"
    echo "== $name: exit code $code"
    [ "$code" -eq 0 ] || failed=1
}
seconds=3
[ -n "$small" ] && seconds=0.1
case $what in
check)
    if [ -z "$small" ]; then part tests 200 python -m pytest -m gpu tests; fi
    part figures 200 python tests/measure/gpu_day.py figures "$out" $small
    part bench 120 python -m archsr bench train upscale --seconds "$seconds" --json "$out/bench.json" $small
    if [ -z "$small" ]; then part peer 200 python -m archsr bench --against realesrgan --json "$out/peer.json"; fi
    ;;
profile) part profile 500 python tests/measure/gpu_day.py profile "$out" $small ;;
nccl) # a rehearsal takes two processes on the CPU
    processes=2 kind=()
    [ -n "$small" ] && kind=(env ACCELERATE_USE_CPU=true)
    part debug 300 "${kind[@]}" accelerate launch --multi_gpu --num_processes "$processes" archsr/train.py \
        --config configs/full.toml --debug
    ;;
*)
    echo "check, profile or nccl, not $what" >&2
    exit 2
    ;;
esac
exit "$failed"
