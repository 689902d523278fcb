"""Checks of what the host sends: every field by type and range, no field unknown."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ConfigError

Check = Callable[[Any], bool]

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,3})?")
_DTYPES = ("auto", "float32", "bfloat16", "float16")
_ROLES = ("system", "user", "assistant")
MAX_STOPS = 16
# As engine/speculation.py has them, which imports torch.
SPECULATION_METHODS = ("none", "prompt-lookup", "draft-model")
MAX_DRAFT_TOKENS = 15
MAX_COUNT = 2**53 - 1


class Field:
    """One parameter.

    Args:
        check: whether a value is acceptable.
        wanted: the same in words.
        default: what stands for a missing or null value; required if left out.
        fields: what an object holds.
    """

    _REQUIRED = object()

    def __init__(
        self, check: Check, wanted: str, default: Any = _REQUIRED, fields: Mapping[str, Field] | None = None
    ) -> None:
        self.check = check
        self.wanted = wanted
        self.default = default
        self.fields = fields

    @property
    def is_required(self) -> bool:
        return self.default is Field._REQUIRED


def parse_params(method: str, fields: Mapping[str, Field], text: str) -> dict[str, Any]:
    """The parameters of a call, checked, with defaults for what is missing.

    Raises:
        ConfigError: the text is not a JSON object, a field is unknown or missing, or a value is not what it must be.
    """
    try:
        params = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"Cannot run {method}: its parameters are not JSON ({error}); send one JSON object."
        ) from None
    return _check_fields(f"run {method}", fields, params, "")


def unknown_key(attempt: str, key: str, known: Mapping[str, Any]) -> ConfigError:
    """The error for a key that means nothing; it names the nearest one that does."""
    nearest = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}" if nearest else f"the keys are {', '.join(known) or 'none'}"
    return ConfigError(f"Cannot {attempt}: unknown key {key!r}; {hint}.", details={"key": key, "known": list(known)})


def unknown_method(method: str, known: Mapping[str, Any]) -> ConfigError:
    """The error for a method that does not exist."""
    name = _show(method)
    return ConfigError(f"Cannot run {name}: there is no such method; the methods are {', '.join(known)}.")


def _check_fields(attempt: str, fields: Mapping[str, Field], params: Any, prefix: str) -> dict[str, Any]:
    if not isinstance(params, dict):
        raise ConfigError(f"Cannot {attempt}: want an object of parameters, got {_show(params)}.")
    for key in params:
        if key not in fields:
            raise unknown_key(attempt, prefix + key, {prefix + name: field for name, field in fields.items()})
    return {name: _checked(attempt, prefix + name, field, params.get(name)) for name, field in fields.items()}


def _checked(attempt: str, name: str, field: Field, value: Any) -> Any:
    if value is None and not field.is_required:
        value = field.default
        if field.fields is None or value is None:
            return value
    if not field.check(value):
        raise ConfigError(
            f"Cannot {attempt}: {name} must be {field.wanted}, got {_show(value)}.", details={"field": name}
        )
    return value if field.fields is None else _check_fields(attempt, field.fields, value, f"{name}.")


def _show(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value)
    return text if len(text) <= 100 else f"{text[:100]}…"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _is_int(value: Any, low: int, high: int = MAX_COUNT) -> bool:
    return type(value) is int and low <= value <= high


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e30


def _is_text(value: Any) -> bool:
    # Half a surrogate pair is no character; tokenizers fail on it late and unclearly.
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _is_message(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"role", "content"}
        and value["role"] in _ROLES
        and _is_text(value["content"])
    )


def _list_of(value: Any, check: Check, least: int, most: int) -> bool:
    return isinstance(value, list) and least <= len(value) <= most and all(check(item) for item in value)


def identifier() -> Field:
    """A session's or stream's name."""
    return Field(lambda x: isinstance(x, str) and _ID.fullmatch(x) is not None, "1 to 64 letters, digits, - or _")


def count(low: int) -> Field:
    """An integer from ``low``."""
    return Field(lambda x: _is_int(x, low), f"an integer >= {low}")


def text() -> Field:
    """A string of whole characters."""
    return Field(_is_text, "a string of valid Unicode")


def optional(field: Field, default: Any = None) -> Field:
    """The same, but it may be missing."""
    return Field(field.check, field.wanted, default)


def an_object(fields: Mapping[str, Field] | None = None) -> Field:
    """An object of ``fields``, or of fields that are checked elsewhere."""
    return Field(lambda x: isinstance(x, dict), "an object", {}, fields)


def model_name() -> Field:
    """A model's folder or hub id, or null."""
    return Field(lambda x: _is_text(x) and x != "" and "\0" not in x, "a folder, a hub id or null", None)


def file_path() -> Field:
    """An absolute path."""
    return Field(lambda x: _is_text(x) and x.startswith("/") and "\0" not in x, "an absolute path")


positive_number = Field(lambda x: _is_number(x) and x > 0, "a number over 0")

OPEN_SESSION = {
    "session": identifier(),
    "model": model_name(),
    "cache": an_object(),
    "dtype": Field(lambda x: x in _DTYPES, f"one of {', '.join(_DTYPES)}", "auto"),
    "kvMemoryMiB": optional(count(1)),
    "saved": optional(file_path()),
    "device": Field(lambda x: isinstance(x, str) and _DEVICE.fullmatch(x) is not None, "auto, cpu or cuda", "auto"),
}
_SPECULATION = {
    "method": Field(lambda x: x in SPECULATION_METHODS, f"one of {', '.join(SPECULATION_METHODS)}"),
    "draftTokens": Field(lambda x: _is_int(x, 1, MAX_DRAFT_TOKENS), f"an integer from 1 to {MAX_DRAFT_TOKENS}", 5),
    "ngramMax": optional(count(1), 4),
    "ngramMin": optional(count(1), 2),
    "model": model_name(),
}
_GENERATE_OPTIONS = {
    "maxNewTokens": optional(count(1), 64),
    "temperature": Field(lambda x: _is_number(x) and x >= 0, "a number >= 0", 0.0),
    "topK": optional(count(1)),
    "topP": Field(lambda x: _is_number(x) and 0 < x <= 1, "a number over 0 and at most 1", None),
    "seed": Field(lambda x: _is_int(x, -MAX_COUNT), "an integer", None),
    "minP": Field(lambda x: _is_number(x) and 0 <= x <= 1, "a number from 0 to 1", None),
    "repetitionPenalty": optional(positive_number, 1.0),
    "logprobs": Field(lambda x: _is_int(x, 0, 20), "an integer from 0 to 20", None),
    "stop": Field(
        lambda x: _list_of(x, lambda item: _is_text(item) and 0 < len(item) <= 1000, 0, MAX_STOPS),
        f"a list of at most {MAX_STOPS} texts of 1 to 1000 characters",
        [],
    ),
    "speculation": Field(lambda x: isinstance(x, dict), "an object or null", None, _SPECULATION),
}
GENERATE = {
    "session": identifier(),
    "stream": identifier(),
    "prompt": optional(text()),
    "messages": Field(
        lambda x: _list_of(x, _is_message, 1, 10_000),
        "a list of {role, content} objects, the role system, user or assistant",
        None,
    ),
    "options": an_object(_GENERATE_OPTIONS),
    "credit": count(1),
}
STREAM = {"stream": identifier()}
SESSION = {"session": identifier()}
TOKEN_TEXTS = {
    "session": identifier(),
    "tokens": Field(lambda x: _list_of(x, lambda y: _is_int(y, 0), 0, 1_000_000), "a list of token ids"),
}
FORK_SESSION = {"session": identifier(), "fork": identifier()}
SAVE_SESSION = {"session": identifier(), "path": file_path()}
CREDIT = {"stream": identifier(), "tokens": count(1)}
BENCH_ECHO = {"payload": Field(lambda x: isinstance(x, str), "a string")}
BENCH_EMIT = {
    "stream": identifier(),
    "events": count(0),
    "text": text(),
    "tokensPerSecond": optional(positive_number),
}
BENCH_GENERATE = {
    "stream": identifier(),
    "tokens": count(1),
    "tokensPerSecond": optional(positive_number),
    "credit": count(1),
}
NOTHING: dict[str, Field] = {}
