"""The plug-in in stock ``generate()`` on Transformers 4.53.2, tiny random models of the real classes."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache, GenerationMixin
from transformers.generation import configuration_utils
from transformers.masking_utils import AttentionMaskInterface
from transformers.modeling_utils import AttentionInterface

import kitty_kv
from kitty_kv import PRESETS, CacheError, ConfigError, KittyCache, KittyConfig, UnsupportedError
from kitty_kv.hf import padding

GREEDY = {"do_sample": False, "max_new_tokens": 24}


def prompt(length: int, seed: int = 0, rows: int = 1) -> torch.Tensor:
    return torch.randint(3, 96, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("family", ["qwen3", "llama"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("rows", [1, 3])
def test_fp16_preset_writes_the_same_tokens_as_the_stock_cache(make_model, family, dtype, rows):
    ids = prompt(150, rows=rows)
    stock = make_model(family, "sdpa", dtype).generate(ids, past_key_values=DynamicCache(), **GREEDY)
    ours = make_model(family, "kitty", dtype).generate(
        ids, cache_implementation="kitty", cache_config={"preset": "fp16"}, **GREEDY
    )
    assert torch.equal(stock, ours)


@pytest.mark.parametrize("preset", list(PRESETS))
def test_left_padded_batch_writes_what_each_row_writes_alone(make_model, preset):
    model = make_model()
    lengths = [330, 40, 171]
    rows = [prompt(length, seed=length)[0] for length in lengths]
    ids = torch.zeros(3, 330, dtype=torch.long)
    mask = torch.zeros(3, 330, dtype=torch.long)
    for row, tokens in enumerate(rows):
        ids[row, -len(tokens) :], mask[row, -len(tokens) :] = tokens, 1
    cache = KittyCache.for_model(model, preset=preset)
    batch = model.generate(ids, attention_mask=mask, past_key_values=cache, **GREEDY)
    assert cache.lengths == [length + 23 for length in lengths]
    for row, tokens in enumerate(rows):
        alone = model.generate(tokens[None], past_key_values=KittyCache.for_model(model, preset=preset), **GREEDY)
        assert batch[row, 330:].tolist() == alone[0, len(tokens) :].tolist()


@pytest.mark.parametrize("preset", ["fp16", "kitty-pro"])
def test_second_turn_continues_from_the_cache(make_model, preset):
    model = make_model()
    cache = KittyCache.for_model(model, preset=preset)
    first = model.generate(prompt(200), past_key_values=cache, **GREEDY)
    second_ids = torch.cat((first, prompt(90, seed=9)), 1)
    second = model.generate(second_ids, past_key_values=cache, **GREEDY)
    assert cache.lengths == [200 + 24 + 90 + 23]
    if preset == "fp16":
        assert torch.equal(second, model.generate(second_ids, past_key_values=DynamicCache(), **GREEDY))
    # The same pieces by hand, through forward calls alone.
    by_hand = KittyCache.for_model(model, preset=preset)
    with torch.inference_mode():
        model(first[:, :200], past_key_values=by_hand)
        for t in range(200, 223):
            model(first[:, t : t + 1], past_key_values=by_hand)
        logits = model(second_ids[:, 223:], past_key_values=by_hand).logits
    assert logits[0, -1].argmax() == second[0, second_ids.shape[1]]


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}, {"prefill_chunk_size": 8}, {"prompt_lookup_num_tokens": 2}])
@pytest.mark.parametrize("length", [12, 43], ids=["shorter", "equal"])
def test_a_prompt_that_the_cache_holds_already_is_refused_and_changes_nothing(make_model, options, length):
    model = make_model()
    cache = KittyCache.for_model(model)
    first = model.generate(prompt(20), past_key_values=cache, **GREEDY)
    again = first if length == 43 else prompt(length, seed=1)
    with pytest.raises(
        CacheError, match=rf"cache holds 43 tokens.* prompt has {length}, .*whole conversation"
    ) as caught:
        model.generate(again[:, :length], past_key_values=cache, **GREEDY, **options)
    assert caught.value.details == {"cached": 43, "prompt": length}
    # One token that the cache does not hold is enough.
    assert model.generate(first, past_key_values=cache, **GREEDY).shape[1] == 44 + 24


def test_a_padded_batch_that_the_cache_holds_already_is_refused(make_model):
    model = make_model()
    ids, mask = prompt(20, rows=2), torch.ones(2, 20, dtype=torch.long)
    ids[1, :13], mask[1, :13] = 0, 0
    cache = KittyCache.for_model(model)
    model.generate(ids, attention_mask=mask, past_key_values=cache, **GREEDY)
    for given in (20, 43):
        with pytest.raises(CacheError, match=rf"holds 43 tokens, padding included, and the prompt has {given}"):
            whole = {"attention_mask": torch.ones(2, given, dtype=torch.long)}
            model.generate(prompt(given, rows=2), past_key_values=cache, **whole, **GREEDY)
    with pytest.raises(CacheError, match=r"the prompt has 6"):
        model.generate(inputs_embeds=torch.randn(2, 6, 64), past_key_values=cache, **GREEDY)
    assert cache.lengths == [43, 30]
    cache.reset()
    model.generate(ids[:, :5], past_key_values=cache, **GREEDY)


def test_a_prefill_sees_its_own_tokens_in_full_precision(make_model):
    model = make_model()
    ids = prompt(600)
    with torch.inference_mode():
        plain = model(ids, use_cache=False).logits
        cached = model(ids, past_key_values=KittyCache.for_model(model)).logits
    assert torch.equal(plain, cached)


def test_later_calls_see_what_the_cache_holds(make_model):
    model = make_model(num_hidden_layers=1)
    ids = prompt(301)
    cache, stock = KittyCache.for_model(model, preset="kivi-2"), DynamicCache()
    with torch.inference_mode():
        model(ids[:, :300], past_key_values=cache)
        model(ids[:, :300], past_key_values=stock)
        k, v = cache.dequantize(0)
        assert not torch.allclose(k, stock.key_cache[0], atol=1e-2)
        stock.key_cache[0], stock.value_cache[0] = k, v
        got = model(ids[:, 300:], past_key_values=cache).logits
        want = model(ids[:, 300:], past_key_values=stock).logits
    torch.testing.assert_close(got, want, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_stock_attention_works_through_dequantization_and_says_so(make_model, attention):
    ids = prompt(300)
    kitty = make_model("qwen3", "kitty")
    want = kitty.generate(ids, past_key_values=KittyCache.for_model(kitty), **GREEDY)
    stock = make_model("qwen3", attention)
    kitty_kv.hf.warn_once.warn_once.cache_clear()
    with pytest.warns(UserWarning, match="dequantizes everything at every step"):
        got = stock.generate(ids, past_key_values=KittyCache.for_model(stock), **GREEDY)
    assert torch.equal(got, want)


def test_stock_attention_without_install_refuses_a_batch_rather_than_caching_its_padding(make_model):
    model = make_model("qwen3", "sdpa")
    kitty_kv.uninstall()
    with pytest.raises(UnsupportedError, match=r"kitty_kv\.install"):
        model(prompt(20, rows=2), past_key_values=KittyCache.for_model(model))


@pytest.mark.parametrize(
    ("preset", "dtype"),
    [*((preset, torch.float16) for preset in PRESETS), ("fp16", torch.float32)],
    ids=str,
)
def test_implementations_agree_over_padded_prompts_and_single_tokens(make_model, preset, dtype):
    model = make_model(dtype=dtype)
    ids, mask = prompt(320, rows=2), torch.ones(2, 320, dtype=torch.long)
    mask[1, :260] = 0
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    logits = {}
    for impl in ("auto", "reference"):
        cache, seen = KittyCache.for_model(model, preset=preset, impl=impl), []
        with torch.inference_mode():
            for start, end in [(0, 300), *((t, t + 1) for t in range(300, 320))]:
                fed = {"attention_mask": mask[:, :end], "position_ids": positions[:, start:end]}
                seen.append(model(ids[:, start:end], past_key_values=cache, **fed).logits[:, -1].float())
        assert cache.lengths == [320, 60]
        logits[impl] = torch.stack(seen)
    difference = (logits["auto"] - logits["reference"]).abs().max()
    # Of a 16-bit model they round in different places.
    assert difference <= (1e-5 if dtype == torch.float32 else 0.01) * logits["auto"].abs().max()


def test_a_cache_filled_in_inference_mode_goes_on_outside_of_it(make_model):
    model, ids = make_model(), prompt(40)
    caches = [KittyCache.for_model(model) for _ in range(2)]
    with torch.inference_mode():
        model(ids, past_key_values=caches[0])
        model(ids, past_key_values=caches[1])
        want = model(ids[:, :20], past_key_values=caches[1]).logits
    with torch.no_grad():
        assert torch.equal(model(ids[:, :20], past_key_values=caches[0]).logits, want)
    got = model(ids[:, :1], past_key_values=caches[0]).logits
    assert got.requires_grad
    assert not caches[0].pages.storages[0].blocks.requires_grad


def test_beam_search_reorders_rows_as_the_stock_cache_does(make_model):
    ids = prompt(140)
    options = {"num_beams": 3, "max_new_tokens": 12, "do_sample": False}
    want = make_model("qwen3", "sdpa").generate(ids, **options)
    model = make_model()
    got = model.generate(ids, cache_implementation="kitty", cache_config={"preset": "fp16"}, **options)
    assert torch.equal(got, want)


def test_memory_of_a_2048_token_sequence_is_the_layouts_arithmetic(make_model):
    model = make_model(head_dim=128, num_hidden_layers=2)
    cache = KittyCache.for_model(model, preset="kitty-pro")
    with torch.inference_mode():
        model(prompt(2048), past_key_values=cache)
    heads = 2 * 2
    packed = heads * (15 * (4096 + 1024 + 32 + 512) + 14 * (4096 + 512))
    full = heads * 128 * 2 * ((32 + 96) + (32 + 224))
    dense = heads * 2048 * 128 * 2 * 2
    memory = cache.memory()
    assert memory.pop("allocated_bytes") == cache.bytes_allocated
    assert memory == {
        "tokens": 2048,
        "packed_bytes": packed,
        "full_precision_bytes": full,
        "dense_bytes": dense,
        "compression": dense / (packed + full),
    }
    cache.reset()
    assert cache.memory()["tokens"] == 0
    assert cache.memory()["packed_bytes"] == 0


def test_uninstall_restores_stock_transformers():
    registries = (
        AttentionInterface._global_mapping,
        AttentionMaskInterface._global_mapping,
        configuration_utils.CACHE_CONFIG_MAPPING,
    )
    before = [dict(registry) for registry in registries]
    names = list(configuration_utils.ALL_CACHE_IMPLEMENTATIONS)
    wrapped = ("_prepare_cache_for_generation", "_get_initial_cache_position", "_prefill_chunking")
    stock = [getattr(GenerationMixin, name) for name in wrapped]
    kitty_kv.install()
    kitty_kv.install()
    assert all("kitty" in registry for registry in registries)
    kitty_kv.uninstall()
    kitty_kv.uninstall()
    assert [dict(registry) for registry in registries] == before
    assert names == configuration_utils.ALL_CACHE_IMPLEMENTATIONS
    assert [getattr(GenerationMixin, name) for name in wrapped] == stock


def test_generate_refuses_wrong_cache_configs(make_model):
    model = make_model()
    with pytest.raises(ConfigError, match="did you mean 'preset'"):
        model.generate(prompt(4), cache_implementation="kitty", cache_config={"prest": "kitty"}, **GREEDY)
    with pytest.raises(ConfigError, match="did you mean 'kitty-pro'"):
        model.generate(prompt(4), cache_implementation="kitty", cache_config={"preset": "kitty-por"}, **GREEDY)
    with pytest.raises(ConfigError, match="pass one of them"):
        KittyCache.for_model(model, preset="kitty", config=KittyConfig())


def test_wrong_use_of_a_cache_is_refused(make_model):
    model = make_model()
    cache = KittyCache.for_model(model)
    with torch.inference_mode():
        model(prompt(10, rows=2), past_key_values=cache)
        with pytest.raises(CacheError, match="got 1 rows"):
            model(prompt(1), past_key_values=cache)
        with pytest.raises(CacheError, match="covers 4 positions"):
            model(prompt(1, rows=2), past_key_values=cache, attention_mask=torch.tensor([[0, 1, 1, 1]] * 2))
        mask = torch.ones(2, 11, dtype=torch.long)
        mask[0, 0] = 0
        with pytest.raises(CacheError, match="pass the same mask"):
            model(prompt(1, rows=2), past_key_values=cache, attention_mask=mask)
        # A full mask is held to the same: it says that earlier padding was text.
        with pytest.raises(CacheError, match="covers 4 positions"):
            model(prompt(1, rows=2), past_key_values=cache, attention_mask=torch.ones(2, 4, dtype=torch.long))
    with pytest.raises(CacheError, match="it has seen 10"):
        cache.crop(-11)


def test_layers_that_keep_no_keys_and_values_are_refused_by_name(make_model):
    model = make_model()
    model.config.layer_types = ["full_attention", "linear_attention", "full_attention"]
    with pytest.raises(UnsupportedError, match="linear_attention"):
        KittyCache.for_model(model)


def test_a_forward_pass_that_failed_half_way_is_noticed(make_model):
    model = make_model()
    cache = KittyCache.for_model(model)
    cache.layers[0].append(*torch.randn(2, 1, 2, 5, 64))
    with torch.inference_mode(), pytest.raises(CacheError, match="half-way"):
        model(prompt(1), past_key_values=cache)


def test_a_pass_reads_its_padding_once_and_one_without_padding_never(make_model, monkeypatch):
    model = make_model()
    reads = []
    stock = padding._read
    monkeypatch.setattr(padding, "_read", lambda *args: reads.append(args) or stock(*args))
    ids, mask = prompt(20, rows=2), torch.ones(2, 20, dtype=torch.long)
    whole = model.generate(ids, past_key_values=KittyCache.for_model(model), **GREEDY)
    masked = model.generate(ids, attention_mask=mask, past_key_values=KittyCache.for_model(model), **GREEDY)
    assert (torch.equal(whole, masked), reads) == (True, [])
    mask[0, :5] = 0
    model.generate(ids, attention_mask=mask, past_key_values=KittyCache.for_model(model), **GREEDY)
    assert len(reads) == GREEDY["max_new_tokens"]


def test_padding_without_any_cache_gives_finite_logits_and_the_rows_own(make_model):
    model = make_model()
    ids, mask = prompt(20, rows=2), torch.ones(2, 20, dtype=torch.long)
    mask[0, :8] = 0
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    with torch.inference_mode():
        logits = model(ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
        alone = model(ids[:1, 8:], use_cache=False).logits
    assert logits.isfinite().all()
    torch.testing.assert_close(logits[0, 8:], alone[0], atol=1e-4, rtol=1e-4)
