"""Cuts a text into the calls that give what feeding one token at a time gives, with far fewer of them."""

from __future__ import annotations

from collections.abc import Iterator

from ..config import KittyConfig


def call_spans(length: int, config: KittyConfig, longest: int | None = None) -> Iterator[tuple[int, int]]:
    """Spans of tokens per call.

    A call sees its own tokens in full precision and the earlier ones as the cache holds them, so as long as no page is
    quantized before its last token, every token sees what it would see alone.

    Args:
        length: tokens of a row.
        config: says when pages are quantized.
        longest: most tokens of a call; default: one page.
    """
    longest = config.page_size if longest is None else longest
    start = 0
    while start < length:
        end = min(start + longest, length, *(after for after in _next_pages(start, config)))
        yield start, end
        start = end


def _next_pages(start: int, config: KittyConfig) -> Iterator[int]:
    """The next row lengths after ``start`` at which a page of keys, or of values, is quantized."""
    delays = [0] * config.quantizes_keys + [config.recent_tokens] * config.quantizes_values
    for delay in delays:
        base = config.sink_tokens + delay
        pages = max(0, start - base) // config.page_size
        yield base + (pages + 1) * config.page_size
