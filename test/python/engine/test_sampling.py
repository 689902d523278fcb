"""How tokens are chosen."""

from __future__ import annotations

import math

import pytest
import torch

from kitty_kv.engine.sampling import Sampler, SamplingOptions
from kitty_kv.errors import ConfigError, KittyKvError

PROBABILITIES = torch.tensor([0.05, 0.4, 0.25, 0.1, 0.2])
LOGITS = PROBABILITIES.log()
DRAWS = 4000


def frequencies(**options: object) -> list[float]:
    sampler = Sampler(SamplingOptions(seed=7, **options))
    counts = torch.bincount(torch.tensor([sampler.sample(LOGITS) for _ in range(DRAWS)]), minlength=5)
    return (counts / DRAWS).tolist()


def test_temperature_zero_takes_the_most_probable_token() -> None:
    sampler = Sampler(SamplingOptions())
    assert [sampler.sample(LOGITS) for _ in range(5)] == [1] * 5


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
    wanted = [alone.sample(LOGITS) for _ in range(50)]
    first, other = Sampler(options), Sampler(SamplingOptions(temperature=1.0, seed=4))
    torch.manual_seed(0)
    got = []
    for _ in range(50):
        got.append(first.sample(LOGITS))
        other.sample(LOGITS)
        torch.rand(3)
    assert got == wanted


def test_without_a_seed_two_requests_differ() -> None:
    runs = [Sampler(SamplingOptions(temperature=1.0)) for _ in range(2)]
    first, second = ([run.sample(LOGITS) for _ in range(100)] for run in runs)
    assert first != second


def test_a_tiny_temperature_does_not_overflow() -> None:
    assert Sampler(SamplingOptions(temperature=1e-29, seed=0)).sample(LOGITS * 1e4) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_logits_of_any_dtype_are_taken(dtype: torch.dtype) -> None:
    assert 0 <= Sampler(SamplingOptions(temperature=1.0, seed=0)).sample(LOGITS.to(dtype)) < 5


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_without_a_largest_number_are_an_error(temperature: float, bad: float) -> None:
    logits = LOGITS.clone()
    logits[2] = bad
    with pytest.raises(KittyKvError, match="largest logit"):
        Sampler(SamplingOptions(temperature=temperature, seed=0)).sample(logits)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.1},
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="Cannot sample"):
        SamplingOptions(**options)
