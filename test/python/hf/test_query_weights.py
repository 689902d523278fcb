"""Channels chosen by queries: what is measured, and that every kind of cache uses it."""

from __future__ import annotations

import pathlib
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from kitty_kv import CacheFileError, CacheOutOfMemoryError, ConfigError, KittyCache, KittyConfig, UnsupportedError
from kitty_kv.cache.channel_weights import ChannelWeights
from kitty_kv.cache.paged_cache import PagedCache
from kitty_kv.engine.kv_pool import KvPool
from kitty_kv.hf.cache_file import read_cache_file, write_cache_file
from kitty_kv.hf.query_weights import measure_queries, query_weights, set_query_weights
from kitty_kv.quant import dequantize_keys, quantize_keys
from kitty_kv.sim.verify import verify

sys.path.insert(0, str(pathlib.Path(__file__).parent / "table"))
from families import make_family

pytestmark = pytest.mark.usefixtures("installed")

QUERY = {"preset": "kitty-q"}


def ids(count: int, rows: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.randint(3, 96, (rows, count), generator=torch.Generator().manual_seed(seed))


def feed(model, cache, tokens):
    with torch.no_grad():
        return model(input_ids=tokens, past_key_values=cache, use_cache=True).logits


def other_weights(model) -> ChannelWeights:
    shape = query_weights(model).tensor.shape
    return ChannelWeights(torch.rand(shape, generator=torch.Generator().manual_seed(5)))


def test_a_model_is_measured_once_and_left_as_it_was(make_model, monkeypatch):
    model, passes = make_model(), []
    model.register_forward_hook(lambda *_: passes.append(1))
    first, second = (KittyCache.for_model(model, **QUERY) for _ in range(2))
    assert first.pages.weights is second.pages.weights
    assert len(passes) == 1
    assert first.pages.weights == query_weights(make_model())
    KittyCache.for_model(model, preset="kitty")
    KittyCache.for_model(model, preset="kivi-2", selection="query")  # boosts nothing
    assert KittyCache.for_model(make_model(), preset="kitty").pages.weights is None
    assert len(passes) == 1
    assert model.config._attn_implementation == "kitty"
    assert "kitty_measuring" not in {*AttentionInterface._global_mapping, *AttentionMaskInterface._global_mapping}


def test_no_memory_for_the_pass_is_said_with_the_remedy(make_model):
    model = make_model()

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    model.model.layers[1].register_forward_pre_hook(full)
    with pytest.raises(CacheOutOfMemoryError, match="no memory left for a pass of 2048 tokens; free some, or choose"):
        KittyCache.for_model(model, **QUERY)


def test_weights_are_fourth_roots_of_the_queries_sizes_over_tokens_and_heads(make_model):
    """Held against the queries that a hook sees before rotation, which keeps the size of a pair of channels."""
    model, seen = make_model(), []
    model.model.layers[1].self_attn.q_norm.register_forward_hook(lambda *args: seen.append(args[2]))
    weights = query_weights(model).tensor[1]
    (queries,) = seen  # [B, T, HQ, D]
    assert queries.shape == (2, 1024, 4, 64)
    squares = queries.double().square().unflatten(2, (2, 2)).mean((0, 1, 3))  # [HKV, D]
    wanted, found = (x.unflatten(-1, (2, 32)).sum(-2) for x in (squares, weights.double() ** 8))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=0)


def test_a_pass_that_fails_leaves_the_model_as_it_was(make_model):
    model = make_model()
    handle = model.model.layers[1].register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("stop")))
    with pytest.raises(RuntimeError, match="stop"):
        KittyCache.for_model(model, **QUERY)
    handle.remove()
    assert model.config._attn_implementation == "kitty"
    assert "kitty_measuring" not in AttentionInterface._global_mapping
    assert KittyCache.for_model(model, **QUERY).pages.weights == query_weights(make_model())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_model_under_stock_attention_has_the_same_weights(make_model, attention):
    weights = query_weights(make_model(attention=attention)).tensor
    torch.testing.assert_close(weights, query_weights(make_model()).tensor)


@pytest.mark.parametrize(
    ("family", "layers", "heads", "head_dim"),
    [
        ("gemma3", 1, 1, 256),
        ("qwen2-sliding", 1, 2, 32),
        ("gpt-neox", 2, 4, 16),
        ("gemma2", 1, 1, 256),
        ("mixtral", 2, 2, 32),
    ],
)
def test_only_layers_that_are_packed_have_weights(family, layers, heads, head_dim):
    model = make_family(family, dtype=torch.float32)
    cache = KittyCache.for_model(model, **QUERY)
    assert cache.pages.weights.tensor.shape == (layers, heads, head_dim)
    assert (cache.pages.weights.tensor > 0).all()
    feed(model, cache, ids(300))
    feed(model, cache, ids(5))


@pytest.mark.filterwarnings("ignore:Nothing is quantized")
def test_a_model_without_packed_layers_is_not_measured():
    model = make_family("starcoder2-sliding", dtype=torch.float32)
    assert KittyCache.for_model(model, **QUERY).pages.weights is None


@pytest.mark.parametrize("impl", ["auto", "reference"])
def test_pages_are_those_that_the_codec_makes_with_the_layers_weights(make_model, impl):
    """Pages that a prompt packs, and pages that single tokens complete."""
    model, plain = make_model(num_hidden_layers=2), KittyCache
    cache, exact = (plain.for_model(model, **options, impl=impl) for options in (QUERY, {"preset": "fp16"}))
    weights = cache.pages.weights.tensor
    for tokens in (ids(300), *ids(130).split(1, dim=1)):
        feed(model, cache, tokens)
    # Layer 0's keys do not depend on what a cache holds.
    for tokens in (ids(300), *ids(130).split(1, dim=1)):
        feed(model, exact, tokens)
    keys = exact.dequantize(0)[0][:, :, 32 : 32 + 256].half()
    wanted = dequantize_keys(quantize_keys(keys, KittyConfig(**QUERY), weights[0]))
    assert torch.equal(cache.dequantize(0)[0][:, :, 32 : 32 + 256], wanted)
    other = dequantize_keys(quantize_keys(keys, KittyConfig(preset="kitty", selection="range")))
    assert not torch.equal(wanted, other)


def test_the_simulated_cache_is_the_same_cache(make_model):
    model = make_model(dtype=torch.bfloat16)
    set_query_weights(model, other_weights(model))
    assert verify(model, ids(440, rows=2), KittyCache.for_model(model, **QUERY)).is_equal


def test_stock_generate_takes_the_selection(make_model):
    model, options = make_model(), {"max_new_tokens": 150, "do_sample": False}
    prompt = ids(200)
    by_hand = model.generate(prompt, past_key_values=KittyCache.for_model(model, **QUERY), **options)
    by_name = model.generate(prompt, cache_implementation="kitty", cache_config=QUERY, **options)
    assert torch.equal(by_hand, by_name)


def test_a_fork_and_a_saved_cache_go_on_with_the_weights_they_had(make_model, tmp_path):
    model = make_model()
    cache = KittyCache.for_model(model, **QUERY, weights=other_weights(model))
    feed(model, cache, ids(330))
    cache.save(tmp_path / "cache")
    copies = [cache.fork(), KittyCache.load(tmp_path / "cache", model)]
    for turn, count in enumerate((1, 150, 7)):
        wanted = feed(model, cache, ids(count, seed=turn))
        for copy in copies:
            assert torch.equal(feed(model, copy, ids(count, seed=turn)), wanted)
    # With the model's own it would not.
    plain = KittyCache.for_model(model, **QUERY)
    feed(model, plain, ids(330))
    assert not torch.equal(feed(model, plain, ids(1)), feed(model, KittyCache.load(tmp_path / "cache", model), ids(1)))


def test_a_file_without_its_weights_or_with_others_is_refused(make_model, tmp_path):
    model = make_model()
    cache = KittyCache.for_model(model, **QUERY)
    feed(model, cache, ids(330))
    cache.save(tmp_path / "cache")
    document, tensors = read_cache_file(tmp_path / "cache")
    document = {name: value for name, value in document.items() if name != "sha256"}
    for weights in (None, torch.ones(3, 2, 32), torch.full((3, 2, 64), float("nan")), torch.ones(3, 2, 64).int()):
        rest = {name: x for name, x in tensors.items() if name != "channel_weights"}
        changed = rest if weights is None else {**rest, "channel_weights": weights}
        write_cache_file(tmp_path / "changed", document, changed)
        with pytest.raises(CacheFileError, match="contents do not fit together"):
            KittyCache.load(tmp_path / "changed", model)
    # Bytes that changed are found before they are looked at.
    with safe_open(tmp_path / "cache", framework="pt") as file:
        header, held = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    held["channel_weights"] = held["channel_weights"] * 2
    save_file(held, tmp_path / "changed", metadata=header)
    with pytest.raises(CacheFileError, match="the bytes of tensor 'channel_weights' have changed"):
        KittyCache.load(tmp_path / "changed", model)


def test_sequences_of_one_pool_have_one_set_of_weights(make_model):
    model = make_model()
    pool = KvPool(model, KittyConfig(**QUERY))
    first = pool.new_sequence(512)
    set_query_weights(model, other_weights(model))
    assert pool.new_sequence(512).cache.pages.weights is first.cache.pages.weights
    assert KvPool(model, KittyConfig(**QUERY)).new_sequence(512).cache.pages.weights == other_weights(model)


def test_wrong_weights_are_refused(make_model):
    model = make_model()
    with pytest.raises(ConfigError, match=r"layers, KV heads and channels \(3, 2, 64\), the weights \(3, 2, 32\)"):
        feed(model, KittyCache.for_model(model, **QUERY, weights=ChannelWeights(torch.ones(3, 2, 32))), ids(5))
    with pytest.raises(ConfigError, match="has 3 full-attention layers, they are of 4"):
        set_query_weights(model, ChannelWeights(torch.ones(4, 2, 64)))
    with pytest.raises(ConfigError, match="some weights are not finite"):
        ChannelWeights(torch.full((1, 1, 4), float("inf")))
    for wrong in (torch.ones(2, 4), torch.ones(1, 2, 4, dtype=torch.int32), [1.0]):
        with pytest.raises(ConfigError, match="want a floating point tensor"):
            ChannelWeights(wrong)
    cache = PagedCache(KittyConfig(**QUERY), 1)
    with pytest.raises(ConfigError, match="this cache has no weights"):
        cache.layers[0].append(torch.zeros(1, 2, 5, 64), torch.zeros(1, 2, 5, 64))


def test_a_model_whose_queries_nobody_sees_is_refused_with_the_remedy(make_model):
    model = make_model()
    model._supports_attention_backend = False
    with pytest.raises(UnsupportedError, match="does not call attention functions by name; choose another selection"):
        measure_queries(model, ids(5))
    with pytest.raises(UnsupportedError, match="choose another selection"):
        query_weights(model)
