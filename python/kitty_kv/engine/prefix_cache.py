"""Caches of prompts' beginnings, for later prompts that begin alike."""

from __future__ import annotations

import array
import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..cache.storage import Counts
from ..cache.store import PageStore

if TYPE_CHECKING:
    from ..hf.cache import KittyCache


class PrefixCache:
    """Forks of caches that held whole chunks of a prompt and nothing else, found again by a hash of all their tokens.

    A fork shares pages and blocks by reference count. A prompt that goes on from one takes the same passes as one that
    does not, but for those left out, so its results are the same to the bit. What was used least recently goes first.
    Only the engine's thread calls its methods.

    Args:
        store: of all the caches.
        max_bytes: most bytes that the forks refer to together; 0 keeps none.
    """

    def __init__(self, store: PageStore, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.hits = 0
        self.lookups = 0
        self.reused_tokens = 0
        self._store = store
        self._entries: OrderedDict[bytes, KittyCache] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes_held(self) -> int:
        """Bytes that the forks refer to, those that somebody else refers to as well included."""
        pages: list[set[int]] = [set(), set(), set()]
        for cache in self._entries.values():
            for row in cache.pages.rows:
                pages[0].update(row.keys.pages)
                pages[1].update(row.values.pages)
                pages[2].update(row.keys.held_blocks(), row.values.held_blocks())
        return sum(storage.bytes_for(Counts(*map(len, pages))) for storage in self._store.storages)

    def longest(self, tokens: Sequence[int], chunk_tokens: int, most: int) -> tuple[KittyCache, int] | None:
        """A fork of the longest beginning of ``tokens`` that is known, at most ``most`` chunks, and how many those are."""
        if not self.max_bytes or not most:
            return None
        self.lookups += 1
        keys = list(_keys(tokens, chunk_tokens, most))
        for chunks in range(most, 0, -1):
            cache = self._entries.get(keys[chunks - 1])
            if cache is not None:
                self._entries.move_to_end(keys[chunks - 1])
                self.hits += 1
                self.reused_tokens += chunks * chunk_tokens
                return cache.fork(), chunks
        return None

    def put(self, tokens: Sequence[int], chunk_tokens: int, chunks: int, cache: KittyCache) -> None:
        """Remembers ``cache``, which holds the first ``chunks`` chunks of ``tokens``."""
        if not self.max_bytes:
            return
        *_, key = _keys(tokens, chunk_tokens, chunks)
        if key not in self._entries:
            self._entries[key] = cache.fork()
            while self._entries and self.bytes_held > self.max_bytes:
                self.evict()
        else:
            self._entries.move_to_end(key)

    def evict(self) -> bool:
        """Forgets what was used least recently; false when there is nothing."""
        if not self._entries:
            return False
        self._entries.popitem(last=False)[1].reset()
        return True

    def clear(self) -> None:
        """Forgets everything."""
        while self.evict():
            pass


def _keys(tokens: Sequence[int], chunk_tokens: int, chunks: int) -> Iterator[bytes]:
    """A hash of all tokens up to the end of each chunk."""
    digest = hashlib.blake2b(chunk_tokens.to_bytes(8, "little"), digest_size=32)
    for chunk in range(chunks):
        digest.update(array.array("q", tokens[chunk * chunk_tokens : (chunk + 1) * chunk_tokens]).tobytes())
        yield digest.copy().digest()
