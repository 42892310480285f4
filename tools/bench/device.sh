#!/usr/bin/env bash
# All measurements that wait for one H100 or H200, in at most ten minutes; each part has its own limit and fails alone.
#   bash tools/bench/device.sh [FOLDER]
# Needs `pip install "mmvideo[cuda,tokamax,bench-peer,dev]"` on Python 3.12. The results are written to FOLDER (default:
# device), for comparison with the predictions in experiments/benchmarks/hlo.md.
set -uo pipefail
cd "$(dirname "$0")/../.."
out="${1:-device}"
mkdir -p "$out"
export XLA_PYTHON_CLIENT_MEM_FRACTION=0.9 JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$out/programs}"
failed=0

part() {  # NAME SECONDS COMMAND …
  local name="$1" seconds="$2"
  shift 2
  echo "== $name, at most $seconds s: $*"
  timeout "$seconds" "$@" 2>&1 | tee "$out/$name.txt" | tail -n 25
  local code="${PIPESTATUS[0]}"
  [ "$code" -eq 0 ] || { echo "== $name ended with $code"; failed=1; }
}

nvidia-smi --query-gpu=name,driver_version,clocks.sm,memory.total --format=csv | tee "$out/device.txt"
# Values and gradients of the kernels with tuned blocks, and with padded keys, against the reference.
part exact 75 python -m pytest -q -n 0 tests/model/attention/test_backends.py
part step_l 130 python tools/bench/step.py --sizes L --batch 8 --layers unrolled scanned --json "$out/step.jsonl"
part step_b 100 python tools/bench/step.py --sizes B --batch 16 --layers unrolled scanned --json "$out/step.jsonl"
part attention 75 python tools/bench/attention.py --json "$out/attention.jsonl"
part peer 110 python tools/bench/peer.py --sizes B --json "$out/peer.jsonl"
part tune 110 python tools/bench/attention.py --tune
exit "$failed"
