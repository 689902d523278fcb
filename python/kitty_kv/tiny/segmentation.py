"""BPE-dropout (Provilkov et al., 2020): many segmentations of the same text, reproducible and fast.

The tokenizers library draws its dropout from a generator that cannot be seeded, and re-encoding 31 MB each epoch is slow. Here
every distinct piece of the text gets a small pool of segmentations once (all pieces at a time, in numpy); an epoch then
picks one for each occurrence, which is one gather.
"""

from __future__ import annotations

import numpy as np
import regex
from tokenizers import Tokenizer

from .tokenizer import EOS_ID, PIECES, byte_ids, merge_ranks

POOL_SIZE = 16
_CHUNK = 8192
_NEVER = np.iinfo(np.int32).max


class Segmenter:
    """Encodes documents that were cut into numbered pieces once.

    Args:
        tokenizer: byte-level BPE with this package's `PIECES`.
        pieces: the distinct pieces, as `cut` returns them.
        counts: how often each occurs; frequent ones get larger pools.
        dropout: probability that a possible merge is skipped, at each step.
        seed: makes the pools reproducible.
    """

    def __init__(self, tokenizer: Tokenizer, pieces: list[str], counts: np.ndarray, dropout: float, seed: int) -> None:
        rng = np.random.default_rng([seed, 1])
        variants = np.minimum(POOL_SIZE, (counts + 1) // 2) if dropout else np.zeros_like(counts)
        merges = _MergeTable(tokenizer)
        owners = np.concatenate([np.arange(len(pieces)), np.repeat(np.arange(len(pieces)), variants)])
        tokens, lengths = merges.segment_all(pieces, owners, len(pieces), dropout, rng)
        self._tokens = tokens
        self._lengths = lengths
        self._starts = np.cumsum(lengths) - lengths
        self._variants = variants
        self._first_variant = len(pieces) + np.cumsum(variants) - variants

    def encode(self, piece_ids: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
        """Tokens (uint16) of a document, ended by `<|endoftext|>`; `share` of the pieces get a dropout segmentation."""
        rows = piece_ids
        if share > 0:
            varied = (rng.random(len(piece_ids)) < share) & (self._variants[piece_ids] > 0)
            pick = (rng.random(len(piece_ids)) * self._variants[piece_ids]).astype(np.int64)
            rows = np.where(varied, self._first_variant[piece_ids] + pick, piece_ids)
        lengths = self._lengths[rows]
        ends = np.cumsum(lengths)
        total = int(ends[-1]) if len(ends) else 0
        index = np.arange(total) + np.repeat(self._starts[rows] - (ends - lengths), lengths)
        return np.append(self._tokens[index], np.uint16(EOS_ID))


def cut(documents: tuple[str, ...]) -> tuple[list[str], list[np.ndarray]]:
    """Cut documents into the tokenizer's pieces: the distinct pieces, and each document as numbers into them."""
    pattern = regex.compile(PIECES)
    numbers: dict[str, int] = {}
    cut_documents = []
    for document in documents:
        found = pattern.findall(document)
        cut_documents.append(np.fromiter((numbers.setdefault(p, len(numbers)) for p in found), np.int64, len(found)))
    return list(numbers), cut_documents


class _MergeTable:
    """Applies BPE merges to many byte strings side by side."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._bytes = np.array(byte_ids(tokenizer), np.int32)
        size = tokenizer.get_vocab_size()
        self._rank = np.full((size + 1, size + 1), _NEVER, np.int32)
        ranks = merge_ranks(tokenizer)
        self._merged = np.zeros(max(len(ranks), 1), np.int32)
        for (left, right), (rank, merged) in ranks.items():
            self._rank[left, right] = rank
            self._merged[rank] = merged
        self._blank = size

    def segment_all(
        self, pieces: list[str], owners: np.ndarray, canonical: int, dropout: float, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Segment piece `owners[i]` for every i, with dropout from row `canonical` on; tokens row by row, and lengths."""
        encoded = [piece.encode() for piece in pieces]
        sizes = np.array([len(piece) for piece in encoded])[owners]
        results: list[np.ndarray] = [np.empty(0, np.uint16)] * len(owners)
        order = np.argsort(sizes, kind="stable")
        for start in range(0, len(order), _CHUNK):
            rows = order[start : start + _CHUNK]
            grid = np.full((len(rows), int(sizes[rows].max())), self._blank, np.int32)
            for i, row in enumerate(rows):
                data = np.frombuffer(encoded[owners[row]], np.uint8)
                grid[i, : len(data)] = self._bytes[data]
            self._merge(grid, np.where(rows < canonical, 0.0, dropout), rng)
            for i, row in enumerate(rows):
                results[row] = grid[i][grid[i] != self._blank].astype(np.uint16)
        return np.concatenate(results), np.array([len(tokens) for tokens in results])

    def _merge(self, grid: np.ndarray, dropout: np.ndarray, rng: np.random.Generator) -> None:
        """Merge in place until no row has a merge left; a dropped candidate counts again at the next step."""
        active = np.arange(len(grid))
        while len(active) and grid.shape[1] > 1:
            tokens = grid[active]
            rank = self._rank[tokens[:, :-1], tokens[:, 1:]]
            if dropout.any():
                rank[rng.random(rank.shape) < dropout[active, None]] = _NEVER
            place = rank.argmin(1)
            best = rank[np.arange(len(active)), place]
            going = best != _NEVER
            active, tokens, place, best = active[going], tokens[going], place[going], best[going]
            column = np.arange(grid.shape[1])
            source = np.minimum(column + (column > place[:, None]), grid.shape[1] - 1)
            moved = np.take_along_axis(tokens, source, 1)
            moved[:, -1] = self._blank
            moved[np.arange(len(active)), place] = self._merged[best]
            grid[active] = moved
