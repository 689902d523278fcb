"""Which sizes are measured, and how fast issue 3 wants them on an H200."""

from __future__ import annotations

import dataclasses
import random

import torch

from .peers import DenseShape
from .random_cache import CacheShape

QUERY_HEADS = 32
# What is held besides K, V and the cache: outputs, partial sums, what packing makes on its way.
SPARE_BYTES = 4 * 2**30


@dataclasses.dataclass(frozen=True, slots=True)
class DecodeShape:
    """One line of the table.

    Args:
        lengths: tokens of each row.
        least_ratio: at least so many times as fast as the best peer, issue 3's figure for an H200; None for none.
        is_quick: measured with ``--quick`` too.
        is_short: part of ``--only short``, not of ``--only decode``.
        dtype: of queries, blocks and the peers' tensors.
        label: instead of ``batch x tokens``.
    """

    lengths: tuple[int, ...]
    least_ratio: float | None = None
    is_quick: bool = False
    is_short: bool = False
    dtype: torch.dtype = torch.float16
    label: str | None = None

    @property
    def name(self) -> str:
        kind = "" if self.dtype == torch.float16 else f" {str(self.dtype).removeprefix('torch.')}"
        return f"{self.label or f'{len(self.lengths)} x {short_count(max(self.lengths))}'}{kind}"

    @property
    def cache_shape(self) -> CacheShape:
        return CacheShape(self.lengths, dtype=self.dtype)

    @property
    def dense_shape(self) -> DenseShape:
        """Rows of one length with the same tokens in all: for ragged rows kinder to the peers than padding."""
        batch = len(self.lengths)
        return DenseShape(batch, round(sum(self.lengths) / batch), QUERY_HEADS, dtype=self.dtype)

    @property
    def needed_bytes(self) -> int:
        return self.dense_shape.bytes + self.cache_shape.held_bytes + SPARE_BYTES


KI = 1024
# A short sequence may take 1.2x the time of 16 bits.
SHORT = 1 / 1.2


def shapes_of(*, is_quick: bool, is_short: bool) -> list[DecodeShape]:
    """The lines of one part of the table."""
    return [one for one in SHAPES if one.is_short == is_short and (one.is_quick or not is_quick)]


def short_count(tokens: int) -> str:
    """4K for 4096."""
    return f"{tokens // KI}K" if tokens % KI == 0 else str(tokens)


def _equal(batch: int, tokens: int, least: float | None = None, **options: object) -> DecodeShape:
    return DecodeShape((tokens,) * batch, least, **options)


def _ragged(batch: int, most: int) -> DecodeShape:
    """Lengths spread evenly over the powers of two from 128 to ``most``."""
    generator = random.Random(0)
    lengths = tuple(round(2 ** generator.uniform(7, most.bit_length() - 1)) for _ in range(batch))
    return DecodeShape(lengths, label=f"{batch} x 128..{short_count(most)} ragged")


SHAPES = (
    _equal(1, 4 * KI, 1.8, is_quick=True),
    _equal(1, 32 * KI, 2.6),
    _equal(1, 128 * KI, 3.5),
    _equal(8, 32 * KI, 4.0, is_quick=True),
    _equal(32, 8 * KI, 4.0, is_quick=True),
    _equal(32, 32 * KI, 4.0),
    _equal(256, 4 * KI, 4.0),
    _ragged(32, 32 * KI),
    _equal(8, 32 * KI, 4.0, dtype=torch.bfloat16),
    _equal(1, 128, SHORT, is_short=True),
    _equal(1, 512, SHORT, is_short=True),
    _equal(1, 1 * KI, SHORT, is_short=True, is_quick=True),
    _equal(8, 1 * KI, SHORT, is_short=True),
    _equal(32, 1 * KI, SHORT, is_short=True, is_quick=True),
)
