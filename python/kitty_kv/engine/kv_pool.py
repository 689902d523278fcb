"""The KV memory of one model under one cache config, shared by all its sequences."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import weakref
from typing import Any

import torch

from ..cache.channel_weights import ChannelWeights
from ..cache.geometry import UNDO_TOKENS, geometries
from ..cache.storage import Counts
from ..cache.store import PageStore
from ..config import KittyConfig
from ..errors import CacheOutOfMemoryError
from ..hf.cache import KittyCache
from ..hf.model_layers import layer_windows
from ..hf.query_weights import weights_for
from .prefix_cache import PrefixCache
from .sequence import CHUNK_TOKENS, Sequence

DEFAULT_PREFIX_BYTES = 256 * 2**20
# The host needs as long for the launches of a pass as a large GPU for so many tokens of an 8B model.
_GPU_CHUNK_TOKENS = 4096


def default_chunk_tokens(device: torch.device) -> int:
    """Most tokens of a prompt that one pass takes on such a device, unless something else is asked for."""
    return CHUNK_TOKENS if device.type == "cpu" else _GPU_CHUNK_TOKENS


@dataclasses.dataclass(frozen=True, slots=True)
class PoolUse:
    """Bytes of a pool."""

    bytes_in_use: int  # that sequences and remembered prefixes refer to
    bytes_allocated: int
    max_bytes: int | None
    prefix_bytes: int
    prefix_hits: int
    prefix_lookups: int


class KvPool:
    """Pages and blocks for the sequences of one model and config, under one limit.

    Sequences of a model with sliding-window layers have memory of their own each, ``max_bytes`` each, and cannot be decoded
    as one batch. But for ``new_sequence``, only the engine's thread calls its methods.

    Args:
        model: that all sequences run on.
        config: of all their caches.
        max_bytes: most bytes of all pages and blocks; None for no limit.
        prefix_bytes: most bytes that remembered beginnings of prompts refer to; 0 remembers none.
        chunk_tokens: most tokens that one pass takes; None for what suits the model's device.
        impl: as in ``KittyCache``.
        weights: of the model's key channels; None for ``query_weights``, where the config wants any.
    """

    def __init__(
        self,
        model: Any,
        config: KittyConfig,
        *,
        max_bytes: int | None = None,
        prefix_bytes: int = DEFAULT_PREFIX_BYTES,
        chunk_tokens: int | None = None,
        impl: str = "auto",
        weights: ChannelWeights | None = None,
    ) -> None:
        self.model = model
        self.config = config
        self.max_bytes = max_bytes
        self._chunk_tokens = chunk_tokens or default_chunk_tokens(model.device)
        self._impl = impl
        self._geometry = geometries(config)
        self._lock = threading.Lock()
        self._sequences: weakref.WeakSet[Sequence] = weakref.WeakSet()
        # One set for all of them: pages that sequences share are those that each would have packed.
        self._weights = weights_for(model, config) if weights is None else weights
        windows = layer_windows(model.config.get_text_config())
        is_shared = all(window is None for window in windows)
        self.store = PageStore(len(windows), max_bytes, trims=False) if is_shared else None
        self.prefixes = PrefixCache(self.store, prefix_bytes) if self.store is not None else None

    def new_sequence(self, context_length: int) -> Sequence:
        """An empty history; ``close`` it when it is not needed any more.

        Raises:
            KittyKvError: the model cannot use this cache.
        """
        limit = self.max_bytes if self.store is None else None
        options = {"impl": self._impl, "max_bytes": limit, "store": self.store, "weights": self._weights}
        cache = KittyCache.for_model(self.model, config=self.config, **options)
        sequence = Sequence(self.model, cache, context_length, self, self._chunk_tokens)
        with self._lock:
            self._sequences.add(sequence)
        return sequence

    def fork(self, sequence: Sequence) -> Sequence:
        """Another sequence with the same history, whose cache shares memory with this one's until either grows.

        Raises:
            CacheError: a forward pass of it failed half-way.
        """
        fork = Sequence(self.model, sequence.cache.fork(), sequence.context_length, self, sequence.chunk_tokens)
        fork.tokens = list(sequence.tokens)
        history = sequence.passes()
        fork.restore_passes(history["passes"], history["nextPass"])
        with self._lock:
            self._sequences.add(fork)
        return fork

    def close(self, sequence: Sequence) -> None:
        """Gives back what it holds; it is not to be used again."""
        sequence.close_draft()
        sequence.drop()
        with self._lock:
            self._sequences.discard(sequence)
        self.give_back()

    def has_room(self, tokens: int) -> bool:
        """Whether a row of ``tokens`` tokens fits beside what is held now; true where nothing is known yet."""
        return self.store is None or self.store.can_hold(self._counts(tokens))

    def could_ever_hold(self, tokens: int) -> bool:
        """Whether a row of ``tokens`` tokens fits into the empty pool; true where nothing is known yet."""
        return self.store is None or self.store.could_hold(self._counts(tokens))

    def free_something(self) -> bool:
        """Lets go of the remembered prefix used least recently, or else empties the cache of the sequence that has been idle
        longest, whose passes fill it again; false where there is neither.
        """
        if self.store is None:
            return False
        if self.prefixes.evict():
            return True
        idle = [sequence for sequence in self._open() if not sequence.is_busy and sequence.held]
        if not idle:
            return False
        min(idle, key=lambda sequence: sequence.last_used).drop()
        return True

    def adopt_prefix(self, sequence: Sequence) -> int:
        """Gives an empty sequence what is remembered of its tokens' beginning: how many tokens that was."""
        if self.prefixes is None:
            return 0
        found = self.prefixes.longest(sequence.tokens, sequence.chunk_tokens, sequence.shareable_chunks())
        if found is None:
            return 0
        sequence.take_over(*found)
        return found[1] * sequence.chunk_tokens

    def remember_prefix(self, sequence: Sequence) -> None:
        """Remembers what the sequence holds, if that is whole chunks from its first token on."""
        chunks = sequence.whole_chunks()
        if self.prefixes is not None and chunks:
            self.prefixes.put(sequence.tokens, sequence.chunk_tokens, chunks, sequence.cache)

    def give_back(self) -> None:
        """Gives the memory back when nobody uses any of it."""
        if self.store is None:
            return
        self.store.collect()
        if not any(self.store.in_use):
            # Where there is no memory for the smaller copy everything stays as it is.
            with contextlib.suppress(CacheOutOfMemoryError):
                self.store.give_back()

    def use(self) -> PoolUse:
        """What is held now."""
        if self.store is None:
            held = sum(sequence.cache.bytes_allocated for sequence in self._open())
            return PoolUse(held, held, self.max_bytes, 0, 0, 0)
        prefixes = self.prefixes
        return PoolUse(
            bytes_in_use=self.store.bytes_in_use,
            bytes_allocated=self.store.bytes_allocated,
            max_bytes=self.max_bytes,
            prefix_bytes=prefixes.bytes_held,
            prefix_hits=prefixes.hits,
            prefix_lookups=prefixes.lookups,
        )

    def _open(self) -> list[Sequence]:
        with self._lock:
            return list(self._sequences)

    def _counts(self, tokens: int) -> Counts:
        """What a row of so many tokens takes right after a prompt, whose last tokens lie in pages and blocks both."""
        pages, blocks = [], 0
        for shape in self._geometry:
            pages.append(shape.pages(tokens))
            blocks += sum(1 for _ in shape.slots_in_use(tokens, shape.pages(max(0, tokens - UNDO_TOKENS))))
        return Counts(*pages, blocks)
