"""Codes at every bit width against NumPy, and at 2 and 4 bits against the packed codec."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kitty_kv import KittyConfig, quant
from kitty_kv.config import SELECTIONS
from kitty_kv.sim.codec import boosted_channels, encode_keys, encode_values

from . import codec_reference as reference

PAGE, HEAD_DIM = 128, 32


def sample(kind: str, shape: tuple[int, ...], seed: int = 7) -> torch.Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    if kind == "outliers":
        x[..., ::9] *= 30
        x[..., 4] += 300
    elif kind == "constant":
        x[..., ::2] = 0.37
    elif kind == "tiny":
        x *= 1e-5
    return x


@pytest.mark.parametrize("ratio", [0.0, 1 / 8, 1 / 4, 1.0])
@pytest.mark.parametrize("bits", range(1, 9))
def test_key_codes_equal_the_contract_at_every_width(bits, ratio):
    page = sample("outliers", (PAGE, HEAD_DIM), seed=bits)
    config = KittyConfig(k_bits=bits, boost_bits=min(8, bits + 2), boost_ratio=ratio)
    codes, scale, minimum = encode_keys(page, config)
    chosen = reference.boosted_channels(page.numpy(), int(ratio * HEAD_DIM))
    for channel in range(HEAD_DIM):
        width = config.boost_bits if channel in chosen else bits
        want = reference.line_codes(page[:, channel].numpy(), width)
        np.testing.assert_array_equal(codes[:, channel].numpy(), want[0])
        assert (scale[0, channel].item(), minimum[0, channel].item()) == want[1:]
    restored = encode_keys(page, config).dequantize().numpy()
    np.testing.assert_array_equal(restored, reference.round_keys(page.numpy(), bits, chosen, config.boost_bits))


@pytest.mark.parametrize("kind", ["normal", "outliers", "constant", "tiny"])
@pytest.mark.parametrize("bits", range(1, 9))
def test_value_codes_equal_the_contract_at_every_width(bits, kind):
    page = sample(kind, (24, HEAD_DIM))
    encoded = encode_values(page, KittyConfig(v_bits=bits))
    for token in range(24):
        want = reference.line_codes(page[token].numpy(), bits)
        np.testing.assert_array_equal(encoded.codes[token].numpy(), want[0])
        assert (encoded.scale[token].item(), encoded.minimum[token].item()) == want[1:]
    np.testing.assert_array_equal(encoded.dequantize().numpy(), reference.round_values(page.numpy(), bits))


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("kind", ["normal", "outliers", "constant", "tiny"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_two_and_four_bits_equal_the_packed_codec_code_for_code(dtype, kind, selection):
    keys = sample(kind, (1, 2, 2 * PAGE, 64)).to(dtype)
    config = KittyConfig(selection=selection, seed=3)
    weights = torch.rand(2, 64, generator=torch.Generator().manual_seed(1)) if selection == "query" else None
    packed = quant.quantize_keys(keys, config, weights)
    weights = None if weights is None else weights[:, None]
    encoded = encode_keys(keys.unflatten(2, (-1, PAGE)), config, weights)
    assert torch.equal(encoded.codes, quant.key_codes(packed).int())
    assert torch.equal(encoded.scale.squeeze(-2), packed.scale)
    assert torch.equal(encoded.minimum.squeeze(-2), packed.minimum)
    chosen = boosted_channels(keys.unflatten(2, (-1, PAGE)).float(), config, weights)
    assert torch.equal(chosen, packed.channels.long())
    packed = quant.quantize_values(keys, config)
    encoded = encode_values(keys.unflatten(2, (-1, PAGE)), config)
    assert torch.equal(encoded.codes, quant.value_codes(packed).int())
    assert torch.equal(encoded.scale.squeeze(-1), packed.scale)
    assert torch.equal(encoded.dequantize().flatten(2, 3), quant.dequantize_values(packed))


@pytest.mark.parametrize("selection", ["range", "variance"])
def test_other_selections_choose_as_their_names_say(selection):
    page = sample("outliers", (PAGE, HEAD_DIM))
    chosen = boosted_channels(page, KittyConfig(selection=selection))
    assert set(chosen.tolist()) == reference.boosted_channels(page.numpy(), HEAD_DIM // 4, selection)


def test_ties_go_to_the_lower_channel():
    page = torch.ones(PAGE, HEAD_DIM)
    page[:, 20] = 2
    assert boosted_channels(page, KittyConfig(boost_ratio=0.125)).tolist() == [0, 1, 2, 20]
