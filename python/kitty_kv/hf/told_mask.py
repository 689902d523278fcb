"""The padding mask under stock attention functions, which never show a cache theirs: somebody else has to tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..errors import CacheError, UnsupportedError
from .padding import new_tokens
from .slot_map import SlotMap


class ToldMask:
    """What ``install()``'s wrappers have told about the coming forward passes."""

    def __init__(self) -> None:
        self._is_told = False
        self._mask: torch.Tensor | None = None

    def tell(self, mask: Any) -> None:
        """Takes a mask ``[B, T]`` over all positions; positions behind T are real. None if there is no padding.

        Raises:
            UnsupportedError: a mask of another kind, which does not say what is padding.
        """
        if mask is not None and (not isinstance(mask, torch.Tensor) or mask.ndim != 2):
            raise UnsupportedError(
                "Cannot use a Kitty cache under a stock attention function with an attention mask that is not 2-D: which "
                "tokens are padding cannot be told; pass a padding mask [B, T]."
            )
        self._is_told, self._mask = True, mask

    def new_tokens(self, slots: SlotMap, lengths: Sequence[int], rows: int, count: int) -> torch.Tensor | None:
        """Which of the next ``count`` positions of ``rows`` rows are real: bool ``[B, S]``, or None for all.

        Raises:
            CacheError: the mask contradicts what the cache holds.
            UnsupportedError: nobody told, in a batch that may be padded.
        """
        if not self._is_told:
            if rows > 1:
                raise UnsupportedError(
                    f"Cannot cache a batch of {rows} rows under a stock attention function: it does not show the cache "
                    "which tokens are padding; call kitty_kv.install() first, and where that is done use generate(), or "
                    "cache.tell_mask(attention_mask) before every forward pass."
                )
            return None
        if self._mask is None:
            if slots.has_padding:
                raise CacheError(
                    "Cannot attend: the cache has seen padding, but there is no attention_mask now; pass a mask over "
                    "all positions."
                )
            return None
        mask, total = self._mask, slots.count + count
        if mask.shape[0] != rows and rows % mask.shape[0] == 0:
            # generate() tells before it repeats rows for beams.
            mask = mask.repeat_interleave(rows // mask.shape[0], dim=0)
        if mask.shape[1] < total:
            mask = torch.cat((mask, mask.new_ones(mask.shape[0], total - mask.shape[1])), dim=1)
        return new_tokens(mask[:, :total], slots.count, lengths, count)
