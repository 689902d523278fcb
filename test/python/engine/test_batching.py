"""Results do not depend on who shares the steps."""

from __future__ import annotations

import dataclasses
import functools
import queue
import random

import pytest
import torch
from engine_run import SMALL_PAGES, Run, plain_greedy, run_all

from kitty_kv.config import PRESETS
from kitty_kv.engine.engine import Engine
from kitty_kv.engine.kv_pool import KvPool
from kitty_kv.engine.passes import JoinedPasses, feed
from kitty_kv.engine.scheduler import SchedulerOptions
from kitty_kv.errors import CacheError, CacheOutOfMemoryError, ConfigError, KittyKvError, QueueFullError
from kitty_kv.hf.joined_cache import JoinedCache
from kitty_kv.hf.loading import load_model
from kitty_kv.hf.miniature import CONTEXT_LENGTH, VOCABULARY

CHUNK = 32

pytestmark = pytest.mark.usefixtures("one_thread", "both_ways")


def new_pool(model, **options) -> KvPool:
    return KvPool(model, SMALL_PAGES, **{"chunk_tokens": CHUNK, "prefix_bytes": 0, **options})


def prompts(count: int, seed: int = 0, longest: int = 150) -> list[list[int]]:
    chance = random.Random(seed)
    return [[chance.randrange(VOCABULARY) for _ in range(chance.randint(1, longest))] for _ in range(count)]


def run_of(pool: KvPool, prompt: list[int], tokens: int = 30, **options) -> Run:
    return Run(pool.new_sequence(CONTEXT_LENGTH), prompt, tokens, **options)


def test_a_batch_writes_what_plain_passes_of_one_sequence_write(model) -> None:
    pool, cases = new_pool(model), prompts(9)
    results = run_all(Engine(), [run_of(pool, prompt, 20 + 7 * at) for at, prompt in enumerate(cases)])
    wanted = [plain_greedy(model, SMALL_PAGES, prompt, 20 + 7 * at, CHUNK) for at, prompt in enumerate(cases)]
    assert [result.text for result in results] == wanted


@pytest.mark.parametrize(
    ("dtype", "preset"), [("float32", "kitty-pro"), ("bfloat16", "kitty-pro"), ("bfloat16", "fp16")]
)
def test_logits_of_the_bundled_model_in_a_batch_equal_those_alone_to_the_bit(dtype: str, preset: str) -> None:
    loaded = load_model(dtype=dtype)
    chance = random.Random(1)
    cases = [[chance.randrange(1, 4096) for _ in range(length)] for length in (3, 290, 17, 161, 40)]

    def logits_of(chosen: list[list[int]]) -> torch.Tensor:
        pool = KvPool(loaded.model, PRESETS[preset], prefix_bytes=0)
        sequences = [pool.new_sequence(4096) for _ in chosen]
        passes, out = JoinedPasses(), []
        with torch.inference_mode():
            for sequence, prompt in zip(sequences, chosen, strict=True):
                sequence.tokens.extend([*prompt, 7])
                feed_prompt(sequence)
            for step in range(12):
                out.append(passes.feed(sequences))
                for sequence in sequences:
                    sequence.tokens.append(50 + step)
        return torch.stack(out, dim=1)  # [N, steps, V]

    together = logits_of(cases)
    for at, case in enumerate(cases):
        assert torch.equal(logits_of([case])[0], together[at])


def feed_prompt(sequence) -> None:
    """All but the last token."""
    last = sequence.tokens.pop()
    while sequence.unfed:
        feed(sequence)
    sequence.tokens.append(last)


def test_requests_that_come_and_go_at_every_step_change_no_result(model) -> None:
    engine, pool = Engine(SchedulerOptions(max_batch=5, prefill_tokens=CHUNK)), new_pool(model)
    cases = prompts(24, seed=2, longest=100)
    options = [{} if at % 2 else {"temperature": 1.0, "seed": at, "top_k": 20} for at in range(24)]
    alone = [
        run_all(engine, [run_of(pool, p, 5 + at, **o)])[0].text
        for at, (p, o) in enumerate(zip(cases, options, strict=True))
    ]
    runs = [
        run_of(pool, prompt, 5 + at, **chosen) for at, (prompt, chosen) in enumerate(zip(cases, options, strict=True))
    ]
    followers = iter(runs[4:])

    def start_another() -> None:
        follower = next(followers, None)
        if follower is not None:
            follower.on_each = once(start_another)
            engine.submit(follower.generation)

    for run in runs[:4]:
        run.on_each = once(start_another)
    with engine.paused():
        for run in runs[:4]:
            engine.submit(run.generation)
    assert [run.result().text for run in runs] == alone


def once(act):
    """``act``, the first time only."""
    pending = [act]
    return lambda: pending.pop()() if pending else None


def test_a_cancelled_request_leaves_the_others_and_its_session_as_they_would_be(model) -> None:
    engine, pool = Engine(), new_pool(model)
    cases = prompts(6, seed=3)
    runs = [run_of(pool, prompt, 40) for prompt in cases]
    gone = runs[2]
    gone.on_each = lambda: engine.cancel(gone.generation) if gone.tokens == 9 else None
    results = run_all(engine, runs)
    assert results[2].finish_reason == "cancelled"
    wanted = [plain_greedy(model, SMALL_PAGES, prompt, 9 if at == 2 else 40, CHUNK) for at, prompt in enumerate(cases)]
    assert [result.text for result in results] == wanted
    # The session goes on with the token that was not fed yet.
    said = gone.generation.sequence.tokens
    assert len(said) == len(cases[2]) + 9 and gone.generation.sequence.unfed == 1


def test_a_long_prompt_comes_in_chunks_between_the_tokens_of_others(model) -> None:
    engine, pool = Engine(SchedulerOptions(prefill_tokens=CHUNK)), new_pool(model)
    order: list[str] = []
    writer, reader = run_of(pool, [1, 2, 3], 60), run_of(pool, prompts(1, seed=4)[0] * 20, 3)
    length = len(prompts(1, seed=4)[0]) * 20
    sizes: list[int] = []
    handle = model.register_forward_pre_hook(
        lambda _, __, inputs: sizes.append(inputs["input_ids"].shape[1]), with_kwargs=True
    )
    writer.on_each, reader.on_each = lambda: order.append("w"), lambda: order.append("r")
    run_all(engine, [writer, reader])
    handle.remove()
    chunks = [size for size in sizes if size > 3]
    assert max(chunks) <= CHUNK and sum(chunks) >= length - CHUNK
    assert order.index("r") >= min(60, length // CHUNK)


@pytest.mark.parametrize("tokens", [30, 90])
def test_a_preempted_request_writes_what_it_would_have_written(model, tokens: int) -> None:
    cases = prompts(8, seed=5, longest=120)
    wanted = [plain_greedy(model, SMALL_PAGES, prompt, tokens, CHUNK) for prompt in cases]
    engine, pool = Engine(), new_pool(model, max_bytes=200_000)
    results = run_all(engine, [run_of(pool, prompt, tokens) for prompt in cases])
    assert sum(result.preemptions for result in results) > 0
    assert results[0].preemptions == 0  # the oldest goes on
    assert [result.text for result in results] == wanted
    assert pool.store.bytes_allocated <= 200_000


def test_a_session_whose_cache_made_room_goes_on_to_the_bit(model) -> None:
    case, other = prompts(2, seed=6)
    engine, roomy, tight = Engine(), new_pool(model), new_pool(model, max_bytes=95_000)
    wanted = turns(engine, roomy, case, lambda: None)

    def crowd_out() -> None:
        run_all(engine, [run_of(tight, other * 2, 40)])

    before = tight.new_sequence(CONTEXT_LENGTH)
    assert turns(engine, tight, case, crowd_out, before) == wanted


def turns(engine, pool, prompt, between, sequence=None) -> list[str]:
    """Two turns of one session."""
    sequence = sequence or pool.new_sequence(CONTEXT_LENGTH)
    first = run_all(engine, [Run(sequence, prompt, 25)])[0].text
    between()
    if pool.max_bytes is not None:
        assert sequence.held == 0
    return [first, run_all(engine, [Run(sequence, [5, 6], 25)])[0].text]


def test_a_prompt_that_begins_like_another_shares_its_pages_and_changes_no_result(model) -> None:
    common, *ends = prompts(5, seed=7, longest=20)
    common = common * 30
    engine, shared, apart = Engine(), new_pool(model, prefix_bytes=10**7), new_pool(model)
    with_prefix = [run_all(engine, [run_of(shared, common + end)])[0] for end in ends]
    without = [run_all(engine, [run_of(apart, common + end)])[0] for end in ends]
    chunks = len(common) // CHUNK * CHUNK
    assert [result.reused_tokens for result in with_prefix] == [0, chunks, chunks, chunks]
    assert [result.text for result in with_prefix] == [result.text for result in without]
    assert without[1].text == plain_greedy(model, SMALL_PAGES, common + ends[1], 30, CHUNK)


def test_sequences_whose_channels_queries_choose_share_batches_prefixes_and_memory(model) -> None:
    by_query = dataclasses.replace(SMALL_PAGES, selection="query")
    common, *ends = prompts(6, seed=9, longest=100)
    cases = [common * 2 + end for end in ends]
    wanted = [plain_greedy(model, by_query, case, 40, CHUNK) for case in cases]
    assert wanted != [plain_greedy(model, SMALL_PAGES, case, 40, CHUNK) for case in cases]
    engine = Engine()
    for options in ({}, {"prefix_bytes": 10**7}, {"max_bytes": 200_000}):
        pool = KvPool(model, by_query, **{"chunk_tokens": CHUNK, "prefix_bytes": 0, **options})
        first = run_all(engine, [run_of(pool, cases[0], 40)])
        results = first + run_all(engine, [run_of(pool, case, 40) for case in cases[1:]])
        assert [result.text for result in results] == wanted
        assert any(result.reused_tokens for result in results) == ("prefix_bytes" in options)
        assert any(result.preemptions for result in results) == ("max_bytes" in options)


def test_prefixes_stay_within_their_budget_and_the_oldest_goes_first(model) -> None:
    pool = new_pool(model, prefix_bytes=60_000)
    first, *others = prompts(6, seed=8, longest=100)
    first = first * 3
    engine = Engine()
    run_all(engine, [run_of(pool, first, 2)])
    assert 0 < pool.prefixes.bytes_held <= 60_000
    for other in others:
        run_all(engine, [run_of(pool, other * 3, 2)])
        assert pool.prefixes.bytes_held <= 60_000
    assert run_all(engine, [run_of(pool, first, 2)])[0].reused_tokens == 0


def test_a_request_that_never_fits_is_refused_and_others_go_on(model) -> None:
    engine, pool = Engine(), new_pool(model, max_bytes=100_000)
    small = [run_of(pool, [3, 4, 5], 60) for _ in range(2)]
    run_all(engine, small[:1])
    huge = run_of(pool, [9] * 1500, 5)
    with engine.paused():
        engine.submit(huge.generation)
        engine.submit(small[1].generation)
    error = huge.wait()
    assert isinstance(error, CacheOutOfMemoryError) and error.details == {"tokens": 1500, "maxBytes": 100_000}
    assert small[1].result().text == small[0].result().text
    assert small[1].result().preemptions == 0


def test_a_request_that_outgrows_the_budget_alone_ends_with_an_error(model) -> None:
    engine, pool = Engine(), new_pool(model, max_bytes=60_000)
    run = run_of(pool, [3, 4, 5], 1500)
    engine.submit(run.generation)
    assert isinstance(run.wait(), CacheOutOfMemoryError)
    assert run_all(engine, [run_of(pool, [3, 4, 5], 10)])[0].completion_tokens == 10


def test_a_full_queue_answers_at_once(model) -> None:
    engine, pool = Engine(SchedulerOptions(max_batch=1, max_waiting=2)), new_pool(model)
    runs = [run_of(pool, [3, 4], 5) for _ in range(3)]
    with engine.paused():
        for run in runs[:2]:
            engine.submit(run.generation)
        with pytest.raises(QueueFullError, match="2 requests wait") as caught:
            engine.submit(runs[2].generation)
    assert (caught.value.code, caught.value.details) == ("queue_full", {"waiting": 2, "limit": 2})
    assert [run.result().completion_tokens for run in runs[:2]] == [5, 5]


def test_logits_that_are_no_numbers_end_their_own_request_only(model) -> None:
    engine, pool = Engine(), new_pool(model)
    cases = prompts(3, seed=9, longest=20)
    runs = [run_of(pool, prompt, 25) for prompt in cases]

    def spoil(_, __, output):
        if runs[1].tokens == 6 and not runs[0].tokens > 6:
            logits = output.logits.clone()
            logits[1] = torch.nan
            output.logits = logits
        return output

    handle = model.register_forward_hook(spoil)
    with engine.paused():
        for run in runs:
            engine.submit(run.generation)
    error = runs[1].wait()
    handle.remove()
    assert isinstance(error, KittyKvError) and error.code == "bad_logits"
    for at in (0, 2):
        assert runs[at].result().text == plain_greedy(model, SMALL_PAGES, cases[at], 25, CHUNK)


def test_metrics_tell_what_runs_and_what_is_held(model) -> None:
    engine, pool = Engine(), new_pool(model, max_bytes=10**7)
    stalled = run_of(pool, [3, 4, 5], 50, credit=2)
    engine.submit(stalled.generation)
    result = run_all(engine, [run_of(pool, [7, 8], 20)])[0]
    seen: queue.Queue = queue.Queue()
    engine.metrics(seen.put)
    metrics = seen.get(timeout=60)
    assert (metrics.running, metrics.waiting, metrics.tokens) == (1, 0, 22)
    assert metrics.tokens_per_second > 0
    assert 0 < metrics.pools[0].bytes_in_use <= metrics.pools[0].bytes_allocated <= 10**7
    assert 0 <= result.queue_time_ms <= result.time_to_first_token_ms
    assert result.inter_token_latency_ms > 0
    assert result.kv_bytes == result.memory["packed_bytes"] + result.memory["full_precision_bytes"] > 0
    engine.cancel(stalled.generation)
    assert stalled.result().finish_reason == "cancelled"


def test_joined_rows_belong_to_their_caches(model) -> None:
    pool, other = new_pool(model), new_pool(model)
    caches = []
    with torch.inference_mode():
        for owner in (pool, pool, other):
            sequence = owner.new_sequence(CONTEXT_LENGTH)
            sequence.tokens.extend([1, 2, 3])
            feed(sequence)
            caches.append(sequence.cache)
    joined = JoinedCache(caches[:2], rows=4)
    before = pool.store.in_use
    for act in (joined.reset, joined.pages.fork, functools.partial(joined.pages.crop, [1, 1])):
        with pytest.raises(CacheError, match="joined rows"):
            act()
    with pytest.raises(ConfigError, match="share one store"):
        JoinedCache(caches[1:])
    with pytest.raises(ConfigError, match="empty"):
        JoinedCache([caches[0], pool.new_sequence(CONTEXT_LENGTH).cache])
    del joined
    pool.store.collect()
    assert pool.store.in_use == before
