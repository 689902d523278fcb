"""Attention over the cache against float64, and what it refuses."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from plain_cache import PlainCache, random_rows

from kitty_kernels.decode_attention.api import decode_attention
from kitty_kernels.dequantize.api import dequantize_view
from kitty_kernels.pages import CacheView

PAGE = 128


@dataclasses.dataclass(frozen=True)
class Case:
    """One shape; lengths and how many pages are packed are per row."""

    lengths: tuple[int, ...]
    pages: tuple[tuple[int, int], ...]  # packed key and value pages of each row
    heads: tuple[int, int] = (2, 1)
    head_dim: int = 128
    boosted: int = 32
    sinks: int = 32
    new_tokens: int = 1
    first: tuple[int, ...] | None = None
    window: int | None = None
    softcap: float | None = None
    has_outliers: bool = False

    def cache(self, dtype: torch.dtype) -> PlainCache:
        keys, values = (self.rows(dtype, seed) for seed in (1, 2))
        key_counts, value_counts = (list(side) for side in zip(*self.pages, strict=True))
        return PlainCache(keys, values, key_counts, value_counts, self.sinks, self.boosted)

    def rows(self, dtype: torch.dtype, seed: int) -> list[torch.Tensor]:
        if self.has_outliers:
            return random_rows(list(self.lengths), self.heads[1], self.head_dim, dtype, seed)
        generator = torch.Generator().manual_seed(seed)
        shapes = [(self.heads[1], length, self.head_dim) for length in self.lengths]
        return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


CASES = {
    "one token": Case((1,), ((0, 0),)),
    "sinks only": Case((32, 7), ((0, 0), (0, 0))),
    "one page and a tail": Case((300,), ((2, 1),)),
    "rows of every kind": Case((1, 33, 160, 161, 700, 0), ((0, 0), (0, 0), (1, 0), (1, 0), (5, 4), (0, 0))),
    "grouped heads": Case((310,), ((2, 1),), heads=(8, 2)),
    "values packed first": Case((420,), ((1, 3),)),
    "nothing boosted": Case((310,), ((2, 1),), boosted=0, sinks=0),
    "few boosted": Case((310,), ((2, 1),), boosted=13, sinks=5),
    "all boosted": Case((310,), ((2, 1),), boosted=128),
    "multi-head": Case((310,), ((2, 1),), heads=(2, 2)),
    "multi-query": Case((310,), ((2, 1),), heads=(33, 1)),
    "head_dim 32": Case((310,), ((2, 1),), head_dim=32, boosted=8),
    "head_dim 32, new tokens": Case((321, 60), ((2, 1), (0, 0)), heads=(4, 2), head_dim=32, boosted=8, new_tokens=16),
    "head_dim 64, new tokens": Case((321, 60), ((2, 1), (0, 0)), heads=(8, 2), head_dim=64, boosted=16, new_tokens=16),
    "head_dim 64": Case((310,), ((2, 1),), head_dim=64, boosted=8),
    "head_dim 80": Case((310,), ((2, 1),), head_dim=80, boosted=20),
    "head_dim 96": Case((310,), ((2, 1),), head_dim=96, boosted=12),
    "head_dim 256": Case((310,), ((2, 1),), head_dim=256, boosted=64, heads=(4, 1)),
    "two new tokens": Case((310, 34), ((2, 1), (0, 0)), new_tokens=2),
    "sixteen new tokens": Case((318, 20), ((2, 1), (0, 0)), new_tokens=16),
    "earlier queries": Case((430, 430), ((3, 2), (3, 2)), new_tokens=3, first=(250, 30)),
    "padding left and right": Case((310, 310), ((2, 1), (2, 1)), new_tokens=8, first=(305, -3)),
    "window": Case((560, 200), ((4, 3), (1, 0)), window=300, new_tokens=2),
    "window of one": Case((430,), ((3, 2),), window=1),
    "window beyond the row": Case((310,), ((2, 1),), window=10_000),
    "softcap": Case((310,), ((2, 1),), softcap=20.0),
    "window and softcap": Case((430,), ((3, 2),), window=200, softcap=5.0, new_tokens=2),
    "huge keys": Case((310,), ((2, 1),), has_outliers=True),
    "huge keys, few boosted": Case((310,), ((2, 1),), head_dim=64, boosted=8, has_outliers=True),
    "huge keys, new tokens": Case((310, 34), ((2, 1), (0, 0)), new_tokens=4, has_outliers=True),
}


def attention64(query: torch.Tensor, view: CacheView, case: Case, scaling: float, first: list[int]) -> torch.Tensor:
    """Float64 attention over the dequantized rows, written out token by token."""
    keys, values = dequantize_view(view, tokens=max(case.lengths), dtype=torch.float32, impl="reference")
    out = torch.zeros(query.shape, dtype=torch.float64)
    group = case.heads[0] // case.heads[1]
    for row, length in enumerate(case.lengths):
        for s in range(case.new_tokens):
            position = first[row] + s
            start = 0 if case.window is None else max(0, position - case.window + 1)
            if not 0 <= position < length:
                continue
            for head in range(case.heads[0]):
                k = keys[row, head // group, start : position + 1].double().cpu()
                v = values[row, head // group, start : position + 1].double().cpu()
                scores = k @ query[row, head, s].double().cpu() * scaling
                if case.softcap is not None:
                    scores = case.softcap * torch.tanh(scores / case.softcap)
                out[row, head, s] = torch.softmax(scores, 0) @ v
    return out


def eager16(query: torch.Tensor, view: CacheView, case: Case, scaling: float, first: list[int]) -> torch.Tensor:
    """What a 16-bit model computes on dequantized 16-bit keys and values: products rounded to 16 bits, softmax in float32."""
    dtype = query.dtype
    keys, values = dequantize_view(view, tokens=max(case.lengths), dtype=dtype, impl="reference")
    group = case.heads[0] // case.heads[1]
    keys, values = keys.repeat_interleave(group, 1), values.repeat_interleave(group, 1)
    scores = (query.float() @ keys.transpose(-1, -2).float()).to(dtype) * scaling
    if case.softcap is not None:
        scores = case.softcap * torch.tanh(scores / case.softcap)
    position = torch.tensor(first, device=query.device)[:, None] + torch.arange(case.new_tokens, device=query.device)
    token = torch.arange(keys.shape[2], device=query.device)
    visible = token <= position[..., None]
    if case.window is not None:
        visible &= token > position[..., None] - case.window
    length = torch.tensor(case.lengths, device=query.device)
    valid = (position >= 0) & (position < length[:, None])
    visible &= valid[..., None]
    scores = scores.float().masked_fill(~visible[:, None], float("-inf"))
    weights = scores.softmax(-1).nan_to_num(0.0).to(dtype)
    return (weights.float() @ values.float()).to(dtype)


def make(case: Case, dtype: torch.dtype, device: torch.device, seed: int = 3):
    view = case.cache(dtype).view(device)
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(len(case.lengths), case.heads[0], case.new_tokens, case.head_dim, generator=generator)
    first = list(case.first) if case.first else [length - case.new_tokens for length in case.lengths]
    return view, query.to(dtype).to(device), first


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_triton_is_as_near_to_float64_as_the_eager_16_bit_computation(device, name, dtype):
    case = CASES[name]
    view, query, first = make(case, dtype, device)
    scaling = case.head_dim**-0.5
    out = decode_attention(
        query,
        view,
        scaling=scaling,
        first_positions=None if case.first is None else torch.tensor(first, dtype=torch.int32, device=device),
        window=case.window,
        softcap=case.softcap,
        impl="triton",
    )
    want = attention64(query, view, case, scaling, first)
    assert out.dtype == dtype
    assert out.isfinite().all()
    error = (out.double().cpu() - want).norm()
    eager = (eager16(query, view, case, scaling, first).double().cpu() - want).norm()
    # The result itself is rounded to 16 bits.
    epsilon = torch.finfo(dtype).eps / 2 * want.norm()
    assert error <= eager + epsilon
    assert error <= 0.01 * want.norm()


@pytest.mark.parametrize("name", CASES)
def test_reference_equals_float64(name):
    case = CASES[name]
    view, query, first = make(case, torch.float16, torch.device("cpu"))
    query = query.float()
    scaling = case.head_dim**-0.5
    positions = torch.tensor(first, dtype=torch.int32)
    out = decode_attention(
        query, view, scaling=scaling, first_positions=positions, window=case.window, softcap=case.softcap
    )
    want = attention64(query, view, case, scaling, first)
    # Scores of some thousands have float32 errors of some 1e-4 in the exponent.
    assert (out.double() - want).norm() <= 3e-4 * want.norm()


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA GPUs")
def test_kernels_run_where_their_tensors_lie():
    case = CASES["rows of every kind"]
    view, query, first = make(case, torch.float16, torch.device("cuda", 1))
    assert torch.cuda.current_device() == 0
    out = decode_attention(query, view, scaling=case.head_dim**-0.5, impl="triton")
    want = attention64(query, view, case, case.head_dim**-0.5, first)
    assert (out.double().cpu() - want).norm() <= 0.01 * want.norm()
