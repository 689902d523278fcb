"""Training rows made of task documents, by processes of their own: a GPU reads more than a million tokens a second.

A row holds whole documents and is filled up with text, since a question without what it asks for teaches nothing. A token
that is read but not scored is stored as its complement (``~token``, negative).
"""

from __future__ import annotations

import collections
import math
import multiprocessing
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from ..errors import ConfigError
from ..tasks.fitting import sentences
from .task_documents import FAMILIES, SENTENCE_CHARACTERS, SHORTEST, Segment
from .text import read_corpus
from .tokenizer import EOS_ID

BLOCK_ROWS = 32
_AHEAD = 3
_TEXT_SENTENCES = 300
# Documents begin short and reach the row's whole length when this share of the training is done.
_SHORT, _FULL_AT = 512, 0.4


def longest_at(progress: float, length: int) -> int:
    """Most tokens of a document when `progress` (0 to 1) of the training is done."""
    if length <= _SHORT:
        return length
    return int(_SHORT * (length / _SHORT) ** min(1.0, progress / _FULL_AT))


def task_rows(
    text: Path, tokenizer: Tokenizer, length: int, seed: int, workers: int, progress: Callable[[], float]
) -> Iterator[np.ndarray]:
    """Endless rows [length + 1] (int32); equal arguments and equal answers of `progress` give equal rows.

    Args:
        text: training text, for what stands between the parts of a task.
        workers: processes that make rows.
    """
    # No fork: the parent may have threads and a GPU by now.
    context = multiprocessing.get_context("spawn")
    start = (str(text), tokenizer.to_str())
    with ProcessPoolExecutor(workers, context, initializer=_start, initargs=start) as pool:
        waiting: collections.deque[Future[np.ndarray]] = collections.deque()
        block = 0
        try:
            while True:
                while len(waiting) < _AHEAD * workers:
                    longest = longest_at(progress(), length)
                    waiting.append(pool.submit(_make_block, [seed, block], length, longest))
                    block += 1
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class RowMaker:
    """Makes rows from one text with one tokenizer."""

    def __init__(self, tokenizer: Tokenizer, text: list[str]) -> None:
        self._tokenizer = tokenizer
        self._text = text

    def row(self, length: int, longest: int, chance: random.Random) -> np.ndarray:
        """Documents of at most `longest` tokens, each ended by `<|endoftext|>`, then text: [length + 1] (int32)."""
        row = np.full(length + 1, ~EOS_ID, np.int32)
        filled = 0
        while (space := min(length + 1 - filled - 1, longest)) >= SHORTEST * 5 // 4:
            name = _choose(chance, space)
            family = FAMILIES[name]
            wanted = _log_uniform(chance, family.shortest, space)
            try:
                document = self.encode(family.make(wanted, chance, self._sentences(chance)))
            except ConfigError:
                continue  # not even one of these sentences fits
            if len(document) > length + 1 - filled:
                continue  # the estimate was short by more than there is room for
            row[filled : filled + len(document)] = document
            filled += len(document)
        rest = length + 1 - filled
        if rest:
            tokens = self._tokenizer.encode(" ".join(self._sentences(chance))).ids[:rest]
            row[filled : filled + len(tokens)] = tokens
        return row

    def encode(self, segments: list[Segment]) -> np.ndarray:
        """The tokens of all segments as one text, then `<|endoftext|>`; those that begin in unscored ones as complements."""
        whole = "".join(part for part, _ in segments)
        encoded = self._tokenizer.encode(whole)
        scored = np.repeat([is_scored for _, is_scored in segments], [len(part) for part, _ in segments])
        ids = np.array(encoded.ids, np.int32)
        begins = np.fromiter((start for start, _ in encoded.offsets), np.int64, len(ids))
        return np.append(np.where(scored[begins], ids, ~ids), np.int32(EOS_ID))

    def _sentences(self, chance: random.Random) -> list[str]:
        start = chance.randrange(max(1, len(self._text) - _TEXT_SENTENCES))
        return self._text[start : start + _TEXT_SENTENCES]


def _choose(chance: random.Random, space: int) -> str:
    """A family that fits; one whose documents are long comes less often, so that the shares are of tokens."""
    fitting = [name for name, family in FAMILIES.items() if family.shortest * 5 // 4 <= space]
    weights = [FAMILIES[name].share / _mean_length(FAMILIES[name].shortest, space) for name in fitting]
    return chance.choices(fitting, weights)[0]


def _mean_length(low: int, high: int) -> float:
    return (high - low) / math.log(high / low)


def _log_uniform(chance: random.Random, low: int, high: int) -> int:
    return int(math.exp(chance.uniform(math.log(low), math.log(high))))


_maker: Any = None


def _start(text: str, tokenizer: str) -> None:
    """Once in each process."""
    global _maker
    found = [
        part for document in read_corpus(Path(text)).documents for part in sentences(document, SENTENCE_CHARACTERS)
    ]
    _maker = RowMaker(Tokenizer.from_str(tokenizer), found)


def _make_block(seed: list[int], length: int, longest: int) -> np.ndarray:
    # A string seeds alike in every process and version of Python.
    chance = random.Random(f"train/{seed}")
    return np.stack([_maker.row(length, longest, chance) for _ in range(BLOCK_ROWS)])
