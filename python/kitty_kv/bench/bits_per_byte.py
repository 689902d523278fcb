"""Bits per byte of a text under each preset, through the real packed cache.

    python -m kitty_kv.bench.bits_per_byte --text books-valid.txt.xz

Teacher-forced decoding: every sequence is fed in calls that end where pages end, and a call sees its own tokens in full
precision and everything earlier as the cache holds it. Inside such a call no page becomes full before its last token,
so the result is that of feeding one token at a time; a test holds it to that.
"""

from __future__ import annotations

import argparse
import json
import lzma
import math
import pathlib
import platform
import sys
import time
from collections.abc import Sequence

import torch

from ..config import PRESETS, KittyConfig
from ..errors import ConfigError, KittyKvError
from ..hf.cache import KittyCache
from ..hf.loading import load_model
from ..sim.calls import call_spans
from ..sim.windows import cut_windows


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the measurement from the command line; 2 for wrong usage, 1 for failure."""
    options = _parse(argv)
    try:
        report = measure(options)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (KittyKvError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report, indent=2) if options.json else _table(report))
    return 0


def measure(options: argparse.Namespace) -> dict:
    """Measures every preset on the same windows, spread evenly over the text."""
    configs = {name: KittyConfig.from_dict({"preset": name}) for name in options.presets}
    text = read_text(options.text)
    loaded = load_model(options.model, dtype=options.dtype, device=options.device)
    windows, text_bytes = cut_windows(loaded, text, options.sequences, options.length)
    rows = {}
    for name, config in configs.items():
        started = time.perf_counter()
        nats, compression = 0.0, 0.0
        for group in windows.split(options.batch):
            cache = KittyCache.for_model(loaded.model, config=config)
            nats += sequence_nats(loaded.model, group.to(loaded.model.device), cache)
            compression = cache.memory()["compression"]
        rows[name] = {
            "bitsPerByte": nats / math.log(2) / text_bytes,
            "compression": compression,
            "seconds": round(time.perf_counter() - started, 1),
        }
        print(f"{name}: {rows[name]['bitsPerByte']:.4f} bits per byte", file=sys.stderr)
    return {
        "model": loaded.name,
        "text": options.text.name,
        "sequences": len(windows),
        "length": options.length,
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
        "hardware": _hardware(loaded.model.device),
        "presets": rows,
    }


def sequence_nats(model: torch.nn.Module, tokens: torch.Tensor, cache: KittyCache) -> float:
    """Negative log-likelihood in nats of ``tokens[:, 1:]``, int64 ``[B, T]``, fed through ``cache`` page by page."""
    total = 0.0
    with torch.inference_mode():
        for start, end in call_spans(tokens.shape[1], cache.config):
            logits = model(tokens[:, start:end], past_key_values=cache, use_cache=True).logits
            targets = tokens[:, start + 1 : end + 1]
            logits = logits[:, : targets.shape[1]].float()  # the last token of all has no successor
            total += torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").item()
    return total


def read_text(path: pathlib.Path) -> str:
    """A text file, plain or ``.xz``, in UTF-8."""
    opened = lzma.open if path.suffix == ".xz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        return file.read()


def _table(report: dict) -> str:
    head = (
        f"{report['model']}, {report['sequences']} x {report['length']} tokens of {report['text']}, {report['dtype']}"
    )
    lines = [
        f"{head}, {report['hardware']}",
        "",
        "| preset | bits per byte | compression | seconds |",
        "|---|---:|---:|---:|",
    ]
    for name, row in report["presets"].items():
        lines.append(f"| {name} | {row['bitsPerByte']:.4f} | {row['compression']:.2f} | {row['seconds']} |")
    return "\n".join(lines)


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m kitty_kv.bench.bits_per_byte", description=__doc__.split("\n")[0])
    parser.add_argument("--text", type=pathlib.Path, required=True, help="text file, plain or .xz")
    parser.add_argument("--model", help="model folder; default: the bundled model")
    parser.add_argument("--presets", type=lambda names: names.split(","), default=list(PRESETS), help="comma-separated")
    parser.add_argument("--sequences", type=int, default=48)
    parser.add_argument("--length", type=int, default=2048, help="tokens a sequence")
    parser.add_argument("--batch", type=int, default=8, help="sequences at once")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
