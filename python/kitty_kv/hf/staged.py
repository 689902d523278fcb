"""Ties a layer's new keys to the cache that waits for them, from ``Cache.update`` to the attention function.

Transformers hands the attention function tensors, not the cache; an attribute of the key tensor carries it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from .cache import KittyCache

_ATTRIBUTE = "_kitty_staged"


class Staged(NamedTuple):
    """Where keys belong."""

    cache: KittyCache
    layer_idx: int


def stage(keys: torch.Tensor, values: torch.Tensor, staged: Staged) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns ``keys`` and ``values`` with ``staged`` attached to ``keys``."""
    setattr(keys, _ATTRIBUTE, staged)
    return keys, values


def staged_for(keys: torch.Tensor) -> Staged | None:
    """What is attached to ``keys``, or None where no Kitty cache is in use."""
    return getattr(keys, _ATTRIBUTE, None)
