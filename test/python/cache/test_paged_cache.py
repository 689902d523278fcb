"""``PagedCache`` against the contract written once more in NumPy: which tokens are packed after each call, and how."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import os
import random
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy_codec import quantized, quantized_keys

from kitty_kv import PRESETS, CacheError, ConfigError, KittyConfig, UnsupportedError
from kitty_kv.cache.channel_weights import ChannelWeights
from kitty_kv.cache.kernel_route import KernelRoute
from kitty_kv.cache.memory import cache_memory
from kitty_kv.cache.paged_cache import PagedCache

PAGE, HEADS, GROUPS, DIM = 128, 2, 2, 64
# Without a model there are no weights.
UNWEIGHTED = [name for name, config in PRESETS.items() if config.selection != "query"]
PIECES = (1, 2, 16, 17, 300)
SCALING = DIM**-0.5


class Target(NamedTuple):
    """What runs, and where."""

    impl: str
    device: str = "cpu"


@pytest.fixture(params=["auto", "reference", "triton"])
def target(request: pytest.FixtureRequest) -> Target:
    if request.param != "triton":
        return Target(request.param)
    if torch.cuda.is_available():
        return Target("triton", "cuda")
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("no CUDA device; set TRITON_INTERPRET=1 to interpret the kernels")
    return Target("triton")


@dataclasses.dataclass
class PlainRow:
    """One row of one layer as the contract has it; tokens are what 16 bits hold, float32 ``[HEADS, T, DIM]``."""

    config: KittyConfig
    keys: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((HEADS, 0, DIM), np.float32))
    values: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((HEADS, 0, DIM), np.float32))
    weights: np.ndarray | None = None  # of the layer's channels, [HEADS, DIM]

    @property
    def length(self) -> int:
        return self.keys.shape[1]

    @property
    def key_pages(self) -> int:
        is_packed = self.config.k_bits == 2
        return max(0, self.length - self.config.sink_tokens) // PAGE if is_packed else 0

    @property
    def value_pages(self) -> int:
        behind = self.length - self.config.sink_tokens - self.config.recent_tokens
        return max(0, behind) // PAGE if self.config.v_bits == 2 else 0

    def feed(self, keys: np.ndarray, values: np.ndarray) -> None:
        self.keys = np.concatenate((self.keys, keys), 1)
        self.values = np.concatenate((self.values, values), 1)

    def held(self) -> tuple[np.ndarray, np.ndarray]:
        """What the row shows once the call is over."""
        keys, values, sink = self.keys.copy(), self.values.copy(), self.config.sink_tokens
        for page in range(self.key_pages):
            at = slice(sink + PAGE * page, sink + PAGE * (page + 1))
            for head in range(HEADS):
                weights = None if self.weights is None else self.weights[head]
                keys[head, at] = quantized_keys(keys[head, at], int(self.config.boost_ratio * DIM), weights)
        for page in range(self.value_pages):
            at = slice(sink + PAGE * page, sink + PAGE * (page + 1))
            values[:, at] = quantized(values[:, at], np.float32(3), axis=2)
        return keys, values

    def seen(self, keys: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What a call that brings these tokens sees: its own in full precision behind what the row shows."""
        return tuple(np.concatenate(pair, 1) for pair in zip(self.held(), (keys, values), strict=True))


def attention64(query: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The last S of T tokens, causally: query ``[HEADS * GROUPS, S, DIM]``."""
    keys, values = (np.repeat(x.astype(np.float64), GROUPS, 0) for x in (keys, values))
    scores = query.astype(np.float64) @ keys.transpose(0, 2, 1) * SCALING
    scores[:, ~np.tri(query.shape[1], keys.shape[1], keys.shape[1] - query.shape[1], dtype=bool)] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ values


def random_call(
    rng: np.random.Generator, rows: int, width: int, dtype: torch.dtype = torch.float16, device: str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Query, keys and values of a call, with one channel of large keys."""
    q = torch.from_numpy(rng.standard_normal((rows, HEADS * GROUPS, width, DIM))).to(dtype)
    k, v = (torch.from_numpy(rng.standard_normal((rows, HEADS, width, DIM))) for _ in range(2))
    k[..., 5] += 10
    return q.to(device), k.to(dtype).to(device), v.to(dtype).to(device)


def as_numpy(x: torch.Tensor) -> np.ndarray:
    return x.float().cpu().numpy()


def check_layer(cache: PagedCache, layer: int, rows: list[PlainRow]) -> None:
    keys, values = (as_numpy(x) for x in cache.layers[layer].dequantize())
    assert cache.layers[layer].lengths == [row.length for row in rows]
    for index, row in enumerate(rows):
        for got, want in zip((keys, values), row.held(), strict=True):
            assert np.array_equal(got[index, :, : row.length], want)
            assert not got[index, :, row.length :].any()


def check_references(cache: PagedCache) -> None:
    """Every page and block is held exactly by the rows that refer to it."""
    for ids, held in (
        (cache.store.key_ids, [row.keys.pages for row in cache.rows]),
        (cache.store.value_ids, [row.values.pages for row in cache.rows]),
        (cache.store.block_ids, [[*row.keys.held_blocks(), *row.values.held_blocks()] for row in cache.rows]),
    ):
        assert ids.in_use == len({id_ for row in held for id_ in row})


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("seed", range(3))
def test_ragged_padded_calls_of_any_size_match_the_contract_in_every_layer(name, seed, target):
    layers, batch = 2, 3
    rng, choose = np.random.default_rng(seed), random.Random(seed)
    config, weights = PRESETS[name], None
    if config.selection == "query":
        weights = ChannelWeights(torch.from_numpy(rng.exponential(size=(layers, HEADS, DIM))))
    cache = PagedCache(config, layers, target.impl, weights=weights)
    by_layer = [None] * layers if weights is None else weights.tensor.numpy()
    rows = [[PlainRow(config, weights=by_layer[layer]) for _ in range(batch)] for layer in range(layers)]
    sizes = [choose.choice(PIECES) for _ in range(9)]
    for width in sizes:
        counts = [choose.choice([width, choose.randint(0, width)]) for _ in range(batch)]
        starts = [choose.choice([0, width - count]) for count in counts]
        real = torch.zeros(batch, width, dtype=torch.bool)
        for row in range(batch):
            real[row, starts[row] : starts[row] + counts[row]] = True
        padding = None if bool(real.all()) else real.to(target.device)
        for layer in range(layers):
            q, k, v = random_call(rng, batch, width, device=target.device)
            poison = ~real[:, None, :, None].to(target.device)
            q, k, v = (x.masked_fill(poison, float("nan")) for x in (q, k, v))
            got = cache.layers[layer].attend(q, k, v, scaling=SCALING, real=padding)
            assert not got.masked_fill(~poison, 0).any()
            for row in range(batch):
                at = slice(starts[row], starts[row] + counts[row])
                new_q, new_k, new_v = (as_numpy(x[row, :, at]) for x in (q, k, v))
                if counts[row]:
                    want = attention64(new_q, *rows[layer][row].seen(new_k, new_v))
                    # 16-bit keys, values, weights and results, each rounded once.
                    assert np.abs(as_numpy(got[row, :, at]) - want).max() < 4e-3
                rows[layer][row].feed(new_k, new_v)
        for layer in range(layers):
            check_layer(cache, layer, rows[layer])
        check_references(cache)


def test_weights_are_those_of_a_layer_wherever_it_lies_among_the_pools(target):
    """Layers take their places in the order in which they first come."""
    rng = np.random.default_rng(0)
    weights = ChannelWeights(torch.from_numpy(rng.exponential(size=(3, HEADS, DIM))))
    caches = [PagedCache(PRESETS["kitty-q"], 3, target.impl, weights=weights) for _ in range(2)]
    for width in (170, 100, 20, 20):  # pages that the prompt packs, and pages that later calls complete
        tokens = [random_call(rng, 1, width, device=target.device)[1:] for _ in range(3)]
        for cache, order in zip(caches, ((0, 1, 2), (2, 0, 1)), strict=True):
            for layer in order:
                cache.layers[layer].append(*tokens[layer])
    (storage,) = caches[1].storages
    assert caches[1].store.layers_on(storage) == (2, 0, 1)
    for layer in range(3):
        for side, other in zip(*(cache.layers[layer].dequantize() for cache in caches), strict=True):
            assert torch.equal(side, other)


def test_rows_that_share_pages_and_blocks_go_apart_without_touching_each_other(target):
    config = PRESETS["kitty-pro"]
    cache = PagedCache(config, 2, target.impl)
    rng = np.random.default_rng(1)
    rows = [[PlainRow(config) for _ in range(2)] for _ in range(2)]

    def feed(width: int) -> None:
        for layer, of_layer in enumerate(rows):
            _, k, v = random_call(rng, len(of_layer), width, device=target.device)
            cache.layers[layer].append(k, v)
            for index, row in enumerate(of_layer):
                row.feed(as_numpy(k[index]), as_numpy(v[index]))

    def select(indices: list[int]) -> None:
        cache.select_rows(indices)
        for layer, of_layer in enumerate(rows):
            rows[layer] = [copy.deepcopy(of_layer[index]) for index in indices]

    # A last block that is partly filled, a sink block that is, pages that become full while shared.
    for width, indices in ((20, [0, 0, 1]), (7, [2, 1, 0, 0]), (300, [0, 3]), (150, [1, 1]), (1, [0]), (17, [0, 0])):
        feed(width)
        select(indices)
        for layer in range(2):
            check_layer(cache, layer, rows[layer])
        check_references(cache)
    feed(1)
    for layer in range(2):
        check_layer(cache, layer, rows[layer])


def test_shared_rows_cost_nothing_until_they_grow():
    cache = PagedCache(PRESETS["kitty"], 1)
    _, k, v = random_call(np.random.default_rng(2), 1, 1000)
    cache.layers[0].append(k, v)
    alone, allocated = cache_memory(cache), cache.bytes_allocated
    cache.select_rows([0] * 50)
    shared = cache_memory(cache)
    assert shared["packed_bytes"] == alone["packed_bytes"]
    assert shared["full_precision_bytes"] == alone["full_precision_bytes"]
    assert shared["dense_bytes"] == 50 * alone["dense_bytes"]
    assert cache.bytes_allocated == allocated


@pytest.mark.parametrize("preset", UNWEIGHTED)
def test_memory_counts_the_tokens_that_pages_and_blocks_hold(preset):
    config = PRESETS[preset]
    cache, rows = PagedCache(config, 3), [PlainRow(config), PlainRow(config)]
    rng = np.random.default_rng(3)
    for width, counts in ((130, (130, 1)), (1, (1, 1)), (300, (0, 299)), (16, (16, 16))):
        _, k, v = random_call(rng, 2, width)
        real = torch.arange(width) < torch.tensor(counts)[:, None]
        for layer in cache.layers:
            layer.append(k, v, real)
        for index, row in enumerate(rows):
            row.feed(as_numpy(k[index, :, : counts[index]]), as_numpy(v[index, :, : counts[index]]))
        boosted = int(config.boost_ratio * DIM)
        record = -(-(PAGE * DIM // 4 + PAGE * boosted // 4 + 4 * DIM + boosted) // 16) * 16
        packed = sum(row.key_pages * record + row.value_pages * (PAGE * DIM // 4 + 4 * PAGE) for row in rows)
        left = sum(2 * row.length - PAGE * (row.key_pages + row.value_pages) for row in rows)
        memory = cache_memory(cache)
        assert memory["packed_bytes"] == 3 * HEADS * packed
        assert memory["full_precision_bytes"] == 3 * HEADS * left * DIM * 2
        assert memory["tokens"] == sum(row.length for row in rows)


def test_a_long_row_is_allocated_little_more_than_it_holds():
    cache = PagedCache(PRESETS["kitty-pro"], 2)
    _, k, v = random_call(np.random.default_rng(4), 1, 8192)
    for layer in cache.layers:
        layer.append(k, v)
    memory = cache_memory(cache)
    assert cache.bytes_allocated <= 1.01 * (memory["packed_bytes"] + memory["full_precision_bytes"])
    for _ in range(200):
        _, k, v = random_call(np.random.default_rng(5), 1, 1)
        for layer in cache.layers:
            layer.append(k, v)
    memory = cache_memory(cache)
    assert cache.bytes_allocated <= 1.15 * (memory["packed_bytes"] + memory["full_precision_bytes"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_a_prompt_in_chunks_equals_the_prompt_at_once_where_nothing_is_quantized(dtype, target):
    if dtype == torch.float32 and target.impl == "triton":
        pytest.skip("the kernels take 16-bit tokens")
    q, k, v = random_call(np.random.default_rng(6), 2, 400, dtype, target.device)
    whole, chunks = (PagedCache(PRESETS["fp16"], 1, target.impl).layers[0] for _ in range(2))
    want = whole.attend(q, k, v, scaling=SCALING)
    cuts = [0, 1, 17, 18, 300, 317, 400]
    got = [chunks.attend(*(x[:, :, a:b] for x in (q, k, v)), scaling=SCALING) for a, b in itertools.pairwise(cuts)]
    torch.testing.assert_close(torch.cat(got, 2), want, atol=8 * torch.finfo(dtype).eps, rtol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(whole.dequantize(), chunks.dequantize(), strict=True))


def test_padding_between_real_tokens_never_enters_the_cache(target):
    config = PRESETS["kitty-pro"]
    cache, alone = PagedCache(config, 1, target.impl), PagedCache(config, 1, target.impl)
    rng = np.random.default_rng(7)
    for width in (250, 9):
        q, k, v = random_call(rng, 2, width, device=target.device)
        real = torch.from_numpy(rng.random((2, width)) < 0.7).to(target.device)
        real[1] = real[0]
        got = cache.layers[0].attend(q, k, v, scaling=SCALING, real=real)
        want = alone.layers[0].attend(*(x[:, :, real[0]] for x in (q, k, v)), scaling=SCALING)
        torch.testing.assert_close(got[:, :, real[0]], want, atol=1e-3, rtol=1e-3)
        assert not got[:, :, ~real[0]].any()
    assert all(
        torch.equal(a, b) for a, b in zip(cache.layers[0].dequantize(), alone.layers[0].dequantize(), strict=True)
    )


def test_tables_and_counters_reach_a_device_once_a_pass():
    cache = PagedCache(PRESETS["kitty"], 3, "reference")
    rng = np.random.default_rng(8)
    for width in (40, 1, 16):
        seen = []
        for layer in cache.layers:
            q, k, v = random_call(rng, 1, width)
            layer.attend(q, k, v, scaling=SCALING)
            # The last layer ends the pass.
            if layer is not cache.layers[-1]:
                seen.append(cache.views(cache.storages[0]))
        assert all(views.now.lengths is seen[0].now.lengths for views in seen)


@pytest.mark.gpu
@pytest.mark.parametrize("preset", ["fp16", "kitty-pro"])
def test_decode_steps_never_wait_for_the_device(preset):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    cache = PagedCache(PRESETS[preset], 2)
    rng = np.random.default_rng(16)
    q, k, v = random_call(rng, 3, 300, device="cuda")
    for layer in cache.layers:
        layer.attend(q, k, v, scaling=SCALING)
    cache.select_rows([0, 1, 1])
    q, k, v = random_call(rng, 3, 2, device="cuda")
    for mode in ("default", "error"):  # kernels are compiled in the first round
        torch.cuda.set_sync_debug_mode(mode)
        try:
            # Pages of keys and of values become full on the way, blocks are copied, and the pools grow.
            for _ in range(150):
                for layer in cache.layers:
                    layer.attend(q, k, v, scaling=SCALING)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert cache.lengths == [900] * 3


def test_layers_may_lie_on_several_devices():
    cache = PagedCache(PRESETS["fp16"], 3)
    q, k, v = random_call(np.random.default_rng(9), 1, 20)
    devices = ["cpu", "meta", "meta"]
    for width in (20, 1, 1):
        for layer, device in zip(cache.layers, devices, strict=True):
            out = layer.attend(*(x[:, :, :width].to(device) for x in (q, k, v)), scaling=SCALING)
            assert out.device.type == device
    assert [(storage.device.type, storage.layers) for storage in cache.storages] == [("cpu", 1), ("meta", 2)]
    assert cache.lengths == [22]
    assert torch.equal(cache.layers[0].dequantize(torch.float16)[0], torch.cat((k, k[:, :, :1], k[:, :, :1]), 2))


def test_a_pass_that_fails_half_way_is_refused_until_reset():
    cache = PagedCache(PRESETS["kitty"], 2)
    _, k, v = random_call(np.random.default_rng(10), 1, 200)
    for layer in cache.layers:
        layer.append(k, v)
    cache.layers[0].append(k, v)
    assert [layer.slots for layer in cache.layers] == [400, 200]
    assert [layer.lengths for layer in cache.layers] == [[400], [200]]
    assert [layer.dequantize()[0].shape[2] for layer in cache.layers] == [400, 200]
    with pytest.raises(CacheError, match="half-way"):
        cache.layers[0].append(k, v)
    with pytest.raises(CacheError, match="half-way"):
        cache.select_rows([0])
    cache.reset()
    assert (cache.bytes_allocated, cache.lengths) == (0, [])
    for layer in cache.layers:
        layer.append(k, v)
    assert cache.lengths == [200]


def test_a_layer_whose_call_raises_leaves_a_cache_that_says_so():
    cache = PagedCache(PRESETS["kitty"], 1)
    q, k, v = random_call(np.random.default_rng(11), 1, 5)
    with pytest.raises(RuntimeError):
        cache.layers[0].attend(q[..., :3], k, v, scaling=SCALING)
    with pytest.raises(CacheError, match="half-way"):
        cache.layers[0].attend(q, k, v, scaling=SCALING)


def test_layers_that_get_other_tokens_than_the_first_are_refused():
    cache = PagedCache(PRESETS["kitty"], 2)
    _, k, v = random_call(np.random.default_rng(12), 1, 5)
    cache.layers[0].append(k, v)
    with pytest.raises(CacheError, match="4 positions instead of 5"):
        cache.layers[1].append(k[:, :, :4], v[:, :, :4])


def test_layers_of_different_shapes_are_refused():
    cache = PagedCache(PRESETS["kitty"], 2)
    _, k, v = random_call(np.random.default_rng(13), 1, 5)
    cache.layers[0].append(k, v)
    with pytest.raises(UnsupportedError, match="layer 1: it has 1 KV heads x 64 channels, the layers before it 2 x 64"):
        cache.layers[1].append(k[:, :1], v[:, :1])


def test_implementations_are_chosen_by_name_and_never_replaced():
    _, k, v = random_call(np.random.default_rng(14), 1, 5)
    with pytest.raises(ConfigError, match="auto, reference, triton, got 'cuda'"):
        PagedCache(PRESETS["kitty"], 1, "cuda")
    with pytest.raises(UnsupportedError, match=r"float16 and bfloat16 keys, got torch\.float32"):
        PagedCache(PRESETS["kitty"], 1, "triton").layers[0].append(k.float(), v.float())
    with pytest.raises(UnsupportedError, match="page_size 128, got 64"):
        PagedCache(KittyConfig(page_size=64), 1, "triton").layers[0].append(k, v)
    for preset in ("kitty", "fp16"):
        with pytest.raises(UnsupportedError, match=r"float16, bfloat16 and float32 keys, got torch\.float64"):
            PagedCache(PRESETS[preset], 1, "reference").layers[0].append(k.double(), v.double())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("preset", ["fp16", "kitty"])
def test_impl_reference_runs_the_references_whatever_is_packed(preset, dtype):
    q, k, v = random_call(np.random.default_rng(16), 1, 50, dtype)
    cache, cuts = PagedCache(PRESETS[preset], 1, "reference"), [0, 20, 21, 50]
    got = [
        cache.layers[0].attend(*(x[:, :, a:b] for x in (q, k, v)), scaling=SCALING) for a, b in itertools.pairwise(cuts)
    ]
    # Nothing is packed of 50 tokens yet, and 16 bits hold what a packing cache keeps of float32.
    held = [x.half().double() if preset == "kitty" and dtype == torch.float32 else x.double() for x in (k, v)]
    keys, values = (x.repeat_interleave(GROUPS, 1) for x in held)
    hidden = torch.ones(50, 50, dtype=torch.bool).triu(1)
    weights = (q.double() @ keys.transpose(-1, -2) * SCALING).masked_fill(hidden, -torch.inf).softmax(-1)
    error = (torch.cat(got, 2).double() - weights @ values).abs().max()
    assert error <= 16 * torch.finfo(torch.float16 if preset == "kitty" and dtype == torch.float32 else dtype).eps
    assert isinstance(cache.route, KernelRoute)
    assert cache.route.impl == "reference"


@pytest.mark.parametrize("page_size", [8, 24, 64])
@pytest.mark.parametrize("sink_tokens", [0, 5, 40])
def test_pages_and_sinks_need_not_end_where_blocks_do(page_size, sink_tokens, target):
    if target.impl == "triton":
        pytest.skip("the kernels take pages of 128 tokens")
    config = KittyConfig(page_size=page_size, sink_tokens=sink_tokens, recent_tokens=30)
    at_once, pieces = PagedCache(config, 1, target.impl), PagedCache(config, 1, target.impl)
    _, k, v = random_call(np.random.default_rng(15), 2, 333)
    at_once.layers[0].append(k, v)
    start, choose = 0, random.Random(page_size + sink_tokens)
    while start < 333:
        end = min(333, start + choose.choice([1, 3, 16, 17, 50]))
        pieces.layers[0].append(k[:, :, start:end], v[:, :, start:end])
        start = end
    assert all(
        torch.equal(a, b) for a, b in zip(at_once.layers[0].dequantize(), pieces.layers[0].dequantize(), strict=True)
    )
    check_references(pieces)
