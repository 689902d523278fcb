"""Where the real tokens of each row lie among the positions that a cache has seen, and which pages they complete."""

from __future__ import annotations

from typing import NamedTuple

import torch

from ..config import KittyConfig
from ..errors import CacheError, ConfigError


class PageSpan(NamedTuple):
    """Pages that become due together: all tokens of ``rows`` at ``slots``."""

    rows: slice
    slots: torch.Tensor  # int64 [pages * page_size], positions


class RowMap:
    """Real tokens of each row.

    Args:
        mask: bool or integer ``[B, T]``, zero at padding; positions behind T are real. None where all are.
    """

    def __init__(self, mask: torch.Tensor | None = None) -> None:
        self.mask: torch.Tensor | None = None  # bool [B, T] on the CPU
        if mask is not None:
            self.extend(mask, seen=0)

    def extend(self, mask: torch.Tensor, seen: int) -> None:
        """Takes a mask that covers more positions.

        Raises:
            ConfigError: ``mask`` is not 2-D.
            CacheError: it marks any of the ``seen`` positions otherwise than before.
        """
        if not isinstance(mask, torch.Tensor) or mask.ndim != 2:
            got = tuple(mask.shape) if isinstance(mask, torch.Tensor) else type(mask).__name__
            raise ConfigError(f"Cannot use this padding mask: want a tensor [B, T], got {got}.")
        new = mask.detach().bool().cpu()
        if seen:
            old, now = (self._cover(m, new.shape[0], seen) for m in (self.mask, new))
            if old.shape != now.shape or not torch.equal(old, now):
                raise CacheError(
                    f"Cannot use this padding mask: it differs from the earlier one in the {seen} positions that are "
                    "already cached; pass the same mask for them."
                )
        self.mask = new

    def slots(self, row: int, total: int) -> torch.Tensor:
        """Positions of a row's real tokens among the first ``total``, int64."""
        if self.mask is None:
            return torch.arange(total)
        return self._cover(self.mask[row : row + 1], 1, total)[0].nonzero().flatten()

    def lengths(self, batch: int, total: int) -> list[int]:
        """Real tokens of each row among the first ``total`` positions."""
        if self.mask is None:
            return [total] * batch
        return self._cover(self.mask, batch, total).sum(1).tolist()

    def check_batch(self, batch: int) -> None:
        """Raises ``CacheError`` unless the mask has as many rows as the batch."""
        if self.mask is not None and self.mask.shape[0] != batch:
            raise CacheError(
                f"Cannot cache a batch of {batch} rows: the padding mask has {self.mask.shape[0]}; repeat its rows as "
                "generate() repeats the prompts."
            )

    def select(self, indices: torch.Tensor) -> None:
        """Makes the rows at ``indices`` the new batch."""
        if self.mask is not None:
            self.mask = self.mask[indices.cpu()]

    def due(self, batch: int, past: int, total: int, config: KittyConfig, recent_tokens: int) -> list[PageSpan]:
        """Pages that the positions ``past`` to ``total - 1`` complete.

        Args:
            recent_tokens: latest tokens of a row that stay in 16 bits.
        """
        spans = []
        rows = [slice(None)] if self.mask is None else [slice(row, row + 1) for row in range(batch)]
        for which in rows:
            slots = self.slots(which.start or 0, total)
            lengths = (int((slots < past).sum()), len(slots))
            before, after = (
                max(0, length - config.sink_tokens - recent_tokens) // config.page_size for length in lengths
            )
            if after > before:
                first = config.sink_tokens + before * config.page_size
                end = config.sink_tokens + after * config.page_size
                spans.append(PageSpan(which, slots[first:end]))
        return spans

    @staticmethod
    def _cover(mask: torch.Tensor | None, batch: int, total: int) -> torch.Tensor:
        """The first ``total`` columns of a mask, real where it ends before."""
        if mask is None:
            return torch.ones(batch, total, dtype=torch.bool)
        cut = mask[:, :total]
        return torch.nn.functional.pad(cut, (0, total - cut.shape[1]), value=True)
