"""The rows as bars, in SVG: a panel for each shape, with an axis of its own."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Sequence
from typing import Any

from .report import best_of_each
from .row import LatencyRow

_COLOURS = {"hf": "#94a3b8", "kitty": "#14b8a6", "engine": "#1d4ed8"}  # by the first word of a peer's name
_LEGEND = {"hf": "caches of Transformers", "kitty": "Kitty cache, generate()", "engine": "Kitty engine"}
_WIDTH, _LEFT, _RIGHT = 820, 170, 130
_BAR, _BAR_GAP, _PANEL_HEAD, _PANEL_FOOT = 16, 6, 44, 40
_TICKS = 5


@dataclasses.dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    unit: str
    bars: list[tuple[str, float, str]]  # peer, length, label

    @property
    def height(self) -> int:
        return _PANEL_HEAD + len(self.bars) * (_BAR + _BAR_GAP) + _PANEL_FOOT


def svg(environment: dict[str, Any], rows: Sequence[LatencyRow]) -> str:
    """A picture of all rows that have figures."""
    panels = [*_steps(rows), *_budget(rows, environment), *_prefill(rows)]
    parts = [
        _text(
            20,
            28,
            f"{environment['model']} ({environment['dtype']}) on {environment['hardware']}",
            size=16,
            weight="bold",
        ),
        *_legend(50),
    ]
    y = 72
    for panel in panels:
        parts += _drawn(panel, y)
        y += panel.height
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y}" viewBox="0 0 {_WIDTH} {y}" '
        'font-family="Helvetica, Arial, sans-serif">'
    )
    return "\n".join([head, f'<rect width="{_WIDTH}" height="{y}" fill="white"/>', *parts, "</svg>"]) + "\n"


def _steps(rows: Sequence[LatencyRow]) -> list[_Panel]:
    found = [row for row in rows if row.part == "step" and row.step_ms is not None]
    return [
        _Panel(f"Decode step, {shape}: less is better", "ms a step", [_bar(row, row.step_ms) for row in same])
        for shape, same in _by_shape(found).items()
    ]


def _budget(rows: Sequence[LatencyRow], environment: dict[str, Any]) -> list[_Panel]:
    best = best_of_each([row for row in rows if row.part == "budget"])
    if not best:
        return []
    tokens = best[0].prompt_tokens + best[0].new_tokens
    title = f"Same KV memory ({environment['kvBudgetGib']:g} GiB, rows of {tokens} tokens), best batch: more is better"
    bars = [(row.peer, row.tokens_per_second, f"{row.tokens_per_second:,.0f} (batch {row.batch})") for row in best]
    return [_Panel(title, "tokens a second, all rows", bars)]


def _prefill(rows: Sequence[LatencyRow]) -> list[_Panel]:
    found = [row for row in rows if row.part == "prefill" and row.first_token_ms is not None]
    return [
        _Panel(f"First token, {shape}: less is better", "ms", [_bar(row, row.first_token_ms) for row in same])
        for shape, same in _by_shape(found).items()
    ]


def _by_shape(rows: Sequence[LatencyRow]) -> dict[str, list[LatencyRow]]:
    found: dict[str, list[LatencyRow]] = {}
    for row in rows:
        found.setdefault(f"batch {row.batch}, {row.prompt_tokens:,} tokens", []).append(row)
    return found


def _bar(row: LatencyRow, value: float) -> tuple[str, float, str]:
    return row.peer, value, f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


def _drawn(panel: _Panel, top: int) -> list[str]:
    first, step = top + _PANEL_HEAD, _tick_step(max(value for _, value, _ in panel.bars))
    end = max(value for _, value, _ in panel.bars)
    ticks = [step * number for number in range(math.ceil(end / step - 1e-9) + 1)]
    scale = (_WIDTH - _LEFT - _RIGHT) / ticks[-1]
    bottom = first + len(panel.bars) * (_BAR + _BAR_GAP)
    parts = [_text(20, top + 24, panel.title, size=13, weight="bold")]
    for tick in ticks:
        x = _LEFT + tick * scale
        parts.append(f'<line x1="{x:.1f}" y1="{first - 6}" x2="{x:.1f}" y2="{bottom}" stroke="#e2e8f0"/>')
        parts.append(_text(x, bottom + 14, f"{tick:,.10g}", anchor="middle", size=11, colour="#64748b"))
    parts.append(
        _text((_LEFT + _WIDTH - _RIGHT) / 2, bottom + 30, panel.unit, anchor="middle", size=11, colour="#64748b")
    )
    for number, (peer, value, label) in enumerate(panel.bars):
        y = first + number * (_BAR + _BAR_GAP)
        colour = _COLOURS[peer.replace("-", " ").split()[0]]
        parts.append(
            f'<rect class="bar" x="{_LEFT}" y="{y}" width="{value * scale:.1f}" height="{_BAR}" fill="{colour}"/>'
        )
        parts.append(_text(_LEFT - 8, y + _BAR - 4, peer, anchor="end"))
        parts.append(_text(_LEFT + value * scale + 6, y + _BAR - 4, label, has_halo=True))
    return parts


def _tick_step(most: float) -> float:
    """1, 2 or 5 times a power of ten, such that about ``_TICKS`` of them reach ``most``."""
    rough = most / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def _legend(y: int) -> list[str]:
    parts, x = [], 20
    for kind, text in _LEGEND.items():
        parts.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{_COLOURS[kind]}"/>')
        parts.append(_text(x + 18, y, text))
        x += 40 + 7 * len(text)
    return parts


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    size: int = 12,
    colour: str = "#1e293b",
    weight: str = "normal",
    has_halo: bool = False,
) -> str:
    """A halo keeps the lines of the axis out of the letters."""
    halo = ' stroke="white" stroke-width="4" paint-order="stroke"' if has_halo else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}" font-weight="{weight}"{halo}>'
        f"{html.escape(text)}</text>"
    )
