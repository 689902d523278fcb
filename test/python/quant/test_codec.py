"""The codec against an independent NumPy implementation of the contract's text."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kitty_kv import PRESETS, ConfigError, KittyConfig, UnsupportedError, quant

PAGE = 128


def codec_keys(page: np.ndarray, boosted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, set[int]]:
    """Contract text for one page [PAGE, D]: codes, scale, minimum, boosted channels."""
    mean = np.abs(page.astype(np.float64)).mean(0)
    order = sorted(range(page.shape[1]), key=lambda channel: (-mean[channel], channel))
    chosen = set(order[:boosted])
    codes = np.zeros(page.shape, np.int64)
    scales, minima = np.zeros(page.shape[1], np.float16), np.zeros(page.shape[1], np.float16)
    for channel in range(page.shape[1]):
        levels = 15 if channel in chosen else 3
        codes[:, channel], scales[channel], minima[channel] = codec_line(page[:, channel], levels)
    return codes, scales, minima, chosen


def codec_line(x: np.ndarray, levels: int) -> tuple[np.ndarray, np.float16, np.float16]:
    x = x.astype(np.float32)
    minimum = np.float16(x.min())
    scale = np.float16(max(np.float32(x.max() - x.min()) / np.float32(levels), np.float32(1e-4)))
    steps = np.rint((x - np.float32(minimum)) / np.float32(scale))
    return np.clip(steps, 0, levels).astype(np.int64), scale, minimum


def sample(kind: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(7))
    if kind == "outliers":
        x[..., ::9] *= 30
        x[..., 4] += 300
    elif kind == "constant":
        x[..., ::2] = 0.37
    elif kind == "tiny":
        x *= 1e-5
    return x.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ["normal", "outliers", "constant", "tiny"])
@pytest.mark.parametrize(
    ("head_dim", "ratio"), [(128, 0.25), (128, 0.0), (64, 0.125), (80, 0.3), (96, 0.25), (256, 1.0)]
)
def test_key_codes_scales_and_channels_equal_the_contract(dtype, kind, head_dim, ratio):
    k = sample(kind, (2, 2, 2 * PAGE, head_dim), dtype)
    config = KittyConfig(boost_ratio=ratio)
    pages = quant.quantize_keys(k, config)
    codes = quant.key_codes(pages)
    for b, h, p in np.ndindex(2, 2, 2):
        page = k[b, h, p * PAGE : (p + 1) * PAGE].float().numpy()
        want, scale, minimum, chosen = codec_keys(page, int(ratio * head_dim))
        assert set(pages.channels[b, h, p].tolist()) == chosen
        np.testing.assert_array_equal(pages.scale[b, h, p].numpy(), scale)
        np.testing.assert_array_equal(pages.minimum[b, h, p].numpy(), minimum)
        np.testing.assert_array_equal(codes[b, h, p].numpy(), want)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("head_dim", [64, 80, 96, 128, 256])
def test_value_codes_and_scales_equal_the_contract(dtype, head_dim):
    v = sample("outliers", (1, 2, PAGE, head_dim), dtype)
    pages = quant.quantize_values(v, PRESETS["kitty"])
    codes = quant.value_codes(pages)
    for h, t in np.ndindex(2, PAGE):
        want, scale, minimum = codec_line(v[0, h, t].float().numpy(), 3)
        assert (pages.scale[0, h, 0, t].item(), pages.minimum[0, h, 0, t].item()) == (scale, minimum)
        np.testing.assert_array_equal(codes[0, h, 0, t].numpy(), want)


def test_codes_are_stored_in_two_bits_at_the_documented_place():
    k = sample("normal", (1, 1, PAGE, 128), torch.float16)
    v = sample("normal", (1, 1, PAGE, 128), torch.float16)
    keys, values = (
        quant.quantize_keys(k, PRESETS["kitty-pro"]),
        quant.quantize_values(v, PRESETS["kitty-pro"]),
    )
    key_codes, value_codes = quant.key_codes(keys)[0, 0, 0], quant.value_codes(values)[0, 0, 0]
    low, high, packed = (part[0, 0, 0].numpy() for part in (keys.low, keys.high, values.codes))
    for field in range(4):
        for i in range(32):
            np.testing.assert_array_equal((low[i] >> (2 * field)) & 3, key_codes[i + 32 * field].numpy() & 3)
            boosted = key_codes[i + 32 * field, keys.channels[0, 0, 0].long()].numpy() >> 2
            np.testing.assert_array_equal((high[i] >> (2 * field)) & 3, boosted)
            np.testing.assert_array_equal((packed[i] >> (2 * field)) & 3, value_codes[:, i + 32 * field].numpy())
    assert sum(part.nbytes for part in keys) == 4096 + 1024 + 32 + 512
    assert sum(part.nbytes for part in values) == 4096 + 512


def test_ties_go_to_the_lower_channel():
    k = torch.ones(1, 1, PAGE, 64, dtype=torch.float16)
    k[..., 40] = 2
    pages = quant.quantize_keys(k, KittyConfig(boost_ratio=0.125))
    assert pages.channels.flatten().tolist() == [0, 1, 2, 3, 4, 5, 6, 40]


@pytest.mark.parametrize(("selection", "chosen"), [("magnitude", 5), ("range", 9), ("variance", 11)])
def test_selection_rules_choose_what_their_names_say(selection, chosen):
    k = torch.zeros(1, 1, PAGE, 64)
    k[..., 5] = 3.0  # large, constant
    k[..., 0, 9] = 2.5  # one spike: the widest range
    k[..., ::2, 11] = 1.0  # half up, half down: the largest variance
    pages = quant.quantize_keys(k, KittyConfig(boost_ratio=1 / 64, selection=selection))
    assert pages.channels.flatten().tolist() == [chosen]


def test_selection_by_queries_weighs_each_heads_ranges():
    k = torch.zeros(1, 2, 2 * PAGE, 64)
    k[:, :, ::PAGE, 5] = 3.0
    k[:, :, ::PAGE, 9] = 2.0
    config = KittyConfig(boost_ratio=1 / 64, selection="query")
    weights = torch.ones(2, 64)
    weights[1, 9] = 2
    chosen = quant.quantize_keys(k, config, weights).channels
    assert chosen[0, :, :, 0].tolist() == [[5, 5], [9, 9]]
    with pytest.raises(ConfigError, match=r"by selection 'query': weights .* none were given"):
        quant.quantize_keys(k, config)
    with pytest.raises(ConfigError, match=r"by selection 'range': weights .* were given"):
        quant.quantize_keys(k, KittyConfig(selection="range"), weights)
    with pytest.raises(ConfigError, match=r"weights must be \[H_KV, D\] = \(2, 64\), got \(64,\)"):
        quant.quantize_keys(k, config, weights[0])


def test_random_selection_depends_on_the_seed_alone():
    k = sample("normal", (2, 2, 4 * PAGE, 128), torch.float32)
    config = KittyConfig(selection="random", seed=3)
    whole = quant.quantize_keys(k, config).channels
    part = quant.quantize_keys(k[:1, :, PAGE : 2 * PAGE], config).channels
    assert torch.equal(whole[:1, :, 1:2], part)
    other = quant.quantize_keys(k, KittyConfig(selection="random", seed=4)).channels
    assert not torch.equal(whole, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_dequantized_pages_are_within_half_a_step(dtype):
    k = sample("outliers", (1, 2, 3 * PAGE, 128), dtype)
    pages = quant.quantize_keys(k, PRESETS["kitty-pro"])
    restored = quant.dequantize_keys(pages)
    assert restored.shape == k.shape
    assert restored.isfinite().all()
    scale = pages.scale.float().repeat_interleave(PAGE, 2).view(1, 2, 3 * PAGE, 128)
    # float16 of minimum and scale moves the grid by 2^-11 of each; 15 steps of scale at most.
    slack = 2**-11 * (k.float().abs().amax(2, keepdim=True) + 15 * scale)
    assert ((restored - k.float()).abs() <= scale / 2 + slack).all()


def test_wrong_inputs_are_refused_with_their_shape():
    with pytest.raises(ConfigError, match=r"multiple of 128, got shape \(1, 1, 100, 128\)"):
        quant.quantize_keys(torch.zeros(1, 1, 100, 128), PRESETS["kitty"])
    with pytest.raises(ConfigError, match="16 bits"):
        quant.quantize_values(torch.zeros(1, 1, 128, 128), PRESETS["fp16"])
    with pytest.raises(UnsupportedError, match="k_bits = 3"):
        quant.quantize_keys(torch.zeros(1, 1, 128, 128), KittyConfig(k_bits=3))
    with pytest.raises(UnsupportedError, match="boost_bits = 3"):
        quant.quantize_keys(torch.zeros(1, 1, 128, 128), KittyConfig(boost_bits=3))
    with pytest.raises(TypeError, match="floating point"):
        quant.quantize_keys(torch.zeros(1, 1, 128, 128, dtype=torch.int32), PRESETS["kitty"])
