"""Who may begin, and who gives way, when the KV memory of a pool is short."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..errors import CacheOutOfMemoryError
from .generation import Generation
from .kv_pool import KvPool


def is_ready(generation: Generation) -> bool:
    """Whether a step would do anything for it; else it waits for its reader."""
    return generation.credit > 0 or generation.is_cancelled


def holders(running: Sequence[Generation], pool: KvPool | None) -> list[Generation]:
    """The running ones that hold memory of ``pool``, in their order; none where every sequence has memory of its own."""
    if pool is None or pool.store is None:
        return []
    return [generation for generation in running if generation.sequence.pool is pool and generation.sequence.held]


def make_room_to_begin(
    generation: Generation, running: Sequence[Generation], preempt: Callable[[Generation], None]
) -> bool:
    """Whether the tokens of ``generation`` fit beside what ``running`` holds; for that, what nobody needs now is let go of.

    Only those that wait for a reader are preempted: the others end and make room by themselves.

    Raises:
        CacheOutOfMemoryError: they would not fit into the empty pool.
    """
    sequence = generation.sequence
    pool = sequence.pool
    if pool is None or sequence.held:
        return True
    tokens = len(sequence.tokens)
    if not pool.could_ever_hold(tokens):
        raise _never_fits(tokens, pool.max_bytes)
    while not pool.has_room(tokens) and (others := holders(running, pool)):
        if pool.free_something():
            continue
        if any(map(is_ready, others)):
            return False
        preempt(others[-1])
    return True


def why_alone(generation: Generation, error: CacheOutOfMemoryError) -> CacheOutOfMemoryError:
    """What to tell of a pass that found no room though nobody else holds any: the pool's limit, or the device's ``error``."""
    limit = error.details.get("maxBytes")
    return error if limit is None else _never_fits(len(generation.sequence.tokens), limit)


def choose_victim(group: Sequence[Generation], running: Sequence[Generation]) -> Generation | None:
    """Who gives way to a pass of ``group``, itself included: whoever waits for a reader, then whoever came last.

    None where the pass is of one generation and no other holds memory of its pool.
    """
    candidates = {*holders(running, group[0].sequence.pool), *group}
    if candidates == {group[0]}:
        return None
    return max(candidates, key=lambda generation: (generation.credit <= 0, generation.order))


def _never_fits(tokens: int, max_bytes: int) -> CacheOutOfMemoryError:
    return CacheOutOfMemoryError(
        f"Cannot generate after {tokens} tokens: their cache does not fit into {max_bytes:,} bytes even with nothing else "
        "there; give a shorter prompt, generate fewer tokens, or raise the KV memory limit (kvMemoryMiB).",
        details={"tokens": tokens, "maxBytes": max_bytes},
    )
