"""python -m kitty_kv.eval --preset kitty-pro,kivi-2,fp16 --tasks offline [--limit N] [--seed S] [--out FOLDER] [--json]

Says whether a preset loses accuracy on a model, beside its 16-bit cache on the same items.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from ..command_line import UsageParser, exit_code_of, tell_error
from ..config import DEFAULT_PRESET
from ..errors import KittyKvError
from .harness_tasks import HarnessOptions
from .offline import GROUP, TASKS
from .paper_tasks import PAPER_TASKS
from .report import report
from .reporting.sources import read_sources
from .reporting.write import write_report
from .run import DEFAULT_LENGTHS, DEFAULT_LIMIT, Plan, evaluate


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 failed, 2 wrong usage."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    is_json = "--json" in arguments
    try:
        plan = _plan(arguments)
        document = evaluate(plan, lambda line: print(line, file=sys.stderr, flush=True))
        document["report"] = report(document)
        if document["folder"] is not None:
            _write(pathlib.Path(document["folder"]), document)
            document["report"] += f"\n\nEverything about it: {document['folder']}/report.html (.md, .json, .csv)"
    except KittyKvError as error:
        tell_error(error, is_json=is_json)
        return exit_code_of(error)
    print(json.dumps(document, allow_nan=False) if is_json else document["report"])
    return 0


def _write(folder: pathlib.Path, document: dict[str, Any]) -> None:
    figures = {name: value for name, value in document.items() if name != "report"}
    (folder / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    write_report(read_sources([folder]), folder / "report.html", document["date"])


def _plan(arguments: Sequence[str]) -> Plan:
    options = _parser().parse_args(arguments)
    return Plan(
        presets=tuple(dict.fromkeys(options.preset)),
        tasks=tuple(options.tasks),
        model=options.model,
        lengths=tuple(dict.fromkeys(options.lengths)),
        limit=options.limit,
        seed=options.seed,
        text=options.text,
        out=options.out,
        home=options.home,
        dtype=options.dtype,
        device=options.device,
        max_batch=options.max_batch,
        stops_early=options.stop_early,
        harness=HarnessOptions(
            include=options.include_path,
            metric=options.metric,
            repeats=options.repeats,
            max_new_tokens=options.max_new_tokens,
        ),
    )


def _parser() -> argparse.ArgumentParser:
    parser = UsageParser(prog="python -m kitty_kv.eval", description=__doc__.split("\n\n")[1], allow_abbrev=False)
    parser.add_argument(
        "--preset",
        type=_names,
        default=[DEFAULT_PRESET, "fp16"],
        help="by commas (kitty-pro,fp16); with changed fields: kitty:selection=range",
    )
    parser.add_argument(
        "--tasks",
        type=_names,
        default=[GROUP],
        help=f"by commas, of {', '.join(TASKS)}; {GROUP}: all of these; {', '.join(PAPER_TASKS)} or others of lm-evaluation-harness",
    )
    parser.add_argument("--limit", type=_count, default=DEFAULT_LIMIT, help="items of each task")
    parser.add_argument("--lengths", type=_counts, default=list(DEFAULT_LENGTHS), help="tokens of an item, by commas")
    parser.add_argument("--seed", type=int, default=0, help="of the questions")
    parser.add_argument("--model", help="model folder or hub id; default: the bundled model")
    parser.add_argument("--text", type=pathlib.Path, help="text file, plain or .xz; default: the bundled excerpt")
    parser.add_argument("--out", type=pathlib.Path, help="keep results here; a run that was killed goes on from it")
    parser.add_argument("--home", type=pathlib.Path, help="without --out: keep them in a folder of their own in here")
    parser.add_argument("--max-batch", type=_count, default=16, help="generations that are decoded together")
    parser.add_argument(
        "--stop-early", action="store_true", help="end a preset's task when it is clearly worse than fp16, or as good"
    )
    theirs = parser.add_argument_group("tasks of lm-evaluation-harness")
    theirs.add_argument("--include-path", type=pathlib.Path, help="folder with task files of your own")
    theirs.add_argument(
        "--metric", help="by which an answer is right, METRIC or METRIC,FILTER; default: the task's first"
    )
    theirs.add_argument(
        "--repeats", type=_count, help="answers to each question; default: 1, for the paper's tasks as it had"
    )
    theirs.add_argument("--max-new-tokens", type=_count, help="of an answer; default: the task's, or the paper's")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _count(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"want a whole number >= 1, got {text!r}")
    return value


def _counts(text: str) -> list[int]:
    return [_count(part) for part in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
