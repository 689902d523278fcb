"""What every operation's ``api`` refuses, and the packing itself against Python integers."""

from __future__ import annotations

import random

import pytest
import torch

from kitty_kernels.decode_attention.api import CacheView, decode_attention
from kitty_kernels.dequantize.api import dequantize_keys, dequantize_values
from kitty_kernels.dequantize.reference import unpack_words
from kitty_kernels.pack.api import pack_keys, pack_values
from kitty_kernels.pack.reference import pack_words
from kitty_kernels.pages import key_page_bytes, value_page_bytes


def test_words_hold_eight_codes_of_two_bits_each():
    rng = random.Random(0)
    codes = [[rng.randrange(4) for _ in range(5)] for _ in range(16)]
    words = pack_words(torch.tensor(codes, dtype=torch.int32))
    for i in range(2):
        for column in range(5):
            want = sum(codes[i + 2 * field][column] << (2 * field) for field in range(8))
            assert words[i, column].item() & 0xFFFF == want
    assert unpack_words(words).tolist() == codes


def test_page_bytes_are_those_of_the_tensors():
    for head_dim, boosted in [(64, 0), (80, 20), (128, 32), (256, 64)]:
        pages = pack_keys(torch.randn(128, head_dim), boosted=boosted)
        assert sum(part.nbytes for part in pages) == key_page_bytes(128, head_dim, boosted)
        values = pack_values(torch.randn(128, head_dim))
        assert sum(part.nbytes for part in values) == value_page_bytes(128, head_dim)


def test_an_implementation_that_does_not_exist_is_refused_not_replaced():
    pages, values = pack_keys(torch.randn(128, 64), boosted=8), pack_values(torch.randn(128, 64))
    for call in (
        lambda: pack_keys(torch.randn(128, 64), boosted=8, impl="cuda"),
        lambda: pack_values(torch.randn(128, 64), impl="cuda"),
        lambda: dequantize_keys(pages, impl="cuda"),
        lambda: dequantize_values(values, impl="cuda"),
    ):
        with pytest.raises(NotImplementedError, match="impl='cuda'"):
            call()


@pytest.mark.parametrize(
    ("keys", "options", "message"),
    [
        (torch.zeros(100, 64), {"boosted": 0}, r"PAGE a multiple of 8, got shape \(100, 64\)"),
        (torch.zeros(64), {"boosted": 0}, r"got shape \(64,\)"),
        (torch.zeros(128, 64), {"boosted": 65}, "boosted must be 0 to D = 64, got 65"),
        (torch.zeros(128, 64), {"boosted": -1}, "got -1"),
        (torch.zeros(128, 512), {"boosted": 8}, "head_dim <= 256, got 512"),
        (torch.zeros(128, 64), {"boosted": 8, "selection": "best"}, "got 'best'"),
    ],
)
def test_pack_keys_names_the_wrong_argument(keys, options, message):
    with pytest.raises(ValueError, match=message):
        pack_keys(keys, **options)


def test_pack_values_wants_whole_words_of_channels():
    with pytest.raises(ValueError, match="multiple of 8, got 60"):
        pack_values(torch.zeros(128, 60))


def test_decode_attention_names_the_wrong_shape():
    view = empty_view(rows=2, heads=2, head_dim=64)
    query, new = torch.zeros(2, 4, 1, 64), torch.zeros(2, 2, 1, 64)
    assert decode_attention(query, view, new, new, scaling=1.0).shape == query.shape
    with pytest.raises(ValueError, match=r"new_keys must be \(2, 2, 1, 64\), got \(2, 4, 1, 64\)"):
        decode_attention(query, view, query, new, scaling=1.0)
    with pytest.raises(ValueError, match="3 query heads do not divide among 2"):
        decode_attention(query[:, :3], view, new, new, scaling=1.0)
    with pytest.raises(ValueError, match="1 rows, the cache 2"):
        decode_attention(query[:1], view, new[:1], new[:1], scaling=1.0)


def empty_view(rows: int, heads: int, head_dim: int) -> CacheView:
    nothing, none = torch.zeros(rows, heads, 0, head_dim), torch.zeros(rows, dtype=torch.int32)
    table = torch.zeros(rows, 0, dtype=torch.int32)
    return CacheView(nothing, nothing, none, None, table, none, nothing, none, None, table, none, nothing, none)
