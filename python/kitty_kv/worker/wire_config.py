"""The wire's camelCase forms of what Python names in snake_case."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..config import KittyConfig
from ..errors import ConfigError
from .params import unknown_key

if TYPE_CHECKING:
    from ..engine.generation import Result
    from ..engine.metrics import EngineMetrics
    from ..engine.sampling import Sampled


def config_from_wire(fields: dict[str, Any]) -> KittyConfig:
    """Raises ConfigError, in the wire's names."""
    names = {_camel(field.name): field.name for field in dataclasses.fields(KittyConfig)}
    for key in fields:
        if key not in names:
            raise unknown_key("open a session with this cache config", key, names)
    try:
        return KittyConfig.from_dict({names[key]: value for key, value in fields.items() if value is not None})
    except ConfigError as error:
        field = error.details.get("field")
        if field is None:
            raise
        message = str(error).replace(field, _camel(field))
        raise ConfigError(message, code=error.code, details={**error.details, "field": _camel(field)}) from None


def config_to_wire(config: KittyConfig) -> dict[str, Any]:
    """All fields, resolved."""
    return {_camel(name): value for name, value in config.to_dict().items()}


def memory_to_wire(memory: dict[str, Any], preset: str) -> dict[str, Any]:
    """What a cache holds."""
    return {"preset": preset, **{_camel(name): value for name, value in memory.items()}}


def metrics_to_wire(metrics: EngineMetrics) -> dict[str, Any]:
    """What an engine does and has done."""
    fields = {_camel(field.name): getattr(metrics, field.name) for field in dataclasses.fields(metrics)}
    pools = [{_camel(name): value for name, value in dataclasses.asdict(pool).items()} for pool in metrics.pools]
    return {**fields, "pools": pools}


def logprobs_to_wire(logprobs: Sequence[Sampled]) -> list[dict[str, Any]]:
    """An entry a token: the chosen one and the most probable ones."""
    return [dataclasses.asdict(sampled) for sampled in logprobs]


def result_to_wire(result: Result, preset: str) -> dict[str, Any]:
    """What a generation came to."""
    fields = {_camel(field.name): getattr(result, field.name) for field in dataclasses.fields(result)}
    del fields["memory"], fields["logprobs"]
    if result.logprobs is not None:
        fields["logprobs"] = logprobs_to_wire(result.logprobs)
    return {**fields, "kvCache": memory_to_wire(result.memory, preset)}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
