"""The loss curve as a table (CSV) and as a picture (SVG, written by hand so that it needs no library)."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path

from .loop import CurvePoint, TaskPoint

_WIDTH, _HEIGHT = 720, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 36, 44
_SERIES = (
    ("valid_bits_per_byte", "validation", "#c2410c"),
    ("train_bits_per_byte", "training sample", "#1d4ed8"),
)


def write_csv(points: list[CurvePoint] | list[TaskPoint], path: Path) -> None:
    """One line a point, columns as its fields; what was not measured is left empty."""
    names = [field.name for field in fields(points[0])]
    lines = [",".join(names)]
    lines += [",".join(_cell(getattr(point, name)) for name in names) for point in points]
    path.write_text("\n".join(lines) + "\n")


def write_svg(points: list[CurvePoint], path: Path) -> None:
    """Bits per byte of the validation text and the training sample against tokens seen."""
    measured = [point for point in points if not math.isnan(point.valid_bits_per_byte)]
    values = [getattr(point, name) for point in measured for name, _, _ in _SERIES]
    low, high = math.floor(min(values) * 10) / 10, math.ceil(min(max(values), min(values) + 1.5) * 10) / 10
    last = measured[-1].tokens

    def place(tokens: float, value: float) -> tuple[float, float]:
        x = _LEFT + tokens / last * (_WIDTH - _LEFT - _RIGHT)
        y = _TOP + (high - min(value, high)) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)
        return round(x, 1), round(y, 1)

    parts = [_text(_WIDTH / 2, 20, "Bits per byte against training tokens", "middle", 14)]
    for i in range(6):
        value, tokens = low + (high - low) * i / 5, last * i / 5
        x, y = place(tokens, value)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        parts.append(_text(_LEFT - 6, y + 4, f"{value:.2f}", "end"))
        parts.append(_text(x, _HEIGHT - _BOTTOM + 18, _count(tokens), "middle"))
    for i, (name, label, colour) in enumerate(_SERIES):
        line = " ".join(f"{x},{y}" for x, y in (place(p.tokens, getattr(p, name)) for p in measured))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(_text(_WIDTH - _RIGHT - 8, _TOP + 18 + 18 * i, label, "end", fill=colour))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif">'
    background = f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>'
    path.write_text("\n".join([head, background, *parts, "</svg>"]) + "\n")


def _cell(value: float | str) -> str:
    if isinstance(value, (int, str)):
        return str(value)
    return "" if math.isnan(value) else f"{value:.5g}"


def _count(tokens: float) -> str:
    return f"{tokens / 1e6:.0f} M" if tokens >= 1e7 else f"{tokens / 1e3:,.0f} k"


def _text(x: float, y: float, text: str, anchor: str, size: int = 12, fill: str = "#333") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" text-anchor="{anchor}" fill="{fill}">{text}</text>'
