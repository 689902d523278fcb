"""Append in Triton leaves the blocks that the reference leaves."""

from __future__ import annotations

import pytest
import torch
from plain_cache import PlainCache, random_rows

from kitty_kernels.append.api import append
from kitty_kernels.pages import CacheView


def case(
    device: torch.device, new_tokens: int, head_dim: int, dtype: torch.dtype, sinks: int
) -> tuple[CacheView, dict]:
    """Rows that begin, go on, have nothing new, or have pages already; blocks are poisoned."""
    cached = [0, sinks + 5, 3, sinks + 300]
    counts = [new_tokens, max(new_tokens - 3, 0), 0, new_tokens]
    starts = [0, 3, 1, 0]
    scale = 1 if device.type == "cpu" else 16
    nothing = random_rows([0] * 4 * scale, 2, head_dim, dtype)
    view = PlainCache(nothing, nothing, [0] * 4 * scale, [0] * 4 * scale, sinks, 0, ring=20).view(device)
    generator = torch.Generator().manual_seed(4)
    new = torch.randn(2, 4 * scale, new_tokens, 2, head_dim, generator=generator).to(device)
    # A ring of 20 blocks: pages that are packed, and not yet, for keys and values.
    pages = [
        [(c + n - sinks) // 128 if c + n > sinks else 0 for c, n in zip(cached, counts, strict=True)],
        [0, 0, 0, 2],
    ]
    counters = {"first_new": cached, "starts": starts, "counts": counts}
    counters = {
        name: torch.tensor(values * scale, dtype=torch.int32, device=device) for name, values in counters.items()
    }
    page_counts = [torch.tensor(side * scale, dtype=torch.int32, device=device) for side in pages]
    view = view._replace(key_page_counts=page_counts[0], value_page_counts=page_counts[1])
    return view, {"keys": new[0].transpose(1, 2), "values": new[1].transpose(1, 2), **counters}


@pytest.mark.parametrize(
    ("new_tokens", "head_dim", "sinks", "dtype", "given"),
    [
        (1, 64, 32, torch.float16, torch.float16),
        (1, 80, 0, torch.bfloat16, torch.bfloat16),
        (5, 128, 20, torch.bfloat16, torch.float32),
        (16, 256, 32, torch.float16, torch.bfloat16),
        (63, 96, 32, torch.float16, torch.float32),
        (100, 64, 1, torch.bfloat16, torch.float16),
        (127, 64, 32, torch.bfloat16, torch.bfloat16),
        (641, 64, 32, torch.float16, torch.float16),
    ],
    ids=lambda value: str(value).removeprefix("torch."),
)
def test_blocks_are_the_same(device, new_tokens, head_dim, sinks, dtype, given):
    view, arguments = case(device, new_tokens, head_dim, dtype, sinks)
    for name in ("keys", "values"):
        arguments[name] = arguments[name].to(given)
    blocks = []
    for impl in ("reference", "triton"):
        copy = view._replace(blocks=view.blocks.clone())
        append(view=copy, impl=impl, **arguments)
        blocks.append(copy.blocks.view(torch.int16))
    assert torch.equal(blocks[0], blocks[1])
    assert not torch.equal(blocks[1], view.blocks.view(torch.int16))


def test_counters_and_tables_that_lead_nowhere_are_not_followed(device):
    view, arguments = case(device, 20, 64, torch.float16, 20)
    for change in ({"starts": -(10**6)}, {"starts": 10**6}, {"first_new": -(10**6)}, {"counts": -5}):
        copy = view._replace(blocks=view.blocks.clone())
        append(
            view=copy,
            impl="triton",
            **{**arguments, **{n: torch.full_like(arguments[n], x) for n, x in change.items()}},
        )
        assert copy.blocks.isnan().all(), change
    for entry in (-1, 10**6):
        table = torch.full_like(view.key_block_table, entry)
        copy = view._replace(blocks=view.blocks.clone(), key_block_table=table, value_block_table=table)
        append(view=copy, impl="triton", **arguments)
        assert copy.blocks.isnan().all(), entry


def test_float32_blocks_are_refused_with_the_remedy(device):
    rows = random_rows([20], 2, 64, torch.float32)
    view = PlainCache(rows, rows, [0], [0], 5, 8).view(device)
    zero = torch.zeros(1, dtype=torch.int32, device=device)
    new = rows[0][None].to(device)
    with pytest.raises(TypeError, match="blocks must be float16 or bfloat16, got float32; choose impl='reference'"):
        append(new, new, view, first_new=zero, starts=zero, counts=zero, impl="triton")
