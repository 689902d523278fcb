"""Everything the worker sends: one ordered queue, written by whoever comes first and by one thread under load."""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from .send_queue import NEVER, NOW, Entry, SendQueue
from .wire_frames import Event, frames, reply_frame

# POSIX: a write of this size to a pipe that polls writable does not block.
_DIRECT_BYTES = 4096
_LOG_BACKLOG = 2048


class Outbox:
    """Sends frames in order without making their senders wait for the reader of the pipe.

    What is due is written at once by its sender's own thread when the pipe has room; tokens that may wait go with it.
    One more thread writes what the pipe had no room for, and what waits when nobody comes to take it along. It sleeps
    until then: waking a thread costs the one that computes the tokens more than a write does.

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
        self._queue = SendQueue()
        self._is_writing = False
        self._alarm = NEVER
        """When the writer's thread looks at the queue without being woken."""
        self._flushing = 0
        threading.Thread(target=self._run, name="kitty-writer", daemon=True).start()

    def send_reply(self, reply: dict[str, Any]) -> None:
        """Sends a reply frame of pythonia's Bridge."""
        self._send(reply_frame(reply))

    def send_event(self, event: Event) -> None:
        """Sends an event; ``["tok", stream, text, count]`` may wait a few milliseconds for others of its stream."""
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
            if self._queue:
                self._queue.due = NOW
                self._changed.notify_all()
            self._flushing += 1
            try:
                return self._changed.wait_for(lambda: not self._queue and not self._is_writing, timeout_s)
            finally:
                self._flushing -= 1

    def _send(self, entry: Entry) -> None:
        with self._changed:
            now = time.monotonic()
            is_writers = self._is_writing or self._queue.due == NOW
            self._queue.add(entry, now)
            if is_writers:
                return
            if self._queue.due > now:
                self._set_alarm()
                return
            self._is_writing = True
            entries = self._queue.take(now)
        rest = self._write_directly(b"".join(frames(entries)))
        with self._changed:
            self._is_writing = False
            if rest:
                self._queue.put_back(rest)
            if self._flushing:
                self._changed.notify_all()
            self._set_alarm()

    def _set_alarm(self) -> None:
        # A thread that is not woken for nothing is what makes this cheap.
        if self._queue.overdue < self._alarm:
            self._changed.notify_all()

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
                self._wait_until_overdue()
                self._is_writing = True
                entries = self._queue.take(time.monotonic())
            for data in frames(entries):
                self._write_all(data)
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()

    def _wait_until_overdue(self) -> None:
        while True:
            now = time.monotonic()
            # Who is writing now sets the alarm for what is left.
            self._alarm = NEVER if self._is_writing else self._queue.overdue
            if self._alarm <= now:
                return
            self._changed.wait(None if self._alarm == NEVER else self._alarm - now)

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
