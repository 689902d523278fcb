"""An evaluation's document as Markdown for people."""

from __future__ import annotations

from typing import Any

from .summary import BASELINE


def report(document: dict[str, Any]) -> str:
    """A table of answers, a table of likelihoods and what the columns say."""
    rows = document["rows"]
    parts = [_heading(document)]
    answered = [row for row in rows if "meanScore" in row]
    measured = [row for row in rows if "natsPerToken" in row]
    if answered:
        parts.append(_table(_ANSWERED, [_answered(row) for row in answered]))
    if measured:
        parts.append(_table(_MEASURED, [_measured(row) for row in measured]))
    parts.append(_legend(document))
    return "\n\n".join(parts)


_ANSWERED = ("task", "tokens", "preset", "right", "95%", "mean score", f"score - {BASELINE}", "lost, won", "p", "cache")
_MEASURED = ("task", "tokens", "preset", "nats a token", f"nats - {BASELINE}", "bits a byte", "cache")
_LEFT = 3


def _heading(document: dict[str, Any]) -> str:
    return "{model}, {dtype}, {hardware}, text: {text}, seed {seed}".format(**document)


def _table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    marks = ["---" if at < _LEFT else "---:" for at in range(len(head))]
    body = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    return f"| {' | '.join(head)} |\n|{'|'.join(marks)}|\n{body}"


def _names(row: dict[str, Any]) -> list[str]:
    return [row["task"], "all" if row["length"] is None else str(row["length"]), row["preset"]]


def _answered(row: dict[str, Any]) -> list[str]:
    other = row.get("againstFp16")
    compared = ["", "", ""]
    if other is not None:
        tested = [f"{other['lost']}, {other['won']}", f"{other['mcnemarP']:.2f}"] if "lost" in other else ["", ""]
        compared = [_difference(other["meanScore"], 2), *tested]
    right = ["", ""]  # some metrics give shares
    if "accuracy" in row:
        low, high = row["accuracyInterval"]
        right = [f"{row['correct']} of {row['items']}", f"{low:.0%} to {high:.0%}"]
    return [*_names(row), *right, f"{row['meanScore']:.2f}", *compared, _cache(row)]


def _measured(row: dict[str, Any]) -> list[str]:
    other = row.get("againstFp16")
    compared = "" if other is None else _difference(other["natsPerToken"], 4)
    return [*_names(row), f"{row['natsPerToken']:.4f}", compared, f"{row['bitsPerByte']:.4f}", _cache(row)]


def _difference(found: dict[str, float], digits: int) -> str:
    shown = [f"{found[name]:+.{digits}f}" for name in ("difference", "low", "high")]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def _cache(row: dict[str, Any]) -> str:
    return f"1/{row['compression']:.2f}"


def _legend(document: dict[str, Any]) -> str:
    lines = [
        "right: the answer is exactly so; 95%: its interval after Wilson; mean score: the share of an answer's lines that come",
        "before its first error; cache: its size beside the same tokens at 16 bits.",
    ]
    if BASELINE in document["presets"]:
        lines += [
            f"Differences from {BASELINE} are on the same items, with 95% intervals from 4000 resamples of them; lost, won: answers",
            f"that only {BASELINE} or only this preset got right; p: McNemar's exact test of these.",
        ]
    else:
        lines.append(f"Nothing is compared: {BASELINE} is not among the presets.")
    return "\n".join(lines)
