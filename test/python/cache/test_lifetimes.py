"""Append, crop, select, fork, save, load and release in any order: contents against plain rows, counts against what rows hold."""

from __future__ import annotations

import copy
import gc
import random
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from plain_row import DIM, HEADS, CroppedRow

from kitty_kv import PRESETS, CacheError, CacheOutOfMemoryError, ConfigError, KittyConfig
from kitty_kv.cache.channel_weights import ChannelWeights
from kitty_kv.cache.memory import cache_memory
from kitty_kv.cache.paged_cache import PagedCache
from kitty_kv.cache.snapshot import restore, take_snapshot
from kitty_kv.cache.store import PageStore
from kitty_kv.errors import CacheBusyError

LAYERS = 2
UNWEIGHTED = [name for name, config in PRESETS.items() if config.selection != "query"]
WEIGHTS = ChannelWeights(torch.from_numpy(np.random.default_rng(7).exponential(size=(LAYERS, HEADS, DIM))))


class Twin:
    """A cache, and the same rows in each layer kept plainly."""

    def __init__(self, cache: PagedCache, rows: list[list[CroppedRow]]) -> None:
        self.cache = cache
        self.rows = rows  # [LAYERS][B]

    @classmethod
    def of(cls, config: KittyConfig, batch: int, impl: str = "auto", max_bytes: int | None = None) -> Twin:
        weights = WEIGHTS if config.selection == "query" else None
        by_layer = [None] * LAYERS if weights is None else weights.tensor.numpy()
        rows = [[CroppedRow(config, weights=of_layer) for _ in range(batch)] for of_layer in by_layer]
        return cls(PagedCache(config, LAYERS, impl, max_bytes, weights=weights), rows)

    def feed(self, rng: np.random.Generator, counts: list[int]) -> None:
        width, batch = max(counts), len(counts)
        new = rng.standard_normal((LAYERS, 2, batch, HEADS, width, DIM)).astype(np.float16)
        new[:, 0, ..., 5] += 10
        real = torch.arange(width) < torch.tensor(counts)[:, None]
        padding = None if bool(real.all()) else real
        for layer in range(LAYERS):
            keys, values = torch.from_numpy(new[layer])
            self.cache.layers[layer].append(keys, values, padding)
        for layer, rows in enumerate(self.rows):
            for index, (row, count) in enumerate(zip(rows, counts, strict=True)):
                row.feed(*(new[layer, side, index, :, :count] for side in (0, 1)))

    def crop(self, lengths: list[int]) -> None:
        self.cache.crop(lengths)
        for rows in self.rows:
            for row, length in zip(rows, lengths, strict=True):
                row.crop(length)

    def select(self, indices: list[int]) -> None:
        self.cache.select_rows(indices)
        self.rows = [[copy.deepcopy(rows[index]) for index in indices] for rows in self.rows]

    def fork(self) -> Twin:
        return Twin(self.cache.fork(), copy.deepcopy(self.rows))

    def reloaded(self) -> Twin:
        old = self.cache
        cache = PagedCache(old.config, LAYERS, old.impl, old.store.max_bytes, weights=old.weights)
        restore(cache, *take_snapshot(old), torch.float16, [torch.device("cpu")] * LAYERS)
        return Twin(cache, copy.deepcopy(self.rows))

    def check(self) -> None:
        assert self.cache.lengths == [row.length for row in self.rows[0]]
        for layer, rows in enumerate(self.rows):
            if not max(self.cache.lengths):
                continue
            shown = [x.numpy() for x in self.cache.layers[layer].dequantize()]
            for index, row in enumerate(rows):
                for got, want in zip(shown, row.held(), strict=True):
                    assert np.array_equal(got[index, :, : row.length], want)
                    assert not got[index, :, row.length :].any()


def check_counts(twins: list[Twin]) -> None:
    """Every store's ids in use are exactly those that the rows of its users hold."""
    for store in {twin.cache.store for twin in twins}:
        rows = [row for twin in twins if twin.cache.store is store for row in twin.cache.rows]
        store.collect()
        for ids, held in (
            (store.key_ids, [row.keys.pages for row in rows]),
            (store.value_ids, [row.values.pages for row in rows]),
            (store.block_ids, [[*row.keys.held_blocks(), *row.values.held_blocks()] for row in rows]),
        ):
            assert ids.in_use == len({number for numbers in held for number in numbers})
        for storage in store.storages:
            capacities = (ids.capacity for ids in (store.key_ids, store.value_ids, store.block_ids))
            assert all(room >= capacity for room, capacity in zip(storage.counts, capacities, strict=True))


def random_lengths(choose: random.Random, lengths: list[int]) -> list[int]:
    ways = (lambda n: n, lambda n: max(0, n - choose.randint(1, 70)), lambda n: choose.randint(0, n))
    return [choose.choice(ways)(length) for length in lengths]


@pytest.mark.parametrize("preset", [*UNWEIGHTED, "kitty-q"])
@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_operations_keeps_contents_and_counts(preset, seed):
    choose, rng = random.Random(seed), np.random.default_rng(seed)
    twins = [Twin.of(PRESETS[preset], 2, choose.choice(["auto", "reference"]))]
    twins[0].feed(rng, [200, 150])
    for _ in range(30):
        twin = choose.choice(twins)
        rows, action = len(twin.cache.rows), choose.randrange(12)
        if action < 5:
            size = choose.choice([1, 3, 16, 40, 130, 300])
            twin.feed(rng, [choose.choice([size, choose.randint(0, size)]) for _ in range(rows - 1)] + [size])
        elif action < 8:
            twin.crop(random_lengths(choose, twin.cache.lengths))
        elif action == 8:
            twin.select([choose.randrange(rows) for _ in range(choose.randint(1, 3))])
        elif action == 9 and len(twins) < 4:
            twins.append(twin.fork())
        elif action == 10 and len(twins) < 4:
            twins.append(twin.reloaded())
        elif action == 11 and len(twins) > 1:
            twins.remove(twin)
        del twin
        for other in twins:
            other.check()
        check_counts(twins)
    stores = {twin.cache.store for twin in twins}
    twins.clear()
    del other
    for store in stores:
        store.collect()
        assert [ids.in_use for ids in (store.key_ids, store.value_ids, store.block_ids)] == [0, 0, 0]


@pytest.mark.parametrize("preset", UNWEIGHTED)
@pytest.mark.parametrize("impl", ["auto", "reference"])
@pytest.mark.parametrize("back", [1, 17, 64])
def test_tokens_of_the_last_pass_come_back_exactly(preset, impl, back):
    config, rng = PRESETS[preset], np.random.default_rng(back)
    for length in (31, 159, 285, 415):
        for first in (0, length):  # the tokens that go came with the prompt, or in a pass of their own
            twin, tokens = Twin.of(config, 1, impl), rng.standard_normal((2, 1, HEADS, length + back + 200, DIM))
            keys, values = torch.from_numpy(tokens).half()
            never = PagedCache(config, LAYERS, impl)
            for cache, ends in ((twin.cache, [first, length + back]), (never, [length])):
                start = 0
                for end in ends:
                    for layer in cache.layers:
                        if end > start:
                            layer.append(keys[:, :, start:end], values[:, :, start:end])
                    start = end
            twin.cache.crop([length])
            for size in (0, 30, 150):
                for cache in (twin.cache, never):
                    for layer in cache.layers:
                        if size:
                            layer.append(keys[:, :, -size:], values[:, :, -size:])
                shown = zip(twin.cache.layers[1].dequantize(), never.layers[1].dequantize(), strict=True)
                assert all(torch.equal(a, b) for a, b in shown)
                assert cache_memory(twin.cache) == cache_memory(never) | {"allocated_bytes": twin.cache.bytes_allocated}


def test_cropping_to_nothing_leaves_a_cache_like_a_new_one():
    twin, rng = Twin.of(PRESETS["kitty-pro"], 2), np.random.default_rng(0)
    twin.feed(rng, [500, 300])
    twin.crop([0, 0])
    assert (twin.cache.slots, twin.cache.store.block_ids.in_use) == (0, 0)
    twin.feed(rng, [170, 300])
    twin.check()


def test_wrong_lengths_are_refused_and_change_nothing():
    twin = Twin.of(PRESETS["kitty"], 2)
    twin.feed(np.random.default_rng(1), [20, 30])
    for lengths in ([20], [21, 30], [-1, 5], [1, 2, 3]):
        with pytest.raises(ConfigError, match=r"its rows hold \[20, 30\]"):
            twin.cache.crop(lengths)
    twin.check()
    twin.cache.layers[0].append(*(torch.zeros(2, HEADS, 1, DIM).half() for _ in range(2)))
    for refused in (lambda: twin.cache.crop([1, 1]), twin.cache.fork):
        with pytest.raises(CacheError, match="half-way"):
            refused()


@pytest.mark.parametrize("impl", ["auto", "reference"])
def test_forks_share_memory_until_one_grows_and_never_see_each_other(impl):
    origin, rng = Twin.of(PRESETS["kitty-pro"], 1, impl), np.random.default_rng(2)
    origin.feed(rng, [1000])
    allocated = origin.cache.bytes_allocated
    forks = [origin.fork() for _ in range(5)]
    assert origin.cache.bytes_allocated == allocated
    for count, twin in enumerate((*forks, origin), 1):
        twin.feed(rng, [count])
        twin.feed(rng, [60 * count])
    forks[0].crop([500])
    for twin in (*forks, origin):
        twin.check()
    check_counts([*forks, origin])
    assert origin.cache.bytes_allocated < 6 * allocated
    store = origin.cache.store
    origin.cache.reset()
    del origin, twin
    for twin in forks:
        twin.check()
    check_counts(forks)
    del twin
    forks.clear()
    store.collect()
    assert [ids.in_use for ids in (store.key_ids, store.value_ids, store.block_ids)] == [0, 0, 0]


def test_a_cache_nobody_refers_to_is_gone_without_the_garbage_collector():
    gc.disable()
    try:
        twin = Twin.of(PRESETS["kitty"], 1)
        twin.feed(np.random.default_rng(3), [200])
        fork = twin.cache.fork()
        seen = [weakref.ref(fork), weakref.ref(twin.cache)]
        assert all(cache() is not None for cache in seen)
        del fork
        assert seen[0]() is None
        del twin
        assert seen[1]() is None
    finally:
        gc.enable()


def test_a_fork_of_an_empty_cache_takes_its_own_batch():
    empty, rng = Twin.of(PRESETS["kitty"], 2), np.random.default_rng(4)
    fork = Twin.of(PRESETS["kitty"], 3)
    fork.cache = empty.cache.fork()
    empty.feed(rng, [20, 300])
    fork.feed(rng, [200, 3, 7])
    for twin in (empty, fork):
        twin.check()
    check_counts([empty, fork])


@pytest.mark.parametrize("preset", ["fp16", "kitty-pro"])
def test_a_full_cache_keeps_what_it_has_and_goes_on_when_a_row_is_cropped_or_dropped(preset):
    rng = np.random.default_rng(5)
    twin = Twin.of(PRESETS[preset], 3, max_bytes=900_000 if preset == "kitty-pro" else 1_200_000)
    twin.feed(rng, [300, 200, 100])
    fork, steps = twin.fork(), 0
    with pytest.raises(CacheOutOfMemoryError, match=r"max_bytes is [0-9,]+; crop or drop rows"):
        while True:
            steps += 1
            twin.feed(rng, [50, 50, 50])
    assert steps > 3
    for _ in range(2):
        with pytest.raises(CacheOutOfMemoryError):
            twin.feed(rng, [400, 400, 400])
    for check in (twin, fork):
        check.check()
    check_counts([twin, fork])
    assert twin.cache.bytes_allocated <= twin.cache.store.max_bytes
    twin.crop([100, *twin.cache.lengths[1:]])
    twin.feed(rng, [1, 1, 1])
    twin.select([1])
    del fork, check
    for _ in range(4):
        twin.feed(rng, [50])
        twin.check()
        check_counts([twin])
    assert twin.cache.bytes_allocated <= twin.cache.store.max_bytes


def test_a_batch_that_does_not_fit_at_all_leaves_the_cache_empty():
    twin = Twin.of(PRESETS["kitty"], 2, max_bytes=20_000)
    with pytest.raises(CacheOutOfMemoryError):
        twin.feed(np.random.default_rng(6), [2000, 2000])
    assert (twin.cache.bytes_allocated, twin.cache.lengths) == (0, [])
    small = Twin(twin.cache, [[CroppedRow(PRESETS["kitty"])] for _ in range(LAYERS)])
    small.feed(np.random.default_rng(7), [5])
    small.check()
    for wrong in (-1, 1.5, True):
        with pytest.raises(ConfigError, match="max_bytes"):
            PagedCache(PRESETS["kitty"], 1, max_bytes=wrong)


@pytest.mark.parametrize("rows", [1, 8])
def test_growing_token_by_token_allocates_little_more_than_is_held(rows):
    twin, rng = Twin.of(PRESETS["kitty-pro"], rows), np.random.default_rng(8)
    twin.feed(rng, [2000 + 17 * row for row in range(rows)])
    for _ in range(100):
        twin.feed(rng, [1] * rows)
    memory = cache_memory(twin.cache)
    assert memory["allocated_bytes"] == twin.cache.bytes_allocated
    # At most a page a row, and the blocks that held a page before it was packed.
    layout = twin.cache.layout
    spare = LAYERS * HEADS * rows * (layout.key_bytes + layout.value_bytes + 2 * 128 * DIM * 2 + 4 * 16 * DIM * 2)
    assert memory["allocated_bytes"] <= memory["packed_bytes"] + memory["full_precision_bytes"] + spare


def test_memory_is_given_back_as_tokens_rows_and_packed_pages_go():
    rng, spares = np.random.default_rng(9), []
    twin = Twin.of(PRESETS["kitty-pro"], 4)
    twin.feed(rng, [2000] * 4)

    def spare() -> int:
        memory = cache_memory(twin.cache)
        return memory["allocated_bytes"] - memory["packed_bytes"] - memory["full_precision_bytes"]

    block = LAYERS * HEADS * 16 * DIM * 2
    page = LAYERS * HEADS * (twin.cache.layout.key_bytes + twin.cache.layout.value_bytes)
    twin.select([0])
    twin.check()
    assert spare() <= page + 20 * block  # 16 of them hold pages that the prompt's last tokens completed
    for _ in range(140):
        twin.feed(rng, [1])
        spares.append(spare())
    # One page ahead, two blocks free and two that are not full; and what undoing a step needs, once in 128 steps.
    assert sum(each > page + 8 * block for each in spares) <= 4
    twin.crop([700])
    twin.check()
    assert spare() <= page + 8 * block
    version = twin.cache.storages[0].version
    for _ in range(128):
        twin.feed(rng, [1])
    assert twin.cache.storages[0].version - version <= 16
    twin.check()


def test_a_pass_in_the_middle_of_another_threads_is_refused_and_changes_nothing():
    cache = PagedCache(PRESETS["kitty-pro"], layers=2, impl="auto")
    tokens = torch.randn(1, HEADS, 40, DIM)
    for layer in cache.layers:
        layer.append(tokens, tokens)
    fork = cache.fork()
    new = torch.randn(1, HEADS, 3, DIM)
    cache.layers[0].append(new, new)
    with ThreadPoolExecutor(1) as other:
        with pytest.raises(CacheBusyError, match="another thread"):
            other.submit(fork.layers[0].append, new, new).result()
        cache.layers[1].append(new, new)
        # Between passes any thread may go on.
        for layer in fork.layers:
            other.submit(layer.append, new, new).result()
    assert cache.lengths == fork.lengths == [43]
    for ours, theirs in zip(cache.layers, fork.layers, strict=True):
        for one, two in zip(ours.dequantize(), theirs.dequantize(), strict=True):
            assert torch.equal(one, two)


def test_a_pass_asks_no_idle_cache_of_its_store_whether_it_is_in_one():
    asked = []

    class Idle(PagedCache):
        def __getattribute__(self, name: str):
            if name == "step":
                asked.append(self)
            return super().__getattribute__(name)

    store = PageStore(2, trims=False)
    idle, busy = (kind(PRESETS["kitty-pro"], layers=2, store=store) for kind in (Idle, PagedCache))
    tokens = torch.randn(1, HEADS, 40, DIM)
    for cache in (idle, busy, busy):
        asked.clear()
        for layer in cache.layers:
            layer.append(tokens, tokens)
        assert bool(asked) == (cache is idle)
        # Once it is another's turn it is forgotten.
        for layer in busy.layers:
            layer.append(tokens, tokens)


@pytest.mark.parametrize("impl", ["auto", "reference"])
def test_caches_at_rest_keep_no_pool_alive_that_has_grown(impl: str) -> None:
    store = PageStore(LAYERS, trims=False)
    caches, outgrown = [], []
    rng = np.random.default_rng(0)
    for _ in range(4):
        twin = Twin.of(PRESETS["kitty-pro"], 1, impl)
        twin.cache = PagedCache(PRESETS["kitty-pro"], LAYERS, impl, store=store)
        twin.feed(rng, [300])
        caches.append(twin)
        (storage,) = store.storages
        outgrown.append(weakref.ref(storage.blocks))
    del storage
    # An engine's idle sessions each held the pools of their last pass.
    assert [pool() is None for pool in outgrown] == [True, True, True, False]
    for twin in caches:
        twin.check()
