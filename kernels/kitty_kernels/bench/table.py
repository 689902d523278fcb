"""The table that people read; ``--json`` prints the same figures."""

from __future__ import annotations

from collections.abc import Sequence

from .decode import DecodeRow
from .pack import PackRow
from .peers import PEERS


def decode_table(rows: Sequence[DecodeRow]) -> str:
    """One line a shape: ours, each peer, the ratio to the best one, the share of the byte limit, the error."""
    head = ["batch x tokens", "ours ms", "plain", *PEERS, "ratio", "at least", "byte limit ms", "share", "error"]
    return _table(head, [_decode_cells(row) for row in rows])


def pack_table(rows: Sequence[PackRow]) -> str:
    """One line a way of packing."""
    head = ["pack", "ms", "plain", "keys", "values", "reading once ms", "times that", "at most ms"]
    return _table(head, [_pack_cells(row) for row in rows])


def reasons(rows: Sequence[DecodeRow]) -> list[str]:
    """Why peers did not run, each once."""
    found = {f"{peer.name}: {peer.reason}": None for row in rows for peer in row.peers if peer.reason is not None}
    return list(found)


def misses(decode: Sequence[DecodeRow], pack: Sequence[PackRow]) -> list[str]:
    """What is slower than issue 3 asks for."""
    slow = [f"{row.shape}: {row.ratio:.2f}x, wanted {row.least_ratio:.2f}x" for row in decode if row.is_met is False]
    return slow + [f"{row.shape}: {row.ms:.3f} ms, wanted {row.most_ms:.3f} ms" for row in pack if not row.is_met]


def _decode_cells(row: DecodeRow) -> list[str]:
    peers = {peer.name: peer.ms for peer in row.peers}
    return [
        row.shape,
        _ms(row.ms),
        _ms(row.plain_ms),
        *(_ms(peers.get(name)) for name in PEERS),
        "-" if row.ratio is None else f"{row.ratio:.2f}x{'' if row.is_met is not False else ' MISS'}",
        "-" if row.least_ratio is None else f"{row.least_ratio:.2f}x",
        _ms(row.limit_ms),
        f"{row.share:.0%}",
        f"{row.error:.1e}",
    ]


def _pack_cells(row: PackRow) -> list[str]:
    times = f"{row.ms / row.read_ms:.2f}x{'' if row.is_met else ' MISS'}"
    values = (row.ms, row.plain_ms, row.keys_ms, row.values_ms, row.read_ms)
    return [row.shape, *(_ms(value) for value in values), times, _ms(row.most_ms)]


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown, so that it can be pasted into docs/measured.md as it is."""
    widths = [max(len(line[i]) for line in [head, *rows]) for i in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )
