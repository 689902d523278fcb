"""What tests of the engine share."""

from __future__ import annotations

import pathlib
import sys

import pytest
import torch

from kitty_kv.engine import unknown_tokens
from kitty_kv.hf.miniature import miniature

# pytest imports test files without putting their folder on the path.
sys.path.insert(0, str(pathlib.Path(__file__).parent))


@pytest.fixture(scope="module")
def one_thread():
    """On one thread of torch, rows of a batch equal single ones to the bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=[False, True], ids=["in-step", "ahead"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode passes that wait for the tokens of the one before, as on a CPU, and such that do not, as on a GPU."""
    monkeypatch.setattr(unknown_tokens, "gains_by_it", lambda group: request.param)


@pytest.fixture(scope="module")
def model():
    return miniature()
