"""Bits against accuracy as a picture, in SVG: what no other preset beats in both is joined by a line."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Sequence

_WIDTH, _HEIGHT = 720, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 20, 56
_LABEL_ROOM = 15


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    """One preset: bits a number, a score where more is better, and its interval."""

    name: str
    bits: float
    score: float
    low: float
    high: float


def front(points: Sequence[Point]) -> list[Point]:
    """Those that no other beats in bits without losing score, fewest bits first."""
    found: list[Point] = []
    for point in sorted(points, key=lambda point: (point.bits, -point.score)):
        if not found or point.score > found[-1].score:
            found.append(point)
    return found


def svg(points: Sequence[Point], axis: str, is_share: bool) -> str:
    """The picture; ``axis`` names the score."""
    ticks = _ticks(min(point.low for point in points), max(point.high for point in points))
    low, high = ticks[0], ticks[-1]
    least = min(2.0, *(point.bits for point in points))
    span = math.log2(max(16.0, *(point.bits for point in points)) / least)

    def place(bits: float, score: float) -> tuple[float, float]:
        x = _LEFT + math.log2(bits / least) / span * (_WIDTH - _LEFT - _RIGHT)
        y = _TOP + (high - score) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)
        return round(x, 1), round(y, 1)

    parts = []
    for score in ticks:
        y = place(least, score)[1]
        shown = f"{score:.0%}" if is_share else f"{score:.3f}"
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}" stroke="currentColor" opacity=".15"/>'
        )
        parts.append(_text(_LEFT - 8, y + 4, shown, "end"))
    for bits in (each for each in (1, 2, 3, 4, 6, 8, 12, 16) if each >= least):
        parts.append(_text(place(bits, low)[0], _HEIGHT - _BOTTOM + 18, str(bits), "middle"))
    parts.append(
        _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 14, "bits a number in the cache (logarithmic)", "middle")
    )
    parts.append(_text(16, _HEIGHT / 2, axis, "middle", f' transform="rotate(-90 16 {_HEIGHT / 2:.0f})"'))
    line = " ".join(f"{x},{y}" for x, y in (place(point.bits, point.score) for point in front(points)))
    parts.append(f'<polyline points="{line}" fill="none" stroke="#0d9488" stroke-width="2"/>')
    beside = _label_heights([place(point.bits, point.score) for point in points])
    names = []
    for point, height in zip(points, beside, strict=True):
        x, y = place(point.bits, point.score)
        top, bottom = place(least, point.high)[1], place(least, point.low)[1]
        parts.append(f'<line x1="{x}" x2="{x}" y1="{top}" y2="{bottom}" stroke="currentColor" opacity=".5"/>')
        parts.append(f'<circle cx="{x}" cy="{y}" r="5" fill="#0d9488"/>')
        is_last = x > _WIDTH * 0.75
        dx, anchor = (-12, "end") if is_last else (24, "start")
        if not is_last:
            parts.append(
                f'<line x1="{x}" y1="{y}" x2="{x + 21}" y2="{height - 4:.1f}" stroke="currentColor" opacity=".3"/>'
            )
        names.append(_text(x + dx, height, point.name, anchor))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" '
        f'font-family="system-ui, sans-serif" aria-label="{html.escape(axis)} against bits">'
    )
    return "\n".join([head, *parts, *names, "</svg>"])


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from at or below ``low`` to at or above ``high``, four to eleven of them."""
    span = max(high - low, 1e-3)
    size = 10 ** math.floor(math.log10(span))
    step = next(step for step in (size / 10, size / 5, size / 2, size, 2 * size) if span / step <= 8)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def _label_heights(places: Sequence[tuple[float, float]]) -> list[float]:
    """Where names stand beside their points so that none covers another's, from the highest point down."""
    heights = [0.0] * len(places)
    last = -_LABEL_ROOM
    for at in sorted(range(len(places)), key=lambda at: places[at][1]):
        last = heights[at] = max(places[at][1] + 4, last + _LABEL_ROOM)
    return heights


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    # Drawn over what it crosses, with the paper around its letters.
    halo = 'stroke="var(--paper, #fff)" stroke-width="4" stroke-linejoin="round" paint-order="stroke"'
    place = f'x="{x:.0f}" y="{y:.0f}" font-size="12" text-anchor="{anchor}" fill="currentColor" {halo}{more}'
    return f"<text {place}>{html.escape(text)}</text>"
