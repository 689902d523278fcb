"""Chooses the next token of every row of a batch, on the logits' device.

Every operation works on rows by themselves, and rows that sample are taken together only where they keep equally many
candidates, so a row's token does not depend on the other rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..errors import KittyKvError
from .sampling import Sampled, Sampler


def sample_batch(logits: torch.Tensor, samplers: Sequence[Sampler]) -> list[Sampled | KittyKvError]:
    """The next token of each row.

    Args:
        logits: float ``[N, V]``, any device.
        samplers: one a row.

    Returns:
        One a row; an error instead where its logits have no largest number (NaN, or -inf everywhere).
    """
    rows = [sampler.penalize(row) for sampler, row in zip(samplers, logits, strict=True)]
    is_changed = any(row.data_ptr() != old.data_ptr() for row, old in zip(rows, logits, strict=True))
    scores = torch.stack(rows) if is_changed else logits
    best, tokens = scores.max(dim=-1)
    is_finite = torch.isfinite(best)
    for group in _by_candidates(samplers, logits.shape[-1]):
        tokens[group] = _draw(scores[group], best[group], [samplers[row] for row in group])
    found = zip(is_finite.tolist(), best.tolist(), tokens.tolist(), strict=True)
    details = _logprobs(logits, tokens, samplers)
    return [
        Sampled(token, *details.get(row, ())) if is_good else _no_largest(value)
        for row, (is_good, value, token) in enumerate(found)
    ]


def _by_candidates(samplers: Sequence[Sampler], vocabulary: int) -> list[list[int]]:
    """Rows that sample, put together where they keep equally many tokens."""
    groups: dict[int, list[int]] = {}
    for row, sampler in enumerate(samplers):
        if not sampler.is_greedy:
            groups.setdefault(_candidates(sampler, vocabulary), []).append(row)
    return list(groups.values())


def _candidates(sampler: Sampler, vocabulary: int) -> int:
    return min(sampler.options.top_k or vocabulary, vocabulary)


def _draw(scores: torch.Tensor, best: torch.Tensor, samplers: Sequence[Sampler]) -> torch.Tensor:
    """Draws one of the tokens that each sampler allows: ids ``[n]`` for scores ``[n, V]``."""
    options = [sampler.options for sampler in samplers]
    columns = [
        [option.temperature for option in options],
        [1.0 if option.top_p is None else option.top_p for option in options],
        [option.min_p or 0.0 for option in options],
        [sampler.draw() for sampler in samplers],
    ]
    table = torch.tensor(columns, dtype=torch.float64).to(scores.device)
    temperature, top_p, min_p, uniform = table.unsqueeze(-1).unbind(0)  # [n, 1] each
    # Relative to the largest, so that a small temperature cannot overflow.
    scaled = (scores.double() - best.double().unsqueeze(-1)) / temperature
    scaled, tokens = scaled.topk(_candidates(samplers[0], scores.shape[-1]))  # sorted, largest first
    probabilities = scaled.softmax(-1)
    cumulative = probabilities.cumsum(-1)
    most = cumulative.shape[-1] - 1
    # The first token that reaches top_p is still in.
    last = torch.searchsorted(cumulative, top_p * cumulative[:, -1:])
    # The largest is in whatever min_p says.
    likely = (probabilities >= min_p * probabilities[:, :1]).sum(-1, keepdim=True) - 1
    total = cumulative.gather(-1, last.minimum(likely).clamp(0, most))
    drawn = torch.searchsorted(cumulative, uniform * total, right=True).clamp(max=most)
    return tokens.gather(-1, drawn).squeeze(-1)


def _logprobs(
    logits: torch.Tensor, tokens: torch.Tensor, samplers: Sequence[Sampler]
) -> dict[int, tuple[float, tuple[tuple[int, float], ...]]]:
    """By row: the chosen token's log probability and the most probable tokens with theirs."""
    out = {}
    for row, sampler in enumerate(samplers):
        wanted = sampler.options.logprobs
        if wanted is not None:
            known = logits[row].double().log_softmax(-1)
            values, ids = known.topk(min(wanted, known.shape[-1]))
            out[row] = (known[tokens[row]].item(), tuple(zip(ids.tolist(), values.tolist(), strict=True)))
    return out


def _no_largest(value: float) -> KittyKvError:
    return KittyKvError(
        f"Cannot choose a token: the model's largest logit is {value}; "
        "run it with dtype float32 to see whether its numbers overflow.",
        code="bad_logits",
    )
