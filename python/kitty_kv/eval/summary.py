"""Figures of each task and preset from the records of their items, beside those of ``fp16`` on the same items."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .statistics import mcnemar, paired_bootstrap, wilson

BASELINE = "fp16"
Record = dict[str, Any]


def summarize(records: Sequence[Record], tasks: Sequence[str], presets: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each task and preset, and one for each length of it where there are several."""
    rows = []
    for task in tasks:
        of_task = [record for record in records if record["task"] == task]
        lengths = sorted({record["length"] for record in of_task})
        for length in [None, *(lengths if len(lengths) > 1 else [])]:
            chosen = [record for record in of_task if length in (None, record["length"])]
            by_preset = {name: {r["item"]: r for r in chosen if r["preset"] == name} for name in presets}
            rows += [
                {"task": task, "length": length, "preset": name, **_row(found, by_preset.get(BASELINE), name)}
                for name, found in by_preset.items()
                if found
            ]
    return rows


def _row(found: dict[str, Record], baseline: dict[str, Record] | None, preset: str) -> dict[str, Any]:
    own = list(found.values())
    row = {"items": len(own), "compression": sum(record["compression"] for record in own) / len(own)}
    row |= _accuracy(own) | _likelihood(own)
    if preset != BASELINE and baseline:
        shared = [name for name in found if name in baseline]
        if shared:
            row["againstFp16"] = _compare([found[name] for name in shared], [baseline[name] for name in shared])
    return row


def _accuracy(records: list[Record]) -> dict[str, Any]:
    if records[0]["is_correct"] is None:
        return {}
    right, count = sum(record["is_correct"] for record in records), len(records)
    low, high = wilson(right, count)
    share = sum(record["score"] for record in records) / count
    return {"correct": right, "accuracy": right / count, "accuracyInterval": [low, high], "meanScore": share}


def _likelihood(records: list[Record]) -> dict[str, Any]:
    if records[0]["nats"] is None:
        return {}
    nats = sum(record["nats"] for record in records)
    tokens = sum(record["answer_tokens"] for record in records)
    size = sum(record["answer_bytes"] for record in records)
    return {"natsPerToken": nats / tokens, "bitsPerByte": nats / math.log(2) / size}


def _compare(own: list[Record], base: list[Record]) -> dict[str, Any]:
    found: dict[str, Any] = {"items": len(own)}
    if own[0]["is_correct"] is not None:
        pairs = [(a["is_correct"], b["is_correct"]) for a, b in zip(own, base, strict=True)]
        lost, won = pairs.count((False, True)), pairs.count((True, False))
        found |= {"lost": lost, "won": won, "mcnemarP": mcnemar(lost, won)}
        found["meanScore"] = _interval([r["score"] for r in own], [r["score"] for r in base], [1.0] * len(own))
    if own[0]["nats"] is not None:
        nats = [[record["nats"] for record in side] for side in (own, base)]
        found["natsPerToken"] = _interval(*nats, [record["answer_tokens"] for record in own])
        bits = [[value / math.log(2) for value in side] for side in nats]
        found["bitsPerByte"] = _interval(*bits, [record["answer_bytes"] for record in own])
    return found


def _interval(own: list[float], base: list[float], weights: list[float]) -> dict[str, float]:
    difference, low, high = paired_bootstrap(own, base, weights)
    return {"difference": difference, "low": low, "high": high}
