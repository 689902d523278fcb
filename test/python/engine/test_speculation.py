"""Speculative decoding writes what decoding token by token writes."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import pytest
import torch
from engine_run import SMALL_PAGES, Run, plain_greedy, run_all

from kitty_kv.config import PRESETS, KittyConfig
from kitty_kv.engine.engine import Engine
from kitty_kv.engine.generation import Generation, Request, Result, TextCodec
from kitty_kv.engine.kv_pool import KvPool
from kitty_kv.engine.passes import JoinedPasses, feed
from kitty_kv.engine.sampling import SamplingOptions
from kitty_kv.engine.scheduler import SchedulerOptions
from kitty_kv.engine.speculation import Speculation
from kitty_kv.errors import ConfigError, UnsupportedError
from kitty_kv.hf.loading import load_model
from kitty_kv.hf.miniature import CONTEXT_LENGTH, VOCABULARY, miniature

LOOKUP = Speculation("prompt-lookup", draft_tokens=6, ngram_min=1)
PLAIN = Speculation("none")
PERIOD = [3, 14, 15, 92, 65, 35, 89, 79]
CHUNK = 32

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def bundled():
    return load_model(dtype="bfloat16")


class Guess(Run):
    """A generation with drafts."""

    def __init__(
        self,
        pool: KvPool,
        prompt: Sequence[int],
        tokens: int,
        speculation: Speculation | None,
        *,
        sequence=None,
        credit: int = 10_000,
        stop: Sequence[str] = (),
        eos: frozenset[int] = frozenset(),
        **options: object,
    ) -> None:
        sequence = sequence or pool.new_sequence(CONTEXT_LENGTH)
        super().__init__(sequence, prompt, tokens)
        request = Request(lambda: prompt, tokens, SamplingOptions(**options), stop, speculation)
        codec = TextCodec(lambda ids: "".join(f"<{token}>" for token in ids), eos)
        self.generation = Generation(sequence, codec, request, self, credit)


def pool_of(model, config: KittyConfig = SMALL_PAGES, **options) -> KvPool:
    return KvPool(model, config, **{"chunk_tokens": CHUNK, "prefix_bytes": 0, **options})


def drafting_with(draft, tokens: int = 4) -> Speculation:
    return Speculation("draft-model", draft_tokens=tokens, draft_pool=pool_of(draft, PRESETS["fp16"]))


def write(pool: KvPool, speculation: Speculation | None, prompt: Sequence[int], tokens: int, **options) -> Result:
    return run_all(Engine(), [Guess(pool, prompt, tokens, speculation, **options)])[0]


def random_prompts(count: int, seed: int, longest: int = 100) -> list[list[int]]:
    chance = random.Random(seed)
    return [[chance.randrange(VOCABULARY) for _ in range(chance.randint(1, longest))] for _ in range(count)]


@pytest.mark.parametrize("preset", ["fp16", "kitty-pro"])
def test_greedy_text_of_a_repetitive_prompt_is_the_same_across_pages(bundled, preset: str) -> None:
    ids = bundled.tokenizer("Mia has a red ball. " * 40)["input_ids"]
    pool = KvPool(bundled.model, PRESETS[preset], prefix_bytes=0)
    plain, guessed = run_all(Engine(), [Guess(pool, ids, 120, how) for how in (PLAIN, LOOKUP)])
    # A page of keys and one of values are completed on the way.
    assert len(ids) < 32 + 2 * 128 < len(ids) + 120
    assert guessed.text == plain.text
    # A pool that has grown for a draft may be larger.
    assert {**guessed.memory, "allocated_bytes": 0} == {**plain.memory, "allocated_bytes": 0}
    assert (plain.drafted_tokens, plain.accepted_tokens) == (0, 0)
    assert 20 < guessed.accepted_tokens <= guessed.drafted_tokens


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.9, "seed": 5, "top_p": 0.9, "repetition_penalty": 1.05}])
def test_looked_up_drafts_leave_every_token_of_a_seed_as_it_is(model, sampling: dict) -> None:
    engine, pool = Engine(), pool_of(model)
    cases = [PERIOD * 6, *random_prompts(3, seed=1)]
    runs = [[Guess(pool, prompt, 120, how, **sampling) for prompt in cases] for how in (PLAIN, LOOKUP)]
    plain, guessed = (run_all(engine, group) for group in runs)
    assert [result.text for result in guessed] == [result.text for result in plain]
    assert sum(result.accepted_tokens for result in guessed) > 0
    # Rejections are part of it.
    assert sum(result.drafted_tokens - result.accepted_tokens for result in guessed) > 20
    caches = [[run.generation.sequence.cache for run in group] for group in runs]
    for one, other in zip(*caches, strict=True):
        assert_same_content(one, other)


def assert_same_content(one, other) -> None:
    for layer in range(len(one.layers)):
        for left, right in zip(one.dequantize(layer), other.dequantize(layer), strict=True):
            assert torch.equal(left, right)


@pytest.mark.parametrize("config", [SMALL_PAGES, PRESETS["fp16"]], ids=["packed", "fp16"])
def test_a_model_that_drafts_for_itself_has_nearly_all_accepted(model, config: KittyConfig) -> None:
    pool, prompt = pool_of(model, config), random_prompts(1, seed=2)[0]
    result = write(pool, drafting_with(model), prompt, 200)
    assert result.text == plain_greedy(model, config, prompt, 200, CHUNK)
    # Quantized, this model of random weights often says another token than its draft, whose cache is not.
    assert result.accepted_tokens > (0.4 if config is SMALL_PAGES else 0.95) * result.drafted_tokens > 50


def test_a_draft_model_that_knows_nothing_changes_nothing(model) -> None:
    pool, prompt = pool_of(model), random_prompts(1, seed=3)[0]
    result = write(pool, drafting_with(miniature(seed=9)), prompt, 120)
    assert result.text == plain_greedy(model, SMALL_PAGES, prompt, 120, CHUNK)
    assert result.accepted_tokens < 0.1 * result.drafted_tokens


def test_the_bundled_model_drafts_for_itself_at_two_bits(bundled) -> None:
    ids = bundled.tokenizer("Once upon a time")["input_ids"]
    pool = KvPool(bundled.model, PRESETS["kitty-pro"], prefix_bytes=0)
    ways = (PLAIN, drafting_with(bundled.model))
    plain, guessed = run_all(Engine(), [Guess(pool, ids, 200, how) for how in ways])
    assert guessed.text == plain.text
    assert guessed.accepted_tokens > 0.8 * guessed.drafted_tokens


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")],
        ),
    ],
)
def test_every_token_is_the_best_that_passes_of_one_token_find_up_to_rounding(device: str) -> None:
    loaded = load_model(dtype="bfloat16", device=device)
    ids = loaded.tokenizer("Mia has a red ball. " * 30)["input_ids"]
    pool = KvPool(loaded.model, PRESETS["kitty-pro"], prefix_bytes=0)
    draft = Speculation("draft-model", draft_pool=KvPool(loaded.model, PRESETS["fp16"]))
    # On a GPU across a page, which the CPU's tests do elsewhere.
    runs = [Guess(pool, ids, 130 if device == "cuda" else 40, how) for how in (LOOKUP, draft)]
    for result in run_all(Engine(), runs):
        assert result.accepted_tokens > 10
    for run in runs:
        tokens, sequence, passes = run.generation.sequence.tokens, pool.new_sequence(4096), JoinedPasses()
        sequence.tokens.extend(ids)
        with torch.inference_mode():
            logits = feed(sequence)
            for token in tokens[len(ids) :]:
                # Near ties may go either way on a GPU; a wrong cache is off by more than bfloat16's last bits.
                assert logits[token] >= logits.max() - (0.25 if device == "cuda" else 0)
                sequence.tokens.append(token)
                logits = passes.feed([sequence])[0]


def test_all_ways_of_decoding_share_a_batch(model) -> None:
    engine, pool = Engine(), pool_of(model)
    ways = [PLAIN, LOOKUP, drafting_with(model), drafting_with(miniature(seed=9)), Speculation("prompt-lookup", 15)]
    cases = random_prompts(10, seed=4)
    runs = [Guess(pool, prompt, 30 + 9 * at, ways[at % len(ways)]) for at, prompt in enumerate(cases)]
    results = run_all(engine, runs)
    wanted = [plain_greedy(model, SMALL_PAGES, prompt, 30 + 9 * at, CHUNK) for at, prompt in enumerate(cases)]
    assert [result.text for result in results] == wanted


def test_a_preempted_request_writes_what_it_would_have_written(model) -> None:
    cases = random_prompts(8, seed=5)
    wanted = [plain_greedy(model, SMALL_PAGES, prompt, 90, CHUNK) for prompt in cases]
    engine, pool = Engine(), pool_of(model, max_bytes=200_000)
    ways = [LOOKUP, drafting_with(model)]
    results = run_all(engine, [Guess(pool, prompt, 90, ways[at % 2]) for at, prompt in enumerate(cases)])
    assert sum(result.preemptions for result in results) > 0
    assert [result.text for result in results] == wanted


def test_a_draft_waits_where_there_is_room_for_one_token_only(model) -> None:
    prompt, speculation = PERIOD * 6, drafting_with(model, tokens=6)
    config = PRESETS["fp16"]  # whose blocks only grow in number
    tokens = plain_greedy(model, config, prompt, 17, CHUNK)[1:-1].split("><")
    # 64 tokens are held then, which is whole blocks; drafts of 6 would go beyond.
    stop = {"stop": ["".join(f"<{token}>" for token in tokens[-5:])]}

    def outcome(how: Speculation, limit: int) -> Result | BaseException:
        run = Guess(pool_of(model, config, max_bytes=limit), prompt, 200, how, **stop)
        Engine().submit(run.generation)
        return run.wait()

    low, high = 1_000, 200_000
    while high - low > 500:
        middle = (low + high) // 2
        low, high = (low, middle) if isinstance(outcome(PLAIN, middle), Result) else (middle, high)
    plain, guessed = (outcome(how, high) for how in (PLAIN, speculation))
    assert isinstance(guessed, Result), guessed
    assert (guessed.text, guessed.finish_reason) == (plain.text, "stop")
    assert guessed.accepted_tokens > 0


def test_sampled_text_with_a_draft_model_depends_on_the_seed_alone(model) -> None:
    how, sampling = drafting_with(miniature(seed=9)), {"temperature": 0.8, "seed": 3}
    close = drafting_with(model)
    prompt, others = PERIOD * 3, random_prompts(5, seed=6)
    for speculation in (how, close):
        alone = write(pool_of(model), speculation, prompt, 80, **sampling).text
        tight = pool_of(model, max_bytes=150_000)
        crowd = [Guess(tight, other, 80, LOOKUP) for other in others]
        late = Guess(tight, prompt, 80, speculation, **sampling)
        crowded = run_all(Engine(), [*crowd, late])[-1]
        assert crowded.preemptions > 0
        assert crowded.text == alone
        # A reader who asks for two tokens at a time never lets a whole draft be sent.
        engine, slow = Engine(), Guess(pool_of(model), prompt, 80, speculation, credit=2, **sampling)
        slow.on_each = lambda engine=engine, slow=slow: slow.tokens % 2 == 0 and engine.grant(slow.generation, 2)
        assert run_all(engine, [slow])[0].text == alone


def test_a_reader_gets_no_more_tokens_than_it_asked_for(model) -> None:
    engine, run = Engine(), Guess(pool_of(model), PERIOD * 6, 40, drafting_with(model), credit=3)
    engine.submit(run.generation)
    granted = 3
    while run.outcome is None and granted < 40:
        wait_for(lambda granted=granted: run.tokens >= granted)
        assert run.tokens == granted
        engine.grant(run.generation, 4)
        granted += 4
    engine.grant(run.generation, 40)
    assert run.result().text == plain_greedy(model, SMALL_PAGES, PERIOD * 6, 40, CHUNK)


def wait_for(is_so) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("method", ["prompt-lookup", "draft-model"])
def test_an_end_inside_a_draft_is_where_it_is_token_by_token(model, method: str) -> None:
    speculation = LOOKUP if method == "prompt-lookup" else drafting_with(model)
    prompt = PERIOD * 6
    text = plain_greedy(model, SMALL_PAGES, prompt, 60, CHUNK)
    tokens = [int(token) for token in text[1:-1].split("><")]
    for at in range(20, 50, 7):
        for end in ({"stop": [f"<{tokens[at]}><{tokens[at + 1]}>"]}, {"eos": frozenset(tokens[at : at + 1])}):
            runs = [Guess(pool_of(model), prompt, 60, how, **end) for how in (PLAIN, speculation)]
            plain, guessed = run_all(Engine(), runs)
            assert (guessed.text, guessed.finish_reason, guessed.completion_tokens) == (
                plain.text,
                "stop",
                plain.completion_tokens,
            )
            left, right = (run.generation.sequence for run in runs)
            assert left.tokens == right.tokens and left.held == right.held == len(left.tokens) - 1
            assert_same_content(left.cache, right.cache)


def test_a_session_goes_on_after_drafts_and_cancellation_as_without(model) -> None:
    engine = Engine()

    def turns(speculation: Speculation):
        pool = pool_of(model)
        sequence = pool.new_sequence(CONTEXT_LENGTH)
        first = Guess(pool, PERIOD * 6, 60, speculation, sequence=sequence, credit=23)
        engine.submit(first.generation)
        wait_for(lambda: first.tokens == 23)
        engine.cancel(first.generation)
        texts = [first.result().text]
        assert sequence.unfed == 1 and len(sequence.tokens) == len(PERIOD * 6) + 23
        # Somebody who lacks memory has the session's caches dropped.
        for between in (lambda: None, sequence.drop):
            between()
            texts.append(run_all(engine, [Guess(pool, [7, 8], 40, speculation, sequence=sequence)])[0].text)
        return texts, sequence.cache

    plain, held = turns(PLAIN)
    for speculation in (LOOKUP, drafting_with(model)):
        texts, cache = turns(speculation)
        assert texts == plain
        assert_same_content(cache, held)


def test_the_engines_default_holds_where_a_request_says_nothing(model) -> None:
    engine, pool = Engine(SchedulerOptions(speculation=LOOKUP)), pool_of(model)
    default, without = run_all(engine, [Guess(pool, PERIOD * 6, 60, how) for how in (None, PLAIN)])
    assert default.accepted_tokens > 0 == without.drafted_tokens
    assert default.text == without.text


def test_drafts_end_with_the_models_context(model) -> None:
    sequence = pool_of(model).new_sequence(100)
    results = run_all(Engine(), [Guess(None, PERIOD * 6, 500, LOOKUP, sequence=sequence)])
    assert results[0].completion_tokens == 52 and len(sequence.tokens) == 100


def test_a_draft_models_memory_comes_back_with_the_session(model) -> None:
    speculation, pool = drafting_with(model), pool_of(model)
    run = Guess(pool, PERIOD * 6, 30, speculation)
    run_all(Engine(), [run])
    drafts = speculation.draft_pool
    assert drafts.use().bytes_in_use > 0
    pool.close(run.generation.sequence)
    assert drafts.use().bytes_allocated == 0


def test_a_draft_that_breaks_ends_its_own_request_only(model) -> None:
    broken = miniature(seed=9)
    broken.register_forward_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("no draft today")))
    engine, pool = Engine(), pool_of(model)
    failing, other = (Guess(pool, PERIOD * 3, 20, how) for how in (drafting_with(broken), drafting_with(model)))
    with engine.paused():
        engine.submit(failing.generation)
        engine.submit(other.generation)
    error = failing.wait()
    assert isinstance(error, RuntimeError) and "no draft today" in str(error)
    assert other.result().text == plain_greedy(model, SMALL_PAGES, PERIOD * 3, 20, CHUNK)
    assert failing.generation.sequence.tokens == []


@pytest.mark.parametrize(
    "options",
    [
        {"method": "magic"},
        {"method": "prompt-lookup", "draft_tokens": 0},
        {"method": "prompt-lookup", "draft_tokens": 16},
        {"method": "prompt-lookup", "ngram_min": 0},
        {"method": "prompt-lookup", "ngram_min": 3, "ngram_max": 2},
        {"method": "draft-model"},
    ],
)
def test_options_out_of_range_are_refused(options: dict) -> None:
    with pytest.raises(ConfigError, match="Cannot decode speculatively"):
        Speculation(**options)


def test_a_draft_model_of_another_vocabulary_is_refused(model, make_model) -> None:
    run = Guess(pool_of(model), PERIOD, 5, drafting_with(make_model(vocab_size=64)))
    Engine().submit(run.generation)
    error = run.wait()
    assert isinstance(error, ConfigError) and "vocabulary of 64" in str(error)


def test_a_model_whose_cache_cannot_be_verified_in_one_pass_is_refused(make_model) -> None:
    pool = pool_of(make_model(attention="sdpa"), PRESETS["fp16"])
    run = Guess(pool, PERIOD, 5, LOOKUP)
    Engine().submit(run.generation)
    error = run.wait()
    assert isinstance(error, UnsupportedError) and "one pass" in str(error)
