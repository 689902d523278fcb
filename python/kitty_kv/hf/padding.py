"""Reads a padding mask once a forward pass, though every layer gets it: an attribute of the mask carries what was found."""

from __future__ import annotations

from typing import NamedTuple

import torch

from ..cache.layer import KittyLayer
from ..errors import CacheError

_ATTRIBUTE = "_kitty_padding"


class _Reading(NamedTuple):
    slots: int
    earlier: list[int]  # real tokens of each row before the new positions
    real: torch.Tensor | None  # bool [B, S]; None where all new positions are real


def new_tokens(mask: torch.Tensor, layer: KittyLayer, count: int) -> torch.Tensor | None:
    """Which of ``count`` new positions are real: bool ``[B, S]``, or None for all.

    Args:
        mask: bool or integer ``[B, T]`` over the positions that the cache has seen and the new ones.
        layer: that takes the new tokens.
        count: S.

    Raises:
        CacheError: the mask contradicts what the cache holds.
    """
    if mask.shape[1] != layer.slots + count:
        raise CacheError(
            f"Cannot attend: attention_mask covers {mask.shape[1]} positions, but the cache has seen {layer.slots} and "
            f"{count} are new; pass a mask over all of them."
        )
    reading: _Reading | None = getattr(mask, _ATTRIBUTE, None)
    if reading is None or reading.slots != layer.slots:
        reading = _read(mask.bool(), layer.slots)
        setattr(mask, _ATTRIBUTE, reading)
    if layer.slots and reading.earlier != layer.lengths:
        raise CacheError(
            f"Cannot attend: attention_mask marks {reading.earlier} earlier tokens as real, the "
            f"cache holds {layer.lengths}; pass the same mask for tokens that are already cached."
        )
    return reading.real


def has_padding(mask: torch.Tensor) -> bool:
    """Whether any position of ``[B, T]`` is padding; waits for the device the first time."""
    found = getattr(mask, _ATTRIBUTE + "_any", None)
    if found is None:
        found = not bool(mask.all())
        setattr(mask, _ATTRIBUTE + "_any", found)
    return found


def _read(mask: torch.Tensor, slots: int) -> _Reading:
    """Waits for the device once."""
    real = mask[:, slots:]
    earlier, new = torch.stack((mask[:, :slots].sum(1), real.sum(1))).tolist()
    return _Reading(slots, earlier, None if all(count == real.shape[1] for count in new) else real)
