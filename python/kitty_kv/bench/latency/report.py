"""The report that people read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .row import LatencyRow

_HOW = """\
All peers generate greedily from random tokens with one model in one process, one after another; what a peer leaves behind is
released before the next. "x hf-…" is how many times as fast as that peer: its time divided by this one's, or tokens a second
the other way round. Steps are medians after {warm_up} steps of warm-up. Peers under generate() are timed when a step's logits are
there; the engine when its listener hears of the tokens: prompts are distinct, and there is no tokenizer."""
_FILLS = {
    "repeat": "each peer's cache is filled by the real forward pass of one prompt and copied to rows of memory of their own (no page "
    "is shared), which go on from different tokens: filling takes no time then, and steps read as much as after distinct prompts.",
    "prompt": "every row is filled by the forward pass of a prompt of its own.",
}


def markdown(environment: dict[str, Any], rows: Sequence[LatencyRow]) -> str:
    """Where and how it was measured, and a table for each part that has rows."""
    from_where = ", ".join(f"{name} {environment[name]}" for name in ("torch", "transformers"))
    lines = [
        f"# Latency of {environment['model']} ({environment['dtype']}) on {environment['hardware']}",
        "",
        f"{from_where}, {environment['date']}: `{environment['command']}`",
        "",
        _HOW.format(warm_up=environment["warmUpSteps"]),
    ]
    for part, table in (("step", _steps), ("budget", _budget), ("prefill", _prefill)):
        found = [row for row in rows if row.part == part]
        if found:
            lines += ["", *table(found, environment)]
    return "\n".join(lines)


def best_of_each(rows: Sequence[LatencyRow]) -> list[LatencyRow]:
    """Of each peer the row with most tokens a second; a peer without any is left out."""
    best: dict[str, LatencyRow] = {}
    for row in rows:
        held = best.get(row.peer)
        if row.tokens_per_second is not None and (held is None or row.tokens_per_second > held.tokens_per_second):
            best[row.peer] = row
    return list(best.values())


def stock_peers(rows: Sequence[LatencyRow]) -> list[str]:
    """Names of the caches of Transformers among them."""
    return list(dict.fromkeys(row.peer for row in rows if is_stock(row)))


def is_stock(row: LatencyRow) -> bool:
    """Whether it is of a cache of Transformers."""
    return row.peer.startswith("hf-")


def _steps(rows: Sequence[LatencyRow], environment: dict[str, Any]) -> list[str]:
    stock = stock_peers(rows)
    names = [
        "batch x tokens",
        "cache",
        "first token ms",
        "step ms",
        "tokens/s",
        "peak GiB",
        "above weights GiB",
        "cache GiB",
    ]
    lines = ["## Decode steps", "", *_head([*names, *(f"x {name}" for name in stock)], 2)]
    for row in rows:
        times = [_number(row.first_token_ms, 1), _number(row.step_ms, 2), _number(row.tokens_per_second, 1)]
        ratios = [_ratio(_like(rows, row, name, "step_ms"), row.step_ms) for name in stock]
        lines.append(_line([_shape(row), row.peer, *times, *_memory(row), *ratios], row))
    return lines


def _budget(rows: Sequence[LatencyRow], environment: dict[str, Any]) -> list[str]:
    stock, best = stock_peers(rows), best_of_each(rows)
    tokens = rows[0].prompt_tokens + rows[0].new_tokens
    names = ["cache", "batch", "step ms", "tokens/s", "peak GiB", "above weights GiB", "cache GiB"]
    lines = [
        f"## The same KV memory: {environment['kvBudgetGib']:g} GiB, rows of {tokens} tokens",
        "",
        "The largest batch whose cache allocates no more than that (ours get it as their limit), and half of it; "
        + _FILLS[environment["fill"]],
        "",
        *_head([*names, *(f"x {name}" for name in stock)], 1),
    ]
    rates = {row.peer: row.tokens_per_second for row in best}
    for row in rows:
        is_best = any(row is other for other in best)
        ratios = [_ratio(row.tokens_per_second, rates.get(name)) if is_best else "" for name in stock]
        rate = _number(row.tokens_per_second, 1)
        times = [_number(row.step_ms, 2), f"**{rate}**" if is_best else rate]
        lines.append(
            _line([row.peer, "–" if row.batch is None else str(row.batch), *times, *_memory(row), *ratios], row)
        )
    return [*lines, "", "Ratios are of the better batch of each peer (bold)."]


def _prefill(rows: Sequence[LatencyRow], environment: dict[str, Any]) -> list[str]:
    stock = stock_peers(rows)
    names = ["batch x tokens", "cache", "first token ms", "peak GiB", "above weights GiB", "cache GiB"]
    lines = [
        "## Time to first token",
        "",
        f"After a run that warms up. The engine feeds prompts in passes of up to {environment['chunkTokens']} tokens.",
        "",
        *_head([*names, *(f"x {name}" for name in stock)], 2),
    ]
    for row in rows:
        ratios = [_ratio(_like(rows, row, name, "first_token_ms"), row.first_token_ms) for name in stock]
        lines.append(_line([_shape(row), row.peer, _number(row.first_token_ms, 1), *_memory(row), *ratios], row))
    return lines


def _head(names: Sequence[str], left: int) -> list[str]:
    return [_join(names), _join(["---"] * left + ["---:"] * (len(names) - left))]


def _line(cells: Sequence[str], row: LatencyRow) -> str:
    """A reason stands where the figures would."""
    if row.reason is None:
        return _join(cells)
    reason = row.reason.replace("|", "\\|")
    return _join([*cells[:2], reason, *[""] * (len(cells) - 3)])


def _join(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _shape(row: LatencyRow) -> str:
    return f"{row.batch} x {row.prompt_tokens}"


def _memory(row: LatencyRow) -> list[str]:
    sizes = (row.peak_bytes, row.above_weights_bytes, row.cache_bytes)
    return [_number(None if size is None else size / 2**30, 3) for size in sizes]


def _like(rows: Sequence[LatencyRow], row: LatencyRow, peer: str, figure: str) -> float | None:
    """A figure of another peer at the same shape."""
    shape = (row.batch, row.prompt_tokens)
    found = (
        getattr(other, figure) for other in rows if other.peer == peer and (other.batch, other.prompt_tokens) == shape
    )
    return next(found, None)


def _ratio(over: float | None, under: float | None) -> str:
    return "–" if over is None or under is None else f"{over / under:.2f}"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
