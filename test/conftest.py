"""First of all, before a model library imports it: Triton, in its interpreter where there is no CUDA device.

Triton decides once a process, when it is imported. The variable does not stay, so that nothing but test/kernels runs
kernels on the CPU.
"""

from __future__ import annotations

import importlib.util
import os

import torch

if importlib.util.find_spec("triton") is not None and not torch.cuda.is_available():
    is_set = "TRITON_INTERPRET" in os.environ
    os.environ.setdefault("TRITON_INTERPRET", "1")
    import triton.language  # noqa: F401

    if not is_set:
        del os.environ["TRITON_INTERPRET"]
