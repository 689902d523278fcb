"""Has drafts made for whoever decodes next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .draft_model import DraftModel, Wanted
from .generation import Generation
from .kv_pool import KvPool


class Drafting:
    """The drafts of all running generations; only the engine's thread calls it."""

    def __init__(self) -> None:
        self._model = DraftModel()

    def prepare(self, generations: Iterable[Generation]) -> list[tuple[Generation, BaseException]]:
        """Gives each its draft, where it is to have one now: those for whom that failed, and why."""
        asking: dict[KvPool, list[tuple[Generation, int]]] = {}
        for generation in generations:
            speculator = generation.speculator
            count = speculator.limit(generation.tokens_left) if speculator is not None else 0
            if count < 1:
                continue
            if speculator.options.draft_pool is None:
                speculator.look_up(count)
            else:
                asking.setdefault(speculator.options.draft_pool, []).append((generation, count))
        return [failure for pool, group in asking.items() for failure in self._ask(pool, group)]

    def keep_only(self, generations: Iterable[Generation]) -> None:
        """Forgets what was put together for all others."""
        drafts = (generation.sequence.draft for generation in generations)
        self._model.keep_only([draft for draft in drafts if draft is not None and draft.held])

    def forget_stale(self) -> None:
        """As ``JoinedPasses.forget_stale``."""
        self._model.forget_stale()

    def _ask(self, pool: KvPool, group: Sequence[tuple[Generation, int]]) -> list[tuple[Generation, BaseException]]:
        wanted = [Wanted(generation.sequence, generation.sampler, count) for generation, count in group]
        try:
            drafts = self._model.propose(pool, wanted)
        except BaseException as error:  # noqa: BLE001
            if len(group) == 1:
                return [(group[0][0], error)]
            # One of them is to blame, and only alone it shows which.
            return [failure for one in group for failure in self._ask(pool, [one])]
        for (generation, _), draft in zip(group, drafts, strict=True):
            generation.speculator.take(draft)
        return []
