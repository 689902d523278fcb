"""The reference of dequantize against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from plain_cache import PAGE, PlainCache, key_codes, key_record, random_rows, value_codes, value_record

from kitty_kernels.dequantize import api


@pytest.mark.parametrize(("head_dim", "boosted"), [(64, 0), (80, 11), (128, 32), (256, 256)])
def test_pages_are_code_times_scale_plus_minimum(head_dim, boosted):
    rows = random_rows([PAGE], 3, head_dim, torch.float16)
    cache = PlainCache(rows, rows, [0], [0], 0, boosted)
    pages = [rows[0][head].float().numpy() for head in range(3)]
    keys = cache.layout.keys(torch.from_numpy(np.stack([key_record(page, cache) for page in pages])))
    values = cache.layout.values(torch.from_numpy(np.stack([value_record(page, cache) for page in pages])))
    for head, page in enumerate(pages):
        codes, scale, minimum, _ = key_codes(page, cache)
        np.testing.assert_array_equal(api.key_codes(keys)[head].numpy(), codes)
        want = codes.astype(np.float32) * scale.astype(np.float32) + minimum.astype(np.float32)
        np.testing.assert_array_equal(api.dequantize_keys(keys)[head].numpy(), want)
        codes, scale, minimum, _ = value_codes(page, cache)
        np.testing.assert_array_equal(api.value_codes(values)[head].numpy(), codes)
        want = codes.astype(np.float32) * scale.astype(np.float32) + minimum.astype(np.float32)
        np.testing.assert_array_equal(api.dequantize_values(values)[head].numpy(), want)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("sinks", [0, 20, 32])
def test_a_view_is_its_rows_in_token_order(dtype, sinks):
    lengths = [0, 1, sinks, sinks + 127, sinks + 128, sinks + 400]
    cache = PlainCache(
        random_rows(lengths, 2, 64, torch.float16, 1), random_rows(lengths, 2, 64, torch.float16, 2),
        [0, 0, 0, 0, 1, 3], [0, 0, 0, 0, 0, 2], sinks, 8,
    )  # fmt: skip
    for tokens in (0, 77, 500):
        keys, values = api.dequantize_view(cache.view(), tokens=tokens, dtype=dtype)
        for got, want in zip((keys, values), cache.dense(tokens), strict=True):
            assert got.dtype == dtype
            torch.testing.assert_close(got, torch.from_numpy(want).to(dtype), rtol=0, atol=0)


def test_what_does_not_exist_reads_as_zeros():
    rows = random_rows([200], 2, 64, torch.float16)
    view = PlainCache(rows, rows, [1], [1], 0, 8).view()
    broken = view._replace(
        key_table=torch.full_like(view.key_table, 99),
        value_table=view.value_table[:, :0],
        key_block_table=torch.full_like(view.key_block_table, -1),
    )
    keys, values = api.dequantize_view(broken, tokens=200)
    assert not keys.any()
    assert not values[:, :, :PAGE].any()
    assert torch.equal(values[:, :, PAGE:], rows[0][None, :, PAGE:].float())


def test_dequantize_view_names_the_wrong_argument():
    rows = random_rows([20], 2, 64, torch.float16)
    view = PlainCache(rows, rows, [0], [0], 5, 8).view()
    with pytest.raises(ValueError, match="tokens must be an integer >= 0, got -1"):
        api.dequantize_view(view, tokens=-1)
    with pytest.raises(TypeError, match=r"dtype must be .* float32, got torch\.float64"):
        api.dequantize_view(view, tokens=3, dtype=torch.float64)
    with pytest.raises(TypeError, match="key_table must be int32, got int64"):
        api.dequantize_view(view._replace(key_table=view.key_table.long()), tokens=3)


def test_float32_blocks_come_back_exactly():
    keys, values = (random_rows([20, 300], 2, 64, torch.float32, seed) for seed in (3, 4))
    cache = PlainCache(keys, values, [0, 2], [0, 1], 5, 8)
    for got, want in zip(api.dequantize_view(cache.view(), tokens=300), cache.dense(300), strict=True):
        np.testing.assert_array_equal(got.numpy(), want)
