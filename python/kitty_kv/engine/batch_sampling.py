"""Chooses the next token of every row of a batch, on the logits' device.

Every operation works on rows by themselves, and rows that sample are taken together only where they keep equally many
candidates, so a row's token does not depend on the other rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from ..errors import KittyKvError
from .sampling import Sampled, Sampler, SamplerAhead

AnySampler = Sampler | SamplerAhead


class QueuedTokens:
    """The next token of each row, which a GPU may still have to compute.

    Args:
        best: float ``[N]``, the largest number of each row.
        tokens: int64 ``[N]``, on the same device.
        details: by row, what else is known of its token.
    """

    def __init__(self, best: torch.Tensor, tokens: torch.Tensor, details: dict[int, tuple[Any, ...]]) -> None:
        self.tokens = tokens
        self._details = details
        self._both = torch.stack((best.double(), tokens.double()))
        self._copied: torch.cuda.Event | None = None
        if tokens.device.type == "cuda":
            here = torch.empty(self._both.shape, dtype=torch.float64, pin_memory=True)
            self._both = here.copy_(self._both, non_blocking=True)
            self._copied = torch.cuda.Event()
            self._copied.record()

    def wait(self) -> list[Sampled | KittyKvError]:
        """One a row; an error instead where its logits have no largest number (NaN, or -inf everywhere)."""
        if self._copied is not None:
            self._copied.synchronize()
        return [
            Sampled(int(token), *self._details.get(row, ())) if math.isfinite(value) else _no_largest(value)
            for row, (value, token) in enumerate(zip(*self._both.tolist(), strict=True))
        ]


def sample_batch(logits: torch.Tensor, samplers: Sequence[AnySampler]) -> list[Sampled | KittyKvError]:
    """The next token of each row.

    Args:
        logits: float ``[N, V]``, any device.
        samplers: one a row.

    Returns:
        One a row; an error instead where its logits have no largest number (NaN, or -inf everywhere).
    """
    return queue_sampling(logits, samplers).wait()


def queue_sampling(logits: torch.Tensor, samplers: Sequence[AnySampler]) -> QueuedTokens:
    """``sample_batch`` that does not wait for a GPU, but where a row wants log probabilities or a repetition penalty."""
    scores = _penalized(logits, samplers)
    best, tokens = scores.max(dim=-1)
    for group in _by_candidates(samplers, logits.shape[-1]):
        at = index_on(group, logits.device)
        tokens[at] = _draw(scores[at], best[at], [samplers[row] for row in group])
    return QueuedTokens(best, tokens, _logprobs(logits, tokens, samplers))


def index_on(rows: Sequence[int], device: torch.device) -> torch.Tensor:
    """Row numbers, int64 on ``device`` without waiting for it."""
    return _queued(list(rows), torch.int64, device)


def distributions(logits: torch.Tensor, samplers: Sequence[AnySampler]) -> list[torch.Tensor | KittyKvError]:
    """The probabilities by which each row's token is drawn, float64 ``[V]``.

    Args:
        logits: float ``[N, V]``, any device.
        samplers: one a row, none of them greedy.

    Returns:
        One a row; an error instead where its logits have no largest number.
    """
    scores = _penalized(logits, samplers)
    best = scores.max(dim=-1).values
    out = torch.zeros(scores.shape, dtype=torch.float64, device=scores.device)
    for group in _by_candidates(samplers, logits.shape[-1]):
        kept = _keep(scores[group], best[group], [samplers[row] for row in group])
        column = torch.arange(kept.tokens.shape[-1], device=scores.device)
        allowed = torch.where(column <= kept.last, kept.probabilities, 0)
        out[group] = out[group].scatter(-1, kept.tokens, allowed / allowed.sum(-1, keepdim=True))
    found = zip(torch.isfinite(best).tolist(), best.tolist(), out, strict=True)
    return [row if is_good else _no_largest(value) for is_good, value, row in found]


def with_logprobs(logits: torch.Tensor, tokens: torch.Tensor, samplers: Sequence[AnySampler]) -> list[Sampled]:
    """Tokens ``[N]`` chosen from logits ``[N, V]``, with the log probabilities that each row's options ask for."""
    details = _logprobs(logits, tokens, samplers)
    return [Sampled(token, *details.get(row, ())) for row, token in enumerate(tokens.tolist())]


def _penalized(logits: torch.Tensor, samplers: Sequence[AnySampler]) -> torch.Tensor:
    rows = [sampler.penalize(row) for sampler, row in zip(samplers, logits, strict=True)]
    is_changed = any(row.data_ptr() != old.data_ptr() for row, old in zip(rows, logits, strict=True))
    return torch.stack(rows) if is_changed else logits


def _by_candidates(samplers: Sequence[AnySampler], vocabulary: int) -> list[list[int]]:
    """Rows that sample, put together where they keep equally many tokens."""
    groups: dict[int, list[int]] = {}
    for row, sampler in enumerate(samplers):
        if not sampler.is_greedy:
            groups.setdefault(_candidates(sampler, vocabulary), []).append(row)
    return list(groups.values())


def _candidates(sampler: AnySampler, vocabulary: int) -> int:
    return min(sampler.options.top_k or vocabulary, vocabulary)


class _Kept(NamedTuple):
    """Candidates of n rows, the most probable first; those up to column ``last`` ``[n, 1]`` are allowed."""

    tokens: torch.Tensor  # [n, K]
    probabilities: torch.Tensor  # [n, K]
    cumulative: torch.Tensor  # [n, K]
    last: torch.Tensor


def _draw(scores: torch.Tensor, best: torch.Tensor, samplers: Sequence[AnySampler]) -> torch.Tensor:
    """Draws one of the tokens that each sampler allows: ids ``[n]`` for scores ``[n, V]``."""
    kept = _keep(scores, best, samplers)
    uniform = _queued([[sampler.draw()] for sampler in samplers], torch.float64, scores.device)
    total = kept.cumulative.gather(-1, kept.last)
    most = kept.cumulative.shape[-1] - 1
    drawn = torch.searchsorted(kept.cumulative, uniform * total, right=True).clamp(max=most)
    return kept.tokens.gather(-1, drawn).squeeze(-1)


def _keep(scores: torch.Tensor, best: torch.Tensor, samplers: Sequence[AnySampler]) -> _Kept:
    """What temperature, top-k, top-p and min-p leave of scores ``[n, V]``, the largest of which are ``best`` ``[n]``."""
    options = [sampler.options for sampler in samplers]
    columns = [
        [option.temperature for option in options],
        [1.0 if option.top_p is None else option.top_p for option in options],
        [option.min_p or 0.0 for option in options],
    ]
    table = _queued(columns, torch.float64, scores.device)
    temperature, top_p, min_p = table.unsqueeze(-1).unbind(0)  # [n, 1] each
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
    return _Kept(tokens, probabilities, cumulative, last.minimum(likely).clamp(0, most))


def _logprobs(
    logits: torch.Tensor, tokens: torch.Tensor, samplers: Sequence[AnySampler]
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


def _queued(numbers: Sequence[Any], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    if device.type != "cuda":
        return torch.tensor(numbers, dtype=dtype, device=device)
    return torch.tensor(numbers, dtype=dtype, pin_memory=True).to(device, non_blocking=True)


def _no_largest(value: float) -> KittyKvError:
    return KittyKvError(
        f"Cannot choose a token: the model's largest logit is {value}; "
        "run it with dtype float32 to see whether its numbers overflow.",
        code="bad_logits",
    )
