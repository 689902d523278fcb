"""Forward passes: of one sequence by itself, and of one or a few tokens for each of many sequences."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from collections.abc import Sequence as Many
from typing import Any

import torch

from ..cache.store import PageStore
from ..hf.chunk_pass import feed_chunk
from ..hf.decode_graphs import DecodeGraphs
from ..hf.joined_cache import JoinedCache, can_join
from .sequence import Sequence

# On the CPU, rows of a matrix product come out the same to the bit in batches of any multiple of so many rows a thread
# (float32 and bfloat16, MKL and oneDNN with AVX-512); one to three rows take another way through these libraries.
_ROWS_PER_THREAD = 4


def feed(sequence: Sequence) -> torch.Tensor:
    """Feeds the next pass's tokens to the sequence by itself: the logits ``[V]`` behind the last of them.

    Raises:
        CacheOutOfMemoryError: there is no memory for the pass; nothing has changed.
        BaseException: what the model raised; the cache may be half-filled, so drop it.
    """
    model, tokens = sequence.model, sequence.next_pass()
    if model.device.type == "cuda" and can_join(sequence.cache):
        logits = feed_chunk(model, sequence.cache, tokens)
    else:
        input_ids = torch.tensor([tokens], dtype=torch.long, device=model.device)  # [1, S]
        output = model(input_ids=input_ids, past_key_values=sequence.cache, use_cache=True, logits_to_keep=1)
        logits = output.logits[0, -1]
    sequence.note_pass(len(tokens))
    return logits


def is_joinable(sequence: Sequence) -> bool:
    """Whether the sequence's next pass can be taken together with others."""
    return sequence.held > 0 and len(sequence.next_pass()) == 1 and can_join(sequence.cache)


def can_feed_ahead(sequence: Sequence) -> bool:
    """Whether tokens may be fed to it before it is known that they come next."""
    return can_join(sequence.cache)


def batch_key(sequence: Sequence) -> Hashable:
    """Equal for sequences that can be decoded together."""
    return id(sequence.model), id(sequence.cache.pages.store)


def graphs_on_cuda(model: Any) -> DecodeGraphs | None:
    """Graphs for a model on a CUDA device; elsewhere None, for ordinary passes."""
    return DecodeGraphs(model) if model.device.type == "cuda" else None


class JoinedPasses:
    """Decodes sequences together; who is together is put together anew only when that changes."""

    def __init__(self, new_graphs: Callable[[Any], DecodeGraphs | None] | None = None) -> None:
        self._batches: dict[Hashable, JoinedCache] = {}
        self._graphs: weakref.WeakKeyDictionary[PageStore, DecodeGraphs | None] = weakref.WeakKeyDictionary()
        self._new_graphs = new_graphs or graphs_on_cuda

    def feed(self, sequences: Many[Sequence]) -> torch.Tensor:
        """Feeds one token to each of ``sequences``, all joinable and of one ``batch_key``: logits ``[N, V]``.

        Raises:
            CacheOutOfMemoryError: there is no memory for the pass; nothing has changed.
            BaseException: what the model raised; all caches are what they were before.
        """
        return self.feed_ahead(sequences, [sequence.next_pass() for sequence in sequences])[:, 0]

    def feed_ahead(
        self, sequences: Many[Sequence], tokens: Many[Many[int]], on_device: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Feeds each sequence its next token, or that one and some that may follow it.

        Each token is noted as a pass of its own, so that those that a ``crop`` leaves are fed one by one where a dropped
        cache is filled again. That gives the same cache: to the bit on the CPU, where a row of a product does not depend on
        how many there are and each token reads the others as from the cache; elsewhere up to the rounding of products.

        Args:
            sequences: all joinable and of one ``batch_key``.
            tokens: of each, one at least and at most ``Sequence.most_ahead``.
            on_device: int64 ``[N]``, what each row's first token really is.

        Returns:
            Logits ``[N, S, V]`` behind each token; what follows a row's last token means nothing.

        Raises:
            CacheOutOfMemoryError: there is no memory for the pass; nothing has changed.
            BaseException: what the model raised; all caches are what they were before.
        """
        key, model = batch_key(sequences[0]), sequences[0].model
        batch = self._batch(key, sequences)
        counts, device = [len(row) for row in tokens], model.device
        width, padding = self._width(max(counts), device), len(batch.lengths) - len(sequences)
        rows = [[*row, *[0] * (width - len(row))] for row in tokens] + [[0] * width] * padding
        # Positions of no token repeat the last one, so that they stay inside the model's context.
        ends = [*counts, *[1] * padding]
        positions = [
            [length + min(at, end - 1) for at in range(width)] for length, end in zip(batch.lengths, ends, strict=True)
        ]
        try:
            batch.begin_pass(counts, width)
            graphs = self._graphs_of(batch.pages.store, model)
            if graphs is not None and graphs.takes(batch.pages):
                logits = graphs.feed(batch.pages, batch.real, rows, positions, on_device)  # [B, S, V]
            else:
                input_ids = torch.tensor(rows, device=device)  # [B, S]
                if on_device is not None:
                    input_ids[: len(sequences), 0] = on_device
                logits = model(
                    input_ids=input_ids,
                    position_ids=torch.tensor(positions, device=device),
                    cache_position=torch.arange(batch.slots.count, batch.slots.count + width, device=device),
                    past_key_values=batch,
                    use_cache=True,
                    logits_to_keep=width,
                ).logits
        except BaseException:
            batch.roll_back()
            del self._batches[key]
            raise
        batch.end_pass()
        for sequence, count in zip(sequences, counts, strict=True):
            sequence.note_passes(count)
        return logits[: len(sequences)]

    def keep_only(self, keys: set[Hashable]) -> None:
        """Forgets the batches of all other keys."""
        for key in self._batches.keys() - keys:
            del self._batches[key]

    def forget_stale(self) -> None:
        """Lets go of graphs that hold memory which their pools have given up."""
        for graphs in self._graphs.values():
            if graphs is not None:
                graphs.forget_stale()

    def _width(self, most: int, device: torch.device) -> int:
        """Columns of a pass whose rows get up to ``most`` tokens: with graphs few numbers, since each of them is recorded."""
        return most if device.type == "cpu" else 1 << (most - 1).bit_length()

    def _graphs_of(self, store: PageStore, model: Any) -> DecodeGraphs | None:
        if store not in self._graphs:
            self._graphs[store] = self._new_graphs(model)
        return self._graphs[store]

    def _batch(self, key: Hashable, sequences: Many[Sequence]) -> JoinedCache:
        batch = self._batches.get(key)
        caches = [sequence.cache for sequence in sequences]
        if batch is None or not batch.is_of(caches):
            device = sequences[0].model.device
            multiple = _ROWS_PER_THREAD * torch.get_num_threads() if device.type == "cpu" else 1
            batch = self._batches[key] = JoinedCache(caches, multiple)
        return batch
