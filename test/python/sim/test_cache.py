"""What the simulated cache holds, against NumPy for any config and against the packed cache for its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import DynamicCache, Gemma2Config, Gemma2ForCausalLM, T5Config

import kitty_kv
from kitty_kv import PRESETS, CacheError, ConfigError, KittyCache, KittyConfig, UnsupportedError
from kitty_kv.sim import SimulatedCache

from .codec_reference import round_row

SIZES = [1, 127, 128, 129, 300]
# Presets by queries want a model's weights; test_verify.py holds them to the packed cache.
CONFIGS = {
    **{name: config for name, config in PRESETS.items() if config.selection != "query"},
    "k1-v1": KittyConfig(k_bits=1, v_bits=1, boost_ratio=0.0),
    "k3-v5-half": KittyConfig(k_bits=3, v_bits=5, boost_bits=6, boost_ratio=0.5, sink_tokens=5, recent_tokens=17),
    "k8-v8": KittyConfig(k_bits=8, v_bits=8, boost_bits=8, boost_ratio=1.0, sink_tokens=0, recent_tokens=0),
    "k16-v2": KittyConfig(k_bits=16, v_bits=2),
    "k2-v16-page-64": KittyConfig(k_bits=2, v_bits=16, page_size=64),
}
PACKABLE = ["fp16", "kivi-2", "kivi-2-sink", "kitty", "kitty-pro", "k16-v2", "k2-v16-page-64"]


class OneLayer:
    """A model config as far as a cache reads it."""

    num_hidden_layers = 1

    def get_text_config(self):
        return self


def tokens(batch: int, count: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed + count)
    keys, values = torch.randn(2, batch, 2, count, 16, generator=generator).to(dtype).unbind(0)
    return keys * 4, values


def expected(keys: torch.Tensor, values: torch.Tensor, config: KittyConfig) -> tuple[np.ndarray, np.ndarray]:
    """One row's ``[HKV, T, D]`` after all tokens are cached."""
    if config.preset == "fp16":
        return keys.numpy(), values.numpy()
    return round_row(
        keys.numpy(),
        values.numpy(),
        k_bits=config.k_bits,
        v_bits=config.v_bits,
        boosted=config.boosted_channels(keys.shape[-1]),
        boost_bits=config.boost_bits,
        sink=config.sink_tokens,
        recent=config.recent_tokens,
        page=config.page_size,
    )


def test_queries_choose_no_channels_without_the_models_weights():
    with pytest.raises(ConfigError, match=r"without the model's weights; pass channel_weights=query_weights\(model\)"):
        SimulatedCache(OneLayer(), PRESETS["kitty-q"])
    keys, values = tokens(1, 300)
    held = []
    for channel in (3, 9):
        weights = torch.zeros(1, 2, 16)
        weights[..., channel] = 1
        cache = SimulatedCache(OneLayer(), KittyConfig(preset="kitty-q", boost_ratio=1 / 16), channel_weights=weights)
        cache.update(keys, values, 0)
        held.append((cache.dequantize(0)[0] - keys)[:, :, 32:288].abs().mean((0, 1, 2)))
    # The channel that alone counts has a step a fifth as large.
    assert held[0][3] < held[1][3] / 3 and held[1][9] < held[0][9] / 3


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("size", SIZES)
def test_one_call_holds_what_the_contract_says(size, name):
    cache = SimulatedCache(OneLayer(), CONFIGS[name])
    keys, values = tokens(2, size)
    seen = cache.update(keys, values, 0)
    assert torch.equal(seen[0], keys)  # a call sees its own tokens in full precision
    assert torch.equal(seen[1], values)
    held = cache.dequantize(0)
    for row in range(2):
        for got, want in zip(held, expected(keys[row], values[row], CONFIGS[name]), strict=True):
            np.testing.assert_array_equal(got[row].numpy(), want)


@pytest.mark.parametrize("name", CONFIGS)
def test_pieces_hold_what_one_call_holds_and_later_calls_see_it(name):
    config = CONFIGS[name]
    whole, pieces = SimulatedCache(OneLayer(), config), SimulatedCache(OneLayer(), config)
    keys, values = tokens(1, 420)
    whole.update(keys, values, 0)
    start = 0
    for count in (1, 127, 30, 1, 1, 100, 160):
        before = pieces.dequantize(0) if start else None
        at = slice(start, start + count)
        seen = pieces.update(keys[:, :, at], values[:, :, at], 0)
        for side, given, old in zip(seen, (keys, values), before or (None, None), strict=True):
            assert torch.equal(side[:, :, start:], given[:, :, at])
            assert old is None or torch.equal(side[:, :, :start], old)
        start += count
    assert pieces.get_seq_length() == 420
    for got, want in zip(pieces.dequantize(0), whole.dequantize(0), strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize("side", ["left", "right", "middle"])
@pytest.mark.parametrize("name", ["kitty-pro", "k3-v5-half", "fp16"])
def test_padding_is_no_token(name, side):
    lengths, total = [300, 129, 1, 200], 300
    mask = torch.zeros(len(lengths), total, dtype=torch.long)
    for row, length in enumerate(lengths):
        places = {
            "left": range(total - length, total),
            "right": range(length),
            "middle": [*range(length // 2), *range(total - length + length // 2, total)],
        }
        mask[row, list(places[side])] = 1
    cache = SimulatedCache(OneLayer(), CONFIGS[name], mask=mask)
    keys, values = tokens(4, total)
    cache.update(keys[:, :, :150], values[:, :, :150], 0)
    cache.update(keys[:, :, 150:], values[:, :, 150:], 0)
    more = tokens(4, 140, seed=1)  # behind the mask: real in every row
    cache.update(*more, 0)
    assert cache.lengths == [length + 140 for length in lengths]
    held = cache.dequantize(0)
    for row, length in enumerate(lengths):
        real = mask[row].bool()
        given = (torch.cat((x[row][:, real], y[row]), dim=1) for x, y in zip((keys, values), more, strict=True))
        for got, want in zip(held, expected(*given, CONFIGS[name]), strict=True):
            np.testing.assert_array_equal(got[row, :, : length + 140].numpy(), want)
            assert not got[row, :, length + 140 :].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", PACKABLE)
def test_it_holds_what_the_packed_cache_holds(make_model, name, dtype):
    model = make_model(num_hidden_layers=2, dtype=dtype)
    packed = KittyCache.for_model(model, config=CONFIGS[name])
    simulated = SimulatedCache(model.config, CONFIGS[name])
    for count in (40, 130, 1, 1, 128, 3):
        for layer in range(2):
            generator = torch.Generator().manual_seed(count + layer)
            keys, values = (torch.randn(2, 2, 2, count, 64, generator=generator) * 3).to(dtype).unbind(0)
            packed.layers[layer].append(keys, values)
            simulated.update(keys, values, layer)
    for layer in range(2):
        for got, want in zip(simulated.dequantize(layer), packed.dequantize(layer), strict=True):
            assert torch.equal(got, want)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_without_quantization_it_generates_what_the_stock_cache_generates(make_model, attention):
    model = make_model("llama", attention=attention)
    prompt = torch.randint(3, 96, (2, 40), generator=torch.Generator().manual_seed(1))
    options = {"max_new_tokens": 12, "do_sample": False}
    want = model.generate(prompt, past_key_values=DynamicCache(), **options)
    got = model.generate(prompt, past_key_values=SimulatedCache(model.config, PRESETS["fp16"]), **options)
    assert torch.equal(got, want)


@pytest.mark.parametrize("is_told", [True, False], ids=["installed", "mask-given"])
@pytest.mark.parametrize("attention", ["eager", "kitty"])
def test_a_padded_batch_generates_what_its_rows_generate_alone(make_model, attention, is_told):
    model = make_model(attention=attention)
    prompts = [torch.randint(3, 96, (n,), generator=torch.Generator().manual_seed(n)) for n in (170, 300)]
    ids = torch.zeros(2, 300, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, 300 - len(prompt) :] = prompt
    mask = (ids != 0).long()
    options = {"max_new_tokens": 8, "do_sample": False}
    if attention != "kitty" and not is_told:
        kitty_kv.uninstall()
    cache = SimulatedCache(model.config, PRESETS["kitty-pro"], mask=None if is_told else mask)
    got = model.generate(ids, attention_mask=mask, past_key_values=cache, **options)[:, 300:]
    assert cache.lengths == [177, 307]  # the last token is never fed
    for row, prompt in enumerate(prompts):
        alone = SimulatedCache(model.config, PRESETS["kitty-pro"])
        want = model.generate(prompt[None], past_key_values=alone, **options)[0, len(prompt) :]
        assert torch.equal(got[row], want)


def test_a_padded_batch_that_nobody_tells_of_is_refused(make_model):
    model = make_model(attention="sdpa")
    kitty_kv.uninstall()
    ids = torch.randint(3, 96, (2, 20))
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    cache = SimulatedCache(model.config, PRESETS["kitty"])
    with pytest.raises(CacheError, match="mask=attention_mask"):
        model.generate(ids, attention_mask=mask, past_key_values=cache, max_new_tokens=2)


def test_a_mask_that_does_not_say_what_is_padding_is_refused(make_model):
    model = make_model(attention="sdpa")
    mask = torch.ones(1, 1, 4, 4, dtype=torch.bool).tril()
    with pytest.raises(UnsupportedError, match="4-D attention mask"):
        model(torch.ones(1, 4, dtype=torch.long), mask, past_key_values=SimulatedCache(model.config, PRESETS["kitty"]))


def test_beam_search_and_row_selection_move_rows(make_model):
    model = make_model(attention="sdpa")
    prompt = torch.randint(3, 96, (1, 200), generator=torch.Generator().manual_seed(1))
    options = {"max_new_tokens": 10, "do_sample": False, "num_beams": 3}
    want = model.generate(prompt, past_key_values=DynamicCache(), **options)
    got = model.generate(prompt, past_key_values=SimulatedCache(model.config, PRESETS["fp16"]), **options)
    assert torch.equal(got, want)
    cache = SimulatedCache(OneLayer(), PRESETS["kitty"], mask=torch.tensor([[1, 1], [0, 1]]))
    cache.update(*tokens(2, 2), 0)
    cache.batch_repeat_interleave(2)
    assert cache.lengths == [2, 2, 1, 1]
    cache.batch_select_indices(torch.tensor([3, 0]))
    assert cache.lengths == [1, 2]
    cache.reset()
    assert (cache.lengths, cache.get_seq_length()) == ([], 0)


def test_layers_that_are_not_full_attention_stay_as_they_are():
    config = Gemma2Config(
        vocab_size=96,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        sliding_window=64,
    )
    model = Gemma2ForCausalLM._from_config(config, attn_implementation="eager").eval()
    ids = torch.randint(3, 96, (1, 300), generator=torch.Generator().manual_seed(1))
    cache, stock = SimulatedCache(config, PRESETS["kivi-2"]), DynamicCache()
    with torch.no_grad():
        model(ids, past_key_values=cache)
        model(ids, past_key_values=stock)
    is_same = [torch.equal(cache.dequantize(layer)[0], stock.key_cache[layer]) for layer in range(2)]
    assert is_same == [kind != "full_attention" for kind in config.layer_types]


def test_relative_errors_are_those_of_what_was_rounded():
    keys, values = tokens(1, 300)
    cache = SimulatedCache(OneLayer(), PRESETS["kitty"])
    cache.update(keys[:, :, :100], values[:, :, :100], 0)
    assert cache.relative_errors(0) == (None, None)
    cache.update(keys[:, :, 100:], values[:, :, 100:], 0)
    held = cache.dequantize(0)
    for got, kept, given, end in zip(cache.relative_errors(0), held, (keys, values), (288, 160), strict=True):
        at = slice(32, end)
        given = given.half().double()
        want = (kept.double() - given)[:, :, at].norm() / given[:, :, at].norm()
        assert got == pytest.approx(want.item(), rel=1e-12)


def test_wrong_use_is_refused_by_name():
    with pytest.raises(ConfigError, match="unknown key 'k_bit', did you mean 'k_bits'"):
        SimulatedCache(OneLayer(), {"k_bit": 3})
    with pytest.raises(ConfigError, match="k_bits: want 1 to 8 or 16, got 9"):
        SimulatedCache(OneLayer(), {"k_bits": 9})
    with pytest.raises(ConfigError, match=r"want a tensor \[B, T\], got \(3,\)"):
        SimulatedCache(OneLayer(), PRESETS["kitty"], mask=torch.ones(3))
    with pytest.raises(UnsupportedError, match="encoder-decoder"):
        SimulatedCache(T5Config(), PRESETS["kitty"])
    cache = SimulatedCache(OneLayer(), PRESETS["kitty"], mask=torch.tensor([[1, 1], [0, 1]]))
    with pytest.raises(CacheError, match="batch of 3 rows: the padding mask has 2"):
        cache.update(*tokens(3, 2), 0)
    cache.update(*tokens(2, 2), 0)
    with pytest.raises(CacheError, match=r"\(2, 2, 16\), got \(1, 2, 16\)"):
        cache.update(*tokens(1, 2), 0)
    with pytest.raises(CacheError, match="made for 1 layers"):
        cache.update(*tokens(2, 2), 1)
    with pytest.raises(CacheError, match="differs from the earlier one in the 2 positions"):
        cache.set_mask(torch.tensor([[1, 1, 1], [1, 1, 1]]))
    cache.set_mask(torch.tensor([[1, 1, 0], [0, 1, 1]]))
    cache.update(*tokens(2, 1), 0)
    assert cache.lengths == [2, 2]
    with pytest.raises(UnsupportedError, match="cannot be taken back"):
        cache.crop(1)


def test_the_package_hands_it_out():
    assert kitty_kv.sim.SimulatedCache is SimulatedCache
