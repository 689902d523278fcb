"""python -m kitty_kernels.ahead_of_time.run_small

Runs every kernel on small sizes on the GPU, so that compute-sanitizer can watch it; ``scripts/gpu-check.sh`` does. What the
kernels compute is the tests' matter.
"""

from __future__ import annotations

import sys

import torch

from .cases import launch, small_runs


def main() -> int:
    """Returns the exit code."""
    if not torch.cuda.is_available():
        print(f"Cannot run kernels: torch {torch.__version__} finds no CUDA GPU.", file=sys.stderr)
        return 1
    torch.manual_seed(0)
    cases = small_runs()
    for case in cases:
        print(case.name, *case.lengths, flush=True)
        launch(case, torch.device("cuda"))
        torch.cuda.synchronize()
    print(f"{len(cases)} cases ran")
    return 0


if __name__ == "__main__":
    sys.exit(main())
