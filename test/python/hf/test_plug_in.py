"""What the table does not cover: other caches under the kitty attention, assistants, refusals, forks, 16-bit models."""

from __future__ import annotations

import copy
import pathlib
import sys

import pytest
import torch
import transformers
from transformers import DynamicCache, StaticCache

import kitty_kv
from kitty_kv import CacheError, ConfigError, KittyCache, UnsupportedError

sys.path.insert(0, str(pathlib.Path(__file__).parent / "table"))
from families import FAMILIES, make_family
from recording import RecordingCache, watched
from table_cases import CASES, batch, feed

pytestmark = [
    pytest.mark.usefixtures("installed"),
    pytest.mark.filterwarnings("ignore:Nothing is quantized", "ignore:The Kitty cache runs under"),
]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
GREEDY = {"do_sample": False, "max_new_tokens": 8}


def ids_of(length: int, rows: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.randint(3, 96, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", ["left-padded", "padding-between-turns", "chunked-prefill", "beams", "crops"])
@pytest.mark.parametrize("family", ["qwen3", "gemma2", "starcoder2-sliding"])
def test_16_bit_models_equal_the_reference_within_their_rounding(family, case, dtype, device):
    model = make_family(family, dtype=dtype).to(device)
    cache = RecordingCache.for_model(model)
    with watched(model, cache):
        CASES[case].run(model, cache)


@pytest.mark.parametrize("other", ["kivi-2-sink", "kitty", "fp16"])
def test_the_table_would_notice_a_cache_with_other_codes(other):
    model = make_family("qwen3")
    cache = RecordingCache.for_model(model, preset="kitty-pro")
    with watched(model, cache) as watcher, pytest.raises(AssertionError):
        watcher._config = kitty_kv.PRESETS[other]
        CASES["left-padded"].run(model, cache)


def test_the_table_would_notice_padding_in_the_cache():
    model = make_family("qwen3")
    cache = RecordingCache.for_model(model, preset="kitty-pro")
    given = batch()
    with watched(model, cache), pytest.raises(AssertionError):
        model(given.ids, attention_mask=given.mask, position_ids=given.mask.cumsum(1), past_key_values=cache)


@pytest.mark.parametrize(("name", "named"), [("GPTJ", "by name"), ("OPT", "4-D"), ("GPTBigCode", "no cache objects")])
def test_models_that_do_not_hand_their_keys_to_the_attention_are_refused(name, named):
    config = getattr(transformers, f"{name}Config")(
        vocab_size=96, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, rotary_dim=8, ffn_dim=64
    )
    model = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    model.config._attn_implementation = "kitty"
    with pytest.raises(UnsupportedError, match=named):
        model(ids_of(5), past_key_values=KittyCache.for_model(model))


@pytest.mark.parametrize("family", list(FAMILIES))
def test_the_kitty_attention_without_a_kitty_cache_equals_the_stock_one(family):
    # Stock eager attention, which alone has Gemma 2's soft cap, turns padding to NaN in float64.
    kitty = make_family(family, dtype=torch.float32)
    stock = make_family(family, "eager" if family == "gemma2" else "sdpa", torch.float32)
    given = batch((100, 40))
    positions = (given.mask.cumsum(1) - 1).clamp_min(0)
    for options in ({"use_cache": False}, {"past_key_values": DynamicCache()}):
        with torch.no_grad():
            got, want = (
                model(given.ids, attention_mask=given.mask, position_ids=positions, **copy.deepcopy(options)).logits
                for model in (kitty, stock)
            )
        real = given.mask.bool()
        assert (got[real] - want[real]).abs().max() <= 1e-3 * want[real].abs().max()
    written = [model.generate(**given.inputs, **GREEDY, cache_implementation="dynamic") for model in (kitty, stock)]
    assert torch.equal(*written)


def test_packed_sequences_without_a_cache_do_not_see_each_other():
    kitty, stock = make_family("qwen3"), make_family("qwen3", "sdpa")
    positions = torch.cat((torch.arange(30), torch.arange(20)))[None]
    with torch.no_grad():
        got, want = (model(ids_of(50), position_ids=positions, use_cache=False).logits for model in (kitty, stock))
    torch.testing.assert_close(got, want)


def test_a_static_cache_under_the_kitty_attention_is_refused():
    model = make_family("llama")
    cache = StaticCache(model.config, max_batch_size=1, max_cache_len=64, dtype=model.dtype)
    with pytest.raises(UnsupportedError, match="static"):
        model(ids_of(10), past_key_values=cache)


@pytest.mark.parametrize("family", ["qwen3", "gemma2"])
@pytest.mark.parametrize("assistant_attention", ["kitty", "sdpa"])
def test_an_assistants_candidates_are_checked_and_taken_back(family, assistant_attention):
    model = make_family(family)
    # An assistant that is often right, and often not.
    assistant = make_family(family, assistant_attention)
    with torch.no_grad():
        assistant.model.layers[1].mlp.down_proj.weight.mul_(0.97)
    cache = RecordingCache.for_model(model, preset="kitty-pro")
    options = {"assistant_model": assistant, "do_sample": False, "max_new_tokens": 24, "eos_token_id": 2}
    with watched(model, cache) as watcher:
        written = model.generate(ids_of(281), past_key_values=cache, **options)
    assert watcher.passes < written.shape[1] - 281
    assert cache.get_seq_length() == written.shape[1] - 1


def test_an_assistant_helps_a_cache_named_by_its_config():
    model, assistant = make_family("qwen3"), make_family("qwen3", "sdpa")
    settings = {"cache_implementation": "kitty", "cache_config": {"preset": "kitty"}}
    alone = model.generate(ids_of(30), **settings, **GREEDY)
    out = model.generate(ids_of(30), assistant_model=assistant, **settings, **GREEDY, return_dict_in_generate=True)
    assert isinstance(out.past_key_values, KittyCache)
    assert torch.equal(out.sequences, alone)


def test_cache_implementation_and_a_cache_of_ones_own_write_the_same():
    model = make_family("gemma3")
    given = batch()
    own = model.generate(**given.inputs, past_key_values=KittyCache.for_model(model, preset="kitty"), **GREEDY)
    settings = {"cache_implementation": "kitty", "cache_config": {"preset": "kitty"}}
    out = model.generate(**given.inputs, **settings, return_dict_in_generate=True, **GREEDY)
    assert torch.equal(out.sequences, own)
    assert isinstance(out.past_key_values, KittyCache)
    assert out.past_key_values.config.preset == "kitty"


@pytest.mark.parametrize("family", ["qwen3", "gemma2"])
def test_a_deep_copy_of_a_prompts_cache_goes_its_own_way(family):
    model = make_family(family)
    cache = KittyCache.for_model(model)
    seen = feed(model, cache, None, batch())
    held = cache.dequantize(0)
    other = copy.deepcopy(cache)
    feed(model, other, seen, batch((40, 40, 40), seed=1))
    assert cache.lengths == [284, 40, 157]
    assert all(torch.equal(a, b) for a, b in zip(held, cache.dequantize(0), strict=True))
    fresh = KittyCache.for_model(model)
    again = feed(model, fresh, None, batch())
    for each in (cache, fresh):
        feed(model, each, again, batch((3, 3, 3), seed=2))
    assert all(torch.equal(a, b) for a, b in zip(cache.dequantize(1), fresh.dequantize(1), strict=True))


def test_a_model_without_full_attention_says_that_nothing_is_quantized():
    kitty_kv.hf.warn_once.warn_once.cache_clear()
    model = make_family("mistral-sliding")
    with pytest.warns(UserWarning, match="all 2 layers of this mistral model attend to a sliding window of 48"):
        cache = KittyCache.for_model(model)
    feed(model, cache, None, batch((300,)))
    memory = cache.memory()
    assert (memory["tokens"], memory["packed_bytes"]) == (300, 0)
    assert memory["full_precision_bytes"] == cache.bytes_allocated == 2 * 2 * 2 * (48 - 1 + 128) * 32 * 8


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"penalty_alpha": 0.6, "top_k": 4}, "contrastive"),
        ({"num_beams": 2, "prefill_chunk_size": 8}, "prefill_chunk_size"),
        ({"return_legacy_cache": True, "return_dict_in_generate": True}, "legacy"),
    ],
)
def test_ways_of_generating_that_cannot_work_are_refused_before_anything_is_computed(options, named):
    model = make_family("qwen3")
    cache = KittyCache.for_model(model)
    with pytest.raises(UnsupportedError, match=named):
        model.generate(ids_of(20), past_key_values=cache, **{**GREEDY, **options})
    assert cache.lengths == []


def test_two_ways_of_choosing_a_cache_are_refused():
    model = make_family("qwen3")
    for settings in ({"cache_implementation": "dynamic"}, {"cache_implementation": "kitty"}):
        with pytest.raises(ConfigError, match="pass one of them"):
            model.generate(ids_of(20), past_key_values=KittyCache.for_model(model), **settings, **GREEDY)


@pytest.mark.parametrize("attention", ["kitty", "sdpa"])
def test_a_cache_for_another_model_is_refused(attention):
    model = make_family("llama", attention)
    with pytest.raises(CacheError, match=r"num_hidden_layers 3, not 2|model_type|rope_theta"):
        model(ids_of(5), past_key_values=KittyCache.for_model(make_family("llama", attention, num_hidden_layers=3)))
    with pytest.raises(CacheError, match="made for a qwen3 model"):
        model(ids_of(5), past_key_values=KittyCache.for_model(make_family("qwen3", attention)))
    with pytest.raises(CacheError, match="num_key_value_heads 4, not 2"):
        model(ids_of(5), past_key_values=KittyCache.for_model(make_family("llama", attention, num_key_value_heads=4)))


def test_two_models_of_one_config_do_not_share_a_cache():
    first, second = make_family("llama"), make_family("llama", seed=1)
    cache = KittyCache.for_model(first)
    with pytest.raises(CacheError, match="another llama model"):
        second(ids_of(5), past_key_values=cache)
    first(ids_of(5), past_key_values=cache)
    with pytest.raises(CacheError, match="another llama model"):
        second(ids_of(1), past_key_values=cache)
    first(ids_of(1), past_key_values=cache)
    assert cache.lengths == [6]


def test_more_tokens_than_the_models_context_are_refused_and_the_rest_goes_on():
    model = make_family("llama", max_position_embeddings=64)
    cache = KittyCache.for_model(model)
    with torch.no_grad():
        model(ids_of(60), past_key_values=cache)
        with pytest.raises(CacheError, match=r"would hold 65 tokens.*max_position_embeddings.*64"):
            model(ids_of(5), past_key_values=cache)
        model(ids_of(4), past_key_values=cache)
    assert cache.lengths == [64]
    # Padding does not count.
    padded = KittyCache.for_model(model)
    feed(model, padded, None, batch((50, 40)))
    feed(model, padded, batch((50, 40)), batch((1, 10)))
    feed(model, padded, KittyBatch(padded), batch((13, 14)))
    assert padded.lengths == [64, 64]


def KittyBatch(cache):
    """What a cache has seen, for ``feed``: ids do not matter any more."""
    real = cache.slots.real(2, torch.device("cpu")).long()
    return type(batch())(torch.zeros_like(real), real)


def test_padding_that_a_later_mask_forgets_is_refused_under_stock_attention():
    model = make_family("llama", "sdpa")
    cache = KittyCache.for_model(model)
    feed(model, cache, None, batch((20, 10)))
    with pytest.raises(CacheError, match="has seen padding"):
        model(ids_of(1, rows=2), past_key_values=cache)


def test_features_that_the_kitty_attention_lacks_are_named():
    model = make_family("qwen3")
    with pytest.raises(UnsupportedError, match="attention weights"):
        model(ids_of(5), past_key_values=KittyCache.for_model(model), output_attentions=True)
    with pytest.raises(UnsupportedError, match="4-D"):
        model(ids_of(5), past_key_values=KittyCache.for_model(model), attention_mask=torch.zeros(1, 1, 5, 5))
    model.train()
    model.config.attention_dropout = model.model.layers[0].self_attn.attention_dropout = 0.1
    with pytest.raises(UnsupportedError, match="dropout"):
        model(ids_of(5), past_key_values=KittyCache.for_model(model))


@pytest.mark.parametrize(
    ("name", "fields", "named"),
    [
        ("T5", {}, "encoder-decoder"),
        ("Mamba", {}, "state"),
        ("Jamba", {}, "state-space"),
        ("DeepseekV3", {}, "latent"),
        ("Gemma3nText", {}, "share keys"),
        ("Llama4Text", {}, "chunked_attention"),
    ],
)
def test_models_that_cannot_use_the_cache_are_refused_by_name(name, fields, named):
    config = getattr(transformers, f"{name}Config")(**fields)
    with pytest.raises(UnsupportedError, match=named):
        KittyCache(config, kitty_kv.PRESETS["kitty-pro"])
