"""``KittyLayer`` against a reference that shares no code with it: codec by hand, attention in float64."""

from __future__ import annotations

import pytest
import torch

from kitty_kv import PRESETS, CacheError, ConfigError, KittyConfig, UnsupportedError, quant
from kitty_kv.cache.layer import KittyLayer
from kitty_kv.cache.paged_cache import PagedCache

UNWEIGHTED = [name for name, config in PRESETS.items() if config.selection != "query"]

PAGE, HEADS, GROUPS, DIM = 128, 2, 3, 64
LENGTHS = [1, 31, 32, 33, 63, 127, 128, 129, 160, 161, 287, 288, 289, 1000, 1009]


@pytest.fixture(params=["auto", "reference"])
def impl(request: pytest.FixtureRequest) -> str:
    return request.param


def one_layer(config: KittyConfig, impl: str = "auto") -> KittyLayer:
    return PagedCache(config, 1, impl).layers[0]


def tokens(
    count: int, seed: int = 0, rows: int = 1, dtype: torch.dtype = torch.float16
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    k, v = torch.randn(2, rows, HEADS, count, DIM, generator=generator)
    k[..., 3] += 12
    return k.to(dtype), v.to(dtype)


def held(k: torch.Tensor, v: torch.Tensor, config: KittyConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """What the contract says a cache of these tokens [1, H, T, D] shows."""
    total, sink = k.shape[2], config.sink_tokens
    k, v = k.float().clone(), v.float().clone()
    key_end = sink + max(0, total - sink) // PAGE * PAGE
    value_end = sink + max(0, total - sink - config.recent_tokens) // PAGE * PAGE
    if key_end > sink and config.quantizes_keys:
        k[:, :, sink:key_end] = quant.dequantize_keys(quant.quantize_keys(k[:, :, sink:key_end], config))
    if value_end > sink and config.quantizes_values:
        v[:, :, sink:value_end] = quant.dequantize_values(quant.quantize_values(v[:, :, sink:value_end], config))
    return k, v


def attention64(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Causal attention of the last S of T tokens in float64, [1, H, S, D]."""
    q, k, v = q.double(), k.double().repeat_interleave(GROUPS, 1), v.double().repeat_interleave(GROUPS, 1)
    scores = q @ k.transpose(-1, -2) * DIM**-0.5
    seen = torch.ones(scores.shape[-2:], dtype=torch.bool).tril(k.shape[2] - q.shape[2])
    return scores.masked_fill(~seen, float("-inf")).softmax(-1) @ v


@pytest.mark.parametrize("preset", UNWEIGHTED)
@pytest.mark.parametrize("length", LENGTHS)
def test_layer_holds_what_the_contract_says_for_any_length(preset, length, impl):
    config = PRESETS[preset]
    k, v = tokens(length)
    layer = one_layer(config, impl)
    layer.append(k, v)
    want_k, want_v = held(k, v, config)
    got_k, got_v = layer.dequantize()
    assert torch.equal(got_k, want_k)
    assert torch.equal(got_v, want_v)


@pytest.mark.parametrize("preset", ["kivi-2", "kitty-pro"])
def test_tokens_one_by_one_or_in_pieces_leave_the_same_cache_as_at_once(preset, impl):
    k, v = tokens(700)
    whole, single, pieces = (one_layer(PRESETS[preset], impl) for _ in range(3))
    whole.append(k, v)
    for t in range(700):
        single.append(k[:, :, t : t + 1], v[:, :, t : t + 1])
        want_k, _ = held(k[:, :, : t + 1], v[:, :, : t + 1], PRESETS[preset])
        if t % 50 == 0:
            assert torch.equal(single.dequantize()[0], want_k)
    for start, end in [(0, 7), (7, 300), (300, 301), (301, 700)]:
        pieces.append(k[:, :, start:end], v[:, :, start:end])
    for other in (single, pieces):
        assert all(torch.equal(a, b) for a, b in zip(whole.dequantize(), other.dequantize(), strict=True))


@pytest.mark.parametrize("preset", UNWEIGHTED)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("past", "new"), [(0, 200), (1, 1), (31, 2), (160, 1), (288, 1), (500, 1), (500, 16), (300, 300)]
)
def test_attention_error_is_no_larger_than_eager_16_bit_attention(preset, dtype, past, new, impl):
    config = PRESETS[preset]
    k, v = tokens(past + new, dtype=dtype)
    q = torch.randn(1, HEADS * GROUPS, new, DIM, generator=torch.Generator().manual_seed(5)).to(dtype)
    layer = one_layer(config, impl)
    if past:
        layer.append(k[:, :, :past], v[:, :, :past])
        seen_k, seen_v = held(k[:, :, :past], v[:, :, :past], config)
    else:
        seen_k, seen_v = k[:, :, :0].float(), v[:, :, :0].float()
    seen_k, seen_v = (
        torch.cat((seen_k, k[:, :, past:].float()), 2),
        torch.cat((seen_v, v[:, :, past:].float()), 2),
    )
    exact = attention64(q, seen_k, seen_v)
    got = layer.attend(q, k[:, :, past:], v[:, :, past:], scaling=DIM**-0.5)
    assert got.isfinite().all()
    assert got.dtype == dtype
    eager = eager_attention(q, seen_k.to(dtype), seen_v.to(dtype))
    epsilon = torch.finfo(dtype).eps * exact.abs().max()
    assert (got.double() - exact).abs().max() <= (eager.double() - exact).abs().max() + epsilon


def eager_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    k, v = k.repeat_interleave(GROUPS, 1), v.repeat_interleave(GROUPS, 1)
    scores = q @ k.transpose(-1, -2) * DIM**-0.5
    seen = torch.ones(scores.shape[-2:], dtype=torch.bool).tril(k.shape[2] - q.shape[2])
    return scores.masked_fill(~seen, float("-inf")).softmax(-1, dtype=torch.float32).to(q.dtype) @ v


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_rows_equal_the_same_rows_alone(side, impl):
    config = PRESETS["kitty-pro"]
    real_lengths = [400, 150, 3]
    batch = one_layer(config, impl)
    alone = [one_layer(config, impl) for _ in real_lengths]
    for turn, sizes in enumerate([real_lengths, [5, 1, 200], [1, 1, 1]]):
        width = max(sizes)
        real = torch.zeros(3, width, dtype=torch.bool)
        q = torch.full((3, HEADS * GROUPS, width, DIM), float("nan")).half()
        k, v = (torch.full((3, HEADS, width, DIM), float("nan")).half() for _ in range(2))
        wanted = []
        for row, size in enumerate(sizes):
            at = slice(width - size, width) if side == "left" else slice(0, size)
            real[row, at] = True
            row_k, row_v = tokens(size, seed=10 * turn + row)
            row_q = torch.randn(1, HEADS * GROUPS, size, DIM, generator=torch.Generator().manual_seed(turn)).half()
            q[row, :, at], k[row, :, at], v[row, :, at] = row_q[0], row_k[0], row_v[0]
            wanted.append(alone[row].attend(row_q, row_k, row_v, scaling=DIM**-0.5))
        got = batch.attend(q, k, v, scaling=DIM**-0.5, real=real)
        for row in range(3):
            assert torch.equal(got[row][:, real[row]], wanted[row][0])
            assert (got[row][:, ~real[row]] == 0).all()
    assert batch.lengths == [406, 152, 204]
    for row, layer in enumerate(alone):
        assert torch.equal(batch.dequantize()[0][row, :, : batch.lengths[row]], layer.dequantize()[0][0])


def test_selected_rows_share_pages_and_released_pages_are_reused(impl):
    config = PRESETS["kitty-pro"]
    k, v = tokens(500, rows=2)
    cache = PagedCache(config, 1, impl)
    layer = cache.layers[0]
    layer.append(k, v)
    before, pages_before, blocks_before = layer.dequantize(), cache.store.key_ids.in_use, cache.store.block_ids.in_use
    cache.select_rows([1, 1, 0])
    assert (cache.store.key_ids.in_use, cache.store.block_ids.in_use) == (pages_before, blocks_before)
    assert torch.equal(layer.dequantize()[0], before[0][[1, 1, 0]])
    layer.append(*tokens(140, seed=3, rows=3))
    assert torch.equal(layer.dequantize()[0][:, :, :416], before[0][[1, 1, 0]][:, :, :416])
    three_rows = cache.bytes_allocated
    cache.select_rows([2])
    assert cache.bytes_allocated < three_rows
    layer.append(*tokens(256, seed=4))
    assert cache.bytes_allocated <= three_rows
    assert layer.dequantize()[0].shape[2] == 896


def test_float32_tokens_are_held_in_16_bits_unless_nothing_is_quantized(impl):
    k, v = tokens(200, dtype=torch.float32)
    packed, stock = PagedCache(PRESETS["kitty-pro"], 1, impl), PagedCache(PRESETS["fp16"], 1, impl)
    packed.layers[0].append(k, v)
    stock.layers[0].append(k, v)
    assert packed.storages[0].blocks.dtype == torch.float16
    assert torch.equal(stock.layers[0].dequantize()[0], k)


def test_wrong_batches_devices_and_configs_are_refused(impl):
    layer = one_layer(PRESETS["kitty"], impl)
    layer.append(*tokens(10, rows=2))
    with pytest.raises(CacheError, match="2 rows of 2 heads x 64 channels, got 1 rows"):
        layer.append(*tokens(1))
    with pytest.raises(ConfigError, match="lies on cpu, they on meta"):
        layer.append(*(x.to("meta") for x in tokens(1, rows=2)))
    with pytest.raises(UnsupportedError, match="k_bits = 4"):
        one_layer(KittyConfig(k_bits=4), impl).append(*tokens(1))
