"""A cache to evaluate by name: a preset, or a preset with some fields changed, ``kitty:selection=range:sink_tokens=0``."""

from __future__ import annotations

import dataclasses

from ..config import KittyConfig
from ..errors import ConfigError


def parse_cache(name: str) -> KittyConfig:
    """The config that ``name`` stands for.

    Raises:
        ConfigError: preset, field or value is wrong.
    """
    preset, *changes = name.split(":")
    fields: dict[str, object] = {"preset": preset}
    # Every field has a value in a preset, which says of what type it is.
    kinds = {field.name: type(value) for field, value in _values()}
    for change in changes:
        key, _, text = change.partition("=")
        if key == "preset":
            raise ConfigError(f"Cannot read cache {name!r}: it names two presets; give {text!r} alone.")
        kind = kinds.get(key, str)  # from_dict refuses an unknown key and names the nearest
        try:
            fields[key] = kind(text)
        except ValueError as error:
            raise ConfigError(
                f"Cannot read cache {name!r}: {key} wants a number, got {text!r}; write it as kitty:boost_ratio=0.5."
            ) from error
    return KittyConfig.from_dict(fields)


def _values() -> list[tuple[dataclasses.Field, object]]:
    config = KittyConfig()
    return [(field, getattr(config, field.name)) for field in dataclasses.fields(config)]
