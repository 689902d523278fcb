"""What a report shows of measurements that answer no questions: latencies, simulations, sensitivity analyses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .blocks import Block, Command, Heading, Table, Text
from .commands import latency_command, sensitivity_command, simulation_command


def latency_blocks(document: dict[str, Any]) -> list[Block]:
    """Memory, throughput and first tokens of one measurement."""
    where = document["environment"]
    versions = ", ".join(f"{name} {where[name]}" for name in ("torch", "transformers") if name in where)
    about = f"{where.get('dtype', '?')} on {where.get('hardware', '?')}; {versions}; {where.get('date', 'no date')}."
    rows = [_latency_cells(row) for row in document["rows"] if isinstance(row, dict)]
    blocks: list[Block] = [
        Heading(f"Memory, throughput and first tokens of {where.get('model', '?')}"),
        Text(about),
        Table(_LATENCY_HEAD, rows, left=2),
        Text(
            "step: one step of batch x tokens; budget: as many rows as one memory takes; prefill: until the first token."
        ),
    ]
    command = latency_command(document)
    if command is not None:
        blocks += [Heading("To repeat it", 3), Command(command)]
    return blocks


_LATENCY_HEAD = (
    "part",
    "cache",
    "batch x tokens",
    "first token ms",
    "step ms",
    "tokens/s",
    "cache MiB",
    "peak MiB",
    "not measured",
)


def _latency_cells(row: dict[str, Any]) -> list[str]:
    mebi = 1 << 20
    shape = f"{row.get('batch', '?')} x {row.get('promptTokens', '?')}"
    figures = [
        _figure(row.get(name), 1, digits)
        for name, digits in (("firstTokenMs", 1), ("stepMs", 2), ("tokensPerSecond", 1))
    ]
    memory = [_figure(row.get(name), mebi, 1) for name in ("cacheBytes", "peakBytes")]
    return [
        str(row.get("part", "?")),
        str(row.get("peer", "?")),
        shape,
        *figures,
        *memory,
        str(row.get("reason") or ""),
    ]


def simulation_blocks(documents: Sequence[dict[str, Any]]) -> list[Block]:
    """Simulated precisions, one a row."""
    return [
        Heading("Simulated precisions"),
        Table(_SIMULATION_HEAD, [_simulation_cells(document) for document in documents], left=2),
        Text(
            "KL: nats a token from the 16-bit cache's next-token distribution; agreement: of the most probable token."
        ),
        Heading("To repeat it", 3),
        *(Command(simulation_command(document)) for document in documents),
    ]


_SIMULATION_HEAD = ("model", "cache", "tokens", "bits a byte", "at 16 bits", "KL", "agreement", "packed cache")


def _simulation_cells(document: dict[str, Any]) -> list[str]:
    cache, verification = document["cache"], document.get("verification")
    described = (
        f"{cache.get('preset')}: K {cache.get('kBits')}, V {cache.get('vBits')}, {cache.get('boostRatio')} at "
        f"{cache.get('boostBits')} by {cache.get('selection')}"
    )
    likelihoods = [document.get(name) or {} for name in ("simulated", "baseline")]
    verified = "" if verification is None else "equal to the bit" if verification.get("isEqual") else "differs"
    return [
        str(document.get("model", "?")),
        described,
        str(document.get("predictedTokens", "?")),
        *(_figure(found.get("bitsPerByte"), 1, 4) for found in likelihoods),
        _figure(document.get("klDivergence"), 1, 4),
        _figure(document.get("top1Agreement"), 0.01, 1) + "%",
        verified,
    ]


def sensitivity_blocks(document: dict[str, Any]) -> list[Block]:
    """What carries the error of one cache."""
    about = [f"{document.get('sequences', '?')} x {document.get('length', '?')} tokens of {document.get('text', '?')}"]
    about += [str(document.get(name, "?")) for name in ("dtype", "hardware")]
    preset = document["cache"].get("preset", "?")
    blocks: list[Block] = [
        Heading(f"What carries the error of {preset} on {document.get('model', '?')}"),
        Text(f"{', '.join(about)}. KL from 16 bits: {_figure(document.get('klDivergence'), 1, 5)} nats a token."),
    ]
    for part, rows in document["sensitivity"].items():
        rows = [row for row in rows if isinstance(row, dict)]
        if not rows:
            continue
        names = list(dict.fromkeys(name for row in rows for name in row))
        cells = [[_any(row.get(name)) for name in names] for row in rows]
        blocks += [Heading(str(part), 3), Table(tuple(_HEADS.get(name, name) for name in names), cells)]
    return [*blocks, Heading("To repeat it", 3), Command(sensitivity_command(document))]


_HEADS = {
    "klDivergence": "KL",
    "klInterval": "95%",
    "bitsPerByteMore": "bits a byte more",
    "top1Agreement": "agreement",
    "errorInWorstEighth": "error in the worst 12.5%",
    "errorInWorstQuarter": "in the worst 25%",
    "largestOverMedian": "largest / median channel",
}


def _any(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return " to ".join(map(_any, value))
    return f"{value:.5f}" if isinstance(value, float) else "" if value is None else str(value)


def _figure(value: Any, unit: float, digits: int) -> str:
    return f"{value / unit:,.{digits}f}" if isinstance(value, (int, float)) else ""
