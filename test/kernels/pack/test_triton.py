"""Pack in Triton equals the reference, byte for byte; everything that it writes to was poisoned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from plain_cache import PAGE, PlainCache, random_rows, random_weights

from kitty_kernels.pack import api
from kitty_kernels.pages import CacheView

SIZES = [(64, 0), (64, 8), (80, 20), (80, 10), (96, 12), (96, 96), (128, 16), (128, 32), (256, 33), (256, 64), (72, 9)]
DTYPES = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
KINDS = pytest.mark.parametrize("kind", ["keys", "values"])


def pages_of(kind: str, device: torch.device, head_dim: int, dtype: torch.dtype) -> torch.Tensor:
    """Pages ``[n, PAGE, D]``, more on a GPU: the interpreter takes a second for one whose channels need exact sums."""
    count = 1 if device.type == "cpu" else 300
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(count, PAGE, head_dim, generator=generator)
    if kind == "outliers":
        x[..., ::9] *= 30
        x[..., 4] += 300
        x[..., 10] *= 1e-6
    elif kind == "equal channels":
        # Every second channel is its neighbour in another order of tokens: scores tie, and only exact sums show it.
        x[..., 1::2] = x[..., ::2].flip(1)
    elif kind == "halves":
        # Channels of exactly 3 or 15 steps, tokens on every half of a step.
        x = torch.randint(0, 7, x.shape, generator=generator) / 2
        x[..., ::3] = torch.randint(0, 31, x[..., ::3].shape, generator=generator) / 2
        x[:, 0], x[:, 1] = 0, 3
        x[:, 1, ::3] = 15
    elif kind == "no numbers":
        x[..., ::5] = float("nan")
    elif kind == "constant":
        x[..., ::2] = -0.37
        x[..., 1::4] = -0.0
    return x.to(dtype).to(device)


def weights_of(kind: str, selection: str, pages: torch.Tensor) -> torch.Tensor | None:
    """Of every page its own; where channels are equal, equal ones, so that scores tie."""
    if selection != "query":
        return None
    weights = random_weights(len(pages), pages.shape[-1])
    if kind == "equal channels":
        weights[..., 1::2] = weights[..., ::2]
    return weights.to(pages.device)


def assert_same(got: tuple[torch.Tensor, ...], want: tuple[torch.Tensor, ...]) -> None:
    for name, a, b in zip(type(got)._fields, got, want, strict=True):
        assert torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8)), name


@DTYPES
@pytest.mark.parametrize(("head_dim", "boosted"), SIZES, ids=str)
def test_pages_of_any_size_are_the_same(device, dtype, head_dim, boosted):
    x = pages_of("outliers", device, head_dim, dtype)
    want = api.pack_keys(x, boosted=boosted, impl="reference")
    assert_same(api.pack_keys(x, boosted=boosted, impl="triton"), want)
    assert_same(api.pack_values(x, impl="triton"), api.pack_values(x, impl="reference"))


@DTYPES
@pytest.mark.parametrize("selection", api.SELECTIONS)
@pytest.mark.parametrize("kind", ["outliers", "equal channels", "halves", "constant"])
def test_codes_and_channels_are_the_same_on_any_data(device, dtype, selection, kind):
    x = pages_of(kind, device, 64, dtype)
    options = {"boosted": 17, "selection": selection, "seed": 11, "weights": weights_of(kind, selection, x)}
    want = api.pack_keys(x, impl="reference", **options)
    assert_same(api.pack_keys(x, impl="triton", **options), want)
    assert_same(api.pack_values(x, impl="triton"), api.pack_values(x, impl="reference"))


@pytest.mark.parametrize("selection", api.SELECTIONS)
def test_what_is_no_number_leaves_other_channels_alone(device, selection):
    x = pages_of("no numbers", device, 64, torch.float16)
    options = {"boosted": 17, "selection": selection, "weights": weights_of("no numbers", selection, x)}
    got, want = (api.pack_keys(x, impl=impl, **options) for impl in ("triton", "reference"))
    assert got.channels.int().diff().min() > 0
    real = torch.arange(64, device=device) % 5 != 0
    assert torch.equal(got.minimum[..., real], want.minimum[..., real])
    if selection == "random":
        for a, b in ((got.low, want.low), (got.scale, want.scale)):
            assert torch.equal(a[..., real], b[..., real])


def test_leading_dimensions_and_strides_are_those_of_the_tokens(device):
    x = torch.randn(1, 2 * PAGE, 2, 64, device=device).half().transpose(1, 2).unflatten(2, (2, PAGE))
    keys, values = api.pack_keys(x, boosted=8, impl="triton"), api.pack_values(x, impl="triton")
    assert keys.low.shape == (1, 2, 2, PAGE // 4, 64)
    assert_same(keys, api.pack_keys(x, boosted=8, impl="reference"))
    assert_same(values, api.pack_values(x, impl="reference"))
    empty = api.pack_keys(x[:0], boosted=8, impl="triton")
    assert empty.low.shape == (0, 2, 2, PAGE // 4, 64)


def mixed_jobs(device: torch.device, dtype: torch.dtype, kind: str, head_dim: int = 64) -> tuple[CacheView, dict]:
    """Pages from the ring, from new tokens, from both, and jobs that are none; the pool of pages is poisoned."""
    sinks, cached, new_tokens, starts = 20, [20 + 128 + 140, 30, 20 + 99, 0], [0, 300, 61, 278], [7, 3, 11, 0]
    scale = 1 if device.type == "cpu" else 8
    rows = [
        random_rows([c + n for c, n in zip(cached, new_tokens, strict=True)] * scale, 2, head_dim, dtype, seed)
        for seed in (1, 2)
    ]
    cached, starts = cached * scale, starts * scale
    old = [[row[:, :count] for row, count in zip(side, cached, strict=True)] for side in rows]
    view = PlainCache(*old, [1, 0, 0, 0] * scale, [1, 0, 0, 0] * scale, sinks, 8).view(device)
    tokens = rows[0 if kind == "keys" else 1]
    # As a projection leaves it, [B, S, HKV, D], and with padding that must not be read.
    new = torch.full((4 * scale, 320, 2, head_dim), float("nan"), dtype=dtype).transpose(1, 2)
    for row, start in enumerate(starts):
        part = tokens[row][:, cached[row] :]
        new[row, :, start : start + part.shape[1]] = part
    real = [(0, 1), (1, 0), (1, 1), (2, 0), (3, 0), (3, 1)]
    jobs = [(4 * i + row, page, 6 * i + j) for i in range(scale) for j, (row, page) in enumerate(real)]
    jobs += [(0, 0, -1), (4 * scale, 0, 1), (-1, 0, 1), (1, -1, 1), (1, 0, 10**6)]
    side = "key" if kind == "keys" else "value"
    pool = torch.full(
        (6 * scale + 1, *getattr(view, f"{side}_pages").shape[1:]), 0xFF, dtype=torch.uint8, device=device
    )
    arguments = {
        "jobs": torch.tensor(jobs, dtype=torch.int32, device=device),
        "kind": kind,
        "new": new.to(device),
        "first_new": torch.tensor(cached, dtype=torch.int32, device=device),
        "starts": torch.tensor(starts, dtype=torch.int32, device=device),
    }
    return view._replace(**{f"{side}_pages": pool}), arguments


def both(view: CacheView, run, **arguments: object) -> tuple[CacheView, CacheView]:
    """The view after the reference and after Triton, each on its own pool of pages."""
    views = []
    for impl in ("reference", "triton"):
        copy = view._replace(key_pages=view.key_pages.clone(), value_pages=view.value_pages.clone())
        run(copy, impl=impl, **arguments)
        views.append(copy)
    return views[0], views[1]


@DTYPES
@KINDS
def test_pack_cached_reads_tokens_from_the_ring_and_from_the_new_ones(device, dtype, kind):
    view, arguments = mixed_jobs(device, dtype, kind)
    want, got = both(view, api.pack_cached, **arguments)
    assert torch.equal(got.key_pages, want.key_pages)
    assert torch.equal(got.value_pages, want.value_pages)
    pool = got.key_pages if kind == "keys" else got.value_pages
    assert (pool[-1] == 0xFF).all()  # no job's page
    assert not (pool[0] == 0xFF).all()
    if kind == "keys":
        by_query = {"selection": "query", "weights": random_weights(2, 64).to(device)}
        want, got = both(view, api.pack_cached, **arguments, **by_query)
        assert torch.equal(got.key_pages, want.key_pages)
        assert not torch.equal(got.key_pages, pool)


@KINDS
def test_pack_cached_reads_the_ring_alone(device, kind):
    view, _ = mixed_jobs(device, torch.float16, kind)
    jobs = torch.tensor([(0, 1, 2), (2, 0, -1), (0, 1, 0)], dtype=torch.int32, device=device)
    want, got = both(view, api.pack_cached, jobs=jobs, kind=kind)
    assert torch.equal(got.key_pages, want.key_pages)
    assert torch.equal(got.value_pages, want.value_pages)
    nothing = torch.zeros(0, 3, dtype=torch.int32, device=device)
    want, got = both(view, api.pack_cached, jobs=nothing, kind=kind)
    assert torch.equal(got.key_pages, view.key_pages)


@DTYPES
@KINDS
def test_flush_layers_packs_every_layer_in_one_launch(device, dtype, kind):
    layers, rows = (2, 3) if device.type == "cpu" else (36, 8)
    caches = [
        PlainCache(random_rows([170] * rows, 2, 64, dtype, seed), random_rows([170] * rows, 2, 64, dtype, seed + 50),
                   [0] * rows, [0] * rows, 32, 8).view(device)
        for seed in range(layers)
    ]  # fmt: skip
    pools = {name: torch.stack([getattr(v, name) for v in caches]) for name in ("blocks", "key_pages", "value_pages")}
    jobs = [(row, 0, (row + 1) % rows if row else -1) for row in range(rows)]
    jobs = torch.tensor(jobs, dtype=torch.int32, device=device)
    want, got = both(caches[0]._replace(**pools), api.flush_layers, jobs=jobs, kind=kind)
    assert torch.equal(got.key_pages, want.key_pages)
    assert torch.equal(got.value_pages, want.value_pages)
    if kind == "keys":
        plain = got.key_pages
        by_query = {"selection": "query", "weights": random_weights(layers, 2, 64).to(device)}
        want, got = both(caches[0]._replace(**pools), api.flush_layers, jobs=jobs, kind=kind, **by_query)
        assert torch.equal(got.key_pages, want.key_pages)
        assert not torch.equal(got.key_pages, plain)


@KINDS
@pytest.mark.parametrize("entry", [-1, 10**6])
def test_tables_and_counters_that_lead_nowhere_are_not_followed(device, kind, entry):
    view, arguments = mixed_jobs(device, torch.float16, kind)
    table = torch.full_like(view.key_block_table, entry)
    view = view._replace(key_block_table=table, value_block_table=table.clone())
    jobs = torch.tensor([(0, 1, 0), (2, 0, 1)], dtype=torch.int32, device=device)
    api.pack_cached(view, impl="triton", **{**arguments, "jobs": jobs, "starts": arguments["starts"] + entry * 1000})
    pool = view.key_pages if kind == "keys" else view.value_pages
    assert (pool[2:] == 0xFF).all()


def test_new_tokens_of_another_dtype_are_packed_as_the_blocks_would_hold_them(device):
    view, arguments = mixed_jobs(device, torch.bfloat16, "keys")
    want, got = both(view, api.pack_cached, **{**arguments, "new": arguments["new"].float()})
    assert torch.equal(got.key_pages, want.key_pages)


def test_what_triton_cannot_pack_is_refused_with_the_remedy(device):
    with pytest.raises(
        TypeError, match=r"keys must be float16 or bfloat16, got torch\.float32; convert them or choose impl='ref"
    ):
        api.pack_keys(torch.zeros(PAGE, 64, device=device), boosted=8, impl="triton")
    with pytest.raises(
        ValueError, match="packs 128 tokens a page and head_dim up to 256, got 64 and 128; choose impl='ref"
    ):
        api.pack_values(torch.zeros(64, 128, device=device).half(), impl="triton")
    view, arguments = mixed_jobs(device, torch.float16, "keys")
    far_apart = view._replace(blocks=view.blocks.transpose(1, 2).contiguous().transpose(1, 2))
    with pytest.raises(ValueError, match="must lie 64 elements apart, got blocks with stride 128"):
        api.pack_cached(far_apart, impl="triton", **arguments)
    wide = view._replace(blocks=view.blocks.float())
    with pytest.raises(TypeError, match="blocks must be float16 or bfloat16, got float32; choose impl='reference'"):
        api.pack_cached(wide, impl="triton", **arguments)


def test_a_comparison_with_half_steps_is_a_rounded_division():
    """README.md proves it; here at every half step of every float16 scale, and at its neighbours in float32."""
    scale = np.arange(np.float16(1e-4).view(np.uint16), np.float16(65504).view(np.uint16), dtype=np.uint16).view(
        np.float16
    )
    scale = scale.astype(np.float32)
    for k in range(1, 16):
        bound = np.float32(k - 0.5) * scale
        assert (bound.astype(np.float64) == (k - 0.5) * scale.astype(np.float64)).all()
        for y in (np.nextafter(bound, np.float32(0)), bound, np.nextafter(bound, np.float32(np.inf))):
            reached = np.rint(y / scale) >= k
            np.testing.assert_array_equal(reached, y > bound if k % 2 else y >= bound)
