"""How many threads an evaluation on the CPU computes with."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

# Below this a step's operations are so short that threads mostly wait for one another.
SMALL_PARAMETERS = 50_000_000


@contextlib.contextmanager
def threads_for(model: torch.nn.Module) -> Iterator[None]:
    """One thread for a small model on the CPU, unless OMP_NUM_THREADS says otherwise; what there was before comes back after.

    Two threads take as much processor time for the bundled model and, where others compute too, up to twice as long.
    """
    before = torch.get_num_threads()
    parameters = list(model.parameters())
    is_small = sum(each.numel() for each in parameters) < SMALL_PARAMETERS and parameters[0].device.type == "cpu"
    if is_small and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
