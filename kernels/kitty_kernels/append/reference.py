"""The specification of append, row by row in plain torch."""

from __future__ import annotations

import torch

from ..blocks import find_blocks
from ..pages import BLOCK, CacheView


def append(
    keys: torch.Tensor,
    values: torch.Tensor,
    view: CacheView,
    *,
    first_new: torch.Tensor,
    starts: torch.Tensor,
    counts: torch.Tensor,
) -> None:
    """See ``api.append``."""
    sides = (
        (keys, view.key_block_table, view.key_page_counts),
        (values, view.value_block_table, view.value_page_counts),
    )
    for new, table, page_counts in sides:
        for row in range(new.shape[0]):
            pages = int(page_counts[row])
            _append_row(new[row], view, table, row, pages, int(first_new[row]), int(starts[row]), int(counts[row]))


def _append_row(
    new: torch.Tensor,
    view: CacheView,
    table: torch.Tensor,
    row: int,
    pages: int,
    first_new: int,
    start: int,
    count: int,
) -> None:
    """Writes real tokens of ``[HKV, S, D]`` to the row's blocks."""
    begin = max(start, 0)
    index = torch.arange(begin, max(begin, min(start + count, new.shape[1])), device=new.device)
    tokens = first_new + index - start  # [n]
    ring = (table.shape[1] - view.sink_blocks) * BLOCK
    is_sink = tokens < view.sink_tokens
    # Of tokens that share a slot of the ring only the last may write.
    is_due = (tokens >= view.sink_tokens + pages * view.layout.page_size) & (tokens >= first_new + count - ring)
    rows = torch.full_like(tokens, row)
    ids, offsets, exists = find_blocks(view, table, rows, tokens)
    chosen = (is_sink | is_due) & exists  # [n]
    picked = new[:, index[chosen]].transpose(0, 1)  # [n, HKV, D]
    view.blocks[ids[chosen], :, offsets[chosen]] = picked.to(view.blocks.dtype)
