"""What verification accepts, and by what distribution."""

from __future__ import annotations

import math

import pytest
import torch

from kitty_kv.engine.batch_sampling import distributions, sample_batch
from kitty_kv.engine.prompt_lookup import PromptLookup
from kitty_kv.engine.sampling import Sampler, SamplingOptions
from kitty_kv.engine.speculation import Draft
from kitty_kv.engine.verification import accept_or_replace, draw_token, verify
from kitty_kv.errors import KittyKvError

VOCABULARY = 6
TARGET = torch.tensor([[0.30, 0.25, 0.20, 0.15, 0.10, 0.0], [0.04, 0.06, 0.1, 0.2, 0.28, 0.32]], dtype=torch.float64)
DRAFTS = {
    "close": [0.25, 0.30, 0.20, 0.10, 0.10, 0.05],
    "uniform": [1 / 6] * 6,
    "nearly certain": [0.01, 0.01, 0.01, 0.01, 0.95, 0.01],
    "the same": TARGET[0].tolist(),
}
# Chance of a statistic beyond it: 1 in 10,000; chi-square with 5 and with 35 degrees of freedom.
CHI_SQUARE = {5: 25.74, 29: 67.3, 35: 75.9}
DRAWS = 12_000


def chi_square(counts: torch.Tensor, probabilities: torch.Tensor) -> tuple[float, int]:
    """Statistic and degrees of freedom; what has no probability must not have come up."""
    possible = probabilities > 0
    assert not counts[~possible].any()
    wanted = probabilities[possible] * counts.sum()
    return float(((counts[possible] - wanted) ** 2 / wanted).sum()), int(possible.sum()) - 1


def uniform_numbers(seed: int):
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.rand(1, generator=generator, dtype=torch.float64).item()


@pytest.mark.parametrize("name", DRAFTS)
def test_pairs_of_tokens_are_distributed_as_the_model_says_whatever_the_draft_is(name: str) -> None:
    draw = uniform_numbers(seed=1)
    proposed = torch.tensor([DRAFTS[name]], dtype=torch.float64)
    counts = torch.zeros(VOCABULARY, VOCABULARY)
    accepted = 0
    for _ in range(DRAWS):
        draft = [draw_token(proposed[0], draw())]
        tokens = accept_or_replace(TARGET, proposed, draft, draw)
        accepted += len(tokens) == 2
        # Behind a rejected draft the next pass chooses; it is independent here.
        first, second = tokens if len(tokens) == 2 else (tokens[0], draw_token(TARGET[1], draw()))
        counts[first, second] += 1
    statistic, freedom = chi_square(counts, TARGET[0][:, None] * TARGET[1][None, :])
    assert freedom == 29 and statistic < CHI_SQUARE[freedom]
    overlap = float(TARGET[0].minimum(proposed[0]).sum())
    assert accepted / DRAWS == pytest.approx(overlap, abs=5 * math.sqrt(0.25 / DRAWS))


def test_the_chi_square_test_notices_a_draft_that_is_taken_as_it_is() -> None:
    draw = uniform_numbers(seed=2)
    proposed = torch.tensor(DRAFTS["close"], dtype=torch.float64).minimum(TARGET[0])
    counts = torch.bincount(torch.tensor([draw_token(proposed, draw()) for _ in range(DRAWS)]), minlength=VOCABULARY)
    assert chi_square(counts, TARGET[0])[0] > CHI_SQUARE[5]


@pytest.mark.parametrize("is_drawn", [False, True], ids=["certain draft", "drawn draft"])
@pytest.mark.parametrize(
    "options", [{}, {"top_k": 4}, {"top_p": 0.8}, {"min_p": 0.4}, {"repetition_penalty": 1.8, "top_k": 5}]
)
def test_verified_tokens_follow_the_requests_whole_way_of_sampling(is_drawn: bool, options: dict) -> None:
    sampler = Sampler(SamplingOptions(temperature=0.9, seed=8, **options))
    sampler.see([0, 4])
    logits = TARGET.clamp_min(1e-9).log().float()[None]  # [1, 2, V]
    exact = exact_pairs(logits[0], options)
    proposed = torch.tensor([DRAFTS["close"]], dtype=torch.float64)
    counts = torch.zeros(VOCABULARY, VOCABULARY)
    draw = uniform_numbers(seed=3)
    for _ in range(4000):
        draft = Draft([draw_token(proposed[0], draw())], proposed) if is_drawn else Draft([1])
        first, *rest = [one.token for one in verify(logits, [1], [draft], [sampler])[0]]
        second = rest[0] if rest else follow(logits[0, 1], sampler, first)
        counts[first, second] += 1
    statistic, freedom = chi_square(counts, exact)
    assert statistic < freedom + 5 * math.sqrt(2 * freedom)


def exact_pairs(logits: torch.Tensor, options: dict) -> torch.Tensor:
    """Probabilities of two tokens, by the definition of each option, penalties of the first one included."""

    def one(scores: torch.Tensor, seen: set[int]) -> torch.Tensor:
        scores = scores.double().clone()
        for token in seen:
            penalty = options.get("repetition_penalty", 1.0)
            scores[token] = scores[token] * penalty if scores[token] < 0 else scores[token] / penalty
        p = (scores / 0.9).softmax(-1)
        order = p.argsort(descending=True).tolist()[: options.get("top_k", VOCABULARY)]
        p = torch.where(torch.isin(torch.arange(VOCABULARY), torch.tensor(order)), p, 0)
        p = p / p.sum()
        kept, total = [], 0.0
        for token in order:
            if total < options.get("top_p", 1.0) and p[token] >= options.get("min_p", 0.0) * p.max():
                kept.append(token)
            total += float(p[token])
        q = torch.zeros_like(p)
        q[kept] = p[kept]
        return q / q.sum()

    first = one(logits[0], {0, 4})
    return torch.stack([first[token] * one(logits[1], {0, 4, token}) for token in range(VOCABULARY)])


def follow(logits: torch.Tensor, sampler: Sampler, before: int) -> int:
    """The next token of a request that had ``before`` chosen; a copy of its sampler, for it must not remember."""
    once = Sampler(sampler.options)
    once._generator = sampler._generator
    once._drawn = sampler._drawn
    once.see([0, 4, before])
    return sample_batch(logits[None], [once])[0].token


def test_distributions_are_what_tokens_are_drawn_by() -> None:
    logits = torch.randn(3, 40, generator=torch.Generator().manual_seed(0)) * 2
    options = [{"top_k": 7}, {"top_p": 0.7}, {"min_p": 0.1, "repetition_penalty": 1.5}]
    samplers = [Sampler(SamplingOptions(temperature=1.1, seed=at, **o)) for at, o in enumerate(options)]
    for sampler in samplers:
        sampler.see([3, 5])
    counts = torch.zeros(3, 40)
    for _ in range(6000):
        for row, one in enumerate(sample_batch(logits, samplers)):
            counts[row, one.token] += 1
    for row, exact in enumerate(distributions(logits, samplers)):
        assert exact.sum().item() == pytest.approx(1)
        statistic, freedom = chi_square(counts[row], exact)
        assert statistic < freedom + 5 * math.sqrt(2 * freedom)


def test_a_greedy_row_takes_the_draft_as_far_as_it_is_its_own_and_then_its_own_token() -> None:
    logits = torch.eye(VOCABULARY)[[2, 4, 1, 3]][None]  # the model says 2, 4, 1, 3
    for draft, fed, wanted in [
        ([2, 4, 1], 3, [2, 4, 1, 3]),
        ([2, 4, 5], 3, [2, 4, 1]),
        ([5, 4, 1], 3, [2]),
        ([2, 4, 1], 1, [2, 4]),
        ([2, 4, 1], 0, [2]),
        ([], 0, [2]),
    ]:
        [found] = verify(logits, [fed], [Draft(draft)], [Sampler(SamplingOptions())])
        assert [one.token for one in found] == wanted


@pytest.mark.parametrize("is_drawn", [False, True])
def test_logits_that_say_nothing_end_a_run_behind_what_was_accepted(is_drawn: bool) -> None:
    logits = torch.full((1, 3, VOCABULARY), -40.0)
    logits[0, 0, 2] = logits[0, 1, 4] = 40.0
    logits[0, 2] = math.nan
    probabilities = torch.eye(VOCABULARY, dtype=torch.float64)[[2, 4]] if is_drawn else None
    sampler = Sampler(SamplingOptions(temperature=1.0, seed=0))
    first, second, error = verify(logits, [2], [Draft([2, 4], probabilities)], [sampler])[0]
    assert (first.token, second.token) == (2, 4) and isinstance(error, KittyKvError)
    # A draft that ends before them does not reach them.
    wrong = None if probabilities is None else torch.eye(VOCABULARY, dtype=torch.float64)[[2, 5]]
    found = verify(logits, [2], [Draft([2, 5], wrong)], [sampler])[0]
    assert [one.token for one in found] == [2, 4]


def test_log_probabilities_of_accepted_tokens_are_those_of_the_model() -> None:
    logits = TARGET.clamp_min(1e-9).log().float()[None]
    for options in ({}, {"temperature": 1.0, "seed": 0}):
        for draft in (Draft([0]), Draft([0], torch.tensor([DRAFTS["close"]], dtype=torch.float64))):
            if draft.probabilities is not None and not options:
                continue
            sampler = Sampler(SamplingOptions(logprobs=2, **options))
            for at, one in enumerate(verify(logits, [1], [draft], [sampler])[0]):
                assert one.logprob == pytest.approx(math.log(TARGET[at, one.token]))
                assert len(one.top) == 2


def test_lookup_finds_the_latest_place_of_the_longest_match() -> None:
    lookup = PromptLookup(ngram_max=3, ngram_min=1)
    tokens = [1, 2, 3, 10, 9, 2, 3, 20, 21, 9, 3, 30, 1, 2, 3]
    assert lookup.propose(tokens, 3) == [10, 9, 2]
    assert lookup.propose([*tokens, 77], 3) == []
    tokens += [77, 8, 3]
    assert lookup.propose(tokens, 2) == [77, 8]


def test_lookup_goes_on_with_what_repeats() -> None:
    assert PromptLookup(2, 2).propose([5, 6, 7, 5, 6], 7) == [7, 5, 6, 7, 5, 6, 7]
    assert PromptLookup(4, 1).propose([4, 9, 9], 4) == [9, 9, 9, 9]
    assert PromptLookup(4, 2).propose([9, 4], 4) == []


def test_lookup_sees_tokens_not_bytes() -> None:
    # 0x0101 and 0x01010101 hold each other's bytes at other places.
    assert PromptLookup(1, 1).propose([0x01010101, 7, 0x0101, 8, 0x01000001, 0x010101], 2) == []
