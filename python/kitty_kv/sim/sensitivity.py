"""Where the error of a quantized cache comes from, and what each of its settings buys, on one text.

- *layers, heads*: the divergence with only this layer, or only this head's keys, quantized and all else in 16 bits.
- *channels*: how much of a layer's key error lies in its worst channels, and how far the largest channel stands out.
- *settings*: boost ratio, selection, sinks and bits, each with the rest as it is.
- *positions*: the divergence by position, since errors add up while more and more of what is read is quantized.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..config import SELECTIONS, KittyConfig
from ..errors import ConfigError
from ..hf.loading import LoadedModel, load_model
from ..hf.query_weights import POWER
from .cache import Scope, SimulatedCache
from .channels import channel_figures
from .layer_kinds import has_full_attention
from .simulation import channel_weights, conditions, stock_attention, under_attention
from .trace import MakeCache, Trace, trace
from .windows import EXCERPT, cut_windows, read_text

PARTS = ("layers", "heads", "channels", "settings", "positions")
POSITIONS = 256
RESAMPLES = 4000
_RATIOS = (0.0, 0.125, 0.25, 0.5, 1.0)
_SINKS = (0, 32, 64)
# Of the queries' size, beside the one that selection query has.
_POWERS = (0.5, 1.0)


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What to analyse.

    Args:
        config: the cache whose error is taken apart.
        parts: of ``PARTS``.
        model, text, sequences, length: as of a simulation.
    """

    config: KittyConfig
    parts: tuple[str, ...] = PARTS
    model: str | None = None
    text: pathlib.Path | None = None
    sequences: int = 2
    length: int = 1024
    dtype: str = "auto"
    device: str = "auto"


def analyse(plan: Plan, tell: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Runs a plan.

    Returns:
        Plain data in camelCase; ``sensitivity`` has a list for each part.

    Raises:
        ConfigError: a part is unknown, nothing is quantized, or model and text do not fit.
        KittyKvError: the model cannot be loaded.
    """
    _check(plan)
    text = read_text(plan.text or EXCERPT)
    loaded = load_model(plan.model, dtype=plan.dtype, device=plan.device)
    windows, size_bytes = cut_windows(loaded, text, plan.sequences, plan.length)
    caches = _caches(plan, loaded)
    with under_attention(loaded, stock_attention(loaded)):
        base_nats, traces = trace(loaded.model, windows, {"all": _maker(loaded, plan.config), **caches}, tell)
    found: dict[str, list[dict[str, Any]]] = {}
    for part in plan.parts:
        if part == "positions":
            found[part] = _positions(traces["all"])
        elif part == "channels":
            found[part] = channel_figures(loaded.model, windows, plan.config)
        else:
            found[part] = [_row(name, traces[name], base_nats, size_bytes) for name in caches if name.startswith(part)]
    return {
        **conditions(loaded, plan.config, plan.text, plan.sequences, plan.length),
        "klDivergence": traces["all"].mean_divergence,
        "sensitivity": found,
    }


def _check(plan: Plan) -> None:
    for part in plan.parts:
        if part not in PARTS:
            raise ConfigError(f"Cannot analyse {part!r}: the parts are {', '.join(PARTS)}.", details={"part": part})
    if not plan.parts:
        raise ConfigError(f"Cannot analyse the cache: no part is named; give some of {', '.join(PARTS)}.")
    if not plan.config.quantizes_keys and not plan.config.quantizes_values:
        raise ConfigError("Cannot analyse this cache: it quantizes nothing; give another --preset.")
    first_page = plan.config.sink_tokens + plan.config.page_size
    if plan.length <= first_page:
        raise ConfigError(
            f"Cannot analyse this cache over {plan.length} tokens: its first page is full after {first_page}; give a larger --length."
        )


def _caches(plan: Plan, loaded: LoadedModel) -> dict[str, MakeCache]:
    config, text_config = plan.config, loaded.model.config.get_text_config()
    layers = [at for at, is_full in enumerate(has_full_attention(text_config)) if is_full]
    found: dict[str, MakeCache] = {}
    if "layers" in plan.parts:
        for layer in layers:
            for side, is_quantized in (("keys", config.quantizes_keys), ("values", config.quantizes_values)):
                if is_quantized:
                    found[f"layers/{layer}/{side}"] = _maker(loaded, config, scope=Scope(layer, side))
    if "heads" in plan.parts and config.quantizes_keys:
        for layer in layers:
            for head in range(text_config.num_key_value_heads):
                found[f"heads/{layer}/{head}"] = _maker(loaded, config, scope=Scope(layer, "keys", head))
    if "settings" in plan.parts:
        found |= _settings(config, loaded)
    return found


def _settings(config: KittyConfig, loaded: LoadedModel) -> dict[str, MakeCache]:
    def changed(**fields: Any) -> KittyConfig:
        return dataclasses.replace(config, **fields)

    found: dict[str, MakeCache] = {}
    if config.quantizes_keys:
        for ratio in _RATIOS:
            found[f"settings/boost ratio/{ratio}"] = _maker(loaded, changed(boost_ratio=ratio))
        for ratio in (0.125, 0.25):
            for selection in SELECTIONS:
                found[f"settings/selection at {ratio}/{selection}"] = _maker(
                    loaded, changed(boost_ratio=ratio, selection=selection)
                )
            for power in _POWERS:
                by_queries = changed(boost_ratio=ratio, selection="query")
                if (weights := channel_weights(loaded, by_queries)) is not None:
                    name = f"settings/selection at {ratio}/query ^ {power}"
                    found[name] = _maker(loaded, by_queries, channel_weights=weights.double() ** (power / POWER))
    for sinks in _SINKS:
        found[f"settings/sink tokens/{sinks}"] = _maker(loaded, changed(sink_tokens=sinks))
    for side in ("k_bits", "v_bits"):
        found[f"settings/16 bits for {side[0].upper()}/"] = _maker(loaded, changed(**{side: 16}))
    return found


def _maker(loaded: LoadedModel, config: KittyConfig, **options: Any) -> MakeCache:
    options.setdefault("channel_weights", channel_weights(loaded, config))
    return functools.partial(SimulatedCache, loaded.model.config, config, **options)


def _row(name: str, found: Trace, base_nats: np.ndarray, size_bytes: int) -> dict[str, Any]:
    names = name.split("/")[1:]
    low, high = _interval(found.divergence.mean(1))
    more = (found.nats - base_nats).sum()
    return {
        "name": " ".join(part for part in names if part),
        "klDivergence": found.mean_divergence,
        "klInterval": [low, high],
        "bitsPerByteMore": float(more) / np.log(2) / size_bytes,
        "top1Agreement": float(found.agrees.mean()),
    }


def _interval(by_window: np.ndarray) -> tuple[float, float]:
    """95%, from windows drawn again."""
    drawn = np.random.default_rng(0).integers(0, len(by_window), (RESAMPLES, len(by_window)))
    low, high = np.percentile(by_window[drawn].mean(1), [2.5, 97.5])
    return float(low), float(high)


def _positions(found: Trace) -> list[dict[str, Any]]:
    length = found.divergence.shape[1]
    spans = [(start, min(start + POSITIONS, length)) for start in range(0, length, POSITIONS)]
    return [
        {
            "name": f"{start} to {end}",
            "klDivergence": float(found.divergence[:, start:end].mean()),
            "klInterval": list(_interval(found.divergence[:, start:end].mean(1))),
            "top1Agreement": float(found.agrees[:, start:end].mean()),
        }
        for start, end in spans
    ]


def sensitivity_report(document: dict[str, Any]) -> str:
    """Tables for people."""
    parts = [
        "{model}, {sequences} x {length} tokens of {text}, {dtype}, {hardware}".format(**document)
        + f"\nKL divergence of {document['cache']['preset']} from 16 bits: {document['klDivergence']:.5f} nats a token"
    ]
    for part, rows in document["sensitivity"].items():
        parts.append(f"{_TITLES[part]}\n\n{_channel_table(rows) if part == 'channels' else _table(rows)}")
    return "\n\n".join(parts)


_TITLES = {
    "layers": "Only this layer's keys or values quantized",
    "heads": "Only this head's keys quantized (layer, head)",
    "channels": "Key channels: share of the squared error in the worst of them, and how far the largest stands out",
    "settings": "One setting changed",
    "positions": "By position in the text",
}


def _table(rows: Sequence[dict[str, Any]]) -> str:
    lines = ["| | KL | 95% | bits a byte more | agreement |", "|---|---:|---:|---:|---:|"]
    for row in rows:
        low, high = row["klInterval"]
        more = f"{row['bitsPerByteMore']:+.4f}" if "bitsPerByteMore" in row else ""
        shown = f"{row['klDivergence']:.5f} | {low:.5f} to {high:.5f} | {more} | {row['top1Agreement']:.2%}"
        lines.append(f"| {row['name']} | {shown} |")
    return "\n".join(lines)


def _channel_table(rows: Sequence[dict[str, Any]]) -> str:
    lines = ["| layer | worst 12.5% | worst 25% | largest / median magnitude |", "|---|---:|---:|---:|"]
    lines += [
        f"| {row['layer']} | {row['errorInWorstEighth']:.1%} | {row['errorInWorstQuarter']:.1%} | {row['largestOverMedian']:.1f} |"
        for row in rows
    ]
    return "\n".join(lines)
