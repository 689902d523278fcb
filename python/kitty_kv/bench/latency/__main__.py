"""python -m kitty_kv.bench.latency [--model M] [--parts step,budget,prefill] [--shapes 1x4096,8x4096] [--out FOLDER] [--json]

Generates greedily from random prompts with the caches of Transformers and with ours under stock generate(), and with our engine,
one after another in one process: milliseconds a step, tokens a second within the same KV memory, time to first token, memory.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import torch

from ...command_line import tell_error
from ...errors import ConfigError, KittyKvError
from ...hf.loading import DTYPES, load_model
from ...hf.random_model import SHAPES, random_model
from .attempts import Clock, measured
from .options import MODULE, parse
from .parts import all_attempts
from .peers import Peer, peers
from .record import Record
from .timed import WARM_UP_STEPS

_WRONG_MODEL = ("model_not_found", "not_a_model")


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 2 for wrong usage, 1 for failure."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    is_json = "--json" in arguments
    try:
        options = parse(arguments, __doc__.split("\n\n")[1])
        record = _measure_all(options, shlex.join([*MODULE.split(), *arguments]))
    except (KittyKvError, OSError) as error:
        tell_error(error, is_json=is_json, code="bench_failed")
        is_usage = isinstance(error, ConfigError) or getattr(error, "code", None) in _WRONG_MODEL
        return 2 if is_usage else 1
    print(json.dumps(record.document() | {"report": record.report()}) if is_json else record.report())
    return 0


def _measure_all(options: argparse.Namespace, command: str) -> Record:
    clock = Clock(options.time_limit)
    compared = _compared(options)
    model = _model(options)
    _check_lengths(options, model.config.get_text_config().max_position_embeddings)
    record = Record(_environment(options, model, command), options.out, options.plot)
    for row in measured(model, all_attempts(model, compared, options, clock), clock):
        record.add(row)
    return record


def _compared(options: argparse.Namespace) -> list[Peer]:
    known = peers(options.preset)
    if options.peers is None:
        return known
    unknown = sorted(set(options.peers) - {peer.name for peer in known})
    if unknown:
        names = ", ".join(peer.name for peer in known)
        raise ConfigError(f"Cannot measure latency: --peers must be among {names}, got {', '.join(unknown)}.")
    return [peer for peer in known if peer.name in options.peers]


def _check_lengths(options: argparse.Namespace, context: int) -> None:
    needed = {
        "step": ("--shapes", max(tokens for _, tokens in options.shapes) + options.new_tokens),
        "budget": ("--budget-tokens", options.budget_tokens),
        "prefill": ("--prefill", max(tokens for _, tokens in options.prefill) + 1),
    }
    for part in options.parts:
        flag, longest = needed[part]
        if longest > context:
            raise ConfigError(
                f"Cannot measure latency: {flag} needs {longest} tokens a row, new ones included, the model's context has "
                f"{context}; give fewer."
            )
    if "budget" in options.parts and options.budget_tokens < options.new_tokens + 2:
        raise ConfigError(
            f"Cannot measure latency: --budget-tokens {options.budget_tokens} leaves no prompt of 2 tokens beside "
            f"--new-tokens {options.new_tokens}; give more."
        )


def _model(options: argparse.Namespace) -> Any:
    if options.model not in SHAPES:
        return load_model(options.model, dtype=options.dtype, device=options.device).model
    device = torch.device(
        ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
    )
    return random_model(options.model, DTYPES.get(options.dtype, torch.bfloat16), device)


def _environment(options: argparse.Namespace, model: Any, command: str) -> dict[str, Any]:
    device = model.device
    is_cuda = device.type == "cuda"
    return {
        "hardware": torch.cuda.get_device_name(device)
        if is_cuda
        else f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
        "model": options.model or "kitty-tiny",
        "dtype": str(model.dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "command": command,
        "fill": options.fill,
        "kvBudgetGib": options.kv_budget_gib,
        "chunkTokens": options.chunk_tokens,
        "warmUpSteps": WARM_UP_STEPS,
    }


if __name__ == "__main__":
    sys.exit(main())
