"""What is sent, as the bytes of frames."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

LINE_LIMIT_BYTES = 16 * 1024 * 1024
_FRAME_BYTES = 256 * 1024

Event = list[Any]

# ASCII only: a lone surrogate in a model's output has no UTF-8, but it has an escape.
_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def reply_frame(reply: dict[str, Any]) -> bytes:
    """A reply of pythonia's Bridge as a line; one that no line can hold becomes an error."""
    line = _encode(reply)
    if len(line) >= LINE_LIMIT_BYTES:
        line = _encode({"r": reply["r"], "key": "string", "val": _to_json(_too_long(len(line))), "sig": ""})
    return line + b"\n"


def frames(entries: Iterable[bytes | Event]) -> Iterator[bytes]:
    """Frames in the order of what they hold; events next to each other share one, up to its size limit."""
    events: list[bytes] = []
    size = 0
    for entry in entries:
        data = entry if isinstance(entry, bytes) else _encode_event(entry)
        if events and (data is entry or size + len(data) > _FRAME_BYTES):
            yield _event_frame(events)
            events, size = [], 0
        if data is entry:
            yield data
        else:
            events.append(data)
            size += len(data)
    if events:
        yield _event_frame(events)


def _event_frame(encoded: list[bytes]) -> bytes:
    return b'{"c":"kitty","e":[' + b",".join(encoded) + b"]}\n"


def _encode_event(event: Event) -> bytes:
    data = _encode(event)
    # Only an outcome can be as long as this: log lines and token events are cut before.
    if len(data) > LINE_LIMIT_BYTES - 64:
        data = _encode([*event[:2], _too_long(len(data))])
    return data


def _encode(value: Any) -> bytes:
    return _to_json(value).encode("ascii")


def _too_long(size: int) -> dict[str, Any]:
    message = f"Cannot answer in {size} bytes: a line holds at most {LINE_LIMIT_BYTES}; ask for less at a time."
    return {"error": {"code": "invalid_argument", "message": message, "details": {"sizeBytes": size}}}
