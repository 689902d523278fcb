#!/usr/bin/env bash
# Checks the kernels on a machine with a CUDA GPU, in the repository root:
#
#     PYTHONPATH=kernels:python scripts/gpu-check.sh LOG_FOLDER
#
# It runs the tests compiled (pytest -m gpu), every kernel on small sizes under compute-sanitizer (memcheck, racecheck), and
# CUDA graphs of append + decode_attention against calls without a graph. Logs go to LOG_FOLDER, a summary to stdout; exit
# code 1 when something failed. PYTHON names another Python than python3.
set -uo pipefail

if [[ $# -ne 1 ]]; then
  echo "Cannot check kernels: want one argument, the folder of the logs, got $#." >&2
  exit 2
fi
logs=$1
python=${PYTHON:-python3}
cd "$(dirname "$0")/.." || exit 1
export PYTHONPATH=${PYTHONPATH:-kernels:python}
mkdir -p "$logs" || exit 1

if ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  echo "Cannot check kernels: $python finds no CUDA GPU; run this on a machine that has one." >&2
  exit 1
fi

failures=0
summary=()

# check NAME COMMAND…: runs it with its output in a log.
check() {
  local name=$1 log="$logs/$1.log" start=$SECONDS outcome=ok
  shift
  printf '%s …\n' "$name"
  if ! "$@" >"$log" 2>&1; then
    outcome=FAILED
    failures=$((failures + 1))
  fi
  summary+=("$(printf '%-7s %-12s %4d s  %s' "$outcome" "$name" $((SECONDS - start)) "$(grep -v '^[[:space:]]*$' "$log" | tail -n 1)")")
}

sanitize() {
  local tool=$1
  shift
  # PyTorch's own allocator would hide an access between two tensors of one block.
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$tool" --error-exitcode 1 --print-limit 20 "$@" \
    "$python" -m kitty_kernels.ahead_of_time.run_small
}

check tests "$python" -m pytest -q -m gpu test/kernels
if command -v compute-sanitizer >/dev/null; then
  check memcheck sanitize memcheck --leak-check no
  check racecheck sanitize racecheck
else
  echo "compute-sanitizer is not on the PATH; it comes with CUDA." >"$logs/memcheck.log"
  summary+=("FAILED  memcheck and racecheck: compute-sanitizer is not on the PATH; it comes with CUDA")
  failures=$((failures + 1))
fi
check graphs "$python" -m pytest -q -m gpu test/kernels/test_graph_replay.py

"$python" -c 'import torch, triton; print(f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}, triton {triton.__version__}")'
printf '%s\n' "${summary[@]}"
echo "Logs are in $logs"
[[ $failures -eq 0 ]]
