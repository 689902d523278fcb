"""Draws rows of several reports as one picture, where what is compared was measured in more than one run.

Run: python -m kitty_kv.bench.latency.redraw REPORT.json... --peers PEER,PEER [--parts step,budget,prefill] --plot FILE.svg

Of rows of one part, shape and peer the last one counts.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from ...command_line import UsageParser, exit_code_of, tell_error
from ...errors import ConfigError, KittyKvError
from .parts import PARTS
from .plot import svg
from .record import camel_case
from .row import LatencyRow

MODULE = "python -m kitty_kv.bench.latency.redraw"


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 2 for wrong usage, 1 for failure."""
    try:
        options = _parse(sys.argv[1:] if argv is None else list(argv))
        environment, rows = joined(options.reports, options.peers.split(","), options.parts.split(","))
        options.plot.write_text(svg(environment, rows))
    except (KittyKvError, OSError) as error:
        tell_error(error, is_json=False, code="bench_failed")
        return exit_code_of(error)
    print(f"{options.plot}: {len(rows)} rows")
    return 0


def joined(
    reports: Sequence[pathlib.Path], peers: Sequence[str], parts: Sequence[str]
) -> tuple[dict[str, Any], list[LatencyRow]]:
    """The last report's environment, and the rows of all, ``peers`` in their order within each shape.

    Raises:
        ConfigError: a file is no report of this benchmark, or reports are of different models or hardware.
    """
    environment: dict[str, Any] = {}
    found: dict[tuple[Any, ...], LatencyRow] = {}
    for report in reports:
        before = environment
        environment, rows = _read(report)
        for name in ("model", "dtype", "hardware"):
            if before and before[name] != environment[name]:
                raise ConfigError(
                    f"Cannot draw {report} with the others: its {name} is {environment[name]}, theirs {before[name]}."
                )
        for row in rows:
            if row.peer in peers and row.part in parts and row.reason is None:
                # A budget's batches are alternatives of one peer, kept side by side.
                key = (row.part, row.batch, row.prompt_tokens, row.peer)
                found.pop(key, None)
                found[key] = row
    shapes = list(dict.fromkeys((row.part, row.prompt_tokens, row.batch) for row in found.values()))
    order = {shape: at for at, shape in enumerate(shapes)}
    rows = sorted(
        found.values(),
        key=lambda row: (order[row.part, row.prompt_tokens, row.batch], list(peers).index(row.peer)),
    )
    return environment, rows


def _read(report: pathlib.Path) -> tuple[dict[str, Any], list[LatencyRow]]:
    try:
        document = json.loads(report.read_text())
        names = {camel_case(field.name): field.name for field in dataclasses.fields(LatencyRow)}
        rows = [LatencyRow(**{names[name]: value for name, value in row.items()}) for row in document["rows"]]
        return document["environment"], rows
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"Cannot draw {report}: it is no report.json of kitty_kv.bench.latency ({error!r})."
        ) from error


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = UsageParser(prog=MODULE, description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("reports", nargs="+", type=pathlib.Path)
    parser.add_argument("--peers", required=True, help="by commas, in their order")
    parser.add_argument("--parts", default=",".join(PARTS), help="by commas")
    parser.add_argument("--plot", type=pathlib.Path, required=True)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
