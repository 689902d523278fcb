"""The bundled model, in float32 so that what must be equal is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import kitty_kv
from kitty_kv.hf.loading import LoadedModel, load_model


@pytest.fixture(scope="package")
def loaded() -> Iterator[LoadedModel]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield load_model(dtype="float32", device="cpu")
    torch.set_num_threads(threads)
    kitty_kv.uninstall()
