"""Where the kernels run: in Triton's interpreter, or compiled where there is a GPU.

Triton decides once a process, when it is imported, so on machines without CUDA test/conftest.py has imported it with
TRITON_INTERPRET set; the variable is set again only while a test of this folder uses a device.
"""

from __future__ import annotations

import importlib.util
import os
import pathlib
import sys

import pytest
import torch

# pytest imports test files without putting their folder on the path.
sys.path.insert(0, str(pathlib.Path(__file__).parent))

VARIABLE = "TRITON_INTERPRET"
HAS_TRITON = importlib.util.find_spec("triton") is not None
IS_INTERPRETED = os.environ.get(VARIABLE) == "1" or not torch.cuda.is_available()

if HAS_TRITON and IS_INTERPRETED:
    import triton.language as tl

    # Triton's own functions tell which way it was imported.
    if type(tl.cdiv).__name__ != "InterpretedFunction":
        raise pytest.UsageError("triton was imported before test/conftest.py: set TRITON_INTERPRET=1 for this run.")


@pytest.fixture(
    params=[pytest.param("cpu", id="interpreted"), pytest.param("cuda", id="compiled", marks=pytest.mark.gpu)]
)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """A device on which ``impl="triton"`` runs."""
    if not HAS_TRITON:
        pytest.skip("triton is not installed")
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device; the interpreter runs the same cases")
        if IS_INTERPRETED:
            pytest.skip("TRITON_INTERPRET=1: this run interprets the kernels")
    elif not IS_INTERPRETED:
        pytest.skip("there is a CUDA device: the same cases run compiled; TRITON_INTERPRET=1 interprets them")
    if IS_INTERPRETED:
        monkeypatch.setenv(VARIABLE, "1")
    return torch.device(request.param)
