"""Reads padding masks: which positions of a call are real tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..errors import CacheError

_ATTRIBUTE = "_kitty_has_padding"


def new_tokens(mask: torch.Tensor | None, slots: int, lengths: Sequence[int], count: int) -> torch.Tensor | None:
    """Which of ``count`` new positions are real: bool ``[B, S]``, or None for all; waits for the device once.

    Args:
        mask: bool or integer ``[B, T]`` over the positions that the cache has seen and the new ones; None: all new ones
            are real.
        slots: positions that the cache has seen.
        lengths: real tokens of each row that it holds; empty for an empty cache.
        count: S.

    Raises:
        CacheError: the mask contradicts what the cache holds.
    """
    if mask is None:
        return None
    if mask.shape[1] != slots + count:
        raise CacheError(
            f"Cannot attend: attention_mask covers {mask.shape[1]} positions, but the cache has seen {slots} and "
            f"{count} are new; pass a mask over all of them."
        )
    earlier, new, real = _read(mask.bool(), slots)
    if slots and earlier != list(lengths):
        raise CacheError(
            f"Cannot attend: attention_mask marks {earlier} earlier tokens as real, the "
            f"cache holds {list(lengths)}; pass the same mask for tokens that are already cached."
        )
    return None if all(tokens == count for tokens in new) else real


def has_padding(mask: torch.Tensor) -> bool:
    """Whether any position of ``[B, T]`` is padding; waits for the device the first time."""
    found = getattr(mask, _ATTRIBUTE, None)
    if found is None:
        found = not bool(mask.all())
        # Every layer of a pass gets the same mask.
        setattr(mask, _ATTRIBUTE, found)
    return found


def _read(mask: torch.Tensor, slots: int) -> tuple[list[int], list[int], torch.Tensor]:
    """Real tokens of each row before ``slots`` and from there on, and the mask from there on."""
    real = mask[:, slots:]
    earlier, new = torch.stack((mask[:, :slots].sum(1), real.sum(1))).tolist()
    return earlier, new, real
