"""How tokens are chosen."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import RepetitionPenaltyLogitsProcessor

from kitty_kv.engine.batch_sampling import sample_batch
from kitty_kv.engine.sampling import Sampled, Sampler, SamplingOptions
from kitty_kv.errors import ConfigError, KittyKvError

PROBABILITIES = torch.tensor([0.05, 0.4, 0.25, 0.1, 0.2])
LOGITS = PROBABILITIES.log()
DRAWS = 4000


def sample(sampler: Sampler, logits: torch.Tensor = LOGITS) -> int:
    """Draws from a batch of one."""
    [sampled] = sample_batch(logits.unsqueeze(0), [sampler])
    if isinstance(sampled, KittyKvError):
        raise sampled
    return sampled.token


def frequencies(**options: object) -> list[float]:
    sampler = Sampler(SamplingOptions(seed=7, **options))
    counts = torch.bincount(torch.tensor([sample(sampler) for _ in range(DRAWS)]), minlength=5)
    return (counts / DRAWS).tolist()


def test_temperature_zero_takes_the_most_probable_token() -> None:
    sampler = Sampler(SamplingOptions())
    assert [sample(sampler) for _ in range(5)] == [1] * 5


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_follow_the_tempered_distribution(temperature: float) -> None:
    wanted = (LOGITS / temperature).softmax(-1).tolist()
    # Five standard deviations of a frequency.
    slack = 5 * math.sqrt(0.25 / DRAWS)
    assert frequencies(temperature=temperature) == pytest.approx(wanted, abs=slack)


def test_top_k_leaves_exactly_the_k_most_probable() -> None:
    drawn = frequencies(temperature=1.0, top_k=2)
    assert [value > 0 for value in drawn] == [False, True, True, False, False]
    assert drawn[1] == pytest.approx(0.4 / 0.65, abs=0.04)


@pytest.mark.parametrize(
    ("top_p", "allowed"),
    [(0.05, {1}), (0.4, {1}), (0.41, {1, 2}), (0.84, {1, 2, 4}), (0.94, {1, 2, 4, 3}), (1.0, {0, 1, 2, 3, 4})],
)
def test_top_p_leaves_the_smallest_set_that_holds_the_probability(top_p: float, allowed: set[int]) -> None:
    drawn = frequencies(temperature=1.0, top_p=top_p)
    assert {token for token, value in enumerate(drawn) if value > 0} == allowed


def test_a_top_k_beyond_the_vocabulary_changes_nothing() -> None:
    assert frequencies(temperature=1.0, top_k=1000) == frequencies(temperature=1.0)


def test_equal_seeds_draw_equal_tokens_whoever_else_draws() -> None:
    options = SamplingOptions(temperature=1.0, seed=-3)
    alone = Sampler(options)
    wanted = [sample(alone) for _ in range(50)]
    first, other = Sampler(options), Sampler(SamplingOptions(temperature=1.0, seed=4))
    torch.manual_seed(0)
    got = []
    for _ in range(50):
        got.append(sample(first))
        sample(other)
        torch.rand(3)
    assert got == wanted


def test_without_a_seed_two_requests_differ() -> None:
    runs = [Sampler(SamplingOptions(temperature=1.0)) for _ in range(2)]
    first, second = ([sample(run) for _ in range(100)] for run in runs)
    assert first != second


def test_a_tiny_temperature_does_not_overflow() -> None:
    assert sample(Sampler(SamplingOptions(temperature=1e-29, seed=0)), LOGITS * 1e4) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_logits_of_any_dtype_are_taken(dtype: torch.dtype) -> None:
    assert 0 <= sample(Sampler(SamplingOptions(temperature=1.0, seed=0)), LOGITS.to(dtype)) < 5


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_without_a_largest_number_are_an_error(temperature: float, bad: float) -> None:
    logits = LOGITS.clone()
    logits[2] = bad
    with pytest.raises(KittyKvError, match="largest logit"):
        sample(Sampler(SamplingOptions(temperature=temperature, seed=0)), logits)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"min_p": -0.1},
        {"min_p": 1.1},
        {"repetition_penalty": 0.0},
        {"logprobs": 21},
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="Cannot sample"):
        SamplingOptions(**options)


@pytest.mark.parametrize(("min_p", "allowed"), [(1.0, {1}), (0.6, {1, 2}), (0.26, {1, 2, 4}), (0.0, {0, 1, 2, 3, 4})])
def test_min_p_leaves_what_is_nearly_as_probable_as_the_best(min_p: float, allowed: set[int]) -> None:
    drawn = frequencies(temperature=1.0, min_p=min_p)
    assert {token for token, value in enumerate(drawn) if value > 0} == allowed


@pytest.mark.parametrize("penalty", [1.5, 0.7])
def test_the_repetition_penalty_is_that_of_transformers(penalty: float) -> None:
    logits = torch.tensor([2.0, 1.9, -1.0, -1.2, 0.0])
    sampler = Sampler(SamplingOptions(repetition_penalty=penalty))
    seen = [0, 2, 2, 4]
    sampler.see(seen)
    wanted = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([seen]), logits[None].clone())
    assert torch.equal(sampler.penalize(logits), wanted[0])
    assert sample(sampler, logits) == int(wanted.argmax())


def test_equal_largest_logits_give_the_lowest_token() -> None:
    assert sample(Sampler(SamplingOptions()), torch.tensor([1.0, 3.0, 2.0, 3.0, 3.0])) == 1


def test_log_probabilities_are_those_of_the_model_whatever_is_sampled() -> None:
    sampler = Sampler(SamplingOptions(temperature=5.0, top_k=2, seed=0, logprobs=3))
    [sampled] = sample_batch(LOGITS[None], [sampler])
    assert isinstance(sampled, Sampled)
    assert sampled.logprob == pytest.approx(LOGITS[sampled.token].item())
    assert [token for token, _ in sampled.top] == [1, 2, 4]
    assert [value for _, value in sampled.top] == pytest.approx(LOGITS[[1, 2, 4]].tolist())


def test_a_row_of_a_batch_gets_what_it_gets_alone_and_a_bad_one_harms_no_other() -> None:
    generator = torch.Generator().manual_seed(3)
    options = [
        SamplingOptions(),
        SamplingOptions(temperature=1.0, seed=1),
        SamplingOptions(temperature=0.7, seed=2, top_k=5),
        SamplingOptions(temperature=1.3, seed=3, top_p=0.8),
        SamplingOptions(temperature=1.0, seed=4, top_k=5, min_p=0.2, repetition_penalty=1.3),
        SamplingOptions(temperature=1.0, seed=5),
        SamplingOptions(logprobs=2, repetition_penalty=2.0),
    ]
    together, alone = ([Sampler(option) for option in options] for _ in range(2))
    for step in range(40):
        logits = torch.randn(len(options), 200, generator=generator) * 3
        logits[5, step] = math.nan
        found = sample_batch(logits, together)
        for row, (sampler, batched) in enumerate(zip(alone, found, strict=True)):
            [single] = sample_batch(logits[row : row + 1], [sampler])
            assert isinstance(single, KittyKvError) == isinstance(batched, KittyKvError) == (row == 5)
            if row != 5:
                assert single == batched
                sampler.see([single.token])
                together[row].see([batched.token])
