"""python -m kitty_kv.sim [--preset P] [--verify] [--k-bits B] [--v-bits B] [--boost-ratio R] [--model M] [--text FILE] [--json]
python -m kitty_kv.sim --sensitivity all [the same]

Says what a cache config costs a model: perplexity, divergence and errors beside the 16-bit cache, on the CPU or a GPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from ..command_line import UsageParser, exit_code_of, tell_error
from ..config import SELECTIONS, KittyConfig
from ..errors import ConfigError, KittyKvError
from . import sensitivity
from .report import report
from .sensitivity import PARTS, analyse, sensitivity_report
from .simulation import Plan, simulate


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 failed or not equal, 2 wrong usage."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    is_json = "--json" in arguments
    try:
        options = vars(_parser().parse_args(arguments))
        if options["sensitivity"] is None:
            document = simulate(_plan(options))
            text = report(document)
        else:
            document = analyse(_sensitivity_plan(options), lambda line: print(line, file=sys.stderr, flush=True))
            text = sensitivity_report(document)
    except KittyKvError as error:
        tell_error(error, is_json=is_json)
        return exit_code_of(error)
    print(json.dumps(as_json({**document, "report": text}), allow_nan=False) if is_json else text)
    return 0 if document.get("verification", {"isEqual": True})["isEqual"] else 1


def as_json(value: Any) -> Any:
    """Plain data with null for numbers that JSON lacks: NaN and infinity, from a model that overflows."""
    if isinstance(value, dict):
        return {name: as_json(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [as_json(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _config(options: dict[str, Any]) -> KittyConfig:
    fields = {field.name: options[field.name] for field in dataclasses.fields(KittyConfig)}
    return KittyConfig.from_dict({name: value for name, value in fields.items() if value is not None})


def _sensitivity_plan(options: dict[str, Any]) -> sensitivity.Plan:
    if options["verify"]:
        raise ConfigError("Cannot simulate: --verify and --sensitivity are two different runs; give one of them.")
    shared = {name: options[name] for name in ("model", "text", "sequences", "length", "dtype", "device")}
    parts = tuple(dict.fromkeys(part for part in options["sensitivity"].split(",") if part))
    return sensitivity.Plan(config=_config(options), parts=PARTS if parts == ("all",) else parts, **shared)


def _plan(options: dict[str, Any]) -> Plan:
    return Plan(
        config=_config(options),
        model=options["model"],
        text=options["text"],
        sequences=options["sequences"],
        length=options["length"],
        dtype=options["dtype"],
        device=options["device"],
        has_verification=options["verify"],
    )


def _parser() -> argparse.ArgumentParser:
    parser = UsageParser(prog="python -m kitty_kv.sim", description=__doc__.split("\n\n")[1], allow_abbrev=False)
    for name, kind in (("k-bits", int), ("v-bits", int), ("boost-bits", int), ("boost-ratio", float)):
        parser.add_argument(f"--{name}", type=kind)
    for name in ("sink-tokens", "recent-tokens", "page-size", "seed"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--preset", help="what the other fields default to; default: kitty-pro")
    parser.add_argument("--selection", help=f"how boosted channels are chosen: {', '.join(SELECTIONS)}")
    parser.add_argument(
        "--verify", action="store_true", help="hold the packed cache to the simulated one, layer by layer"
    )
    parser.add_argument(
        "--sensitivity", metavar="PARTS", help=f"what carries the error: all, or some of {', '.join(PARTS)} by commas"
    )
    parser.add_argument("--model", help="model folder or hub id; default: the bundled model")
    parser.add_argument("--text", type=pathlib.Path, help="text file, plain or .xz; default: the bundled excerpt")
    parser.add_argument("--sequences", type=int, default=2, help="windows of the text")
    parser.add_argument("--length", type=int, default=1024, help="tokens a window")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser


if __name__ == "__main__":
    sys.exit(main())
