"""Where a token's 16-bit copy lies: plain torch, for the reference implementations. ``CacheView`` has the rule."""

from __future__ import annotations

import torch

from .pages import BLOCK, CacheView


def block_slots(view: CacheView, tokens: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Columns of a block table with ``width`` columns and offsets in the block, for token positions of any shape."""
    ring = max(width - view.sink_blocks, 1)
    behind = tokens - view.sink_tokens
    slots = torch.where(behind < 0, tokens // BLOCK, view.sink_blocks + behind.clamp_min(0) // BLOCK % ring)
    return slots, torch.where(behind < 0, tokens, behind) % BLOCK


def find_blocks(
    view: CacheView, table: torch.Tensor, rows: torch.Tensor, tokens: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Block ids, offsets in the block, and whether such a block exists; ``rows`` and ``tokens`` broadcast."""
    slots, offsets = block_slots(view, tokens, table.shape[1])
    exists = (slots >= 0) & (slots < table.shape[1]) & (tokens >= 0)
    if not table.shape[1]:
        return torch.zeros_like(slots), offsets, exists
    ids = table[rows, slots.clamp(0, table.shape[1] - 1)].long()
    exists = exists & (ids >= 0) & (ids < view.blocks.shape[0])
    return torch.where(exists, ids, 0), offsets, exists


def read_blocks(view: CacheView, table: torch.Tensor, rows: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """16-bit tokens ``[..., HKV, D]`` for rows and positions of shape ``[...]``; zeros where no block exists."""
    ids, offsets, exists = find_blocks(view, table, rows, tokens)
    found = view.blocks[ids, :, offsets] if view.blocks.shape[0] else view.blocks.new_zeros(ids.shape + _head(view))
    return torch.where(exists[..., None, None], found, 0)


def _head(view: CacheView) -> tuple[int, int]:
    return view.blocks.shape[1], view.blocks.shape[3]
