"""The cache's rules once more in plain Python and NumPy, written from the contract and from ``CacheView`` alone.

Nothing here calls the operations, so that they can be held against it.
"""

from __future__ import annotations

import dataclasses
import math
import random
from fractions import Fraction

import numpy as np
import torch

from kitty_kernels.pages import BLOCK, CacheView, PageLayout

PAGE = 128


@dataclasses.dataclass
class PlainCache:
    """Rows of 16-bit tokens and how many of their pages are packed."""

    keys: list[torch.Tensor]  # a row's tokens, [HKV, length, D]
    values: list[torch.Tensor]
    key_counts: list[int]
    value_counts: list[int]
    sink_tokens: int
    boosted: int
    ring: int = 24
    page_size: int = PAGE
    selection: str = "magnitude"
    seed: int = 0
    weights: torch.Tensor | None = None  # of selection query, [HKV, D]

    @property
    def layout(self) -> PageLayout:
        return PageLayout(self.keys[0].shape[2], self.boosted, self.page_size)

    @property
    def sink_blocks(self) -> int:
        return math.ceil(self.sink_tokens / BLOCK)

    def view(self, device: torch.device | str = "cpu", shuffle_seed: int = 0) -> CacheView:
        """The same as tensors: ids in random order, everything that holds no token poisoned."""
        rng, rows, width = random.Random(shuffle_seed), len(self.keys), self.sink_blocks + self.ring
        heads, _, head_dim = self.keys[0].shape
        block_ids = torch.tensor(rng.sample(range(2 * rows * width + 1), 2 * rows * width), dtype=torch.int32)
        block_tables = block_ids.reshape(2, rows, width)
        blocks = torch.full((2 * rows * width + 1, heads, BLOCK, head_dim), float("nan"), dtype=self.keys[0].dtype)
        pools, tables = [], []
        sides = ((self.keys, self.key_counts, key_record), (self.values, self.value_counts, value_record))
        for side, (tokens, counts, pack) in enumerate(sides):
            most = max([*counts, 1])
            ids = torch.tensor(rng.sample(range(rows * most + 2), rows * most), dtype=torch.int32).reshape(rows, most)
            size = self.layout.value_bytes if side else self.layout.key_bytes
            pool = torch.full((rows * most + 2, heads, size), 0xFF, dtype=torch.uint8)
            for row in range(rows):
                for page in range(counts[row]):
                    for head in range(heads):
                        pool[ids[row, page], head] = torch.from_numpy(
                            pack(self.page(tokens[row][head], page), self, head)
                        )
                for t in range(tokens[row].shape[1]):
                    slot, offset = self.place(t, counts[row])
                    if slot is not None:
                        blocks[block_tables[side, row, slot], :, offset] = tokens[row][:, t]
            pools.append(pool.to(device))
            tables.append(ids.to(device))
        counters = [
            torch.tensor(list(c), dtype=torch.int32, device=device) for c in (self.key_counts, self.value_counts)
        ]
        lengths = torch.tensor([row.shape[1] for row in self.keys], dtype=torch.int32, device=device)
        block_tables = block_tables.to(device)
        return CacheView(
            layout=self.layout,
            sink_tokens=self.sink_tokens,
            lengths=lengths,
            key_pages=pools[0],
            key_table=tables[0],
            key_page_counts=counters[0],
            value_pages=pools[1],
            value_table=tables[1],
            value_page_counts=counters[1],
            blocks=blocks.to(device),
            key_block_table=block_tables[0],
            value_block_table=block_tables[1],
        )

    def place(self, token: int, pages: int) -> tuple[int | None, int]:
        """Column of the row's block table and offset of a token's 16-bit copy; None if a page has it."""
        if token < self.sink_tokens:
            return token // BLOCK, token % BLOCK
        behind = token - self.sink_tokens
        if behind < pages * self.page_size:
            return None, 0
        return self.sink_blocks + behind // BLOCK % self.ring, behind % BLOCK

    def page(self, tokens: torch.Tensor, page: int) -> np.ndarray:
        """Page ``page`` of one head's tokens ``[length, D]``, float32."""
        start = self.sink_tokens + page * self.page_size
        return tokens[start : start + self.page_size].float().numpy()

    def dense(self, tokens: int) -> tuple[np.ndarray, np.ndarray]:
        """What attention sees, float32 ``[B, HKV, tokens, D]``, zeros behind a row's end."""
        heads, _, head_dim = self.keys[0].shape
        out = np.zeros((2, len(self.keys), heads, tokens, head_dim), np.float32)
        sides = ((self.keys, self.key_counts, key_codes), (self.values, self.value_counts, value_codes))
        for side, (rows, counts, codec) in enumerate(sides):
            for row, head in np.ndindex(len(rows), heads):
                seen = rows[row][head].float().numpy().copy()
                for page in range(counts[row]):
                    codes, scale, minimum, _ = codec(self.page(rows[row][head], page), self, head)
                    start = self.sink_tokens + page * self.page_size
                    restored = codes.astype(np.float32) * scale.astype(np.float32) + minimum.astype(np.float32)
                    seen[start : start + self.page_size] = restored
                out[side, row, head, : min(tokens, len(seen))] = seen[:tokens]
        return out[0], out[1]


def random_rows(lengths: list[int], heads: int, head_dim: int, dtype: torch.dtype, seed: int = 0) -> list[torch.Tensor]:
    """Tokens ``[HKV, length, D]`` of each row: normal, with large channels, a constant one and one far from zero."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randn(heads, length, head_dim, generator=generator) for length in lengths]
    for row in rows:
        row[..., ::9] *= 30
        row[..., 4] += 300
        row[..., 7] = 0.37
        row[..., 10] *= 1e-6
    return [row.to(dtype) for row in rows]


def random_weights(*shape: int, seed: int = 0) -> torch.Tensor:
    """Weights float32 ``[..., D]`` over many powers of two, one of which is zero and one negative."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.exp2(3 * torch.randn(*shape, generator=generator))
    weights[..., 3] = 0
    weights[..., 5] *= -1
    return weights


def key_codes(
    page: np.ndarray, cache: PlainCache, head: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[int]]:
    """The contract for one page [PAGE, D]: codes, scale and minimum a channel, boosted channels."""
    chosen = boosted_channels(page, cache, head)
    levels = np.array([15 if channel in set(chosen) else 3 for channel in range(page.shape[1])])
    return *affine_codes(page, levels, axis=0), chosen


def value_codes(page: np.ndarray, _: PlainCache, head: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, None]:
    codes, scale, minimum = affine_codes(page, np.array(3), axis=1)
    return codes, scale[:, None], minimum[:, None], None


def affine_codes(page: np.ndarray, levels: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    low, high = page.min(axis), page.max(axis)
    scale = np.maximum((high - low) / levels.astype(np.float32), np.float32(1e-4)).astype(np.float16)
    minimum = low.astype(np.float16) + np.float16(0)  # zero has no sign
    wide, base = np.expand_dims(scale.astype(np.float32), axis), np.expand_dims(minimum.astype(np.float32), axis)
    codes = np.clip(np.rint((page - base) / wide), 0, levels)
    return codes.astype(np.int64), scale, minimum


def boosted_channels(page: np.ndarray, cache: PlainCache, head: int = 0) -> list[int]:
    """Channels of the highest score, ascending; ties go to the lower channel."""
    columns = [[float(x) for x in column] for column in page.T]
    if cache.selection == "magnitude":
        scores = [math.fsum(abs(x) for x in column) for column in columns]  # correctly rounded
    elif cache.selection == "range":
        scores = [Fraction(max(column)) - Fraction(min(column)) for column in columns]
    elif cache.selection == "query":
        # Each step as IEEE 754 rounds it in float64.
        scores = [(max(c) - min(c)) * abs(w) for c, w in zip(columns, cache.weights[head].tolist(), strict=True)]
    elif cache.selection == "variance":
        exact = [[Fraction(x) for x in column] for column in columns]
        scores = [len(c) * sum(x * x for x in c) - sum(c) ** 2 for c in exact]
    else:
        generator = torch.Generator().manual_seed(cache.seed)
        scores = torch.rand(page.shape[1], generator=generator, dtype=torch.float64).tolist()
    order = sorted(range(len(scores)), key=lambda channel: (-scores[channel], channel))
    return sorted(order[: cache.boosted])


def key_record(page: np.ndarray, cache: PlainCache, head: int = 0) -> np.ndarray:
    """The bytes of one head's key page."""
    codes, scale, minimum, chosen = key_codes(page, cache, head)
    low, high = packed(codes & 3), packed(codes[:, chosen] >> 2)
    planes = padded(low.tobytes() + high.tobytes())
    return np.frombuffer(padded(planes + scale.tobytes() + minimum.tobytes() + bytes(chosen)), dtype=np.uint8).copy()


def value_record(page: np.ndarray, cache: PlainCache, head: int = 0) -> np.ndarray:
    """The bytes of one head's value page."""
    codes, scale, minimum, _ = value_codes(page, cache)
    return np.frombuffer(packed(codes.T).tobytes() + scale.tobytes() + minimum.tobytes(), dtype=np.uint8).copy()


def packed(codes: np.ndarray) -> np.ndarray:
    """Field f of byte (i, c) is row ``i + (R/4) f`` of codes [R, C]."""
    quarter = codes.shape[0] // 4
    return sum(codes[f * quarter : (f + 1) * quarter] << (2 * f) for f in range(4)).astype(np.uint8)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 16)
