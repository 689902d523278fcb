"""Who takes part in a step: admission, prompts in chunks, decoding together, and what gives way when memory runs out."""

from __future__ import annotations

import bisect
import traceback
import weakref
from collections.abc import Callable, Hashable

import torch

from ..errors import CacheOutOfMemoryError, KittyKvError
from .drafting import Drafting
from .generation import Generation, Result
from .kv_pool import KvPool
from .metrics import Meter
from .passes import JoinedPasses, batch_key, feed, is_joinable
from .room import choose_victim, holders, is_ready, make_room_to_begin, why_alone
from .sampling import Sampled
from .scheduler_options import SchedulerOptions
from .sequence import Sequence
from .unknown_tokens import UnknownTokens, may_run_ahead
from .verification import Chosen, verify


class Scheduler:
    """Steps generations; only the engine's thread calls it.

    Args:
        options: limits.
        meter: counts what happens.
        spend: takes one token of a generation's credit.
        on_over: hears of each generation that has ended, after its listener.
    """

    def __init__(
        self,
        options: SchedulerOptions,
        meter: Meter,
        spend: Callable[[Generation], None],
        on_over: Callable[[Generation], None],
    ) -> None:
        self.waiting: list[Generation] = []  # by arrival
        self.running: list[Generation] = []  # by arrival
        self._options = options
        self._meter = meter
        self._spend = spend
        self._on_over = on_over
        self._joined = JoinedPasses()
        self._drafting = Drafting()
        self._unknown: UnknownTokens | None = None  # of the last decode pass, where nobody has waited for them yet
        self._short: set[KvPool | None] = set()  # pools that had no room for whoever waits first
        self._pools: weakref.WeakSet[KvPool] = weakref.WeakSet()

    def add(self, generation: Generation) -> None:
        """Lets it wait for its turn."""
        self.waiting.append(generation)

    def close(self, sequence: Sequence) -> None:
        """Gives back what a sequence holds that nobody will use again."""
        if sequence.pool is not None:
            sequence.pool.close(sequence)
        else:
            sequence.drop()
        self._short.clear()

    def pools(self) -> list[KvPool]:
        """Those of all generations so far that are still in use."""
        return list(self._pools)

    def has_work(self) -> bool:
        """Whether a step would do anything."""
        is_due = self._unknown is not None or self._is_any_cancelled()
        return is_due or any(map(is_ready, self.running)) or self._next() is not None

    def step(self) -> None:
        """Gives every generation that is ready one token, or a chunk of its prompt."""
        if not self._go_ahead():
            self._take_unknown()
            self._step_all()
        self._meter.step()
        # On a GPU the others' tokens are written while it computes the next ones.
        is_computing = self._unknown is not None
        self._write([g for g in self.running if is_computing or not is_ready(g) or g.is_on_cpu])
        if not self.running and not self.waiting:
            self._joined.keep_only(set())
            for pool in self._pools:
                pool.give_back()
            self._joined.forget_stale()
            self._drafting.forget_stale()

    def _step_all(self) -> None:
        for generation in [g for g in (*self.running, *self.waiting) if g.is_cancelled]:
            self._end(generation, generation.cancel)
        self._admit()
        ready = [generation for generation in self.running if is_ready(generation)]
        joinable = [generation for generation in ready if is_joinable(generation.sequence)]
        self._feed_alone([generation for generation in ready if generation not in joinable])
        # One that gave way to a prompt has nothing to decode from.
        self._decode([generation for generation in joinable if generation in self.running])

    def write_all(self) -> None:
        """Tells all listeners of the tokens chosen so far; for when no step follows."""
        self._take_unknown()
        self._write(self.running)

    def _is_any_cancelled(self) -> bool:
        return any(generation.is_cancelled for generation in (*self.running, *self.waiting))

    def _go_ahead(self) -> bool:
        """Launches the next pass of those who have just been decoded, and takes the tokens of the last one meanwhile.

        False, and nothing has changed, where their tokens must be known first, or where something else is to be done.
        """
        last = self._unknown
        if last is None or self._is_any_cancelled() or not self._is_everybody(last.group) or self._next() is not None:
            return False
        if any(generation.credit < 2 for generation in last.group):
            return False
        rows = [row for row, generation in enumerate(last.group) if generation.tokens_left > 1]
        if not rows:
            return False
        group = [last.group[row] for row in rows]
        try:
            tokens = last.of(rows)
            logits = self._joined.feed_ahead([g.sequence for g in group], [[0]] * len(group), tokens)
        # What is the matter, and with whom, an ordinary step finds out.
        except BaseException:  # noqa: BLE001
            return False
        self._meter.batch(len(group))
        is_queued = self._queue(group, logits)
        self._take_all(last)
        if not is_queued:
            # An ordinary step feeds them again.
            self._unknown = None
            for generation in group:
                if generation in self.running:
                    generation.sequence.crop(len(generation.sequence.tokens) - 1)
        elif not any(generation in self.running for generation in group):
            # Nobody shall give memory back that the pass is still using.
            self._take_unknown()
        return True

    def _queue(self, group: list[Generation], logits: torch.Tensor) -> bool:
        """Has the next tokens chosen, to be waited for later; false where that failed, for want of memory for example."""
        try:
            self._unknown = UnknownTokens.after(logits[:, 0], group)
        except BaseException:  # noqa: BLE001
            return False
        for generation in group:
            generation.is_ahead = True
        return True

    def _is_everybody(self, group: list[Generation]) -> bool:
        """Whether ``group`` are all those who are ready for a step."""
        return group == [generation for generation in self.running if is_ready(generation)]

    def _take_unknown(self) -> None:
        last, self._unknown = self._unknown, None
        if last is not None:
            self._take_all(last)

    def _take_all(self, last: UnknownTokens) -> None:
        for generation, one in zip(last.group, last.tokens.wait(), strict=True):
            if generation in self.running and not generation.is_cancelled:
                self._take(generation, [one])

    def _next(self) -> Generation | None:
        """The first that waits and could begin."""
        if sum(map(is_ready, self.running)) >= self._options.max_batch:
            return None
        return next((g for g in self.waiting if g.credit > 0 and not g.is_cancelled and not self._is_short(g)), None)

    def _is_short(self, generation: Generation) -> bool:
        """Whether nobody can be admitted before one that runs in its pool ends; those who wait for a reader may never."""
        pool = generation.sequence.pool
        return pool in self._short and any(map(is_ready, holders(self.running, pool)))

    def _admit(self) -> None:
        while (generation := self._next()) is not None:
            try:
                if not generation.has_begun:
                    generation.begin(self._options.speculation)
                if not make_room_to_begin(generation, self.running, self._preempt):
                    self._short.add(generation.sequence.pool)
                    continue
            # A prompt's tokens come from a tokenizer and a template, which raise what they like.
            except BaseException as error:  # noqa: BLE001
                self._fail(generation, error)
                continue
            self.waiting.remove(generation)
            bisect.insort(self.running, generation, key=_order)
            generation.sequence.is_busy = True
            self._pools.update(pool for pool in (generation.sequence.pool, generation.draft_pool) if pool is not None)

    def _feed_alone(self, generations: list[Generation]) -> None:
        """Feeds one pass to each, as long as there is no longer one before it that used the step's tokens up."""
        left = self._options.prefill_tokens
        for generation in generations:
            if generation not in self.running:
                continue
            size = len(generation.sequence.next_pass())
            if size > 1 and left <= 0:
                continue
            left -= size if size > 1 else 0
            self._feed_one(generation)

    def _feed_one(self, generation: Generation) -> None:
        sequence = generation.sequence
        pool = sequence.pool
        while True:
            try:
                if pool is not None and not sequence.held:
                    generation.reused_tokens = max(generation.reused_tokens, pool.adopt_prefix(sequence))
                logits = feed(sequence)
                if pool is not None:
                    pool.remember_prefix(sequence)
                break
            except CacheOutOfMemoryError as error:
                if generation not in self._after_shortage([generation], error):
                    return
            # Even sys.exit() in a model's code ends its own generation only: nobody else would step the others.
            except BaseException as error:  # noqa: BLE001
                self._fail(generation, error)
                return
        self._write(self.running)
        self._sample([generation], logits[None, None], [0])

    def _decode(self, generations: list[Generation]) -> None:
        groups: dict[Hashable, list[Generation]] = {}
        for generation in generations:
            groups.setdefault(batch_key(generation.sequence), []).append(generation)
        self._joined.keep_only(set(groups))
        self._drafting.keep_only(generations)
        for group in groups.values():
            for first in range(0, len(group), self._options.max_batch):
                self._decode_group(group[first : first + self._options.max_batch])

    def _decode_group(self, group: list[Generation]) -> None:
        is_speculating = True
        while group := [generation for generation in group if generation in self.running]:
            if failures := self._drafting.prepare(group):
                for generation, error in failures:
                    self._fail(generation, error)
                continue
            tokens = [generation.next_tokens(is_speculating) for generation in group]
            try:
                logits = self._joined.feed_ahead([generation.sequence for generation in group], tokens)
            except CacheOutOfMemoryError as error:
                if any(len(row) > 1 for row in tokens):
                    # A draft can wait where there is room for one token.
                    is_speculating = False
                    continue
                group = self._after_shortage(group, error)
            except BaseException as error:  # noqa: BLE001
                if len(group) == 1:
                    self._fail(group[0], error)
                    return
                # One of them is to blame, and only alone it shows which.
                for generation in group:
                    self._decode_group([generation])
                return
            else:
                self._meter.batch(len(group))
                self._write(self.running)
                may_wait = may_run_ahead(group, tokens, self._options.runs_ahead) and self._is_everybody(group)
                if not may_wait or not self._queue(group, logits):
                    self._sample(group, logits, [len(row) - 1 for row in tokens])
                return

    def _sample(self, group: list[Generation], logits: torch.Tensor, ahead: list[int]) -> None:
        """Chooses the next tokens from logits ``[N, S, V]`` where all tokens are fed, and ``ahead[i]`` of row i's draft."""
        at = [row for row, generation in enumerate(group) if generation in self.running and generation.has_all_fed]
        if not at:
            return
        chosen = [group[row] for row in at]
        drafts = [generation.draft for generation in chosen]
        try:
            found = verify(
                logits[at] if len(at) < len(group) else logits,
                [ahead[row] for row in at],
                drafts,
                [generation.sampler for generation in chosen],
            )
        except BaseException as error:  # noqa: BLE001
            if len(chosen) == 1:
                self._fail(chosen[0], error)
                return
            # Memory may have been short for all of them together.
            for row in at:
                self._sample([group[row]], logits[row : row + 1], [ahead[row]])
            return
        for generation, tokens in zip(chosen, found, strict=True):
            self._take(generation, tokens)

    def _take(self, generation: Generation, chosen: Chosen) -> None:
        generation.settle([one.token for one in chosen if isinstance(one, Sampled)])
        for one in chosen:
            if isinstance(one, KittyKvError):
                self._fail(generation, one)
                return
            self._spend(generation)
            self._meter.token()
            self._end(generation, lambda one=one: generation.take(one))
            if generation not in self.running:
                return

    def _write(self, generations: list[Generation]) -> None:
        for generation in [generation for generation in generations if generation.has_unwritten]:
            try:
                generation.write()
            except BaseException as error:  # noqa: BLE001
                self._fail(generation, error)

    def _after_shortage(self, group: list[Generation], error: CacheOutOfMemoryError) -> list[Generation]:
        """Makes room where a pass of ``group`` found none: those of them that may try again."""
        pool = group[0].sequence.pool
        if pool is not None and pool.free_something():
            return group
        victim = choose_victim(group, self.running)
        if victim is None:
            self._fail(group[0], why_alone(group[0], error))
            return []
        self._preempt(victim)
        return [generation for generation in group if generation is not victim]

    def _preempt(self, generation: Generation) -> None:
        """Drops its cache, which the same passes fill again when its turn comes."""
        # Its turn comes only once its reader has granted more, which it may do when it hears of the last tokens.
        self._write([generation])
        if generation not in self.running:
            return
        self.running.remove(generation)
        generation.sequence.drop()
        generation.preemptions += 1
        self._meter.preemption()
        generation.sequence.is_busy = False
        bisect.insort(self.waiting, generation, key=_order)
        self._short.add(generation.sequence.pool)

    def _end(self, generation: Generation, act: Callable[[], Result | None]) -> None:
        """Does what may be the end of it."""
        try:
            result = act()
        except BaseException as error:  # noqa: BLE001
            self._fail(generation, error)
            return
        if result is not None:
            self._meter.drafts(result.drafted_tokens, result.accepted_tokens)
            self._leave(generation)
            self._tell(generation, lambda: generation.listener.on_end(result))

    def _fail(self, generation: Generation, error: BaseException) -> None:
        generation.fail()
        self._leave(generation)
        self._tell(generation, lambda: generation.listener.on_error(error))

    def _tell(self, generation: Generation, end: Callable[[], None]) -> None:
        """Tells its listener of the end; one that raises must not end the thread that steps the others."""
        try:
            end()
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
        self._on_over(generation)

    def _leave(self, generation: Generation) -> None:
        for place in (self.running, self.waiting):
            if generation in place:
                place.remove(generation)
        generation.sequence.is_busy = False
        # What it held may be let go of now.
        self._short.clear()


def _order(generation: Generation) -> int:
    return generation.order
