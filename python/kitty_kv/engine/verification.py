"""How much of a draft the model confirms, and the token of its own that follows: the text is what it would be without."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ..errors import KittyKvError
from .batch_sampling import distributions, index_on, sample_batch, with_logprobs
from .sampling import Sampled, Sampler, SamplerAhead
from .speculation import Draft

Chosen = list[Sampled | KittyKvError]
_NO_DRAFT = Draft([])


def verify(
    logits: torch.Tensor, fed: Sequence[int], drafts: Sequence[Draft | None], samplers: Sequence[Sampler]
) -> list[Chosen]:
    """The next tokens of each row, one at least: the part of its draft that holds, and behind it one of the model's own.

    A draft by no chance takes the tokens that would be chosen without it, as long as they are its own: greedy text is the
    same, sampled text too, number by number of the request's seed. (A token x is so accepted with its probability p(x), and
    one that replaces it is drawn from p without x: rejection sampling from a draft that is certain.)
    One drawn from a draft model's probabilities is accepted or replaced as ``accept_or_replace`` says.

    Args:
        logits: ``[N, S, V]`` behind each token of the pass; of row i only the first ``1 + fed[i]`` mean something.
        fed: how many tokens of its draft each row fed, behind its last token.
        drafts: of each row, at least what was fed.
        samplers: of each row; their numbers are drawn here, tokens are for the caller to ``see``.

    Returns:
        One a row; the last is an error where its logits have no largest number.
    """
    plain = [row for row, draft in enumerate(drafts) if draft is None or draft.probabilities is None]
    found: dict[int, Chosen] = {}
    for row in set(range(len(drafts))).difference(plain):
        found[row] = _verify_drawn(logits[row, : fed[row] + 1], drafts[row], samplers[row])
    places = [(row, at) for row in plain for at in range(fed[row] + 1)]
    if places:
        tokens = {row: (drafts[row] or _NO_DRAFT).tokens for row in plain}
        views = [SamplerAhead(samplers[row], tokens[row][:at]) for row, at in places]
        if len(places) == len(logits) and logits.shape[1] == 1:
            behind = logits[:, 0]
        else:
            behind = logits[tuple(index_on(index, logits.device) for index in zip(*places, strict=True))]
        sampled = iter(sample_batch(behind, views))
        for row in plain:
            ahead = [next(sampled) for _ in range(fed[row] + 1)]
            found[row] = _agreeing(ahead, tokens[row])
            samplers[row].skip(len(found[row]))
    return [found[row] for row in range(len(drafts))]


def accept_or_replace(
    target: torch.Tensor, proposed: torch.Tensor, tokens: Sequence[int], draw: Callable[[], float]
) -> list[int]:
    """Rejection sampling: tokens distributed as if each had been drawn from ``target``, whatever ``proposed`` is.

    A token x of the draft is accepted with probability min(1, target(x) / proposed(x)). The first that is not is replaced by
    one drawn from the positive part of target - proposed, and ends the run; behind a whole draft one is drawn from target.

    Args:
        target: the model's probabilities at k positions, float64 ``[k, V]``.
        proposed: those that the draft's n tokens were drawn by, float64 ``[n, V]``.
        tokens: the draft.
        draw: gives uniform numbers from 0 to 1.

    Returns:
        At least 1 and at most k tokens.

    Source: Leviathan et al., "Fast Inference from Transformers via Speculative Decoding", 2023, algorithm 1.
    """
    compared = min(len(target), len(tokens))
    ids = torch.tensor(tokens[:compared], dtype=torch.long, device=target.device).unsqueeze(-1)
    ratios = target[:compared].gather(-1, ids) / proposed[:compared].gather(-1, ids)
    for at, ratio in enumerate(ratios.flatten().tolist()):
        if draw() < ratio:
            continue
        rest = (target[at] - proposed[at]).clamp_min(0)
        # Equal up to rounding, they leave nothing to draw from.
        return [*tokens[:at], draw_token(rest if bool(rest.any()) else target[at], draw())]
    own = [draw_token(target[compared], draw())] if compared < len(target) else []
    return [*tokens[:compared], *own]


def draw_token(weights: torch.Tensor, uniform: float) -> int:
    """The token of ``weights`` ``[V]``, not all zero, at the uniform number's place."""
    cumulative = weights.cumsum(-1)
    total = cumulative[-1]
    # Rounding must not reach behind the last weight.
    place = (uniform * total).minimum(torch.nextafter(total, torch.zeros_like(total)))
    return int(torch.searchsorted(cumulative, place, right=True))


def _agreeing(sampled: Chosen, draft: Sequence[int]) -> Chosen:
    """Up to the first that is not the draft's; only until there were the logits behind the right tokens."""
    for at, one in enumerate(sampled):
        if isinstance(one, KittyKvError) or at == len(draft) or one.token != draft[at]:
            return sampled[: at + 1]
    return sampled


def _verify_drawn(logits: torch.Tensor, draft: Draft, sampler: Sampler) -> Chosen:
    """Of one row, logits ``[k, V]``."""
    views = [SamplerAhead(sampler, draft.tokens[:at]) for at in range(len(logits))]
    target = distributions(logits, views)
    good = next((at for at, one in enumerate(target) if isinstance(one, KittyKvError)), len(target))
    if not good:
        return [target[0]]
    proposed = draft.probabilities.to(logits.device)
    tokens = accept_or_replace(torch.stack(target[:good]), proposed, draft.tokens, sampler.draw)
    chosen: Chosen = [*with_logprobs(logits[: len(tokens)], torch.tensor(tokens, device=logits.device), views)]
    if len(tokens) == good < len(target) and tokens == draft.tokens[:good]:
        # All is accepted up to the logits that say nothing.
        chosen.append(target[good])
    return chosen
