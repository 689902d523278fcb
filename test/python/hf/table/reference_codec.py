"""The contract's codec by hand, in NumPy: what a cache shows of a row's first tokens. Shares no code with the cache."""

from __future__ import annotations

import functools

import numpy as np

from kitty_kv import KittyConfig

Pages = dict[int, np.ndarray]  # by their first token, [H, PAGE, D]; a page that was quantized once stays as it is


def shown_keys(tokens: np.ndarray, config: KittyConfig, pages: Pages, weights: np.ndarray | None = None) -> np.ndarray:
    """What is shown of keys ``[H, T, D]``: pages are quantized as soon as they are full. ``weights`` ``[H, D]`` of ``query``."""
    return _shown(tokens, config, config.k_bits, 0, functools.partial(_key_page, weights=weights), pages)


def shown_values(tokens: np.ndarray, config: KittyConfig, pages: Pages) -> np.ndarray:
    """What is shown of values ``[H, T, D]``: pages are quantized once they have left the recent window."""
    return _shown(tokens, config, config.v_bits, config.recent_tokens, _value_page, pages)


def _shown(tokens, config, bits, recent, quantize_page, pages):
    shown = tokens.copy()
    if bits == 16:
        return shown
    first, size = config.sink_tokens, config.page_size
    while first + size + recent <= tokens.shape[1]:
        if first not in pages:
            pages[first] = quantize_page(tokens[:, first : first + size].astype(np.float32), config)
        shown[:, first : first + size] = pages[first]
        first += size
    return shown


def _key_page(page, config, weights):
    """A page ``[H, PAGE, D]``, per channel; the channels with the largest mean, or weighed range, have 4 bits."""
    boosted = int(config.boost_ratio * page.shape[2])
    wide = page.astype(np.float64)
    score = np.abs(wide).mean(1) if weights is None else (wide.max(1) - wide.min(1)) * weights  # [H, D]
    rank = np.argsort(np.argsort(-score, axis=1, kind="stable"), axis=1, kind="stable")
    levels = np.where(rank < boosted, 15, 3)[:, None]  # [H, 1, D]
    return _rounded(page, page.min(1, keepdims=True), page.max(1, keepdims=True), levels)


def _value_page(page, config):
    """A page ``[H, PAGE, D]``, per token over D."""
    return _rounded(page, page.min(2, keepdims=True), page.max(2, keepdims=True), 3)


def _rounded(x, low, high, levels):
    low16 = low.astype(np.float16).astype(np.float32)
    scale = np.maximum((high - low) / np.float32(levels), np.float32(1e-4)).astype(np.float16).astype(np.float32)
    code = np.clip(np.rint((x - low16) / scale), 0, levels).astype(np.float32)
    return code * scale + low16
