"""Where the time of the engine's decode steps goes: how busy the device is, and with what.

Run: python -m kitty_kv.bench.latency.profile [--model qwen3-8b] [--batch 32] [--tokens 4096] [--out FOLDER] [--json]

On a GPU torch's profiler notes kernels only, which a step hardly feels; on a CPU it notes torch's operations, whose own time counts,
and attention is made of operations that others use too.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from ...command_line import UsageParser, exit_code_of, tell_error
from ...config import PRESETS
from ...errors import KittyKvError
from ...hf.loading import DTYPES
from .measure import random_prompts
from .subject import describe, load_subject
from .timed import WARM_UP_STEPS
from .timed_engine import TimedEngine
from .timeline import figures, read_spans

MODULE = "python -m kitty_kv.bench.latency.profile"


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 2 for wrong usage, 1 for failure."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    is_json = "--json" in arguments
    try:
        options = _parse(arguments)
        document = _measure(options, shlex.join([*MODULE.split(), *arguments]))
    except (KittyKvError, OSError) as error:
        tell_error(error, is_json=is_json, code="bench_failed")
        return exit_code_of(error)
    report = markdown(document)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "profile.json").write_text(json.dumps(document, indent=1) + "\n")
        (options.out / "profile.md").write_text(report + "\n")
    print(json.dumps(document | {"report": report}) if is_json else report)
    return 0


def markdown(document: dict[str, Any]) -> str:
    """The report that people read."""
    where, found = document["environment"], document["profile"]
    lines = [
        f"# Decode steps of the engine: {where['model']} ({where['dtype']}) on {where['hardware']}",
        "",
        f"torch {where['torch']}, transformers {where['transformers']}, {where['date']}: `{where['command']}`",
        "",
        f"{document['batch']} rows of {document['tokens']} tokens, `{document['preset']}`. {found['steps']} steps under the profiler: "
        f"{found['msPerStep']:.2f} ms a step, {document['unprofiledStepMs']:.2f} without it. The device was busy for "
        f"{found['busyMsPerStep']:.2f} ms of a step, {found['busyShare']:.1%}; it paused {found['gapsPerStep']:.1f} times a step for "
        f"{found['gapThresholdUs']:.0f} us or more, {found['gapMsPerStep']:.2f} ms in all, at most {found['longestGapMs']:.2f} ms.",
        "",
        "| group | ms a step | share of the step | launches a step | most of it |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for group in found["groups"]:
        names = ", ".join(f"`{one['name'][:60]}` {one['msPerStep']:.3f}" for one in group["longest"])
        lines.append(
            f"| {group['group']} | {group['msPerStep']:.3f} | {group['shareOfStep']:.1%} | {group['countPerStep']:.0f} | {names} |"
        )
    return "\n".join(lines)


def _measure(options: argparse.Namespace, command: str) -> dict[str, Any]:
    # Kernels of a CUDA graph show only if the tracer was there when it was recorded, and stays.
    os.environ |= {"TEARDOWN_CUPTI": "0", "DISABLE_CUPTI_LAZY_REINIT": "1"}
    model = load_subject(options.model, options.dtype, options.device)
    window = _Window(options.steps, is_cuda=model.device.type == "cuda")
    prompts = random_prompts(model, options.batch, options.tokens).tolist()
    config = PRESETS[options.preset]
    with TimedEngine.started(model, config, options.batch, options.chunk_tokens) as engine:

        def on_token(count: int) -> None:
            if count == window.first:
                engine.between_steps(window.begin)
            elif count == window.last:
                engine.between_steps(window.end)

        # The first run warms up, and shows how long a step takes without a profiler.
        plain = engine.run(engine.empty(options.batch), prompts, window.last)
        engine.run(engine.empty(options.batch), prompts, window.last + 1, on_token)
    return {
        "environment": describe(model, options.model, command),
        "batch": options.batch,
        "tokens": options.tokens,
        "preset": options.preset,
        "unprofiledStepMs": plain.step_s * 1e3,
        "profile": window.figures(),
    }


class _Window:
    """The steps that are profiled; it begins and ends on the engine's thread, whose operations it notes."""

    def __init__(self, steps: int, *, is_cuda: bool) -> None:
        self.first = WARM_UP_STEPS + 1
        self.last = self.first + steps
        self._steps = steps
        self._is_cuda = is_cuda
        activities = [ProfilerActivity.CUDA if is_cuda else ProfilerActivity.CPU]
        with profile(activities=activities):
            torch.zeros(1, device="cuda" if is_cuda else "cpu")
        self._profile = profile(activities=activities)
        self._began = self._wall_ms = 0.0

    def begin(self) -> None:
        self._profile.start()
        self._began = time.perf_counter()

    def end(self) -> None:
        self._wall_ms = (time.perf_counter() - self._began) * 1e3
        self._profile.stop()

    def figures(self) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            trace = pathlib.Path(folder) / "trace.json"
            self._profile.export_chrome_trace(str(trace))
            return figures(read_spans(trace, is_cuda=self._is_cuda), self._steps, self._wall_ms)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = UsageParser(prog=MODULE, description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument(
        "--model", help="folder or hub id, or random weights as in kitty_kv.bench.latency; default: the bundled one"
    )
    parser.add_argument("--preset", choices=list(PRESETS), default="kitty-pro")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=256, help="of each row's prompt")
    parser.add_argument("--steps", type=int, default=8, help="how many are profiled")
    parser.add_argument("--chunk-tokens", type=int, help="most tokens of a prompt in a pass")
    parser.add_argument("--dtype", choices=["auto", *DTYPES], default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=pathlib.Path, help="folder for profile.json and profile.md")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    options = parser.parse_args(arguments)
    for name in ("batch", "tokens", "steps", "chunk_tokens"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be 1 or more, got {getattr(options, name)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
