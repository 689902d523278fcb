"""Where the kernels run: in Triton's interpreter, or compiled where there is a GPU.

Triton decides once a process, when it is imported. So on machines without CUDA it is imported here, first of all and with
TRITON_INTERPRET set; the variable is then set only while a test of this folder uses a device.
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

if HAS_TRITON and IS_INTERPRETED and os.environ.get(VARIABLE) != "1":
    if "triton" in sys.modules:
        raise pytest.UsageError(
            "triton was imported before test/kernels/conftest.py: set TRITON_INTERPRET=1 for this run."
        )
    os.environ[VARIABLE] = "1"
    import triton.language  # noqa: F401

    del os.environ[VARIABLE]


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
