"""Passes launched before the tokens of the ones before are known: the text, the session and its cache stay what they were."""

from __future__ import annotations

import threading

import pytest
import torch
from engine_run import SMALL_PAGES, Run, plain_greedy, run_all

from kitty_kv.config import PRESETS
from kitty_kv.engine.engine import Engine
from kitty_kv.engine.generation import Generation, Request
from kitty_kv.engine.kv_pool import KvPool
from kitty_kv.engine.passes import JoinedPasses
from kitty_kv.engine.scheduler import SchedulerOptions
from kitty_kv.engine.unknown_tokens import UnknownTokens
from kitty_kv.errors import CacheOutOfMemoryError
from kitty_kv.hf.miniature import CONTEXT_LENGTH, miniature

CHUNK = 32
PROMPTS = [[3 + at, *range(7, 7 + 13 * at)] for at in range(4)]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def engine():
    engine = Engine(SchedulerOptions(runs_ahead=True))
    yield engine
    engine.stop()


@pytest.fixture
def pool(model) -> KvPool:
    return KvPool(model, SMALL_PAGES, prefix_bytes=0, chunk_tokens=CHUNK)


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of every decode pass that was launched with tokens nobody here knew."""
    rows: list[int] = []
    feed_ahead = JoinedPasses.feed_ahead

    def counting(self, sequences, tokens, on_device=None):
        logits = feed_ahead(self, sequences, tokens, on_device)
        if on_device is not None:
            rows.append(len(sequences))
        return logits

    monkeypatch.setattr(JoinedPasses, "feed_ahead", counting)
    return rows


def started(pool: KvPool, prompt: list[int], tokens: int, **options) -> Run:
    return Run(pool.new_sequence(CONTEXT_LENGTH), prompt, tokens, **options)


def held(run: Run) -> tuple[int, int]:
    sequence = run.generation.sequence
    return len(sequence.tokens), sequence.held


def test_all_but_the_first_pass_of_a_batch_run_ahead(model, engine: Engine, pool: KvPool, launched: list[int]) -> None:
    runs = [started(pool, prompt, 90) for prompt in PROMPTS]
    texts = [result.text for result in run_all(engine, runs)]
    assert texts == [plain_greedy(model, SMALL_PAGES, prompt, 90, CHUNK) for prompt in PROMPTS]
    # Prompts of different lengths begin and end in different steps; those in between are four rows.
    assert len(launched) >= 85
    assert launched.count(4) >= 80
    for run in runs:
        tokens, fed = held(run)
        assert fed == tokens - 1


def test_rows_of_different_lengths_leave_one_by_one(model, engine: Engine, pool: KvPool, launched: list[int]) -> None:
    lengths = [70, 20, 45, 21]
    runs = [started(pool, prompt, tokens) for prompt, tokens in zip(PROMPTS, lengths, strict=True)]
    wanted = [plain_greedy(model, SMALL_PAGES, prompt, n, CHUNK) for prompt, n in zip(PROMPTS, lengths, strict=True)]
    assert [result.text for result in run_all(engine, runs)] == wanted
    assert {1, 2} <= set(launched)


def cache_of(run: Run) -> list[torch.Tensor]:
    return [side.clone() for layer in range(2) for side in run.generation.sequence.cache.dequantize(layer)]


@pytest.mark.parametrize("length", range(30, 70, 3))
def test_a_stop_in_the_middle_leaves_the_cache_that_plain_passes_leave(
    model, engine: Engine, pool: KvPool, launched: list[int], length: int
) -> None:
    """Lengths on both sides of a page's end: what was fed behind the end is taken back to the bit."""
    text = plain_greedy(model, SMALL_PAGES, PROMPTS[1], length, CHUNK)
    stops: list[Run] = []
    for one in (engine, Engine(SchedulerOptions(runs_ahead=False))):
        run = started(pool, PROMPTS[1], 200)
        run.on_each = lambda run=run, one=one: one.cancel(run.generation) if run.tokens == length else None
        result = run_all(one, [run])[0]
        assert result.finish_reason == "cancelled"
        assert result.text == text
        stops.append(run)
    assert launched
    ahead, plain = stops
    assert held(ahead) == held(plain)
    assert all(map(torch.equal, cache_of(ahead), cache_of(plain)))


def test_a_stop_string_and_a_second_turn_are_what_they_are_without(
    model, engine: Engine, pool: KvPool, launched: list[int]
) -> None:
    stop = plain_greedy(model, SMALL_PAGES, PROMPTS[2], 25, CHUNK)[-9:]
    found = []
    for one in (engine, Engine(SchedulerOptions(runs_ahead=False))):
        first = started(pool, PROMPTS[2], 200)
        sequence = first.generation.sequence
        request = Request(lambda: PROMPTS[2], 200, stop=[stop])
        first.generation = Generation(sequence, first.generation._codec, request, first, 10_000)
        ended = run_all(one, [first])[0]
        assert ended.finish_reason == "stop"
        assert len(sequence.tokens) == sequence.held + 1
        found.append((ended.text, run_all(one, [Run(sequence, [5, 6], 40)])[0].text))
    assert launched
    assert found[0] == found[1]


def test_sampled_text_is_the_same_number_by_number(engine: Engine, pool: KvPool, launched: list[int]) -> None:
    options = [
        {"temperature": 0.9, "seed": 4},
        {"temperature": 1.3, "top_k": 9, "seed": 5},
        {"temperature": 0.7, "top_p": 0.8, "min_p": 0.05, "seed": 6},
        {},
    ]

    def texts(one: Engine) -> list[str]:
        runs = [started(pool, prompt, 50, **more) for prompt, more in zip(PROMPTS, options, strict=True)]
        return [result.text for result in run_all(one, runs)]

    ahead = texts(engine)
    assert len(launched) >= 45
    assert ahead == texts(Engine(SchedulerOptions(runs_ahead=False)))


@pytest.mark.parametrize("options", [{"repetition_penalty": 1.2}, {"logprobs": 2}])
def test_who_needs_the_last_token_is_waited_for(engine: Engine, pool: KvPool, launched: list[int], options) -> None:
    ahead = run_all(engine, [started(pool, PROMPTS[1], 30, **options)])[0]
    assert not launched
    plain = run_all(Engine(SchedulerOptions(runs_ahead=False)), [started(pool, PROMPTS[1], 30, **options)])[0]
    assert (ahead.text, ahead.logprobs) == (plain.text, plain.logprobs)


def test_a_reader_that_grants_token_by_token_gets_no_more(engine: Engine, pool: KvPool, launched: list[int]) -> None:
    run = started(pool, PROMPTS[1], 12, credit=1)
    run.on_each = lambda: engine.grant(run.generation, 1)
    assert run_all(engine, [run])[0].completion_tokens == 12
    assert not launched


def test_a_pass_that_finds_no_memory_ahead_is_taken_as_an_ordinary_one(
    model, engine: Engine, pool: KvPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, calls = JoinedPasses.feed_ahead, []

    def failing(self, sequences, tokens, on_device=None):
        calls.append(on_device is not None)
        if calls[-1] and calls.count(True) in (7, 20):
            raise CacheOutOfMemoryError("no memory", details={})
        return plain(self, sequences, tokens, on_device)

    monkeypatch.setattr(JoinedPasses, "feed_ahead", failing)
    runs = [started(pool, prompt, 60) for prompt in PROMPTS]
    texts = [result.text for result in run_all(engine, runs)]
    assert calls.count(True) > 20
    assert texts == [plain_greedy(model, SMALL_PAGES, prompt, 60, CHUNK) for prompt in PROMPTS]


def test_sampling_that_fails_behind_a_pass_ahead_feeds_it_again(
    model, engine: Engine, pool: KvPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    after = UnknownTokens.after.__func__

    def failing(cls, logits, group):
        calls.append(1)
        if len(calls) in (5, 30):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return after(cls, logits, group)

    monkeypatch.setattr(UnknownTokens, "after", classmethod(failing))
    runs = [started(pool, prompt, 60, temperature=0.8, seed=3) for prompt in PROMPTS]
    texts = [result.text for result in run_all(engine, runs)]
    assert len(calls) > 30
    plain = [started(pool, prompt, 60, temperature=0.8, seed=3) for prompt in PROMPTS]
    assert texts == [result.text for result in run_all(Engine(SchedulerOptions(runs_ahead=False)), plain)]


def test_who_gives_way_before_its_reader_has_heard_goes_on_all_the_same(model, engine: Engine) -> None:
    """Its reader grants the next token when it hears of the last one, which another's beginning must not keep from it."""
    pool = KvPool(model, SMALL_PAGES, max_bytes=95_000, prefix_bytes=0, chunk_tokens=CHUNK)
    runs = [started(pool, [1 + (at + 7 * each) % 90 for at in range(150)], 40, credit=1) for each in range(3)]
    for run in runs:
        run.on_each = lambda run=run: engine.grant(run.generation, 1)
    results = run_all(engine, runs)
    wanted = [
        plain_greedy(model, SMALL_PAGES, [1 + (at + 7 * each) % 90 for at in range(150)], 40, CHUNK)
        for each in range(3)
    ]
    assert [result.text for result in results] == wanted
    assert sum(result.preemptions for result in results) > 0


def test_while_paused_nothing_is_unknown(engine: Engine, pool: KvPool) -> None:
    run = started(pool, PROMPTS[0], 300)
    has_begun = threading.Event()
    run.on_each = lambda: has_begun.set() if run.tokens == 5 else None
    engine.submit(run.generation)
    assert has_begun.wait(60)
    with engine.paused():
        tokens, fed = held(run)
        assert fed == tokens - 1
        assert run.tokens == tokens - len(PROMPTS[0])
    assert run.result().completion_tokens == 300


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_on_a_gpu_it_runs_ahead_by_itself_and_writes_the_same(launched: list[int]) -> None:
    model = miniature().to("cuda", torch.bfloat16)
    found = []
    for options in (SchedulerOptions(), SchedulerOptions(runs_ahead=False)):
        engine, pool = Engine(options), KvPool(model, PRESETS["kitty-pro"], prefix_bytes=0)
        runs = [started(pool, [3 + at, 7, 9], 300) for at in range(4)]
        found.append([result.text for result in run_all(engine, runs)])
        if options.runs_ahead is None:
            assert launched.count(4) >= 290
        engine.stop()
    assert found[0] == found[1]
