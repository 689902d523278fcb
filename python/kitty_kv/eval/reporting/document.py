"""The report of any results: blocks for people, plain data for programs, rows for a spreadsheet."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from typing import Any

from ..summary import BASELINE
from . import paper_figures
from .blocks import Block, Command, Figure, Heading, Table, Text
from .combine import Comparison, combine, preset_rows, task_rows
from .commands import evaluation_command, latency_command, sensitivity_command, simulation_command
from .measurements import latency_blocks, sensitivity_blocks, simulation_blocks
from .pareto import Point, front, svg
from .sources import Sources

TITLE = "What a KV cache of 2 bits costs and saves"
_WORDS = {"worse": "clearly worse", "equal": "clearly as good"}


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """The same in three forms."""

    blocks: list[Block]
    data: dict[str, Any]
    rows: list[dict[str, Any]]

    def csv(self) -> str:
        """Every figure of an evaluation a line."""
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        out = io.StringIO()
        writer = csv.DictWriter(out, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in self.rows)
        return out.getvalue()


def build(sources: Sources, date: str) -> Report:
    """``date`` is of the report; results have their own."""
    blocks: list[Block] = [Heading(TITLE, 1), Text(f"Written {date}.")]
    rows: list[dict[str, Any]] = []
    data: dict[str, Any] = {
        "date": date,
        "evaluations": [],
        "latencies": [{**document, "command": latency_command(document)} for document in sources.latencies],
        "simulations": [{**document, "command": simulation_command(document)} for document in sources.simulations],
        "sensitivities": [{**document, "command": sensitivity_command(document)} for document in sources.sensitivities],
    }
    for comparison in combine(sources.evaluations):
        presets, tasks = preset_rows(comparison), task_rows(comparison)
        blocks += _evaluation(comparison, presets, tasks)
        data["evaluations"].append(
            {
                "run": comparison.run,
                "seeds": comparison.seeds,
                "environments": comparison.environments,
                "presets": presets,
                "tasks": tasks,
                "unbeaten": [point.name for point in front(_points(presets))],
                "commands": [evaluation_command(results) for results in comparison.folders],
            }
        )
        rows += _flat(comparison, tasks)
    for document in sources.latencies:
        blocks += latency_blocks(document)
    if sources.simulations:
        blocks += simulation_blocks(sources.simulations)
    for document in sources.sensitivities:
        blocks += sensitivity_blocks(document)
    blocks += [
        Heading("Published figures"),
        Text(paper_figures.SOURCE),
        Table(paper_figures.HEAD, paper_figures.table_rows(), left=2),
    ]
    data["published"] = {"source": paper_figures.SOURCE, "columns": paper_figures.HEAD, "rows": paper_figures.ROWS}
    return Report(blocks, data, rows)


def _evaluation(
    comparison: Comparison, presets: Sequence[dict[str, Any]], tasks: Sequence[dict[str, Any]]
) -> list[Block]:
    run = comparison.run
    where = sorted({str(found["hardware"]) for found in comparison.environments if "hardware" in found})
    hardware = ", ".join(where) or str(run.get("device", "unknown hardware"))
    versions = ", ".join(f"{name} {run.get(key, '?')}" for name, key in (("kitty-kv", "kittyKv"), ("torch", "torch")))
    if isinstance(run.get("harness"), dict):
        versions += f", lm_eval {run['harness'].get('version', '?')}"
    seeds = ", ".join(map(str, comparison.seeds))
    blocks: list[Block] = [
        Heading(f"Accuracy of {run.get('model', '?')}"),
        Text(f"{run.get('dtype', '?')} on {hardware}; {versions}; text: {run.get('text', '?')}; seeds {seeds}."),
        Heading("Presets over all tasks", 3),
        Table(_PRESET_HEAD, [_preset_cells(row) for row in presets]),
        Text(_PRESET_WORDS),
        *_pareto(presets),
        Heading("Tasks", 3),
        Table(_TASK_HEAD, [_task_cells(row) for row in tasks if row["length"] is None], left=3),
        Text(_TASK_WORDS),
        *_by_length(tasks),
        Heading("To repeat it", 3),
        *(Command(evaluation_command(results)) for results in comparison.folders),
    ]
    if len({row["items"] for row in presets}) > 1:
        blocks.insert(
            2,
            Text("Presets answered different numbers of questions: read their differences, which are on shared ones."),
        )
    if BASELINE not in comparison.presets:
        blocks.insert(2, Text(f"Nothing is compared: {BASELINE} is not among the presets."))
    return blocks


_PRESET_HEAD = ("preset", "bits", "right", "95%", f"accuracy - {BASELINE}", "lost, won", "p", "book: bits over fp16")
_PRESET_WORDS = (
    f"bits: of a number in the cache, in the longest questions; right: answers that are exactly so, all tasks together, with "
    f"their 95% interval after Wilson; accuracy - {BASELINE}: on the same questions, with a 95% interval from 4000 resamples of "
    f"them; lost, won: answers that only {BASELINE} or only this preset got right; p: McNemar's exact test of these, after Holm "
    "for all presets. Intervals and tests count a question once, however often it was asked."
)
_TASK_HEAD = (
    "task",
    "tokens",
    "preset",
    "right",
    "95%",
    "mean score",
    "lost, won",
    "p",
    "nats a token",
    "nats - fp16",
    "decided",
)
_TASK_WORDS = (
    "mean score: the share of an answer's lines before its first error, or the metric of a task of lm-evaluation-harness, with its "
    "difference where no answer is right or wrong; p: over all lengths, after Holm for all tasks and presets; "
    "decided: when the sequential test said so (5% error however often one looks; as good: it loses less than 10% of the answers)."
)


def _by_length(tasks: Sequence[dict[str, Any]]) -> list[Block]:
    rows = [_task_cells(row) for row in tasks if row["length"] is not None]
    return [Heading("Tasks by length", 3), Table(_TASK_HEAD, rows, left=3)] if rows else []


def _preset_cells(row: dict[str, Any]) -> list[str]:
    against, book = row.get("againstFp16"), row.get("bookNats")
    cells = [row["preset"], f"{row['bits']:.2f}"]
    cells += (
        [f"{row['correct']} of {row['answers']}", _share(row["accuracyInterval"])] if "correct" in row else ["", ""]
    )
    if against is None:
        cells += ["", "", ""]
    else:
        difference = against["accuracy"]
        shown = [f"{100 * difference[name]:+.1f}" for name in ("difference", "low", "high")]
        cells += [f"{shown[0]} ({shown[1]} to {shown[2]}) points", f"{against['lost']}, {against['won']}", _p(against)]
    cells.append("" if book is None else f"{book['more']:+.2%} ({book['low']:+.2%} to {book['high']:+.2%})")
    return cells


def _task_cells(row: dict[str, Any]) -> list[str]:
    against = row.get("againstFp16", {})
    cells = [row["task"], "all" if row["length"] is None else str(row["length"]), row["preset"]]
    if "accuracy" in row:
        cells += [f"{row['correct']} of {row['items']}", _share(row["accuracyInterval"]), f"{row['meanScore']:.2f}"]
        cells += [f"{against['lost']}, {against['won']}", _p(against)] if "lost" in against else ["", ""]
    else:
        score = against.get("meanScore") if "meanScore" in row else None
        found = f"{row['meanScore']:.2f}" if "meanScore" in row else ""
        # Where no answer is right or wrong there is nothing to count, and the score's difference says all.
        cells += ["", "", found if score is None else f"{found}, {_signed(score, 2)}", "", ""]
    cells.append(f"{row['natsPerToken']:.4f}" if "natsPerToken" in row else "")
    nats = against.get("natsPerToken")
    cells.append("" if nats is None else _signed(nats, 4))
    decided = row.get("decided")
    cells.append("" if decided is None else f"{_WORDS[decided['decision']]} after {decided['afterItems']}")
    return cells


def _points(presets: Sequence[dict[str, Any]]) -> list[Point]:
    answered = [row for row in presets if "accuracy" in row]
    return [Point(row["preset"], row["bits"], row["accuracy"], *row["accuracyInterval"]) for row in answered]


def _signed(found: dict[str, float], digits: int) -> str:
    shown = [f"{found[name]:+.{digits}f}" for name in ("difference", "low", "high")]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def _pareto(presets: Sequence[dict[str, Any]]) -> list[Block]:
    points = _points(presets)
    if len(points) < 2:
        return []
    best = ", ".join(f"{point.name} ({point.bits:.2f} bits, {point.score:.1%})" for point in front(points))
    words = f"Accuracy over all tasks against bits a number. No other preset is better with as few bits: {best}."
    return [Figure(svg(points, "right answers", is_share=True), words)]


def _flat(comparison: Comparison, tasks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for row in tasks:
        against = row.get("againstFp16", {})
        low, high = row.get("accuracyInterval", (None, None))
        nats = against.get("natsPerToken", {})
        found.append(
            {
                "model": comparison.run.get("model"),
                "dtype": comparison.run.get("dtype"),
                "device": comparison.run.get("device"),
                "seeds": " ".join(map(str, comparison.seeds)),
                "task": row["task"],
                "length": "all" if row["length"] is None else row["length"],
                "preset": row["preset"],
                "items": row["items"],
                "bits": 16 / row["compression"],
                "correct": row.get("correct"),
                "accuracy": row.get("accuracy"),
                "accuracy_low": low,
                "accuracy_high": high,
                "mean_score": row.get("meanScore"),
                "lost": against.get("lost"),
                "won": against.get("won"),
                "mcnemar_p": against.get("mcnemarP"),
                "holm_p": against.get("holmP"),
                "nats_per_token": row.get("natsPerToken"),
                "bits_per_byte": row.get("bitsPerByte"),
                "nats_difference": nats.get("difference"),
                "nats_difference_low": nats.get("low"),
                "nats_difference_high": nats.get("high"),
            }
        )
    return found


def _cell(value: Any) -> Any:
    # A spreadsheet must not take a name for a formula.
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _share(interval: Sequence[float]) -> str:
    return f"{interval[0]:.0%} to {interval[1]:.0%}"


def _p(against: dict[str, Any]) -> str:
    value = against.get("holmP", against["mcnemarP"])
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
