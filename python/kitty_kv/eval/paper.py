"""python -m kitty_kv.eval.paper --tasks aime24,… --preset fp16,kitty-pro --model FOLDER --out FOLDER [--repeats N] [--limit N]

The paper's tasks with its whole protocol: sampling, few-shot examples, and as many repeats as it had, each with a seed of its
own. Every repeat is kept when it ends, and a run that was killed goes on with the first that is missing.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ..command_line import UsageParser, exit_code_of, tell_error
from ..config import DEFAULT_PRESET, KittyConfig
from ..errors import KittyKvError
from .harness import check_harness, expand_paper, run_harness
from .paper_tasks import PAPER_TASKS, paper_task
from .results_folder import ResultsFolder

RESULTS = "results_*.json"
SUMMARY = "summary.json"


def main(argv: Sequence[str] | None = None, run: Callable[[Sequence[str]], None] = run_harness) -> int:
    """Returns the exit code: 0 done, 1 failed, 2 wrong usage. ``run`` is the harness's command line."""
    try:
        options = _parser().parse_args(argv)
        tasks = [paper_task(name) for name in options.tasks]
        for preset in options.preset:
            KittyConfig.from_dict({"preset": preset})
        for task in tasks:
            expand_paper(["--paper", task.name])  # refuses what must not run here
        check_harness()
        facts = {"protocol": "paper", "model": options.model, "limit": options.limit, "dtype": options.dtype}
        with ResultsFolder(options.out, facts):  # of one model, with one writer
            for task in tasks:
                for seed in range(options.repeats or task.repeats):
                    for preset in options.preset:
                        _repeat(task.name, preset, seed, options, run)
            summary = summarize(options.out)
            (options.out / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    except KittyKvError as error:
        tell_error(error, is_json=False)
        return exit_code_of(error)
    print(table(summary))
    return 0


def summarize(out: pathlib.Path) -> list[dict[str, Any]]:
    """Of each task, preset and metric the mean over repeats and the largest deviation from it, as the paper tells them."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for file in sorted(out.glob(f"*/*/seed-*/**/{RESULTS}")):
        task, preset = file.relative_to(out).parts[:2]
        results = json.loads(file.read_text(encoding="utf-8"))["results"]
        for metrics in results.values():
            for name, value in metrics.items():
                if isinstance(value, (int, float)) and not isinstance(value, bool) and "stderr" not in name:
                    found.setdefault((task, preset, name), []).append(float(value))
    rows = []
    for (task, preset, metric), values in found.items():
        mean = sum(values) / len(values)
        deviation = max(abs(value - mean) for value in values)
        names = {"task": task, "preset": preset, "metric": metric}
        rows.append({**names, "repeats": len(values), "mean": mean, "largestDeviation": deviation})
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| task | preset | metric | repeats | mean | largest deviation |", "|---|---|---|---:|---:|---:|"]
    for row in rows:
        names = f"| {row['task']} | {row['preset']} | {row['metric']} | {row['repeats']} "
        lines.append(f"{names}| {row['mean']:.4f} | {row['largestDeviation']:.4f} |")
    return "\n".join(lines)


def _repeat(
    task: str, preset: str, seed: int, options: argparse.Namespace, run: Callable[[Sequence[str]], None]
) -> None:
    folder = options.out / task / preset / f"seed-{seed}"
    if any(folder.glob(f"**/{RESULTS}")):
        return
    print(f"{task} with {preset}, repeat {seed + 1}", file=sys.stderr, flush=True)
    model = {"pretrained": options.model, "preset": preset, "seed": seed, "dtype": options.dtype}
    given = ",".join(f"{name}={value}" for name, value in model.items() if value is not None)
    arguments = ["run", "--model", "kitty", "--model_args", given, "--paper", task]
    arguments += ["--batch_size", str(options.batch_size), "--seed", str(seed), "--output_path", str(folder)]
    if options.device is not None:
        arguments += ["--device", options.device]
    if options.limit is not None:
        arguments += ["--limit", str(options.limit)]
    run(expand_paper(arguments))
    if not any(folder.glob(f"**/{RESULTS}")):
        raise KittyKvError(
            f'Cannot finish {task} with {preset}: the harness left no results in "{folder}"; see what it printed.'
        )


def _parser() -> argparse.ArgumentParser:
    about = " ".join(__doc__.split("\n\n")[1].split())
    parser = UsageParser(prog="python -m kitty_kv.eval.paper", description=about, allow_abbrev=False)
    parser.add_argument(
        "--tasks", type=_names, default=list(PAPER_TASKS), help=f"by commas; all: {', '.join(PAPER_TASKS)}"
    )
    parser.add_argument("--preset", type=_names, default=["fp16", DEFAULT_PRESET], help="by commas; fp16,kitty-pro")
    parser.add_argument("--model", help="model folder or hub id; default: the bundled model, which solves none of them")
    parser.add_argument(
        "--out", type=pathlib.Path, required=True, help="folder for results; a run that was killed goes on"
    )
    parser.add_argument("--repeats", type=_count, help="default: the paper's, 3, for AIME 10")
    parser.add_argument("--limit", type=_count, help="items of each task, to try it out")
    parser.add_argument("--batch-size", type=_count, default=16, help="generations that are decoded together")
    parser.add_argument("--device", help="default: the harness's, cuda:0")
    parser.add_argument("--dtype", default="auto")
    return parser


def _names(text: str) -> list[str]:
    found = list(dict.fromkeys(name for name in text.split(",") if name))
    if not found:
        raise argparse.ArgumentTypeError("a list is empty; give names by commas")
    return found


def _count(text: str) -> int:
    value = int(text) if text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"want a whole number >= 1, got {text!r}")
    return value


if __name__ == "__main__":
    sys.exit(main())
