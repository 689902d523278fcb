"""python -m kitty_kernels.bench [--json] [--quick] [--only decode|short|pack|flush]

Times decode attention over the packed cache beside torch's attention on dense 16-bit tensors, and packing, in one run and
by one method: replays of CUDA graphs over inputs that the second-level cache does not hold. Needs a CUDA GPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import platform
import shlex
import sys

import torch

from .decode import Conditions, DecodeRow, measure_decode
from .pack import PackRow, measure_flush, measure_prefill
from .shapes import shapes_of
from .table import decode_table, misses, pack_table, reasons
from .timing import cache_bytes, copy_bytes_per_ms

PARTS = ("decode", "short", "pack", "flush")
MODULE = "python -m kitty_kernels.bench"


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parse(arguments)
    if not torch.cuda.is_available():
        return _fail(
            f"Cannot measure kernels: torch {torch.__version__} finds no CUDA GPU, run this on a machine that has one.",
            options.json,
        )
    try:
        import triton
    except ModuleNotFoundError:
        return _fail("Cannot measure kernels: triton is not installed, install it.", options.json)
    device = torch.device("cuda", torch.cuda.current_device())
    at = _conditions(device, options)
    environment = {
        "gpu": torch.cuda.get_device_name(device),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "command": shlex.join([*MODULE.split(), *arguments]),
        "copyTBps": round(at.bytes_per_ms / 1e9, 3),
    }
    decode, pack, skipped = _measure(options, at)
    found = document(environment, decode, pack, skipped)
    print(json.dumps(found) if options.json else found["report"])
    return 0


def document(
    environment: dict[str, object], decode: list[DecodeRow], pack: list[PackRow], skipped: list[str]
) -> dict[str, object]:
    """What ``--json`` prints."""
    return {
        "environment": environment,
        "decode": [
            _camel_case(dataclasses.asdict(row))
            | {"bestPeer": None if row.best is None else row.best.name}
            | {"ratio": row.ratio, "share": row.share, "isMet": row.is_met}
            for row in decode
        ],
        "pack": [_camel_case(dataclasses.asdict(row)) | {"isMet": row.is_met} for row in pack],
        "skipped": skipped,
        "misses": misses(decode, pack),
        "report": f"{_heading(environment)}\n\n{_report(decode, pack, skipped)}",
    }


def _camel_case(value: object) -> object:
    """Names as TypeScript writes them, at every depth."""
    if isinstance(value, dict):
        return {_camel_name(name): _camel_case(inner) for name, inner in value.items()}
    return [_camel_case(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _camel_name(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=MODULE, description=__doc__.split("\n\n")[1])
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--quick", action="store_true", help="fewer shapes and replays, no FlexAttention")
    parser.add_argument("--only", action="append", choices=PARTS, help="a part; may be given again")
    return parser.parse_args(arguments)


def _fail(message: str, is_json: bool) -> int:
    if is_json:
        print(json.dumps({"error": {"code": "unsupported", "message": message, "details": {}}}))
    else:
        print(message, file=sys.stderr)
    return 1


def _conditions(device: torch.device, options: argparse.Namespace) -> Conditions:
    # Compiling FlexAttention takes longer than all the rest.
    skip = {"flex": "left out by --quick"} if options.quick else {}
    replays = 10 if options.quick else 30
    return Conditions(device, copy_bytes_per_ms(device), cache_bytes(device), replays, skip)


def _measure(options: argparse.Namespace, at: Conditions) -> tuple[list[DecodeRow], list[PackRow], list[str]]:
    parts = options.only or PARTS
    decode: list[DecodeRow] = []
    pack: list[PackRow] = []
    skipped: list[str] = []
    for part in ("decode", "short"):
        for shape in shapes_of(is_quick=options.quick, is_short=part == "short") if part in parts else ():
            _progress(f"decode {shape.name} …")
            try:
                decode.append(measure_decode(shape, at))
            except (MemoryError, torch.cuda.OutOfMemoryError) as error:
                skipped.append(f"{shape.name}: {str(error).splitlines()[0]}")
    for part, measure in (("pack", measure_prefill), ("flush", measure_flush)):
        if part in parts:
            torch.cuda.empty_cache()
            _progress(f"{part} …")
            pack.append(measure(at))
    return decode, pack, skipped


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _heading(environment: dict[str, object]) -> str:
    found = "{gpu}, torch {torch}, triton {triton}, Python {python}, {date}, copies at {copyTBps} TB/s"
    return found.format(**environment) + f"\n{environment['command']}"


def _report(decode: list[DecodeRow], pack: list[PackRow], skipped: list[str]) -> str:
    parts = []
    if decode:
        parts.append(decode_table(decode))
        parts.append(
            "One layer, 32 query and 8 KV heads of 128, kitty-pro; milliseconds of a CUDA graph's replay, plain: do_bench.\n"
            "Ratio: to the best peer. Byte limit: what the rows hold at copy bandwidth; share: of that. Error: to float64.\n"
            "Ragged rows: the peers have rows of one length with as many tokens in all."
        )
    if pack:
        parts.append(pack_table(pack))
    told = [f"Not run: {reason}" for reason in (*reasons(decode), *skipped)]
    told += [f"Missed: {miss}" for miss in misses(decode, pack)]
    return "\n\n".join([*parts, *(["\n".join(told)] if told else [])])


if __name__ == "__main__":
    sys.exit(main())
