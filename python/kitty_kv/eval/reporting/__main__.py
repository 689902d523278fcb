"""python -m kitty_kv.eval.reporting RESULTS... --out FILE.html [--json]

Writes one report of evaluations, latencies and simulations: HTML, and Markdown, JSON and CSV beside it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import pathlib
import sys
from collections.abc import Sequence

from ...command_line import UsageParser, exit_code_of, tell_error
from ...errors import KittyKvError
from .sources import read_sources
from .write import check_out, write_report


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 failed, 2 wrong usage."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    is_json = "--json" in arguments
    try:
        options = _parser().parse_args(arguments)
        out = check_out(options.out)
        date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
        files, data, text = write_report(read_sources(options.results), out, date)
    except KittyKvError as error:
        tell_error(error, is_json=is_json)
        return exit_code_of(error)
    told = "\n".join(f"wrote {file}" for file in files)
    if is_json:
        print(
            json.dumps({**data, "files": [str(file) for file in files], "report": f"{text}\n{told}"}, allow_nan=False)
        )
    else:
        print(f"{text}\n{told}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = UsageParser(
        prog="python -m kitty_kv.eval.reporting", description=__doc__.split("\n\n")[1], allow_abbrev=False
    )
    parser.add_argument("results", nargs="+", type=pathlib.Path, help="folders of results or of jobs, or documents")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("report.html"), help="default: report.html")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser


if __name__ == "__main__":
    sys.exit(main())
