"""Scores of the ``random`` selection, the same on every device."""

from __future__ import annotations

import torch


def random_scores(head_dim: int, seed: int) -> torch.Tensor:
    """Scores float64 ``[D]`` on the CPU; every page has these."""
    return torch.rand(head_dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
