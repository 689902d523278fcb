"""Generations over a real model and the real cache, through the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from collections.abc import Sequence as Tokens

import pytest
import torch
from transformers import PreTrainedModel

from kitty_kv import KittyCache
from kitty_kv.config import PRESETS
from kitty_kv.engine.engine import Engine
from kitty_kv.engine.generation import Generation, Request, Result, TextCodec
from kitty_kv.engine.kv_pool import KvPool
from kitty_kv.engine.sampling import Sampled, SamplingOptions
from kitty_kv.engine.sequence import Sequence
from kitty_kv.errors import ConfigError
from kitty_kv.hf.miniature import VOCABULARY, miniature

CONTEXT_LENGTH = 512
PROMPT = [5, 6, 7, 8]
TIMEOUT_S = 60


class Listener:
    """Remembers what it hears, and when."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.tokens = 0
        self.outcome: Result | BaseException | None = None
        self.ended = threading.Event()
        self.on_each: Callable[[], None] = lambda: None

    def on_tokens(self, text: str, tokens: int, logprobs: Tokens[Sampled] | None = None) -> None:
        self.texts.append(text)
        self.tokens += tokens
        self.on_each()

    def on_end(self, result: Result) -> None:
        self.outcome = result
        self.ended.set()

    def on_error(self, error: BaseException) -> None:
        self.outcome = error
        self.ended.set()

    def wait(self) -> Result | BaseException:
        assert self.ended.wait(TIMEOUT_S)
        return self.outcome

    def result(self) -> Result:
        outcome = self.wait()
        assert isinstance(outcome, Result), outcome
        return outcome


def decode(ids: list[int]) -> str:
    return "".join(f"<{token}>" for token in ids)


@pytest.fixture
def model(make_model: Callable[..., PreTrainedModel]) -> PreTrainedModel:
    return make_model()


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def sequence(model: PreTrainedModel) -> Sequence:
    return new_sequence(model)


def new_sequence(model: PreTrainedModel, preset: str = "fp16") -> Sequence:
    return Sequence(model, KittyCache.for_model(model, preset=preset), CONTEXT_LENGTH)


def make(
    sequence: Sequence,
    listener: Listener,
    tokens: int = 20,
    *,
    prompt: list[int] = PROMPT,
    credit: int = 10_000,
    eos: frozenset[int] = frozenset(),
    **options: object,
) -> Generation:
    stop = options.pop("stop", ())
    request = Request(lambda: prompt, tokens, SamplingOptions(**options), stop)
    return Generation(sequence, TextCodec(decode, eos), request, listener, credit)


def run(engine: Engine, sequence: Sequence, tokens: int = 20, **options: object) -> Result:
    listener = Listener()
    engine.submit(make(sequence, listener, tokens, **options))
    return listener.result()


def greedy_reference(model: PreTrainedModel, prompt: list[int], tokens: int) -> list[int]:
    """Stock generate() with its own dense cache."""
    ids = torch.tensor([prompt])
    output = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False)
    return output[0, len(prompt) :].tolist()


def test_greedy_text_equals_stock_generate(engine: Engine, model: PreTrainedModel, sequence: Sequence) -> None:
    result = run(engine, sequence, 40)
    assert result.text == decode(greedy_reference(model, PROMPT, 40))
    assert (result.finish_reason, result.prompt_tokens, result.completion_tokens) == ("length", 4, 40)
    assert result.memory["tokens"] == 43  # the last one is not in the cache yet


def test_a_second_turn_goes_on_as_one_long_text_would(
    engine: Engine, model: PreTrainedModel, sequence: Sequence
) -> None:
    first = run(engine, sequence, 10)
    second = run(engine, sequence, 10, prompt=[9, 10])
    said = greedy_reference(model, PROMPT, 10)
    assert first.text == decode(said)
    assert second.text == decode(greedy_reference(model, [*PROMPT, *said, 9, 10], 10))


def test_a_second_turn_feeds_only_what_is_new(engine: Engine, sequence: Sequence) -> None:
    run(engine, sequence, 10)
    fed: list[int] = []
    handle = sequence.model.register_forward_pre_hook(
        lambda _, args, inputs: fed.append(inputs["input_ids"].shape[1]), with_kwargs=True
    )
    run(engine, sequence, 3, prompt=[9, 10])
    handle.remove()
    assert fed == [3, 1, 1]  # the token that was sampled last, and the two new ones


def test_a_cancelled_turn_goes_on_where_it_stopped(engine: Engine, model: PreTrainedModel, sequence: Sequence) -> None:
    listener = Listener()
    generation = make(sequence, listener, 200)
    listener.on_each = lambda: engine.cancel(generation) if listener.tokens == 7 else None
    engine.submit(generation)
    result = listener.result()
    said = greedy_reference(model, PROMPT, 7)
    assert (result.finish_reason, result.completion_tokens, result.text) == ("cancelled", 7, decode(said))
    second = run(engine, sequence, 10, prompt=[9])
    assert second.text == decode(greedy_reference(model, [*PROMPT, *said, 9], 10))


def test_a_turn_cancelled_before_its_first_step_leaves_no_trace(engine: Engine, sequence: Sequence) -> None:
    listener = Listener()
    with engine.paused():
        generation = make(sequence, listener)
        engine.submit(generation)
        engine.cancel(generation)
    result = listener.result()
    assert (result.finish_reason, result.text, result.time_to_first_token_ms) == ("cancelled", "", None)
    assert sequence.tokens == []


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "seed": 1}, {"temperature": 0.7, "top_k": 20, "seed": 2}])
def test_many_at_once_write_what_each_writes_alone(
    engine: Engine, model: PreTrainedModel, options: dict[str, float]
) -> None:
    prompts = [[3 + i, 40, 7] for i in range(6)]
    alone = [run(engine, new_sequence(model, "kitty-pro"), 30, prompt=prompt, **options).text for prompt in prompts]
    listeners = [Listener() for _ in prompts]
    for prompt, listener in zip(prompts, listeners, strict=True):
        engine.submit(make(new_sequence(model, "kitty-pro"), listener, 30, prompt=prompt, **options))
    assert [listener.result().text for listener in listeners] == alone


def test_generations_take_turns(engine: Engine, model: PreTrainedModel) -> None:
    order: list[int] = []
    listeners = [Listener() for _ in range(3)]
    with engine.paused():
        for i, listener in enumerate(listeners):
            listener.on_each = lambda i=i: order.append(i)
            engine.submit(make(new_sequence(model), listener, 10))
    for listener in listeners:
        listener.result()
    assert order == [0, 1, 2] * 10


def test_a_generation_without_credit_waits_and_others_do_not(engine: Engine, model: PreTrainedModel) -> None:
    slow, fast = Listener(), Listener()
    waiting = make(new_sequence(model), slow, 20, credit=5)
    engine.submit(waiting)
    engine.submit(make(new_sequence(model), fast, 50))
    fast.result()
    assert (slow.tokens, slow.outcome) == (5, None)
    engine.grant(waiting, 6)
    run(engine, new_sequence(model), 30)
    assert (slow.tokens, slow.outcome) == (11, None)
    engine.grant(waiting, 100)
    assert slow.result().completion_tokens == 20


def test_a_generation_without_credit_can_be_cancelled(engine: Engine, sequence: Sequence) -> None:
    listener = Listener()
    generation = make(sequence, listener, 20, credit=1)
    listener.on_each = lambda: engine.cancel(generation)
    engine.submit(generation)
    assert listener.result().finish_reason == "cancelled"


def test_tokens_without_text_are_reported_when_the_credit_is_used_up(engine: Engine, sequence: Sequence) -> None:
    listener = Listener()
    text = decode(greedy_reference(sequence.model, PROMPT, 3))
    # All of it may be the beginning of the stop string, so none of it is shown before the end.
    generation = make(sequence, listener, 3, credit=1, stop=[text + "!"])
    listener.on_each = lambda: engine.grant(generation, 1)
    engine.submit(generation)
    result = listener.result()
    assert (result.text, listener.texts, listener.tokens) == (text, ["", "", "", text], 3)


def test_a_stop_string_ends_the_text_before_it(engine: Engine, model: PreTrainedModel, sequence: Sequence) -> None:
    said = greedy_reference(model, PROMPT, 20)
    stop = f"{said[8]}><{said[9]}>"  # begins inside one token and ends with the next
    result = run(engine, sequence, 20, stop=[stop])
    assert result.finish_reason == "stop"
    assert result.text == decode(said).partition(stop)[0]


def test_an_end_token_ends_the_text_and_is_not_shown(
    engine: Engine, model: PreTrainedModel, sequence: Sequence
) -> None:
    said = greedy_reference(model, PROMPT, 20)
    at = said.index(said[6])
    result = run(engine, sequence, 20, eos=frozenset([said[6]]))
    assert (result.finish_reason, result.text) == ("stop", decode(said[:at]))
    assert result.completion_tokens == at + 1


def test_a_generation_ends_where_the_context_ends(engine: Engine, sequence: Sequence) -> None:
    result = run(engine, sequence, 1000, prompt=[4] * (CONTEXT_LENGTH - 10))
    assert (result.finish_reason, result.completion_tokens) == ("length", 10)


def test_a_prompt_that_leaves_no_room_is_refused_with_numbers_and_costs_the_session_nothing(
    engine: Engine, model: PreTrainedModel, sequence: Sequence
) -> None:
    said = run(engine, sequence, 5).text
    listener = Listener()
    engine.submit(make(sequence, listener, prompt=[4] * CONTEXT_LENGTH))
    error = listener.wait()
    assert isinstance(error, ConfigError)
    assert (error.code, error.details) == (
        "context_exceeded",
        {"promptTokens": CONTEXT_LENGTH, "sessionTokens": 9, "contextLength": CONTEXT_LENGTH},
    )
    assert sequence.cache.get_seq_length() == 8
    after = run(engine, sequence, 5, prompt=[9]).text
    assert said + after == said + decode(greedy_reference(model, [*PROMPT, *greedy_reference(model, PROMPT, 5), 9], 5))


@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(3)])
def test_an_exception_ends_its_own_generation_only_and_its_session_goes_on_as_before(
    engine: Engine, model: PreTrainedModel, error: BaseException
) -> None:
    pool = KvPool(model, PRESETS["fp16"])
    sequence = pool.new_sequence(CONTEXT_LENGTH)
    run(engine, sequence, 5)
    other, broken = Listener(), Listener()

    def fail(_: object, __: object, inputs: dict) -> None:
        # Deep in the model, when some layers have cached the token already; the other is in the same batch at first.
        rows = inputs["past_key_value"].pages.rows
        if broken.tokens == 3 and any(row is own for row in rows for own in sequence.cache.pages.rows):
            raise error

    handle = model.model.layers[2].register_forward_pre_hook(fail, with_kwargs=True)
    with engine.paused():
        engine.submit(make(sequence, broken, 20, prompt=[9]))
        engine.submit(make(pool.new_sequence(CONTEXT_LENGTH), other, 60, prompt=[7]))
    assert broken.wait() is error
    text = other.result().text
    handle.remove()
    assert text == decode(greedy_reference(model, [7], 60))
    said = greedy_reference(model, PROMPT, 5)
    assert run(engine, sequence, 8, prompt=[9]).text == decode(greedy_reference(model, [*PROMPT, *said, 9], 8))


def test_nothing_is_stepped_while_paused(engine: Engine, sequence: Sequence) -> None:
    listener = Listener()
    seen = threading.Event()
    listener.on_each = seen.set
    engine.submit(make(sequence, listener, 400))
    assert seen.wait(TIMEOUT_S)
    with engine.paused():
        before = listener.tokens
        done = threading.Event()
        engine.between_steps(done.set)
        assert done.wait(TIMEOUT_S)
        assert (listener.tokens, engine.step_age_ms, listener.ended.is_set()) == (before, None, False)
    listener.result()


def test_an_idle_engine_uses_no_processor_time(engine: Engine, sequence: Sequence) -> None:
    run(engine, sequence, 2)
    listener = Listener()
    engine.submit(make(sequence, listener, 20, prompt=[9], credit=1))
    while listener.tokens < 1:
        threading.Event().wait(0.01)
    switches = thread_switches(engine)
    threading.Event().wait(0.3)
    assert thread_switches(engine) - switches <= 2


def thread_switches(engine: Engine) -> int:
    """How often the kernel has given the engine's thread a processor."""
    path = f"/proc/self/task/{engine._thread.native_id}/status"
    with open(path, encoding="ascii") as file:
        return sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)


def test_tokens_taken_are_written_later_but_never_lost(model) -> None:
    listener = Listener()
    sequence = KvPool(model, PRESETS["fp16"]).new_sequence(CONTEXT_LENGTH)
    codec = TextCodec(decode, frozenset())
    generation = Generation(sequence, codec, Request(lambda: PROMPT, 10), listener, 100)
    generation.begin()
    for token in (1, 2, 3):
        assert generation.take(Sampled(token)) is None
    # The first token is waited for, the others can be written while a device computes the next ones.
    assert listener.texts == ["<1>"]
    assert generation.has_unwritten
    generation.write()
    assert listener.texts == ["<1>", "<2>", "<3>"]
    generation.take(Sampled(4))
    result = generation.cancel()
    assert listener.texts == ["<1>", "<2>", "<3>", "<4>"]
    assert (result.text, listener.tokens, result.completion_tokens) == ("<1><2><3><4>", 4, 4)


def test_a_stop_string_ends_at_its_token_although_others_are_written_later(model) -> None:
    listener = Listener()
    sequence = KvPool(model, PRESETS["fp16"]).new_sequence(CONTEXT_LENGTH)
    request = Request(lambda: PROMPT, 10, stop=("<2>",))
    generation = Generation(sequence, TextCodec(decode, frozenset()), request, listener, 100)
    generation.begin()
    assert generation.take(Sampled(1)) is None
    result = generation.take(Sampled(2))
    assert (result.finish_reason, result.text, result.completion_tokens) == ("stop", "<1>", 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_on_a_gpu_readers_hear_every_token_in_order() -> None:
    model = miniature().to("cuda", torch.bfloat16)
    pool, engine = KvPool(model, PRESETS["kitty-pro"]), Engine()
    listeners = [Listener() for _ in range(9)]
    codec = TextCodec(decode, frozenset())
    for at, listener in enumerate(listeners):
        request = Request(lambda at=at: [token % VOCABULARY for token in range(10 + 30 * at)], 40 + at)
        engine.submit(Generation(pool.new_sequence(1024), codec, request, listener, 10_000))
    for at, listener in enumerate(listeners):
        result = listener.result()
        assert result.completion_tokens == listener.tokens == 40 + at
        assert "".join(listener.texts) == result.text
    engine.stop()
