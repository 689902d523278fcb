"""The command line of ``python -m kitty_kv.bench.latency``."""

from __future__ import annotations

import argparse
import pathlib
import re
from collections.abc import Callable, Sequence

from ...command_line import UsageParser
from ...config import PRESETS
from ...hf.loading import DTYPES
from ...hf.random_model import SHAPES
from .budget import FILLS
from .parts import PARTS
from .timed import WARM_UP_STEPS

MODULE = "python -m kitty_kv.bench.latency"


def parse(arguments: Sequence[str], description: str) -> argparse.Namespace:
    """Options by name.

    Raises:
        ConfigError: wrong usage.
    """
    parser = UsageParser(prog=MODULE, description=description, allow_abbrev=False)
    parser.add_argument(
        "--model", help=f"folder or hub id, or random weights: {', '.join(SHAPES)}; default: the bundled one"
    )
    parser.add_argument("--parts", type=_list_of(PARTS), default="step", help=f"of {', '.join(PARTS)}, by commas")
    parser.add_argument(
        "--shapes", type=_shapes, default="1x256,4x256", help="of step: batch x prompt tokens, by commas"
    )
    parser.add_argument(
        "--new-tokens", type=_steps, default=24, help="tokens that each row of step and budget generates"
    )
    parser.add_argument(
        "--kv-budget-gib", type=_above_zero, default=0.0625, help="of budget: GiB for the cache of all rows"
    )
    parser.add_argument("--budget-tokens", type=_count, default=1024, help="of budget: tokens a row, new ones included")
    parser.add_argument(
        "--fill",
        choices=FILLS,
        default="repeat",
        help="of budget: one prompt's cache copied to all rows, or a prompt each",
    )
    parser.add_argument(
        "--prefill", type=_shapes, default="1x1024", help="of prefill: batch x prompt tokens, by commas"
    )
    parser.add_argument("--preset", choices=list(PRESETS), default="kitty-pro")
    parser.add_argument("--peers", type=lambda text: text.split(","), help="only these, by commas")
    parser.add_argument(
        "--chunk-tokens", type=_count, help="most tokens of a prompt in a pass of the engine; default: the engine's own"
    )
    parser.add_argument("--dtype", choices=["auto", *DTYPES], default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--time-limit", type=_above_zero, help="seconds after which nothing more begins")
    parser.add_argument(
        "--out", type=pathlib.Path, help="folder for report.json, report.md and latency.svg, after each row"
    )
    parser.add_argument("--plot", type=pathlib.Path, help="write the plot here, as SVG")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    return parser.parse_args(arguments)


def _list_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        parts = text.split(",")
        if not set(parts) <= set(known):
            raise argparse.ArgumentTypeError(f"want some of {', '.join(known)}, got {text!r}")
        return list(dict.fromkeys(parts))

    return read


def _shapes(text: str) -> list[tuple[int, int]]:
    found = [re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,6})", part.strip()) for part in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(f"want shapes such as 1x4096,8x4096, got {text!r}")
    return [(int(one[1]), int(one[2])) for one in found]


def _steps(text: str) -> int:
    # A row's tokens are a first one, the warm-up, and at least one step that counts.
    if not re.fullmatch(r"\d{1,6}", text) or int(text) < WARM_UP_STEPS + 2:
        raise argparse.ArgumentTypeError(f"want a whole number above {WARM_UP_STEPS + 1}, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise argparse.ArgumentTypeError(f"want a whole number above 0, got {text!r}")
    return int(text)


def _above_zero(text: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", text) or not float(text):
        raise argparse.ArgumentTypeError(f"want a number above 0, got {text!r}")
    return float(text)
