"""One simulation: a model, a text, a cache config, and the document that says what came out."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import platform
from collections.abc import Iterator
from typing import Any

import torch

from ..config import KittyConfig
from ..hf.cache import KittyCache
from ..hf.loading import LoadedModel, load_model
from ..hf.query_weights import weights_for
from ..quant import check_packable
from .compare import Comparison, bits_per_byte, compare, perplexity
from .verify import Verification, verify
from .windows import EXCERPT, cut_windows, read_text


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What to simulate.

    Args:
        config: of the simulated cache.
        model: folder or hub id; None for the bundled model.
        text: a file, plain or ``.xz``; None for the bundled excerpt.
        sequences, length: windows of the text, and tokens of each.
        has_verification: whether to hold the packed cache to the simulated one as well.
    """

    config: KittyConfig
    model: str | None = None
    text: pathlib.Path | None = None
    sequences: int = 2
    length: int = 1024
    dtype: str = "auto"
    device: str = "auto"
    has_verification: bool = False


def simulate(plan: Plan) -> dict[str, Any]:
    """Runs a plan.

    Returns:
        Plain data in camelCase: what was measured, under which conditions, and ``verification`` where asked for.

    Raises:
        ConfigError: text, model or config do not fit each other.
        UnsupportedError: verification of a config or model that the packed cache cannot hold.
        KittyKvError: the model cannot be loaded.
    """
    text = read_text(plan.text or EXCERPT)
    loaded = load_model(plan.model, dtype=plan.dtype, device=plan.device)
    windows, size_bytes = cut_windows(loaded, text, plan.sequences, plan.length)
    packed = _packed_cache(loaded, plan.config) if plan.has_verification else None
    weights = channel_weights(loaded, plan.config)
    with under_attention(loaded, stock_attention(loaded)):
        comparison = compare(loaded.model, windows, plan.config, weights)
    document = {
        **conditions(loaded, plan.config, plan.text, plan.sequences, plan.length),
        **_figures(comparison, size_bytes),
    }
    if packed is not None:
        document["verification"] = _verification(verify(loaded.model, windows, packed))
    return document


def conditions(
    loaded: LoadedModel, config: KittyConfig, text: pathlib.Path | None, sequences: int, length: int
) -> dict[str, Any]:
    """What figures of a simulated cache were found on, plain data."""
    return {
        "model": loaded.name,
        "modelPath": loaded.path,
        "text": "excerpt of Treasure Island" if text is None else text.name,
        "textPath": None if text is None else str(text.resolve()),
        "sequences": sequences,
        "length": length,
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
        "hardware": hardware(loaded.model.device),
        "cache": {camel(name): value for name, value in config.to_dict().items()},
    }


def _packed_cache(loaded: LoadedModel, config: KittyConfig) -> KittyCache:
    """Before anything is measured, so that what cannot be verified is said at once."""
    text_config = loaded.model.config.get_text_config()
    head_dim = getattr(text_config, "head_dim", None) or text_config.hidden_size // text_config.num_attention_heads
    check_packable(config, head_dim)
    return KittyCache.for_model(loaded.model, config=config)


def channel_weights(loaded: LoadedModel, config: KittyConfig) -> torch.Tensor | None:
    """What selection ``query`` weighs the model's channels with; None for other configs."""
    found = weights_for(loaded.model, config)
    return None if found is None else found.tensor


def stock_attention(loaded: LoadedModel) -> str:
    """An attention of Transformers that gives what the model means."""
    # Transformers' sdpa leaves a soft cap out without a word.
    has_soft_cap = getattr(loaded.model.config.get_text_config(), "attn_logit_softcapping", None) is not None
    return "eager" if has_soft_cap else "sdpa"


@contextlib.contextmanager
def under_attention(loaded: LoadedModel, name: str) -> Iterator[None]:
    """Runs the model under another attention function."""
    config = loaded.model.config.get_text_config()
    before = config._attn_implementation
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = before


def _figures(found: Comparison, size_bytes: int) -> dict[str, Any]:
    def likelihood(nats: float) -> dict[str, float]:
        return {"bitsPerByte": bits_per_byte(nats, size_bytes), "perplexity": perplexity(nats, found.tokens)}

    return {
        "predictedTokens": found.tokens,
        "baseline": likelihood(found.baseline_nats),
        "simulated": likelihood(found.simulated_nats),
        "klDivergence": found.divergence,
        "top1Agreement": found.agreement,
        "layers": [
            {"layer": errors.layer, "keyError": errors.keys, "valueError": errors.values} for errors in found.layers
        ],
    }


def _verification(found: Verification) -> dict[str, Any]:
    fields = {camel(name): value for name, value in dataclasses.asdict(found).items()}
    differences = [{**dataclasses.asdict(each), "sentence": str(each)} for each in found.differences]
    return {"isEqual": found.is_equal, **fields, "differences": differences}


def camel(name: str) -> str:
    """snake_case as camelCase."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def hardware(device: torch.device) -> str:
    """What a device is, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
