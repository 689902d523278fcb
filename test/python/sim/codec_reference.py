"""The contract's codec in plain NumPy, one channel or token at a time; shares no code with the package."""

from __future__ import annotations

import numpy as np


def boosted_channels(page: np.ndarray, count: int, selection: str = "magnitude") -> set[int]:
    """Of one key page ``[PAGE, D]``; ties go to the lower channel."""
    wide = page.astype(np.float64)
    score = {
        "magnitude": lambda: np.abs(wide).mean(0),
        "range": lambda: wide.max(0) - wide.min(0),
        "variance": lambda: wide.var(0),
    }[selection]()
    return set(sorted(range(page.shape[1]), key=lambda channel: (-score[channel], channel))[:count])


def line_codes(x: np.ndarray, bits: int) -> tuple[np.ndarray, np.float16, np.float16]:
    """Codes, scale and minimum of one line of numbers."""
    x = x.astype(np.float32)
    levels = 2**bits - 1
    minimum = np.float16(x.min())
    scale = np.float16(max(np.float32(x.max() - x.min()) / np.float32(levels), np.float32(1e-4)))
    steps = np.rint((x - np.float32(minimum)) / np.float32(scale))
    return np.clip(steps, 0, levels).astype(np.int64), scale, minimum


def round_line(x: np.ndarray, bits: int) -> np.ndarray:
    codes, scale, minimum = line_codes(x, bits)
    return codes.astype(np.float32) * np.float32(scale) + np.float32(minimum)


def round_keys(page: np.ndarray, bits: int, boosted: set[int], boost_bits: int) -> np.ndarray:
    """One key page ``[PAGE, D]`` as attention sees it."""
    columns = [round_line(page[:, c], boost_bits if c in boosted else bits) for c in range(page.shape[1])]
    return np.stack(columns, axis=1)


def round_values(page: np.ndarray, bits: int) -> np.ndarray:
    """One value page ``[PAGE, D]`` as attention sees it."""
    return np.stack([round_line(token, bits) for token in page])


def round_row(
    keys: np.ndarray, values: np.ndarray, *, k_bits=16, v_bits=16, boosted=0, boost_bits=4, sink=0, recent=0, page=128
) -> tuple[np.ndarray, np.ndarray]:
    """One row's real tokens ``[HKV, T, D]`` after they are all cached: what the next token sees."""
    keys, values = (x.astype(np.float16).astype(np.float32) for x in (keys, values))
    for head in range(keys.shape[0]):
        for start in range(sink, keys.shape[1] - page + 1, page):
            if k_bits != 16:
                tokens = keys[head, start : start + page]
                keys[head, start : start + page] = round_keys(
                    tokens, k_bits, boosted_channels(tokens, boosted), boost_bits
                )
            # A value page waits until its last token has left the recent window.
            if v_bits != 16 and start + page + recent <= keys.shape[1]:
                values[head, start : start + page] = round_values(values[head, start : start + page], v_bits)
    return keys, values
