"""Likelihoods and generations beside plain forward passes, and proof that quantized pages are read."""

from __future__ import annotations

import pytest
import torch

from kitty_kv import KittyCache, KittyConfig
from kitty_kv.config import PRESETS
from kitty_kv.errors import ConfigError, KittyKvError
from kitty_kv.eval.evaluator import Evaluator, GenerationRequest
from kitty_kv.sim.windows import EXCERPT, read_text


@pytest.fixture(scope="module")
def book(loaded) -> list[int]:
    return loaded.tokenizer(read_text(EXCERPT)[:6000], add_special_tokens=False)["input_ids"]


@pytest.fixture
def plain(loaded):
    """Log probabilities ``[T, V]`` of one call without any cache, under stock attention."""

    def run(tokens: list[int]) -> torch.Tensor:
        config = loaded.model.config
        config._attn_implementation = "eager"
        try:
            with torch.inference_mode():
                logits = loaded.model(torch.tensor([tokens]), use_cache=False).logits[0]
        finally:
            config._attn_implementation = "kitty"
        return logits.double().log_softmax(-1)

    return run


def test_fp16_likelihoods_are_those_of_a_plain_forward(loaded, book, plain):
    context, continuation = book[:700], book[700:740]
    found = Evaluator(loaded, PRESETS["fp16"]).loglikelihood(context, continuation)
    logs = plain(book[:740])[699:739]
    assert found.nats == pytest.approx(-logs.gather(1, torch.tensor(continuation)[:, None]).sum().item(), abs=2e-2)
    assert (found.tokens, found.is_greedy, found.packed_bytes) == (40, False, 0)


def test_greedy_is_said_of_what_greedy_decoding_writes(loaded, book, plain):
    tokens = book[:40]
    for _ in range(5):
        tokens = [*tokens, int(plain(tokens)[-1].argmax())]
    evaluator = Evaluator(loaded, PRESETS["fp16"])
    assert evaluator.loglikelihood(tokens[:40], tokens[40:]).is_greedy
    assert not evaluator.loglikelihood(tokens[:40], [*tokens[40:44], tokens[44] + 1]).is_greedy


def test_answers_read_quantized_pages(loaded, book):
    """One call over everything never does: it gives what fp16 gives."""
    context, continuation = book[:700], book[700:740]
    exact = Evaluator(loaded, PRESETS["fp16"]).loglikelihood(context, continuation).nats
    rough = Evaluator(loaded, PRESETS["kivi-2"]).loglikelihood(context, continuation)
    cache = KittyCache.for_model(loaded.model, preset="kivi-2")
    with torch.inference_mode():
        at_once = loaded.model(torch.tensor([book[:739]]), past_key_values=cache).logits[0, 699:].double()
    unread = torch.nn.functional.cross_entropy(at_once, torch.tensor(continuation), reduction="sum").item()
    assert rough.packed_bytes > 0
    assert unread == pytest.approx(exact, abs=2e-2)
    assert abs(rough.nats - exact) > 0.1


def test_a_likelihood_equals_token_by_token_behind_the_same_chunks(loaded, book):
    config = KittyConfig(preset="kitty-pro")
    found = Evaluator(loaded, config, chunk_tokens=256).loglikelihood(book[:400], book[400:430])
    cache, nats = KittyCache.for_model(loaded.model, config=config), 0.0
    spans = [(0, 256), (256, 400), *[(at, at + 1) for at in range(400, 429)]]
    with torch.inference_mode():
        for start, end in spans:
            logits = loaded.model(torch.tensor([book[start:end]]), past_key_values=cache).logits[0, -1]
            if end >= 400:
                nats -= logits.double().log_softmax(-1)[book[end]].item()
    assert found.nats == pytest.approx(nats, abs=1e-3)


def test_rolling_predicts_every_token_once_in_windows_of_the_context(loaded, book, plain):
    text = book[:500]
    evaluator = Evaluator(loaded, PRESETS["fp16"])
    logs = plain([loaded.tokenizer.bos_token_id, *text])[:-1]
    wanted = -logs.gather(1, torch.tensor(text)[:, None]).sum().item()
    found = evaluator.loglikelihood_rolling(text)
    assert (found.nats, found.tokens) == (pytest.approx(wanted, abs=5e-2), 500)
    object.__setattr__(loaded, "context_length", 200)
    try:
        windows = evaluator.loglikelihood_rolling(text)
    finally:
        object.__setattr__(loaded, "context_length", 4096)
    firsts = [[loaded.tokenizer.bos_token_id, *text[:200]], text[199:400], text[399:500]]
    parts = [-plain(w)[:-1].gather(1, torch.tensor(w[1:])[:, None]).sum().item() for w in firsts]
    assert windows.nats == pytest.approx(sum(parts), abs=5e-2)


def test_rolling_gives_what_one_token_at_a_time_gives(loaded, book):
    config = KittyConfig(preset="kivi-2")
    text = book[:300]  # pages of keys and of values are complete before the end
    found = Evaluator(loaded, config).loglikelihood_rolling(text)
    cache, nats = KittyCache.for_model(loaded.model, config=config), 0.0
    with torch.inference_mode():
        for before, after in zip([loaded.tokenizer.bos_token_id, *text], text, strict=False):
            logits = loaded.model(torch.tensor([[before]]), past_key_values=cache).logits[0, -1]
            nats -= logits.double().log_softmax(-1)[after].item()
    assert found.nats == pytest.approx(nats, rel=1e-4)


def test_generations_are_greedy_decoding_and_end_at_a_string(loaded, book, plain):
    prompts = [book[:60], book[100:190], book[300:340]]
    wanted = []
    for prompt in prompts:
        tokens = list(prompt)
        for _ in range(12):
            tokens.append(int(plain(tokens)[-1].argmax()))
        wanted.append(loaded.tokenizer.decode(tokens[len(prompt) :]))
    evaluator = Evaluator(loaded, PRESETS["fp16"], max_batch=2)
    heard = {}
    requests = [GenerationRequest(prompt, 12) for prompt in prompts]
    results = evaluator.generate_until(requests, lambda index, result: heard.update({index: result}))
    assert [result.text for result in results] == wanted
    assert [heard[index] for index in range(3)] == results
    stop = wanted[0][5:9]
    cut = evaluator.generate_until([GenerationRequest(prompts[0], 12, until=[stop])])[0].text
    assert cut == wanted[0][: wanted[0].index(stop)]


def test_what_does_not_fit_is_refused(loaded):
    evaluator = Evaluator(loaded, PRESETS["fp16"])
    with pytest.raises(ConfigError, match="context of 4096"):
        evaluator.loglikelihood([1] * 4000, [2] * 98)
    with pytest.raises(ConfigError, match="at least one token each"):
        evaluator.loglikelihood([], [2])
    with pytest.raises(ConfigError, match="holds no tokens"):
        evaluator.loglikelihood_rolling([])
    with pytest.raises(ConfigError, match="leaves no room"):
        evaluator.generate_until([GenerationRequest([1] * 4096, 1)])


def test_a_model_that_overflows_is_told_of(loaded, book):
    norm = loaded.model.model.norm.weight
    before = norm.detach().clone()
    try:
        norm.data[0] = torch.nan
        with pytest.raises(KittyKvError, match="probabilities are not finite"):
            Evaluator(loaded, PRESETS["kitty"]).loglikelihood(book[:10], book[10:12])
    finally:
        norm.data.copy_(before)
