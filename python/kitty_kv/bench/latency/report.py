"""The table that people read, and the plot."""

from __future__ import annotations

import html
import pathlib
from collections.abc import Sequence

from .measure import LatencyRow

_COLOURS = ("#64748b", "#0f766e", "#1d4ed8", "#a16207", "#be123c", "#7c3aed", "#c2410c")
_WIDTH, _BAR, _GAP, _LEFT, _RIGHT, _TOP = 760, 16, 22, 200, 80, 40


def markdown(rows: Sequence[LatencyRow]) -> str:
    """One line a peer and shape; the ratio is the fastest stock cache's step over this one's."""
    lines = [
        "| batch x tokens | cache | first token ms | step ms | tokens/s | peak GiB | against the fastest stock cache |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        shape = f"{row.batch} x {row.prompt_tokens}"
        if row.reason is not None:
            lines.append(f"| {shape} | {row.peer} | – | – | – | – | {row.reason} |")
            continue
        peak = "–" if row.peak_bytes is None else f"{row.peak_bytes / 2**30:.2f}"
        best = fastest_stock(rows, row)
        ratio = "–" if best is None else f"{best / row.step_ms:.2f}x"
        lines.append(
            f"| {shape} | {row.peer} | {row.first_token_ms:.1f} | {row.step_ms:.2f} | {row.tokens_per_second:.1f} | "
            f"{peak} | {ratio} |"
        )
    return "\n".join(lines)


def fastest_stock(rows: Sequence[LatencyRow], like: LatencyRow) -> float | None:
    """Milliseconds of a step of the fastest cache of Transformers itself at the same shape."""
    steps = [
        row.step_ms
        for row in rows
        if row.peer.startswith("hf-")
        and row.step_ms is not None
        and (row.batch, row.prompt_tokens) == (like.batch, like.prompt_tokens)
    ]
    return min(steps, default=None)


def write_svg(rows: Sequence[LatencyRow], path: pathlib.Path, title: str) -> None:
    """Bars of milliseconds a step, grouped by shape."""
    shown = [row for row in rows if row.step_ms is not None]
    most = max((row.step_ms for row in shown), default=1.0)
    names = list(dict.fromkeys(row.peer for row in shown))
    parts, y, shape = [_text(_WIDTH / 2, 22, f"{title}: ms per decode step", "middle", 14)], _TOP, None
    for row in shown:
        if (row.batch, row.prompt_tokens) != shape:
            shape = (row.batch, row.prompt_tokens)
            y += _GAP
            parts.append(_text(8, y - 6, f"{row.batch} x {row.prompt_tokens} tokens", "start", 12))
        length = row.step_ms / most * (_WIDTH - _LEFT - _RIGHT)
        colour = _COLOURS[names.index(row.peer) % len(_COLOURS)]
        parts.append(f'<rect x="{_LEFT}" y="{y}" width="{length:.1f}" height="{_BAR - 3}" fill="{colour}"/>')
        parts.append(_text(_LEFT - 6, y + _BAR - 6, row.peer, "end"))
        parts.append(_text(_LEFT + length + 5, y + _BAR - 6, f"{row.step_ms:.2f}", "start"))
        y += _BAR
    height = y + 16
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif">'
    background = f'<rect width="{_WIDTH}" height="{height}" fill="white"/>'
    path.write_text("\n".join([head, background, *parts, "</svg>"]) + "\n")


def _text(x: float, y: float, text: str, anchor: str, size: int = 11) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" text-anchor="{anchor}" fill="#333">{html.escape(text)}</text>'
