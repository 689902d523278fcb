"""Puts results folders together: those that differ in presets, tasks, items or seed alone are one comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..early_stop import decide_records
from ..statistics import holm, mcnemar, paired_bootstrap, resamples
from ..summary import BASELINE, by_question, lost_and_won, share_right, summarize
from .sources import EvaluationResults

# What may differ between folders of one comparison.
_FREE = ("seed", "lengths", "version")


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """Results on one model, computer type and text.

    Args:
        run: what decides them.
        seeds: of the questions.
        environments: where they ran.
        folders: how many results folders they come from.
        records: one of each preset and question; ``item`` tells seeds apart.
    """

    run: dict[str, Any]
    seeds: list[int]
    environments: list[dict[str, Any]]
    folders: list[EvaluationResults]
    records: list[dict[str, Any]]

    @property
    def presets(self) -> list[str]:
        """From the 16-bit cache down to the smallest."""
        names = list(dict.fromkeys(record["preset"] for record in self.records))
        return sorted(names, key=lambda name: (name != BASELINE, -bits(self.of(name)), name))

    @property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(record["task"] for record in self.records))

    def of(self, preset: str) -> list[dict[str, Any]]:
        """Its records."""
        return [record for record in self.records if record["preset"] == preset]


def combine(found: Sequence[EvaluationResults]) -> list[Comparison]:
    """Comparisons in the order of their first folder."""
    groups: dict[tuple, list[EvaluationResults]] = {}
    for results in found:
        key = tuple(sorted((name, repr(value)) for name, value in results.run.items() if name not in _FREE))
        groups.setdefault(key, []).append(results)
    return [_comparison(group) for group in groups.values()]


def _comparison(group: list[EvaluationResults]) -> Comparison:
    records: dict[tuple[str, str], dict[str, Any]] = {}
    for results in group:
        for record in results.records:
            renamed = {**record, **_names(record, results.run)}
            records.setdefault((record["preset"], renamed["item"]), renamed)
    run = {name: value for name, value in group[0].run.items() if name not in _FREE}
    environments = list({repr(results.environment): results.environment for results in group}.values())
    seeds = sorted({results.run.get("seed", 0) for results in group})
    return Comparison(run, seeds, environments, group, list(records.values()))


def _names(record: dict[str, Any], run: dict[str, Any]) -> dict[str, str]:
    """Names that are the same for the same question in any folder: seed and lengths decide it, together with task and number."""
    seed = f"{run.get('seed')}/"
    if "asked" in record:  # a question of the harness's, whose seed is of sampling alone and whose data may change
        return {
            "item": f"{seed}{record['asked']}/{record['item']}",
            "question": f"{record['asked']}/{record['question']}",
        }
    # Windows of a text have no seed.
    seed = "" if record["task"] == "book_perplexity" else seed
    return {"item": f"{seed}{run.get('lengths')}/{record['item']}"}


def bits(records: Sequence[dict[str, Any]]) -> float:
    """Mean bits of a number in the cache, 16 without quantization, over the longest questions alone."""
    longest = max(record["length"] or 0 for record in records)
    found = [16 / record["compression"] for record in records if (record["length"] or 0) == longest]
    return sum(found) / len(found)


def preset_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Each preset over all tasks: answers pooled, and the book's bits a byte; beside fp16 on the same questions."""
    base = {record["item"]: record for record in comparison.of(BASELINE)}
    rows = []
    for preset in comparison.presets:
        own = {record["item"]: record for record in comparison.of(preset)}
        row: dict[str, Any] = {"preset": preset, "bits": bits(list(own.values())), "items": len(own)}
        answered = [record for record in own.values() if record["is_correct"] is not None]
        if answered:
            right, count, interval = share_right(answered)
            row |= {"answers": count, "correct": right, "accuracy": right / count, "accuracyInterval": list(interval)}
        if preset != BASELINE and base:
            row |= _against(own, base)
        rows.append(row)
    _adjust(rows)
    return rows


def task_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """``summarize``'s rows, with p values that take into account how many there are, and where a preset was decided."""
    rows = summarize(comparison.records, comparison.tasks, comparison.presets)
    base = {record["item"]: record for record in comparison.of(BASELINE)}
    for row in rows:
        if row["length"] is not None or row["preset"] == BASELINE or not base:
            continue
        own = [record for record in comparison.of(row["preset"]) if record["task"] == row["task"]]
        # A question that is asked again tells nothing that a sequential test could count.
        firsts = [answers[0] for answers in by_question(own).values()]
        shared = [record for record in firsts if record["item"] in base]
        decision = decide_records(shared, [base[record["item"]] for record in shared])
        if decision is not None:
            row["decided"] = {"decision": decision[0], "afterItems": decision[1]}
    _adjust([row for row in rows if row["length"] is None])
    return rows


def _against(own: dict[str, dict[str, Any]], base: dict[str, dict[str, Any]]) -> dict[str, Any]:
    shared = [name for name in own if name in base]
    pairs = [(own[name], base[name]) for name in shared]
    answered = [(a, b) for a, b in pairs if a["is_correct"] is not None and b["is_correct"] is not None]
    found: dict[str, Any] = {}
    if answered:
        sides = [[pair[side] for pair in answered] for side in (0, 1)]
        lost, won = lost_and_won(*sides)
        first, second = (
            [sum(record["is_correct"] for record in each) / len(each) for each in by_question(side).values()]
            for side in sides
        )
        difference = paired_bootstrap(first, second, [1.0] * len(first))
        found["againstFp16"] = {
            "items": len(answered),
            "lost": lost,
            "won": won,
            "mcnemarP": mcnemar(lost, won),
            "accuracy": dict(zip(("difference", "low", "high"), difference, strict=True)),
        }
    book = [(a, b) for a, b in pairs if a["task"] == "book_perplexity"]
    if book:
        found["bookNats"] = _relative_bits(book)
    return found


def _relative_bits(book: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, float]:
    """By what share the book takes more bits than at 16 bits, from windows drawn again, both of a pair together."""
    own, base = (np.array([pair[side]["nats"] for pair in book]) for side in (0, 1))
    found = np.concatenate([own[drawn].sum(1) / base[drawn].sum(1) - 1 for drawn in resamples(len(book))])
    low, high = np.percentile(found, [2.5, 97.5])
    return {"more": float(own.sum() / base.sum() - 1), "low": float(low), "high": float(high)}


def _adjust(rows: list[dict[str, Any]]) -> None:
    tested = [row["againstFp16"] for row in rows if "mcnemarP" in row.get("againstFp16", {})]
    for against, adjusted in zip(tested, holm([each["mcnemarP"] for each in tested]), strict=True):
        against["holmP"] = adjusted
