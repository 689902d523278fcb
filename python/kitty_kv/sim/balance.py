"""python -m kitty_kv.sim.balance --out FOLDER [--model M] [--text FILE] [--fine]

Writes a model whose key channels are as large as they matter: channels on which queries are large get larger keys, and queries
get smaller by as much, so that scores stay the same. Channels that are then chosen by their range (selection: range) are
those whose rounding would disturb scores most. The factors are powers of two, so the model computes the same to the bit;
--fine takes them unrounded, which chooses a little better and changes the model by what its dtype rounds.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence

import torch

from ..command_line import UsageParser, exit_code_of, tell_error
from ..errors import ConfigError, KittyKvError, UnsupportedError
from ..hf.loading import load_model
from ..hf.query_weights import measure_queries, over_heads
from .windows import EXCERPT, cut_windows, read_text

# Models whose rotation pairs channel c with c + D / 2, and whose projections hold heads one after the other.
SUPPORTED = ("qwen3", "qwen2", "llama", "mistral")


def balance(model: torch.nn.Module, sizes: torch.Tensor, *, is_fine: bool = False) -> list[torch.Tensor]:
    """Scales keys and queries of ``model``, in place.

    Args:
        model: of a type in ``SUPPORTED``, all of whose channels are rotated.
        sizes: of its queries, ``[layers, HKV, D]`` (``query_weights.py``).
        is_fine: whether factors are used as they are instead of as powers of two.

    Returns:
        The keys' factors of each layer, float64 ``[HKV or 1, D]``: one row where all heads share the norm that is scaled.

    Raises:
        UnsupportedError: the model is of another type.
    """
    config = model.config
    rotated = getattr(config, "partial_rotary_factor", 1.0)
    if config.model_type not in SUPPORTED or rotated != 1.0:
        raise UnsupportedError(
            f"Cannot balance a model of type {config.model_type!r}: how it rotates and projects is known for "
            f"{', '.join(SUPPORTED)} with all channels rotated; use another model."
        )
    found = []
    with torch.no_grad():
        for layer, of_layer in zip(model.model.layers, sizes.double(), strict=True):
            attention = layer.self_attn
            has_norms = hasattr(attention, "k_norm")
            factors = _factors(of_layer.square().mean(0, keepdim=True).sqrt() if has_norms else of_layer, is_fine)
            if has_norms:
                _scale(attention.k_norm.weight, factors[0])
                _scale(attention.q_norm.weight, 1 / factors[0])
            else:
                groups = config.num_attention_heads // config.num_key_value_heads
                _scale_heads(attention.k_proj, factors)
                _scale_heads(attention.q_proj, 1 / factors.repeat_interleave(groups, 0))
            found.append(factors)
    return found


def _factors(sizes: torch.Tensor, is_fine: bool) -> torch.Tensor:
    """Of keys, ``[H, D]``, around 1; both channels of a rotated pair have the same, so that rotation does not mix them up."""
    half = sizes.shape[-1] // 2
    pairs = ((sizes[:, :half].square() + sizes[:, half:].square()) / 2).sqrt().clamp_min(1e-12).log2()
    exponents = pairs - pairs.mean(-1, keepdim=True)
    # Beyond 2 ** 8 a factor changes no choice, and float16 would run out of range.
    exponents = exponents.clamp(-8, 8)
    return torch.exp2(exponents if is_fine else exponents.round()).repeat(1, 2)


def _scale_heads(projection: torch.nn.Linear, factors: torch.Tensor) -> None:
    _scale(projection.weight, factors.flatten()[:, None])
    if projection.bias is not None:
        _scale(projection.bias, factors.flatten())


def _scale(weight: torch.Tensor, factors: torch.Tensor) -> None:
    weight.copy_((weight.double() * factors.to(weight.device)).to(weight.dtype))


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 failed, 2 wrong usage."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    is_json = "--json" in arguments
    try:
        document = _run(_parser().parse_args(arguments))
    except KittyKvError as error:
        tell_error(error, is_json=is_json)
        return exit_code_of(error)
    print(json.dumps(document) if is_json else document["report"])
    return 0


def _run(options: argparse.Namespace) -> dict[str, object]:
    out: pathlib.Path = options.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f'Cannot write the model to "{out}": it is there already; give a new folder as --out.')
    text = read_text(options.text or EXCERPT)
    loaded = load_model(options.model, dtype=options.dtype, device=options.device)
    windows, _ = cut_windows(loaded, text, options.sequences, options.length)
    factors = balance(loaded.model, over_heads(measure_queries(loaded.model, windows)), is_fine=options.fine)
    try:
        loaded.model.save_pretrained(out)
        loaded.tokenizer.save_pretrained(out)
    except OSError as error:
        raise ConfigError(
            f'Cannot write the model to "{out}": {error.strerror or error}; give another --out.'
        ) from error
    spans = [float(each.max() / each.min()) for each in factors]
    return {
        "folder": str(out),
        "largestOverSmallestFactor": spans,
        "report": f"wrote {out}: key channels scaled by factors up to {max(spans):.3g} apart; use it with selection: range",
    }


def _parser() -> argparse.ArgumentParser:
    about = " ".join(__doc__.split("\n\n")[1].split())
    parser = UsageParser(prog="python -m kitty_kv.sim.balance", description=about, allow_abbrev=False)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder to write the model to")
    parser.add_argument("--model", help="model folder or hub id; default: the bundled model")
    parser.add_argument(
        "--text", type=pathlib.Path, help="to measure queries on; default: an excerpt of Treasure Island"
    )
    parser.add_argument("--sequences", type=int, default=2, help="windows of the text")
    parser.add_argument("--length", type=int, default=1024, help="tokens a window")
    parser.add_argument("--fine", action="store_true", help="factors as they are, not powers of two")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser


if __name__ == "__main__":
    sys.exit(main())
