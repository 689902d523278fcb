"""Cache configuration: the paper's five presets (arXiv 2511.18643, section 5.1), two of our own, and the fields behind them."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

from .errors import ConfigError

SELECTIONS = ("magnitude", "range", "query", "variance", "random")
FULL_PRECISION_BITS = 16

_PRESET_FIELDS: dict[str, dict[str, Any]] = {
    "fp16": {"k_bits": 16, "v_bits": 16, "boost_ratio": 0.0, "sink_tokens": 0, "recent_tokens": 0},
    "kivi-2": {"k_bits": 2, "v_bits": 2, "boost_ratio": 0.0, "sink_tokens": 0, "recent_tokens": 128},
    "kivi-2-sink": {"k_bits": 2, "v_bits": 2, "boost_ratio": 0.0, "sink_tokens": 32, "recent_tokens": 128},
    "kitty": {"k_bits": 2, "v_bits": 2, "boost_ratio": 0.125, "sink_tokens": 32, "recent_tokens": 128},
    "kitty-pro": {"k_bits": 2, "v_bits": 2, "boost_ratio": 0.25, "sink_tokens": 32, "recent_tokens": 128},
}
# As the paper's, with as many bits, but channels are chosen by what queries read.
_PRESET_FIELDS |= {
    "kitty-q": {**_PRESET_FIELDS["kitty"], "selection": "query"},
    "kitty-q-pro": {**_PRESET_FIELDS["kitty-pro"], "selection": "query"},
}
_SHARED_FIELDS: dict[str, Any] = {"boost_bits": 4, "selection": "magnitude", "page_size": 128, "seed": 0}
DEFAULT_PRESET = "kitty-pro"


@dataclasses.dataclass(frozen=True, slots=True)
class KittyConfig:
    """One cache's configuration; every field left ``None`` takes the preset's value.

    Args:
        preset: one of ``fp16``, ``kivi-2``, ``kivi-2-sink``, ``kitty``, ``kitty-pro``, ``kitty-q``, ``kitty-q-pro``. Default:
            ``kitty-pro``.
        k_bits: bits of a key code, 1 to 8, or 16 for none.
        v_bits: bits of a value code, 1 to 8, or 16 for none.
        boost_bits: bits of a boosted key channel's code.
        boost_ratio: share of a page's key channels that is boosted, 0 to 1; ``floor(boost_ratio * D)`` channels.
        selection: how boosted channels are chosen: ``magnitude``, ``range``, ``query`` (range times the fourth root
            of how large the model's queries are on the channel, measured once a model), ``variance`` or ``random``.
        sink_tokens: a row's first real tokens that stay in 16 bits.
        recent_tokens: a row's latest tokens whose values stay in 16 bits.
        page_size: tokens that are quantized together, a multiple of 8.
        seed: of the ``random`` selection.

    Raises:
        ConfigError: a field is unknown, of the wrong type or out of range.
    """

    preset: str = DEFAULT_PRESET
    k_bits: int = None  # type: ignore[assignment]  # resolved from the preset below
    v_bits: int = None  # type: ignore[assignment]
    boost_bits: int = None  # type: ignore[assignment]
    boost_ratio: float = None  # type: ignore[assignment]
    selection: str = None  # type: ignore[assignment]
    sink_tokens: int = None  # type: ignore[assignment]
    recent_tokens: int = None  # type: ignore[assignment]
    page_size: int = None  # type: ignore[assignment]
    seed: int = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if not isinstance(self.preset, str) or self.preset not in _PRESET_FIELDS:
            raise ConfigError(
                f"Cannot use cache preset {self.preset!r}: it is unknown{_suggest(self.preset, _PRESET_FIELDS)}; "
                f"the presets are {', '.join(_PRESET_FIELDS)}.",
                code="unknown_preset",
                details={"preset": self.preset, "known": list(_PRESET_FIELDS)},
            )
        for name, value in {**_SHARED_FIELDS, **_PRESET_FIELDS[self.preset]}.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        _validate(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> KittyConfig:
        """Builds a config from plain data and refuses unknown keys.

        Raises:
            ConfigError: ``fields`` is not a dict, or a key or value is wrong.
        """
        if not isinstance(fields, dict):
            raise ConfigError(f"Cannot read the cache config: want a dict of fields, got {type(fields).__name__}.")
        known = [field.name for field in dataclasses.fields(cls)]
        for key in fields:
            if key not in known:
                raise ConfigError(
                    f"Cannot read the cache config: unknown key {key!r}{_suggest(key, known)}; "
                    f"the keys are {', '.join(known)}.",
                    details={"key": key, "known": known},
                )
        return cls(**fields)

    def to_dict(self) -> dict[str, Any]:
        """All fields, resolved, as plain data."""
        return dataclasses.asdict(self)

    def validate(self) -> None:
        """Checks all fields again; Transformers calls this on every cache config.

        Raises:
            ConfigError: a field is out of range.
        """
        _validate(self)

    @property
    def quantizes_keys(self) -> bool:
        return self.k_bits != FULL_PRECISION_BITS

    @property
    def quantizes_values(self) -> bool:
        return self.v_bits != FULL_PRECISION_BITS

    def boosted_channels(self, head_dim: int) -> int:
        """How many of ``head_dim`` key channels a page boosts."""
        return int(self.boost_ratio * head_dim) if self.quantizes_keys else 0

    def weighs_channels(self, head_dim: int) -> bool:
        """Whether boosted channels are chosen with weights of the model: where ``query`` has a choice."""
        return self.selection == "query" and 0 < self.boosted_channels(head_dim) < head_dim


def _suggest(name: object, known: Any) -> str:
    nearest = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    return f", did you mean {nearest[0]!r}" if nearest else ""


def _validate(config: KittyConfig) -> None:
    bits = (*range(1, 9), FULL_PRECISION_BITS)
    _check(config, "k_bits", int, lambda x: x in bits, "1 to 8 or 16")
    _check(config, "v_bits", int, lambda x: x in bits, "1 to 8 or 16")
    _check(config, "boost_bits", int, lambda x: 1 <= x <= 8, "1 to 8")
    _check(config, "boost_ratio", (int, float), lambda x: 0 <= x <= 1, "a number from 0 to 1")
    _check(config, "selection", str, lambda x: x in SELECTIONS, f"one of {', '.join(SELECTIONS)}")
    _check(config, "sink_tokens", int, lambda x: x >= 0, "an integer >= 0")
    _check(config, "recent_tokens", int, lambda x: x >= 0, "an integer >= 0")
    _check(config, "page_size", int, lambda x: x > 0 and x % 8 == 0, "a positive multiple of 8")
    _check(config, "seed", int, lambda x: True, "an integer")


def _check(config: KittyConfig, name: str, kind: Any, is_valid: Any, wanted: str) -> None:
    value = getattr(config, name)
    if isinstance(value, bool) or not isinstance(value, kind) or not is_valid(value):
        raise ConfigError(
            f"Cannot use cache config field {name}: want {wanted}, got {value!r}.",
            details={"field": name, "value": repr(value)},
        )


PRESETS: dict[str, KittyConfig] = {name: KittyConfig(preset=name) for name in _PRESET_FIELDS}
