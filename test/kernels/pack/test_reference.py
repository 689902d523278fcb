"""The reference of pack against plain Python: bytes, tables, sources of a page's tokens, and what is refused."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from plain_cache import PAGE, PlainCache, key_record, random_rows, random_weights, value_record

from kitty_kernels.dequantize.reference import unpack_fields
from kitty_kernels.pack.api import flush_layers, pack_cached, pack_keys, pack_values
from kitty_kernels.pack.reference import ordered_sum, pack_fields
from kitty_kernels.pages import PageLayout


def test_a_byte_holds_four_codes_of_two_bits_each():
    rng = random.Random(0)
    codes = [[rng.randrange(4) for _ in range(5)] for _ in range(16)]
    packed = pack_fields(torch.tensor(codes, dtype=torch.int32))
    for i in range(4):
        for column in range(5):
            want = sum(codes[i + 4 * field][column] << (2 * field) for field in range(4))
            assert packed[i, column].item() == want
    assert unpack_fields(packed).tolist() == codes
    assert pack_fields(torch.tensor([[3], [2], [1], [0]], dtype=torch.int32)).item() == 0x1B


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize(
    ("head_dim", "boosted", "selection", "page_size"),
    [
        (64, 0, "magnitude", PAGE),
        (64, 8, "range", PAGE),
        (80, 10, "query", PAGE),
        (128, 32, "query", PAGE),
        (12, 5, "query", 8),
        (80, 10, "magnitude", PAGE),
        (96, 96, "variance", PAGE),
        (128, 16, "random", PAGE),
        (128, 32, "magnitude", PAGE),
        (256, 33, "magnitude", PAGE),
        (64, 9, "variance", 24),
        (12, 5, "magnitude", 8),
    ],
)
def test_records_equal_plain_python_byte_for_byte(dtype, head_dim, boosted, selection, page_size):
    cache = PlainCache(
        random_rows([page_size], 2, head_dim, dtype), [], [], [], 0, boosted,
        page_size=page_size, selection=selection, seed=5,
        weights=random_weights(2, head_dim) if selection == "query" else None,
    )  # fmt: skip
    tokens = cache.keys[0]
    options = {"selection": selection, "seed": 5, "weights": cache.weights}
    keys = pack_keys(tokens, boosted=boosted, impl="reference", **options)
    values = pack_values(tokens, impl="reference")
    for head in range(2):
        page = tokens[head].float().numpy()
        for part, want in zip(keys, cache.layout.keys(torch.from_numpy(key_record(page, cache, head))), strict=True):
            np.testing.assert_array_equal(part[head].numpy(), want.numpy())
        for part, want in zip(values, cache.layout.values(torch.from_numpy(value_record(page, cache))), strict=True):
            np.testing.assert_array_equal(part[head].numpy(), want.numpy())


def test_page_bytes_are_those_of_the_parts_and_padding():
    for head_dim, boosted in [(64, 0), (80, 20), (80, 10), (128, 32), (256, 64)]:
        layout = PageLayout(head_dim, boosted)
        pages = pack_keys(torch.randn(128, head_dim), boosted=boosted)
        assert 0 <= layout.key_bytes - sum(part.nbytes for part in pages) < 16
        values = pack_values(torch.randn(128, head_dim))
        assert sum(part.nbytes for part in values) == layout.value_bytes
    assert (PageLayout(128, 32).key_bytes, PageLayout(128, 32).value_bytes) == (5664, 4608)


def test_sums_are_taken_in_token_order_so_that_they_can_be_repeated():
    rows = [1e16, 1.0, 1.0, -1e16, 3.0]
    assert ordered_sum(torch.tensor(rows, dtype=torch.float64)[:, None]).item() == 3.0
    assert ordered_sum(torch.tensor(rows[::-1], dtype=torch.float64)[:, None]).item() == 4.0


def test_the_minimum_has_no_sign_when_it_is_zero():
    x = torch.zeros(128, 16, dtype=torch.float16)
    x[::2] = -0.0
    assert not torch.signbit(pack_keys(x, boosted=0).minimum).any()
    assert not torch.signbit(pack_values(x).minimum).any()


@pytest.mark.parametrize("kind", ["keys", "values"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_pack_cached_takes_each_token_from_where_it_is(kind, dtype):
    """Row 0 packs from its ring, row 1 from the new tokens alone, row 2 a page that lies in both."""
    sinks, cached, new_tokens = 20, [20 + 128 + 140, 30, 20 + 100], [0, 300, 60]
    lengths = [c + n for c, n in zip(cached, new_tokens, strict=True)]
    keys, values = (random_rows(lengths, 2, 64, dtype, seed) for seed in (1, 2))
    before = PlainCache(
        [k[:, :c] for k, c in zip(keys, cached, strict=True)],
        [v[:, :c] for v, c in zip(values, cached, strict=True)],
        [1, 0, 0], [1, 0, 0], sinks, 8,
    )  # fmt: skip
    view = before.view()
    tokens = keys if kind == "keys" else values
    # A row's new tokens stand behind padding of its own, in a prompt laid out [B, S, HKV, D].
    starts = [7, 3, 11]
    new = torch.full((3, 320, 2, 64), float("nan"), dtype=dtype).transpose(1, 2)
    for row in range(3):
        new[row, :, starts[row] : starts[row] + new_tokens[row]] = tokens[row][:, cached[row] :]
    jobs = [(0, 1, 5), (1, 0, 0), (1, 1, 2), (2, 0, 4), (0, 0, -1), (3, 0, 1), (1, -1, 1), (1, 0, 99)]
    pool = view.key_pages if kind == "keys" else view.value_pages
    pool = torch.full((6, 2, pool.shape[2]), 0xFF, dtype=torch.uint8)
    view = view._replace(**{"key_pages" if kind == "keys" else "value_pages": pool})
    pack_cached(
        view, torch.tensor(jobs, dtype=torch.int32), kind=kind, new=new,
        first_new=torch.tensor(cached, dtype=torch.int32), starts=torch.tensor(starts, dtype=torch.int32),
    )  # fmt: skip
    record = key_record if kind == "keys" else value_record
    for row, page, destination in jobs[:4]:
        for head in range(2):
            want = record(before.page(tokens[row][head], page), before)
            np.testing.assert_array_equal(pool[destination, head].numpy(), want)
    assert (pool[[1, 3]] == 0xFF).all()


def test_channels_that_queries_read_are_boosted():
    page = torch.zeros(PAGE, 16)
    page[0], page[1] = 0, torch.arange(1, 17)
    weights = torch.ones(16)
    options = {"boosted": 2, "selection": "query"}
    assert pack_keys(page, weights=weights, **options).channels.tolist() == [14, 15]
    weights[2] = 100
    assert pack_keys(page, weights=weights, **options).channels.tolist() == [2, 15]
    weights[15] = 0.01
    assert pack_keys(page, weights=weights, **options).channels.tolist() == [2, 14]
    # A tie goes to the lower channel: 3 * 4 and 4 * 3.
    weights = torch.zeros(16)
    weights[2], weights[3], weights[9] = 4, 3, 1
    assert pack_keys(page, weights=weights, boosted=1, selection="query").channels.tolist() == [2]


def test_nothing_to_choose_needs_no_weights():
    page = torch.randn(PAGE, 16)
    for boosted in (0, 16):
        by_query, plain = (pack_keys(page, boosted=boosted, selection=how) for how in ("query", "magnitude"))
        assert all(torch.equal(a, b) for a, b in zip(by_query, plain, strict=True))


def test_each_layer_and_head_has_its_own_weights():
    """Of equal keys every head packs as one alone with its weights."""
    rows = random_rows([150], 1, 64, torch.float16)
    rows = [row.expand(2, -1, -1) for row in rows]
    view = PlainCache(rows, rows, [0], [0], 5, 8).view()
    pools = {name: torch.stack([getattr(view, name)] * 3) for name in ("blocks", "key_pages", "value_pages")}
    weights = random_weights(3, 2, 64)
    flush_layers(
        view._replace(**pools), torch.zeros(1, 3, dtype=torch.int32), kind="keys", selection="query", weights=weights
    )
    page = torch.from_numpy(PlainCache(rows, rows, [0], [0], 5, 8).page(rows[0][0], 0))
    for layer, head in np.ndindex(3, 2):
        alone = pack_keys(page, boosted=8, selection="query", weights=weights[layer, head])
        assert torch.equal(view.layout.keys(pools["key_pages"])[-1][layer, 0, head], alone.channels)


@pytest.mark.parametrize("kind", ["keys", "values"])
def test_flush_layers_packs_the_same_page_of_every_layer(kind):
    layers = [
        PlainCache(random_rows([150, 290], 2, 64, torch.float16, seed), random_rows([150, 290], 2, 64, torch.float16),
                   [0, 1], [0, 1], 5, 8).view()
        for seed in range(3)
    ]  # fmt: skip
    pools = {name: torch.stack([getattr(v, name) for v in layers]) for name in ("blocks", "key_pages", "value_pages")}
    stacked = layers[0]._replace(**pools)
    jobs = torch.tensor([(0, 0, 0), (1, 1, 1), (1, 0, -1)], dtype=torch.int32)
    flush_layers(stacked, jobs, kind=kind)
    for layer, view in enumerate(layers):
        pack_cached(view, jobs, kind=kind)
        for name in pools:
            assert torch.equal(getattr(stacked, name)[layer].nan_to_num(), getattr(view, name).nan_to_num())


@pytest.mark.parametrize(
    ("keys", "options", "message"),
    [
        (torch.zeros(100, 64), {"boosted": 0}, r"PAGE a multiple of 8, got shape \(100, 64\)"),
        (torch.zeros(64), {"boosted": 0}, r"got shape \(64,\)"),
        (torch.zeros(128, 64), {"boosted": 65}, "boosted must be 0 to D = 64, got 65"),
        (torch.zeros(128, 64), {"boosted": -1}, "got -1"),
        (torch.zeros(128, 512), {"boosted": 8}, "head_dim <= 256, got 512"),
        (torch.zeros(128, 64), {"boosted": 8, "selection": "best"}, "got 'best'"),
        (torch.zeros(128, 64), {"boosted": 8, "selection": "query"}, "selection 'query' needs weights"),
        (
            torch.zeros(128, 64),
            {"boosted": 8, "weights": torch.ones(64)},
            "belong to selection 'query', got 'magnitude'",
        ),
        (
            torch.zeros(128, 64),
            {"boosted": 8, "selection": "query", "weights": torch.ones(65)},
            r"broadcast to \(64,\), got .*65",
        ),
    ],
)
def test_pack_keys_names_the_wrong_argument(keys, options, message):
    with pytest.raises(ValueError, match=message):
        pack_keys(keys, **options)


def test_pack_values_wants_whole_bytes_of_channels():
    with pytest.raises(ValueError, match="multiple of 4, got 62"):
        pack_values(torch.zeros(128, 62))


def test_pack_cached_names_the_wrong_argument():
    rows = random_rows([150], 2, 64, torch.float16)
    view, jobs = PlainCache(rows, rows, [0], [0], 5, 8).view(), torch.zeros(1, 3, dtype=torch.int32)
    counter, new = torch.zeros(1, dtype=torch.int32), torch.zeros(1, 2, 9, 64, dtype=torch.float16)
    for options, error, message in [
        ({"jobs": jobs.long()}, TypeError, "jobs must be int32, got int64"),
        ({"jobs": jobs[:, :2]}, ValueError, r"jobs must have shape \(any, 3\), got \(1, 2\)"),
        ({"kind": "both"}, ValueError, "kind must be one of .*, got 'both'"),
        ({"selection": "best"}, ValueError, "got 'best'"),
        ({"selection": "query"}, ValueError, "selection 'query' needs weights"),
        ({"weights": torch.ones(2, 64)}, ValueError, "belong to selection 'query'"),
        ({"selection": "query", "weights": torch.ones(64)}, ValueError, r"weights must have shape \(2, 64\)"),
        (
            {"selection": "query", "weights": torch.ones(2, 64).double()},
            TypeError,
            "weights must be float32, got torch.float64",
        ),
        ({"selection": "query", "weights": torch.ones(4, 64)[::2]}, ValueError, "weights must be contiguous"),
        ({"new": new}, ValueError, "must be given together"),
        ({"new": new[..., :32], "first_new": counter, "starts": counter}, ValueError, r"new must have shape .* 64\)"),
        (
            {"new": new, "first_new": counter.repeat(2), "starts": counter},
            ValueError,
            r"first_new .* \(1\), got \(2,\)",
        ),
        ({"view": view._replace(key_pages=view.key_pages[..., :-1])}, ValueError, "key_pages must have shape"),
        (
            {"view": view._replace(blocks=view.blocks.double())},
            TypeError,
            "blocks must be float16 or bfloat16 or float32, got float64",
        ),
        ({"view": view._replace(value_block_table=view.value_block_table[:, :0])}, ValueError, "at least the 1 sink"),
        (
            {"view": view._replace(key_block_table=view.key_block_table[:, :8])},
            ValueError,
            "hold a page, 8 blocks, got 7",
        ),
        ({"view": view._replace(lengths=counter.repeat(2))}, ValueError, "must have shape"),
    ]:
        with pytest.raises(error, match=message):
            pack_cached(**{"view": view, "jobs": jobs, "kind": "keys", **options})
