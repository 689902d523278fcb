"""python -m kitty_kv.bench.latency [--model M] [--shapes 1x4096,8x4096] [--peers hf-dynamic,kitty-pro] [--json]

Generates greedily from random prompts through stock ``generate()`` with the caches of Transformers and with ours, one after
another in one process, and reports time to first token, milliseconds a step, tokens a second and peak memory.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import pathlib
import platform
import re
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import torch

from ...command_line import UsageParser, tell_error
from ...config import PRESETS
from ...errors import ConfigError, KittyKvError
from ...hf.loading import DTYPES, load_model
from ...hf.random_model import SHAPES, random_model
from .measure import WARM_UP_STEPS, LatencyRow, measure
from .peers import peers
from .report import markdown, write_svg

MODULE = "python -m kitty_kv.bench.latency"


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 2 for wrong usage, 1 for failure."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    is_json = "--json" in arguments
    try:
        options = _parse(arguments)
        rows, model = _measure_all(options)
        if options.plot is not None:
            write_svg(rows, options.plot, f"{options.model or 'kitty-tiny'} on {_hardware(model.device)}")
    except ConfigError as error:
        tell_error(error, is_json=is_json)
        return 2
    except (KittyKvError, OSError) as error:
        tell_error(error, is_json=is_json, code="bench_failed")
        return 1
    environment = {
        "hardware": _hardware(model.device),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "command": shlex.join([*MODULE.split(), *arguments]),
    }
    report = (
        f"{environment['hardware']}, torch {environment['torch']}, transformers {environment['transformers']}, "
        f"{environment['date']}\n{environment['command']}\n\n{markdown(rows)}"
    )
    document = {"environment": environment, "rows": [_camel_case(dataclasses.asdict(row)) for row in rows]}
    print(json.dumps(document | {"report": report}) if is_json else report)
    return 0


def _measure_all(options: argparse.Namespace) -> tuple[list[LatencyRow], Any]:
    compared = peers(options.preset)
    if options.peers is not None:
        unknown = sorted(set(options.peers) - {peer.name for peer in compared})
        if unknown:
            known = ", ".join(peer.name for peer in compared)
            raise ConfigError(f"Cannot measure latency: --peers must be among {known}, got {', '.join(unknown)}.")
        compared = [peer for peer in compared if peer.name in options.peers]
    model = _model(options)
    longest = max(tokens for _, tokens in options.shapes) + options.new_tokens
    context = model.config.get_text_config().max_position_embeddings
    if longest > context:
        raise ConfigError(
            f"Cannot measure latency: the longest shape needs {longest} tokens with --new-tokens, the model's context "
            f"has {context}; give shorter shapes."
        )
    rows = []
    for batch, tokens in options.shapes:
        for peer in compared:
            print(f"{batch} x {tokens} {peer.name} …", file=sys.stderr, flush=True)
            rows.append(measure(model, peer, batch, tokens, options.new_tokens))
    return rows, model


def _model(options: argparse.Namespace) -> Any:
    if options.model not in SHAPES:
        return load_model(options.model, dtype=options.dtype, device=options.device).model
    device = torch.device(
        ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
    )
    return random_model(options.model, DTYPES.get(options.dtype, torch.bfloat16), device)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = UsageParser(prog=MODULE, description=__doc__.split("\n\n")[1], allow_abbrev=False)
    parser.add_argument(
        "--model", help=f"folder or hub id, or random weights: {', '.join(SHAPES)}; default: the bundled one"
    )
    parser.add_argument("--shapes", type=_shapes, default="1x256,4x256", help="batch x prompt tokens, by commas")
    parser.add_argument("--new-tokens", type=_steps, default=24, help="tokens a row generates")
    parser.add_argument("--preset", choices=list(PRESETS), default="kitty-pro")
    parser.add_argument("--peers", type=lambda text: text.split(","), help="only these, by commas")
    parser.add_argument("--dtype", choices=["auto", *DTYPES], default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--plot", type=pathlib.Path, help="write bars as SVG here")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    return parser.parse_args(arguments)


def _shapes(text: str) -> list[tuple[int, int]]:
    found = [re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,6})", part.strip()) for part in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(f"want shapes such as 1x4096,8x4096, got {text!r}")
    return [(int(one[1]), int(one[2])) for one in found]


def _steps(text: str) -> int:
    if not text.isdigit() or int(text) <= WARM_UP_STEPS:
        raise argparse.ArgumentTypeError(f"want a whole number above {WARM_UP_STEPS}, got {text!r}")
    return int(text)


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def _camel_case(row: dict[str, object]) -> dict[str, object]:
    return {re.sub(r"_(\w)", lambda found: found[1].upper(), name): value for name, value in row.items()}


if __name__ == "__main__":
    sys.exit(main())
