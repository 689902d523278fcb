"""Verification says yes for the packed cache as it is, and finds what is planted in it."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from kitty_kv import PRESETS, KittyCache, KittyConfig
from kitty_kv.sim.attention import exact_attention
from kitty_kv.sim.verify import MAX_DIFFERENCES, verification_spans, verify


def windows(batch: int, length: int) -> torch.Tensor:
    return torch.randint(3, 96, (batch, length), generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("preset", PRESETS)
def test_the_packed_cache_is_the_simulated_one(make_model, preset, dtype):
    model = make_model(dtype=dtype)
    found = verify(model, windows(2, 440), KittyCache.for_model(model, preset=preset))
    assert found.is_equal, found.differences
    assert found.tokens == 880
    assert len(found.attention_errors) == 3
    assert all(0 < error < found.bound for error in found.attention_errors)


def test_the_reference_implementation_is_the_simulated_cache_too(make_model):
    model = make_model(num_hidden_layers=1, dtype=torch.bfloat16)
    config = KittyConfig(preset="kitty", selection="variance", page_size=64, sink_tokens=5)
    assert verify(model, windows(1, 300), KittyCache.for_model(model, config=config, impl="reference")).is_equal


def test_soft_caps_and_sliding_layers_are_verified_too(installed):
    config = Gemma2Config(
        vocab_size=96,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        sliding_window=64,
        attn_logit_softcapping=0.5,
    )
    torch.manual_seed(0)
    model = Gemma2ForCausalLM._from_config(config, attn_implementation="kitty").eval()
    found = verify(model, windows(2, 440), KittyCache.for_model(model, preset="kitty-pro"))
    assert found.is_equal, found.differences
    assert [error > 0 for error in found.attention_errors] == [kind == "full_attention" for kind in config.layer_types]


def test_one_flipped_bit_of_a_packed_page_is_found_where_it_lies(make_model):
    model = make_model(dtype=torch.float32)
    cache = KittyCache.for_model(model, preset="kitty-pro")
    layer, row, head, page, token, channel = 1, 1, 1, 1, 70, 7

    def flip(*_):
        # After the pass that packs the page; its low plane is the record's first part, field 2 of byte (6, 7).
        pages = cache.pages.rows[row].keys.pages if cache.pages.rows else []
        if len(pages) == page + 1 and not flipped:
            place = cache.pages.place(layer)
            low = place.storage.layout.keys(place.storage.key_pages[place.index, pages[page], head]).low
            low[token % 32, channel] ^= 1 << (2 * (token // 32))
            flipped.append(True)

    flipped: list[bool] = []
    model.register_forward_hook(flip)
    found = verify(model, windows(2, 440), cache)
    assert not found.is_equal
    held = [each for each in found.differences if each.what == "keys"]
    assert [(each.layer, each.row, each.head, each.page, each.channel, each.elements) for each in held] == [
        (layer, row, head, page, channel, 1)
    ]
    assert held[0].token == PRESETS["kitty-pro"].sink_tokens + 128 * page + token
    assert str(held[0]).startswith("layer 1, row 1, head 1, page 1, token 230, channel 7: keys ")
    # No other layer is blamed for what layer 1 has wrong.
    assert {each.layer for each in found.differences} == {layer}


def test_a_wrong_output_is_found_even_where_the_cache_is_right(make_model):
    model = make_model(dtype=torch.float32)
    cache = KittyCache.for_model(model, preset="kitty")
    stock = cache.layers[2].attend

    def attend(query, *args, **options):
        out = stock(query, *args, **options)
        out[0, 3, -1, 5] = math.nan
        return out

    cache.layers[2].attend = attend
    found = verify(model, windows(1, 300), cache)
    first = found.differences[0]
    assert (first.what, first.layer, first.row, first.head, first.channel) == ("attention", 2, 0, 3, 5)
    assert found.attention_errors[2] == math.inf


def test_many_differences_are_counted_and_the_first_told(make_model):
    model = make_model(dtype=torch.float32)
    cache = KittyCache.for_model(model, preset="kivi-2")
    model.register_forward_hook(lambda *_: [storage.blocks.fill_(9) for storage in cache.pages.storages])
    found = verify(model, windows(2, 300), cache)
    assert len(found.differences) == MAX_DIFFERENCES < found.difference_count
    assert found.differences[0].layer == 0


@pytest.mark.parametrize("length", [1, 2, 17, 160, 161, 300, 440, 1024])
def test_verification_feeds_every_token_once(length):
    for preset in PRESETS.values():
        spans = list(verification_spans(length, preset))
        assert [token for start, end in spans for token in range(start, end)] == list(range(length))
        if length > 300:
            assert sum(end - start == 1 for start, end in spans) >= 8


def test_exact_attention_is_the_textbook_sum():
    generator = torch.Generator().manual_seed(2)
    query = torch.randn(1, 4, 300, 8, generator=generator)
    keys, values = torch.randn(2, 1, 2, 420, 8, generator=generator).unbind(0)
    got = exact_attention(query, keys, values, 0.3)
    for head, token in [(0, 0), (1, 299), (3, 150), (2, 256)]:
        seen = 420 - 300 + token + 1
        scores = keys[0, head // 2, :seen].double() @ query[0, head, token].double() * 0.3
        weights = torch.exp(scores) / torch.exp(scores).sum()
        torch.testing.assert_close(got[0, head, token], weights @ values[0, head // 2, :seen].double())
