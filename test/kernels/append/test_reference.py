"""The reference of append against a loop over tokens."""

from __future__ import annotations

import pytest
import torch
from plain_cache import BLOCK, PlainCache, random_rows

from kitty_kernels.append.api import append


@pytest.mark.parametrize("sinks", [0, 20, 32])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_every_real_token_is_written_to_its_block_and_nothing_else(sinks, dtype):
    cached, counts, starts = [0, 0, 30, 130, 500], [1, 45, 0, 9, 100], [0, 2, 3, 100, 7]
    key_pages, value_pages = [0, 0, 0, 0, 4], [0, 0, 0, 0, 3]
    lengths = [c + n for c, n in zip(cached, counts, strict=True)]
    keys, values = (random_rows(lengths, 2, 64, dtype, seed) for seed in (1, 2))
    before = PlainCache(
        [k[:, :c] for k, c in zip(keys, cached, strict=True)],
        [v[:, :c] for v, c in zip(values, cached, strict=True)],
        [0] * 5, [0] * 5, sinks, 8,
    )  # fmt: skip
    view = before.view()._replace(
        key_page_counts=torch.tensor(key_pages, dtype=torch.int32),
        value_page_counts=torch.tensor(value_pages, dtype=torch.int32),
    )
    want = view.blocks.clone()
    new = [torch.full((5, 2, 120, 64), float("nan"), dtype=torch.float32) for _ in range(2)]
    sides = (
        (keys, view.key_block_table, key_pages, new[0]),
        (values, view.value_block_table, value_pages, new[1]),
    )
    for tokens, table, pages, given in sides:
        for row in range(5):
            given[row, :, starts[row] : starts[row] + counts[row]] = tokens[row][:, cached[row] :].float()
            for t in range(cached[row], lengths[row]):
                slot, offset = before.place(t, pages[row])
                if slot is not None:
                    want[table[row, slot], :, offset] = tokens[row][:, t]
    arguments = {"first_new": cached, "starts": starts, "counts": counts}
    append(*new, view, **{name: torch.tensor(x, dtype=torch.int32) for name, x in arguments.items()})
    assert torch.equal(view.blocks.isnan(), want.isnan())
    assert torch.equal(view.blocks.nan_to_num(), want.nan_to_num())


def test_of_more_tokens_than_the_ring_holds_the_last_stay():
    tokens = random_rows([100], 1, 64, torch.float16)
    nothing = [row[:, :0] for row in tokens]
    view = PlainCache(nothing, nothing, [0], [0], 0, 0, ring=2).view()
    zero, hundred = torch.zeros(1, dtype=torch.int32), torch.full((1,), 100, dtype=torch.int32)
    append(tokens[0][None], tokens[0][None], view, first_new=zero, starts=zero, counts=hundred)
    for t in range(100 - 2 * BLOCK, 100):
        stored = view.blocks[view.key_block_table[0, t // BLOCK % 2], :, t % BLOCK]
        assert torch.equal(stored, tokens[0][:, t])


def test_float32_blocks_hold_float32_tokens_exactly():
    tokens = random_rows([30], 2, 64, torch.float32)
    nothing = [row[:, :0] for row in tokens]
    view = PlainCache(nothing, nothing, [0], [0], 5, 8).view()
    zero, thirty = torch.zeros(1, dtype=torch.int32), torch.full((1,), 30, dtype=torch.int32)
    append(tokens[0][None], tokens[0][None], view, first_new=zero, starts=zero, counts=thirty)
    for t in range(30):
        slot = t // BLOCK if t < 5 else 1 + (t - 5) // BLOCK
        stored = view.blocks[view.value_block_table[0, slot], :, t % BLOCK if t < 5 else (t - 5) % BLOCK]
        assert torch.equal(stored, tokens[0][:, t])


def test_append_names_the_wrong_argument():
    rows = random_rows([30], 2, 64, torch.float16)
    view, zero = PlainCache(rows, rows, [0], [0], 5, 8).view(), torch.zeros(1, dtype=torch.int32)
    good = rows[0][None]
    for options, error, message in [
        ({"keys": good.double()}, TypeError, "keys must be float16 or bfloat16 or float32, got float64"),
        ({"values": good[:, :, :3]}, ValueError, r"values must have shape \(1, 2, 30, 64\), got \(1, 2, 3, 64\)"),
        ({"keys": good[0]}, ValueError, "keys must have shape"),
        (
            {"keys": good.transpose(2, 3).contiguous().transpose(2, 3)},
            ValueError,
            "keys must have stride 1 in its last",
        ),
        ({"counts": zero.long()}, TypeError, "counts must be int32, got int64"),
        ({"starts": zero.repeat(3)}, ValueError, r"starts must have shape \(1\), got \(3,\)"),
        ({"first_new": zero.to("meta")}, ValueError, "first_new must lie on cpu, got meta"),
    ]:
        arguments = {"keys": good, "values": good, "view": view, "first_new": zero, "starts": zero, "counts": zero}
        with pytest.raises(error, match=message):
            append(**{**arguments, **options})
