"""Dequantize in Triton equals the reference, to the bit; what it returns was poisoned."""

from __future__ import annotations

import pytest
import torch
from plain_cache import PAGE, PlainCache, random_rows

from kitty_kernels.dequantize import api
from kitty_kernels.pack.api import pack_keys, pack_values


@pytest.fixture(autouse=True)
def poisoned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """New memory is full of NaN."""
    empty = torch.empty
    monkeypatch.setattr(
        torch, "empty", lambda *a, **o: empty(*a, **o).fill_(float("nan") if o["dtype"].is_floating_point else 0)
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
@pytest.mark.parametrize(("head_dim", "boosted"), [(64, 0), (80, 10), (96, 24), (128, 32), (256, 256)], ids=str)
def test_pages_are_the_same(device, dtype, head_dim, boosted):
    count = 2 if device.type == "cpu" else 100
    x = torch.randn(count, 2, PAGE, head_dim).to(dtype).to(device)
    keys, values = pack_keys(x, boosted=boosted, impl="reference"), pack_values(x, impl="reference")
    assert torch.equal(api.dequantize_keys(keys, impl="triton"), api.dequantize_keys(keys, impl="reference"))
    assert torch.equal(api.dequantize_values(values, impl="triton"), api.dequantize_values(values, impl="reference"))
    # Parts that do not come from one tensor of records, and a page alone.
    apart = type(keys)(*(part[0, 1].clone() for part in keys))
    assert torch.equal(api.dequantize_keys(apart, impl="triton"), api.dequantize_keys(apart, impl="reference"))


@pytest.mark.parametrize(
    ("head_dim", "boosted", "dtype", "sinks", "out"),
    [
        (64, 8, torch.float16, 20, torch.bfloat16),
        (80, 0, torch.bfloat16, 0, torch.bfloat16),
        (96, 13, torch.float16, 130, torch.float16),
        (128, 128, torch.bfloat16, 32, torch.float16),
        (256, 64, torch.float16, 32, torch.float32),
    ],
    ids=lambda value: str(value).removeprefix("torch."),
)
def test_a_view_is_the_same(device, head_dim, boosted, dtype, sinks, out):
    lengths = [0, 1, sinks + 127, sinks + 300]
    keys, values = (random_rows(lengths, 1, head_dim, dtype, seed) for seed in (1, 2))
    view = PlainCache(keys, values, [0, 0, 0, 2], [0, 0, 0, 1], sinks, boosted).view(device)
    for tokens in (1, sinks + 301):
        got = api.dequantize_view(view, tokens=tokens, dtype=out, impl="triton")
        want = api.dequantize_view(view, tokens=tokens, dtype=out, impl="reference")
        for a, b in zip(got, want, strict=True):
            assert a.isfinite().all()
            assert torch.equal(a, b), tokens
    assert api.dequantize_view(view, tokens=0, impl="triton")[0].shape == (4, 1, 0, head_dim)


def test_what_does_not_exist_reads_as_zeros(device):
    rows = random_rows([200], 2, 64, torch.float16)
    view = PlainCache(rows, rows, [1], [1], 0, 8).view(device)
    broken = view._replace(
        key_table=torch.full_like(view.key_table, 10**6),
        value_table=view.value_table[:, :0],
        value_pages=view.value_pages[:0],
        key_block_table=torch.full_like(view.key_block_table, -1),
    )
    keys, values = api.dequantize_view(broken, tokens=200, impl="triton")
    assert not keys.any()
    assert not values[:, :, :PAGE].any()
    assert torch.equal(values[:, :, PAGE:].cpu(), rows[0][None, :, PAGE:].float())


def test_other_page_sizes_are_refused_with_the_remedy(device):
    values = pack_values(torch.zeros(64, 128, device=device), impl="reference")
    with pytest.raises(
        ValueError, match="takes 128 tokens a page and head_dim up to 256, got 64 and 128; choose impl='ref"
    ):
        api.dequantize_values(values, impl="triton")


def test_float32_blocks_are_refused_with_the_remedy(device):
    rows = random_rows([20], 2, 64, torch.float32)
    view = PlainCache(rows, rows, [0], [0], 5, 8).view(device)
    with pytest.raises(TypeError, match="blocks must be float16 or bfloat16, got float32; choose impl='reference'"):
        api.dequantize_view(view, tokens=20, impl="triton")
