"""The worker's private pair of pipes to its host, and what becomes of stdin and stdout for everybody else."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator

from .outbox import Outbox
from .wire_frames import LINE_LIMIT_BYTES

_READ_BYTES = 256 * 1024
_LOG_LINE_BYTES = 16 * 1024


class Channel:
    """Takes stdin and stdout for itself; must be made before anything else can print.

    Afterwards file descriptor 0 is /dev/null and 1 is stderr, for this process, its C libraries and its children, and
    ``sys.stdout`` sends log events.

    Args:
        on_broken: called on any thread when the host does not read any more; must not return.
    """

    def __init__(self, on_broken: Callable[[], None]) -> None:
        # dup() makes descriptors that children do not inherit.
        self._in_fd = os.dup(0)
        out_fd = os.dup(1)
        null_fd = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null_fd, 0)
        os.close(null_fd)
        os.dup2(2, 1)
        self.outbox = Outbox(out_fd, on_broken)
        os.register_at_fork(after_in_child=lambda: _leave_channel(self._in_fd, out_fd))
        self._log_lines = _LogLines(self.outbox)
        buffer = io.BufferedWriter(self._log_lines, _LOG_LINE_BYTES)
        sys.stdout = io.TextIOWrapper(buffer, encoding="utf-8", errors="surrogateescape", line_buffering=True)

    def lines(self) -> Iterator[bytes]:
        """The host's lines as they come, without their ends; stops when the host closes its side."""
        buffered = bytearray()
        is_skipping = False
        while data := self._read():
            *ends, rest = data.split(b"\n")
            for end in ends:
                line = bytes(buffered + end)
                buffered.clear()
                if not is_skipping:
                    yield line
                is_skipping = False
            buffered += rest
            if len(buffered) > LINE_LIMIT_BYTES:
                buffered.clear()
                if not is_skipping:
                    self.outbox.send_log(
                        "worker", f"Skipped a line from the host that is longer than {LINE_LIMIT_BYTES} bytes."
                    )
                is_skipping = True

    def end_logs(self) -> None:
        """Sends what was printed without a line end; for the end of the process."""
        sys.stdout.flush()
        self._log_lines.send_partial()

    def _read(self) -> bytes:
        try:
            return os.read(self._in_fd, _READ_BYTES)
        except OSError:
            # A host that died with unread data resets a socket instead of closing it. It is gone all the same.
            return b""


class _LogLines(io.RawIOBase):
    """What Python code prints, as one log event a line."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._lock = threading.Lock()
        self._partial = b""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        # For subprocess.run(stdout=sys.stdout): children write to stderr.
        return 1

    def write(self, data: bytes) -> int:  # type: ignore[override]
        with self._lock:
            *lines, self._partial = (self._partial + bytes(data)).split(b"\n")
            if len(self._partial) >= _LOG_LINE_BYTES:
                lines.append(self._partial)
                self._partial = b""
        self._send(lines)
        return len(data)

    def send_partial(self) -> None:
        with self._lock:
            partial, self._partial = self._partial, b""
        self._send([partial] if partial else [])

    def _send(self, lines: list[bytes]) -> None:
        for line in lines:
            for start in range(0, max(len(line), 1), _LOG_LINE_BYTES):
                text = line[start : start + _LOG_LINE_BYTES].decode("utf-8", "replace")
                self._outbox.send_log("stdout", text)


def _leave_channel(*fds: int) -> None:
    """In a forked child: the pipes are the parent's, and its locks may be held by threads that do not exist here."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
