"""python -m kitty_kv.bench.latency [--model M] [--parts step,budget,prefill] [--shapes 1x4096,8x4096] [--out FOLDER] [--json]

Generates greedily from random prompts with the caches of Transformers and with ours under stock generate(), and with our engine,
one after another in one process: milliseconds a step, tokens a second within the same KV memory, time to first token, memory.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence

from ...command_line import exit_code_of, tell_error
from ...engine.kv_pool import default_chunk_tokens
from ...errors import ConfigError, KittyKvError
from .attempts import Clock, measured
from .options import MODULE, parse
from .parts import all_attempts
from .peers import Peer, peers
from .record import Record
from .subject import describe, load_subject
from .timed import WARM_UP_STEPS


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 2 for wrong usage, 1 for failure."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    is_json = "--json" in arguments
    try:
        options = parse(arguments, __doc__.split("\n\n")[1])
        record = _measure_all(options, shlex.join([*MODULE.split(), *arguments]))
    except (KittyKvError, OSError) as error:
        tell_error(error, is_json=is_json, code="bench_failed")
        return exit_code_of(error)
    print(json.dumps(record.document() | {"report": record.report()}) if is_json else record.report())
    return 0


def _measure_all(options: argparse.Namespace, command: str) -> Record:
    clock = Clock(options.time_limit)
    compared = _compared(options)
    model = load_subject(options.model, options.dtype, options.device)
    _check_lengths(options, model.config.get_text_config().max_position_embeddings)
    environment = describe(model, options.model, command) | {
        "fill": options.fill,
        "kvBudgetGib": options.kv_budget_gib,
        "chunkTokens": options.chunk_tokens or default_chunk_tokens(model.device),
        "warmUpSteps": WARM_UP_STEPS,
    }
    record = Record(environment, options.out, options.plot)
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
    if "budget" in options.parts and options.budget_tokens < options.new_tokens + 3:
        raise ConfigError(
            f"Cannot measure latency: --budget-tokens {options.budget_tokens} leaves no prompt of 3 tokens beside "
            f"--new-tokens {options.new_tokens}; give more."
        )


if __name__ == "__main__":
    sys.exit(main())
