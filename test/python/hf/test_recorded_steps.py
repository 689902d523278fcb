"""``generate()`` over a Kitty cache by passes that a CUDA graph can hold: the same text.

On a GPU it does so by itself, and the tests marked gpu look at that. Elsewhere Transformers' own ``_compile_all_devices`` asks
for the same passes, without graphs.
"""

from __future__ import annotations

import copy
import pathlib
import sys

import pytest
import torch
from transformers import CompileConfig

from kitty_kv.errors import CacheError
from kitty_kv.hf.cache import KittyCache
from kitty_kv.hf.decode_graphs import DecodeGraphs
from kitty_kv.hf.install import install
from kitty_kv.hf.recorded_steps import RecordedSteps, reason_against

sys.path.insert(0, str(pathlib.Path(__file__).parent / "table"))
from families import make_family

NEW_TOKENS = 24
ANYWHERE = CompileConfig()
ANYWHERE._compile_all_devices = True


@pytest.fixture(autouse=True)
def installed():
    install()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of tokens a row of every pass that goes the recorded way."""
    passes: list[int] = []
    feed = DecodeGraphs.feed

    def counting(self, pages, real, tokens, positions):
        passes.append(len(tokens[0]))
        return feed(self, pages, real, tokens, positions)

    monkeypatch.setattr(DecodeGraphs, "feed", counting)
    return passes


def prompts(rows: int, length: int = 150) -> torch.Tensor:
    return torch.randint(3, 96, (rows, length), generator=torch.Generator().manual_seed(rows))


def generate(
    model, cache: KittyCache, inputs: torch.Tensor, mask: torch.Tensor | None = None, **options
) -> torch.Tensor:
    mask = torch.ones_like(inputs) if mask is None else mask
    return model.generate(
        inputs,
        attention_mask=mask,
        past_key_values=cache,
        **{"max_new_tokens": NEW_TOKENS, "do_sample": False, **options},
    )


def both_ways(model, inputs: torch.Tensor, mask: torch.Tensor | None = None, preset: str = "kitty-pro", **options):
    """The text, and the caches, of ordinary passes and of recorded ones."""
    caches = [KittyCache.for_model(model, preset=preset, impl="reference") for _ in range(2)]
    plain = generate(model, caches[0], inputs, mask, **options)
    torch.manual_seed(0)
    recorded = generate(model, caches[1], inputs, mask, compile_config=ANYWHERE, **options)
    return (plain, caches[0]), (recorded, caches[1])


def assert_same(plain, recorded) -> None:
    assert torch.equal(plain[0], recorded[0])
    assert plain[1].get_seq_length() == recorded[1].get_seq_length()
    assert plain[1].lengths == recorded[1].lengths
    for ours, theirs in zip(plain[1].dequantize(1), recorded[1].dequantize(1), strict=True):
        torch.testing.assert_close(ours, theirs, atol=0, rtol=0)


@pytest.mark.parametrize("preset", ["fp16", "kivi-2", "kitty-pro"])
@pytest.mark.parametrize("family", ["qwen3", "gpt-neox"])
def test_greedy_text_and_cache_are_the_same_to_the_bit(counted: list[int], family: str, preset: str) -> None:
    model = make_family(family, dtype=torch.float32)
    assert_same(*both_ways(model, prompts(2), preset=preset))
    assert counted == [1] * (NEW_TOKENS - 1)


def test_rows_of_a_padded_batch_are_what_they_are_without(counted: list[int]) -> None:
    model = make_family("llama", dtype=torch.float32)
    mask = torch.ones(3, 150, dtype=torch.long)
    mask[0, :40] = 0
    mask[2, :149] = 0
    assert_same(*both_ways(model, prompts(3), mask))
    assert counted == [1] * (NEW_TOKENS - 1)


def test_sampling_and_a_second_turn_go_the_same_way(counted: list[int]) -> None:
    model = make_family("qwen2", dtype=torch.float32)
    caches = [KittyCache.for_model(model, preset="kitty", impl="reference") for _ in range(2)]
    texts = []
    for cache, options in zip(caches, ({}, {"compile_config": ANYWHERE}), strict=True):
        torch.manual_seed(1)
        first = generate(model, cache, prompts(2), do_sample=True, temperature=0.9, **options)
        texts.append(generate(model, cache, torch.cat([first, prompts(2, 20)], 1), do_sample=True, **options))
    assert torch.equal(*texts)
    assert len(counted) == 2 * (NEW_TOKENS - 1)


def test_without_compile_config_and_with_other_caches_nothing_changes(counted: list[int]) -> None:
    model = make_family("qwen3", dtype=torch.float32)
    plain = generate(model, KittyCache.for_model(model, preset="fp16"), prompts(1))
    stock = model.generate(prompts(1), max_new_tokens=NEW_TOKENS, do_sample=False)
    assert torch.equal(plain, stock)
    disabled = KittyCache.for_model(model, preset="fp16", impl="reference")
    generate(model, disabled, prompts(1), compile_config=ANYWHERE, disable_compile=True)
    assert not counted


def test_what_cannot_be_recorded_says_so_and_runs(counted: list[int], recwarn: pytest.WarningsRecorder) -> None:
    model = make_family("mistral-sliding", dtype=torch.float32)
    cache = KittyCache.for_model(model, preset="kitty-pro", impl="reference")
    generate(model, cache, prompts(1), compile_config=ANYWHERE)
    assert not counted
    assert any("sliding-window" in str(warning.message) for warning in recwarn)


def test_a_forks_steps_leave_the_other_alone(counted: list[int]) -> None:
    model = make_family("qwen3", dtype=torch.float32)
    cache = KittyCache.for_model(model, preset="kitty-pro", impl="reference")
    text = generate(model, cache, prompts(1), compile_config=ANYWHERE)
    before = [side.clone() for side in cache.dequantize(1)]
    fork = copy.copy(cache)
    generate(model, fork, torch.cat([text, prompts(1, 5)], 1), compile_config=ANYWHERE)
    assert all(map(torch.equal, cache.dequantize(1), before))
    assert fork.lengths[0] > cache.lengths[0]


def test_a_model_that_breaks_off_leaves_a_cache_that_says_so() -> None:
    model = make_family("qwen3", dtype=torch.float32)
    cache = KittyCache.for_model(model, preset="kitty-pro", impl="reference")
    text = generate(model, cache, prompts(1), compile_config=ANYWHERE)
    handle = model.model.layers[1].mlp.register_forward_hook(lambda *_: (_ for _ in ()).throw(ValueError("broken")))
    inputs = torch.cat([text, prompts(1, 1)], 1)
    with pytest.raises(ValueError, match="broken"):
        RecordedSteps(model, compiles=True)(
            past_key_values=cache,
            input_ids=inputs[:, -1:],
            position_ids=torch.tensor([[cache.get_seq_length()]]),
            cache_position=torch.tensor([cache.get_seq_length()]),
        )
    handle.remove()
    with pytest.raises(CacheError, match="failed half-way"):
        generate(model, cache, inputs)


def test_the_models_context_ends_recorded_steps_too() -> None:
    model = make_family("qwen3", dtype=torch.float32, max_position_embeddings=160)
    cache = KittyCache.for_model(model, preset="kitty-pro", impl="reference")
    with pytest.raises(CacheError, match="max_position_embeddings"):
        generate(model, cache, prompts(1), compile_config=ANYWHERE)


def test_a_hook_that_a_graph_would_leave_out_speaks_against_it(counted: list[int]) -> None:
    model = make_family("qwen3", dtype=torch.float32)
    calls = []
    handle = model.model.layers[1].mlp.register_forward_hook(lambda *_: calls.append(1))
    cache = KittyCache.for_model(model, preset="kitty-pro", impl="reference")
    assert "model.layers.1.mlp has a forward hook" in reason_against(model, cache, is_anywhere=True)
    generate(model, cache, prompts(1), compile_config=ANYWHERE)
    assert not counted
    assert len(calls) == NEW_TOKENS
    handle.remove()
    assert reason_against(model, cache, is_anywhere=True) is None
    assert "not on a CUDA GPU" in reason_against(model, cache, is_anywhere=False)


def test_a_module_whose_forward_was_replaced_speaks_against_it() -> None:
    model = make_family("qwen3", dtype=torch.float32)
    norm = model.model.norm
    norm.forward = type(norm).forward.__get__(norm)
    cache = KittyCache.for_model(model, preset="kitty-pro", impl="reference")
    assert "model.norm has another forward" in reason_against(model, cache, is_anywhere=True)


def test_a_step_with_arguments_that_no_graph_knows_goes_the_ordinary_way(counted: list[int]) -> None:
    model = make_family("qwen3", dtype=torch.float32)
    caches = [KittyCache.for_model(model, preset="kitty-pro", impl="reference") for _ in range(2)]
    more = {"return_dict_in_generate": True, "output_hidden_states": True}
    plain, asked = (
        generate(model, cache, prompts(1), **more, **options)
        for cache, options in zip(caches, ({}, {"compile_config": ANYWHERE}), strict=True)
    )
    assert not counted
    assert len(asked.hidden_states) == NEW_TOKENS
    assert torch.equal(plain.hidden_states[-1][-1], asked.hidden_states[-1][-1])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("preset", ["fp16", "kitty-pro"])
@pytest.mark.parametrize("more", [{}, {"compile_config": CompileConfig()}], ids=["graphs", "graphs-compiled-layers"])
def test_on_a_gpu_graphs_give_nearly_the_same_logits(counted: list[int], preset: str, more: dict) -> None:
    model = make_family("qwen3", dtype=torch.bfloat16).cuda()
    options = {"return_dict_in_generate": True, "output_logits": True, "max_new_tokens": NEW_TOKENS, "do_sample": False}
    inputs = prompts(3).cuda()
    found = [
        model.generate(inputs, past_key_values=KittyCache.for_model(model, preset=preset), **options, **how)
        for how in ({"disable_compile": True}, more)
    ]
    assert counted == [1] * (NEW_TOKENS - 1)
    first, second = (torch.stack(one.logits, 1).float() for one in found)
    # Until a near tie sends the texts different ways.
    same = (found[0].sequences == found[1].sequences)[:, 150:].long().cumprod(1).bool()
    assert same[:, 0].all()
    assert (first - second)[same].abs().max() < 0.05 * first.abs().max()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_on_a_gpu_weights_changed_between_calls_count() -> None:
    model = make_family("qwen3", dtype=torch.bfloat16).cuda()
    cache = KittyCache.for_model(model, preset="kitty-pro")
    text = generate(model, cache, prompts(2).cuda())
    fork = copy.copy(cache)
    model.lm_head.weight.data = model.lm_head.weight.data.roll(1, 0)
    again = [
        generate(model, one, torch.cat([text, prompts(2, 5).cuda()], 1), disable_compile=is_ordinary)
        for one, is_ordinary in ((cache, False), (fork, True))
    ]
    # The first token comes from the prompt, the second from a step.
    assert torch.equal(again[0][:, : text.shape[1] + 7], again[1][:, : text.shape[1] + 7])
