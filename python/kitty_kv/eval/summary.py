"""Figures of each task and preset from the records of their items, beside those of ``fp16`` on the same items."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from .statistics import mcnemar, paired_bootstrap, wilson

BASELINE = "fp16"
Record = dict[str, Any]


def summarize(records: Sequence[Record], tasks: Sequence[str], presets: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each task and preset, and one for each length of it where there are several."""
    rows = []
    for task in tasks:
        of_task = [record for record in records if record["task"] == task]
        lengths = sorted({record["length"] for record in of_task if record["length"] is not None})
        for length in [None, *(lengths if len(lengths) > 1 else [])]:
            chosen = [record for record in of_task if length in (None, record["length"])]
            by_preset = {name: {r["item"]: r for r in chosen if r["preset"] == name} for name in presets}
            rows += [
                {"task": task, "length": length, "preset": name, **_row(found, by_preset.get(BASELINE), name)}
                for name, found in by_preset.items()
                if found
            ]
    return rows


def by_question(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Records of the same question together: it may have been answered several times."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.get("question", record["item"]), []).append(record)
    return found


def share_right(records: Sequence[Record]) -> tuple[int, int, tuple[float, float]]:
    """How many answers are right, of how many, and the share's 95% interval, in which a question counts once however often asked."""
    right, questions = sum(record["is_correct"] for record in records), len(by_question(records))
    return right, len(records), wilson(right / len(records) * questions, questions)


def lost_and_won(own: Sequence[Record], base: Sequence[Record]) -> tuple[int, int]:
    """Questions that the second, and that the first answers better; of records of the same answers."""
    first, second = by_question(own), by_question(base)
    better = [
        sum(record["is_correct"] for record in first[name]) - sum(record["is_correct"] for record in second[name])
        for name in first
    ]
    return sum(each < 0 for each in better), sum(each > 0 for each in better)


def is_right_or_wrong(records: Iterable[Record]) -> bool:
    """Whether all answers are one or the other; some metrics give shares."""
    return all(record["is_correct"] is not None for record in records)


def _row(found: dict[str, Record], baseline: dict[str, Record] | None, preset: str) -> dict[str, Any]:
    own = list(found.values())
    row = {"items": len(own), "compression": sum(record["compression"] for record in own) / len(own)}
    if len(questions := by_question(own)) < len(own):
        row["questions"] = len(questions)
    row |= _accuracy(own) | _likelihood(own)
    if preset != BASELINE and baseline:
        shared = [name for name in found if name in baseline]
        if shared:
            row["againstFp16"] = _compare([found[name] for name in shared], [baseline[name] for name in shared])
    return row


def _accuracy(records: list[Record]) -> dict[str, Any]:
    if any(record["score"] is None for record in records):
        return {}
    found = {"meanScore": sum(record["score"] for record in records) / len(records)}
    if not is_right_or_wrong(records):
        return found
    right, count, interval = share_right(records)
    return {"correct": right, "accuracy": right / count, "accuracyInterval": list(interval), **found}


def _likelihood(records: list[Record]) -> dict[str, Any]:
    if records[0]["nats"] is None:
        return {}
    nats = sum(record["nats"] for record in records)
    tokens = sum(record["answer_tokens"] for record in records)
    size = sum(record["answer_bytes"] for record in records)
    return {"natsPerToken": nats / tokens, "bitsPerByte": nats / math.log(2) / size}


def _compare(own: list[Record], base: list[Record]) -> dict[str, Any]:
    found: dict[str, Any] = {"items": len(own)}
    if is_right_or_wrong([*own, *base]):
        lost, won = lost_and_won(own, base)
        found |= {"lost": lost, "won": won, "mcnemarP": mcnemar(lost, won)}
    if own[0]["score"] is not None:
        first, second = by_question(own), by_question(base)
        means = [[sum(r["score"] for r in side[name]) / len(side[name]) for name in first] for side in (first, second)]
        found["meanScore"] = _interval(*means, [1.0] * len(first))
    if own[0]["nats"] is not None:
        nats = [[record["nats"] for record in side] for side in (own, base)]
        found["natsPerToken"] = _interval(*nats, [record["answer_tokens"] for record in own])
        bits = [[value / math.log(2) for value in side] for side in nats]
        found["bitsPerByte"] = _interval(*bits, [record["answer_bytes"] for record in own])
    return found


def _interval(own: list[float], base: list[float], weights: list[float]) -> dict[str, float]:
    difference, low, high = paired_bootstrap(own, base, weights)
    return {"difference": difference, "low": low, "high": high}
