"""Everything the worker sends: one ordered queue, written by whoever comes first and by one thread under load."""

from __future__ import annotations

import json
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

LINE_LIMIT_BYTES = 16 * 1024 * 1024
_BATCH_EVENTS = 512
# POSIX: a write of this size to a pipe that polls writable does not block.
_DIRECT_BYTES = 4096
_LOG_BACKLOG = 2048
_FRAME_BYTES = 256 * 1024
_JOIN_CHARACTERS = 4096

Event = list[Any]


class Outbox:
    """Sends frames in order without making their senders wait for the reader of the pipe.

    A frame is written at once by its own thread when nothing is queued and the pipe has room. Otherwise it is queued,
    and one thread writes the queue; meanwhile the tokens of a stream are put together into one event.

    Args:
        fd: where to write.
        on_broken: called when nobody reads any more; must not return.
    """

    def __init__(self, fd: int, on_broken: Callable[[], None]) -> None:
        self._fd = fd
        self._on_broken = on_broken
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._changed = threading.Condition()
        self._queue: deque[bytes | Event] = deque()
        self._open_tokens: dict[str, Event] = {}
        self._is_writing = False
        threading.Thread(target=self._run, name="kitty-writer", daemon=True).start()

    def send_reply(self, reply: dict[str, Any]) -> None:
        """Sends a reply frame of pythonia's Bridge."""
        line = _encode(reply)
        if len(line) >= LINE_LIMIT_BYTES:
            line = _encode({"r": reply["r"], "key": "string", "val": json.dumps(_too_long(len(line))), "sig": ""})
        self._send(line + b"\n")

    def send_event(self, event: Event) -> None:
        """Sends an event; ``["tok", stream, text, count]`` may be joined with others of its stream."""
        self._send(event)

    def send_log(self, stream: str, text: str) -> None:
        """Sends a log event; waits while thousands of entries are queued, as a write to a full pipe would."""
        if threading.current_thread() is not threading.main_thread():
            with self._changed:
                self._changed.wait_for(lambda: len(self._queue) < _LOG_BACKLOG)
        self._send(["log", {"stream": stream, "text": text}])

    def flush(self, timeout_s: float) -> bool:
        """Waits until everything is written; False when that took longer than ``timeout_s``."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue and not self._is_writing, timeout_s)

    def _send(self, entry: bytes | Event) -> None:
        with self._changed:
            if self._is_writing or self._queue:
                self._enqueue(entry)
                return
            self._is_writing = True
        data = entry if isinstance(entry, bytes) else b"".join(_event_frames([entry]))
        rest = self._write_directly(data)
        with self._changed:
            self._is_writing = False
            if rest:
                self._queue.appendleft(rest)
            if self._queue:
                self._changed.notify_all()

    def _enqueue(self, entry: bytes | Event) -> None:
        if isinstance(entry, list) and entry[0] == "tok":
            queued = self._open_tokens.get(entry[1])
            if queued is not None and len(queued[2]) < _JOIN_CHARACTERS:
                queued[2] += entry[2]
                queued[3] += entry[3]
                return
            self._open_tokens[entry[1]] = entry
        elif isinstance(entry, list) and entry[0] == "end":
            self._open_tokens.pop(entry[1], None)
        self._queue.append(entry)

    def _write_directly(self, data: bytes) -> bytes:
        """Writes what can be written without waiting; returns the rest."""
        if len(data) > _DIRECT_BYTES:
            return data
        ready = self._poll.poll(0)
        if not ready:
            return data
        return data[self._write(data) :]

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue and not self._is_writing)
                self._is_writing = True
                batch = self._take_batch()
            for data in [batch] if isinstance(batch, bytes) else _event_frames(batch):
                self._write_all(data)
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()

    def _take_batch(self) -> bytes | list[Event]:
        """The first queued frame, or the events up to the next one."""
        if isinstance(self._queue[0], bytes):
            return self._queue.popleft()
        events: list[Event] = []
        while self._queue and isinstance(self._queue[0], list) and len(events) < _BATCH_EVENTS:
            event = self._queue.popleft()
            if event[0] == "tok" and self._open_tokens.get(event[1]) is event:
                del self._open_tokens[event[1]]
            events.append(event)
        return events

    def _write_all(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._write(rest) :]

    def _write(self, data: bytes | memoryview) -> int:
        try:
            return os.write(self._fd, data)
        except OSError as error:
            print(f"Cannot write to the host: {error.strerror}; this worker ends.", file=sys.stderr)
            self._on_broken()
            raise


def _encode(value: Any) -> bytes:
    # ASCII only: a lone surrogate in a model's output has no UTF-8, but it has an escape.
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def _event_frames(events: list[Event]) -> Iterator[bytes]:
    frame: list[bytes] = []
    size = 0
    for event in events:
        data = _encode_event(event)
        if frame and size + len(data) > _FRAME_BYTES:
            yield _event_frame(frame)
            frame, size = [], 0
        frame.append(data)
        size += len(data)
    yield _event_frame(frame)


def _event_frame(encoded: list[bytes]) -> bytes:
    return b'{"c":"kitty","e":[' + b",".join(encoded) + b"]}\n"


def _encode_event(event: Event) -> bytes:
    data = _encode(event)
    # Only an outcome can be as long as this: log lines and token events are cut before.
    if len(data) > LINE_LIMIT_BYTES - 64:
        data = _encode([*event[:2], _too_long(len(data))])
    return data


def _too_long(size: int) -> dict[str, Any]:
    message = f"Cannot answer in {size} bytes: a line holds at most {LINE_LIMIT_BYTES}; ask for less at a time."
    return {"error": {"code": "invalid_argument", "message": message, "details": {"sizeBytes": size}}}
