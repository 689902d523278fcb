"""Where training sequences come from. A source is anything that yields documents of token ids; rows are cut from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from tokenizers import Tokenizer

from ..errors import ConfigError
from .segmentation import Segmenter, cut
from .text import Corpus


class Source(Protocol):
    """One pass after another over some data."""

    def documents(self, epoch: int, progress: float) -> Iterator[np.ndarray]:
        """Token ids (uint16) of each document, ended by `<|endoftext|>`.

        Equal arguments give equal tokens. `progress` (0 to 1) is how much of the training is done when the pass begins.
        """
        ...


class TextSource:
    """Documents of a text in a new order each pass, segmented with BPE-dropout early on and plainly in the end."""

    def __init__(self, corpus: Corpus, tokenizer: Tokenizer, dropout: float, plain_from: float, seed: int) -> None:
        pieces, self._documents = cut(corpus.documents)
        counts = np.bincount(np.concatenate(self._documents), minlength=len(pieces))
        self._segmenter = Segmenter(tokenizer, pieces, counts, dropout, seed)
        self._dropout = dropout
        self._plain_from = plain_from
        self._seed = seed

    def documents(self, epoch: int, progress: float) -> Iterator[np.ndarray]:
        rng = np.random.default_rng([self._seed, 2, epoch])
        varied = self._dropout > 0 and progress < self._plain_from
        for index in rng.permutation(len(self._documents)):
            yield self._segmenter.encode(self._documents[index], 1.0 if varied else 0.0, rng)


def packed_rows(source: Source, length: int, epoch: int, progress: float, seed: int) -> np.ndarray:
    """One pass as shuffled rows [N, length + 1]: documents end to end, cut at a new offset each pass; a short rest is left out."""
    rng = np.random.default_rng([seed, 3, epoch])
    stream = np.concatenate(list(source.documents(epoch, progress)))
    spare = len(stream) - (length + 1)
    if spare < 0:
        raise ConfigError(
            f"Cannot train at length {length}: the text has {len(stream)} tokens; give a longer text or a smaller --length"
        )
    stream = stream[int(rng.integers(0, min(spare, length) + 1)) :]
    count = (len(stream) - 1) // length
    index = np.arange(count)[:, None] * length + np.arange(length + 1)
    return stream[index[rng.permutation(count)]]


def batches(
    source: Source, length: int, rows: int, seed: int, progress: Callable[[], float]
) -> Iterator[tuple[int, np.ndarray]]:
    """Endless ``(epoch, [rows, length + 1])``; the next pass is prepared in a thread while one is read."""
    with ThreadPoolExecutor(1) as background:
        pending = np.empty((0, length + 1), np.uint16)
        epoch = 0
        if rows == 0:  # all rows are of tasks
            while True:
                yield epoch, pending[:0]
        upcoming = background.submit(packed_rows, source, length, 0, 0.0, seed)
        while True:
            pending = np.concatenate([pending, upcoming.result()])
            upcoming = background.submit(packed_rows, source, length, epoch + 1, progress(), seed)
            while len(pending) >= rows:
                yield epoch, pending[:rows]
                pending = pending[rows:]
            epoch += 1


def mixed(
    text: Iterator[tuple[int, np.ndarray]], tasks: Iterator[np.ndarray], task_rows: int
) -> Iterator[tuple[int, np.ndarray]]:
    """The batches of `text` with `task_rows` rows of `tasks` added to each."""
    for epoch, rows in text:
        yield epoch, np.concatenate([rows.astype(np.int32), *(next(tasks)[None] for _ in range(task_rows))])
