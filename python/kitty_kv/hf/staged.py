"""Ties a layer's new keys to the cache layer that waits for them, from ``Cache.update`` to the attention function.

Transformers hands the attention function tensors, not the cache; an attribute of the key tensor carries the layer.
"""

from __future__ import annotations

import torch

from ..cache.layer import KittyLayer

_ATTRIBUTE = "_kitty_layer"


def stage(keys: torch.Tensor, values: torch.Tensor, layer: KittyLayer) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns ``keys`` and ``values`` with ``layer`` attached to ``keys``."""
    setattr(keys, _ATTRIBUTE, layer)
    return keys, values


def staged_layer(keys: torch.Tensor) -> KittyLayer | None:
    """The layer attached to ``keys``, or None where no Kitty cache is in use."""
    return getattr(keys, _ATTRIBUTE, None)
