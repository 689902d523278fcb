"""Drafts of a smaller model, for many generations together."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import torch

from ..cache.geometry import SHORT_CALL
from ..errors import CacheOutOfMemoryError, ConfigError, KittyKvError, UnsupportedError
from ..hf.model_layers import context_limit
from .batch_sampling import distributions, sample_batch
from .kv_pool import KvPool
from .passes import JoinedPasses, batch_key, feed
from .sampling import Sampler, SamplerAhead
from .sequence import Sequence
from .speculation import Draft
from .verification import draw_token


class Wanted(NamedTuple):
    """A draft to make: up to ``count`` tokens that may follow ``sequence``, chosen as ``sampler`` would."""

    sequence: Sequence
    sampler: Sampler
    count: int


class DraftModel:
    """Gives each sequence a companion on the draft model, ``Sequence.draft``, whose cache holds the same tokens.

    The companion's prompt is fed when its first draft is made, all of it at once, so that the length of a draft never
    depends on who else is served. Drafts follow the whole way by which the request samples: greedily where it is greedy,
    else drawn by the draft model's probabilities, which verification needs.
    """

    def __init__(self) -> None:
        self._joined = JoinedPasses()

    def propose(self, pool: KvPool, wanted: list[Wanted]) -> list[Draft]:
        """Makes drafts with the model of ``pool``; of what it raises, no number was drawn.

        Raises:
            CacheOutOfMemoryError: there is no memory for the companions.
            BaseException: what the draft model raised.
        """
        companions = [_companion(one.sequence, pool) for one in wanted]
        # A draft model that reads less than the model ends earlier.
        counts = [
            max(0, min(one.count, companion.context_length - len(one.sequence.tokens)))
            for one, companion in zip(wanted, companions, strict=True)
        ]
        for companion in companions:
            companion.is_busy = True
        try:
            while True:
                try:
                    drafts = self._draft(wanted, companions, counts)
                    break
                except CacheOutOfMemoryError:
                    if not pool.free_something():
                        raise
        except BaseException:
            # They hold tokens that nobody has verified, or a pass that broke off.
            for companion in companions:
                companion.take_back(0)
            raise
        finally:
            for companion in companions:
                companion.is_busy = False
        for one, draft in zip(wanted, drafts, strict=True):
            one.sampler.skip(len(draft.tokens))
        return drafts

    def keep_only(self, companions: Collection[Sequence]) -> None:
        """Forgets how all others were put together."""
        self._joined.keep_only({batch_key(companion) for companion in companions})

    def forget_stale(self) -> None:
        """As ``JoinedPasses.forget_stale``."""
        self._joined.forget_stale()

    def _draft(self, wanted: list[Wanted], companions: list[Sequence], counts: list[int]) -> list[Draft]:
        active = [at for at, count in enumerate(counts) if count]
        for at in active:
            _catch_up(companions[at], wanted[at].sequence.tokens)
        rows = {at: companions[at].tokens[companions[at].held :] for at in active}
        tokens: list[list[int]] = [[] for _ in wanted]
        probabilities: list[list[torch.Tensor]] = [[] for _ in wanted]
        while active:
            logits = self._joined.feed_ahead([companions[at] for at in active], [rows[at] for at in active])
            last = torch.tensor([len(rows[at]) - 1 for at in active], device=logits.device)
            views = [SamplerAhead(wanted[at].sampler, tokens[at]) for at in active]
            for at, (token, weights) in zip(active, _choose(logits[range(len(active)), last], views), strict=True):
                tokens[at].append(token)
                companions[at].tokens.append(token)
                rows[at] = [token]
                if weights is not None:
                    probabilities[at].append(weights)
            active = [at for at in active if len(tokens[at]) < counts[at]]
        return [
            Draft(found, torch.stack(weights) if weights else None)
            for found, weights in zip(tokens, probabilities, strict=True)
        ]


def check_draft_pool(sequence: Sequence, pool: KvPool) -> None:
    """Checks that the model of ``pool`` can draft for ``sequence``.

    Raises:
        ConfigError: it writes other tokens.
        UnsupportedError: its caches cannot be decoded together.
    """
    if pool.store is None:
        raise UnsupportedError(
            "Cannot decode speculatively: the draft model has sliding-window layers, which do not go back by a few tokens "
            "exactly; use another draft model, or prompt-lookup."
        )
    sizes = [model.config.get_text_config().vocab_size for model in (sequence.model, pool.model)]
    if sizes[0] != sizes[1]:
        raise ConfigError(
            f"Cannot decode speculatively: the draft model has a vocabulary of {sizes[1]} tokens and the model one of "
            f"{sizes[0]}; use a draft model of the same family."
        )


def _companion(sequence: Sequence, pool: KvPool) -> Sequence:
    if sequence.draft is None or sequence.draft.pool is not pool:
        sequence.close_draft()
        limit = context_limit(pool.model.config.get_text_config())
        sequence.draft = pool.new_sequence(sequence.context_length if limit is None else limit)
    return sequence.draft


def _catch_up(companion: Sequence, tokens: list[int]) -> None:
    """Gives the companion, which holds a beginning of ``tokens``, the others, and feeds it all but the last few."""
    # The last draft's last token was not fed.
    del companion.tokens[companion.held :]
    if not companion.held:
        # The passes that filled it before are of no use: nobody needs its cache to the bit.
        companion.take_back(0)
    companion.tokens += tokens[companion.held : -1]
    while not companion.held or companion.unfed >= SHORT_CALL:
        feed(companion)
    companion.tokens.append(tokens[-1])


def _choose(logits: torch.Tensor, views: list[SamplerAhead]) -> list[tuple[int, torch.Tensor | None]]:
    """A token a row of ``[N, V]``, and the probabilities that it was drawn by where it was drawn.

    Raises:
        KittyKvError: logits without a largest number.
    """
    out: dict[int, tuple[int, torch.Tensor | None]] = {}
    greedy = [row for row, view in enumerate(views) if view.is_greedy]
    drawn = [row for row, view in enumerate(views) if not view.is_greedy]
    if greedy:
        for row, found in zip(greedy, sample_batch(logits[greedy], [views[row] for row in greedy]), strict=True):
            out[row] = (_checked(found).token, None)
    if drawn:
        for row, found in zip(drawn, distributions(logits[drawn], [views[row] for row in drawn]), strict=True):
            out[row] = (draw_token(_checked(found), views[row].draw()), found)
    return [out[row] for row in range(len(views))]


def _checked(found: Any) -> Any:
    if isinstance(found, KittyKvError):
        raise found
    return found
