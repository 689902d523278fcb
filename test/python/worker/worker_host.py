"""A host for tests: starts the real worker process and speaks the wire protocol to it."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[3]
PYTHONIA = ROOT / "node_modules" / "pythonia" / "src" / "pythonia"
TIMEOUT_S = 60.0


class Host:
    """One worker process. Frames are read by a thread; what is waited for may arrive in any order."""

    def __init__(
        self, *, code: str | None = None, environment: dict[str, str] | None = None, arguments: Sequence[str] = ()
    ) -> None:
        """``code`` runs in the worker's process in place of ``-m kitty_kv.worker`` (it must run that itself)."""
        program = ["-m", "kitty_kv.worker"] if code is None else ["-c", code]
        self.process = subprocess.Popen(
            [sys.executable, *program, "--pythonia", str(PYTHONIA), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'python'}:{ROOT / 'kernels'}", **(environment or {})},
        )
        self.frames: list[dict[str, Any]] = []
        self.events: list[list[Any]] = []
        self.stderr = ""
        self._next_request = 10_000
        self._changed = threading.Condition()
        self._may_read = threading.Event()
        self._may_read.set()
        self._threads = [threading.Thread(target=self._read), threading.Thread(target=self._read_stderr)]
        for thread in self._threads:
            thread.start()

    def send(self, method: str, params: Any = None) -> int:
        """Sends a call; returns its number."""
        return self.send_raw_params(method, json.dumps({} if params is None else params, ensure_ascii=False))

    def send_raw_params(self, method: str, text: str) -> int:
        self._next_request += 1
        frame = {"r": self._next_request, "action": "pcall", "ffid": 0, "key": ["invoke"], "val": [[method, text], {}]}
        self.write(json.dumps(frame, ensure_ascii=False).encode() + b"\n")
        return self._next_request

    def write(self, data: bytes) -> None:
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def envelope(self, request: int) -> dict[str, Any]:
        """The answer to a call; waits for the outcome if that is a ticket."""
        reply = self.wait(lambda: next((f for f in self.frames if f.get("r") == request), None), f"reply {request}")
        assert reply["key"] == "string", reply
        envelope = json.loads(reply["val"])
        ticket = envelope.get("ok", {}).get("ticket") if isinstance(envelope.get("ok"), dict) else None
        return envelope if ticket is None else self.event("settled", ticket)[2]

    def call(self, method: str, params: Any = None) -> Any:
        envelope = self.envelope(self.send(method, params))
        assert "ok" in envelope, envelope
        return envelope["ok"]

    def error(self, method: str, params: Any = None) -> dict[str, Any]:
        envelope = self.envelope(self.send(method, params))
        assert "error" in envelope, envelope
        return envelope["error"]

    def event(self, kind: str, name: Any = None) -> list[Any]:
        """The first event of a kind (and stream or ticket)."""
        return self.wait(
            lambda: next((e for e in self.events if e[0] == kind and (name is None or e[1] == name)), None),
            f"{kind} {name}",
        )

    def logged(self, text: str, stream: str = "stdout") -> bool:
        log = ["log", {"stream": stream, "text": text}]
        return self.wait(lambda: log in self.events, f"log {text!r}")

    def open_session(self, name: str, model: Any, preset: str = "kitty-pro", **more: Any) -> dict[str, Any]:
        params = {"session": name, "model": None if model is None else str(model), "cache": {"preset": preset}}
        return self.call("openSession", {"dtype": "auto", "device": "cpu", **params, **more})

    def generate(self, session: str, stream: str, prompt: str, credit: int = 100_000, **options: Any) -> None:
        self.call("generate", self.generate_params(session, stream, prompt, credit, **options))

    @staticmethod
    def generate_params(
        session: str, stream: str, prompt: str, credit: int = 100_000, **options: Any
    ) -> dict[str, Any]:
        return {
            "session": session,
            "stream": stream,
            "prompt": prompt,
            "messages": None,
            "options": options,
            "credit": credit,
        }

    def result(self, stream: str) -> dict[str, Any]:
        outcome = self.event("end", stream)[2]
        assert "ok" in outcome, outcome
        return outcome["ok"]

    def text(self, session: str, stream: str, prompt: str, **options: Any) -> str:
        self.generate(session, stream, prompt, **options)
        return self.result(stream)["text"]

    def tokens(self, stream: str) -> list[list[Any]]:
        return [event for event in list(self.events) if event[0] == "tok" and event[1] == stream]

    def wait(self, find: Any, what: str, timeout_s: float = TIMEOUT_S) -> Any:
        with self._changed:
            found = self._changed.wait_for(lambda: find() or (self.process.poll() is not None and find()), timeout_s)
        assert found, f"{what} did not come; exit code {self.process.poll()}, stderr: {self.stderr[-2000:]}"
        return found

    def stop_reading(self) -> None:
        """Lets the pipe fill up."""
        self._may_read.clear()

    def go_on_reading(self) -> None:
        self._may_read.set()

    def close(self) -> None:
        self.go_on_reading()
        self.process.stdin.close()
        try:
            self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait()
            for thread in self._threads:
                thread.join(10)

    def seconds_to_exit(self, timeout_s: float = 20.0) -> float:
        started = time.monotonic()
        self.process.wait(timeout_s)
        return time.monotonic() - started

    def _read(self) -> None:
        # Unbuffered reads, so that a host that does not read really leaves the bytes in the pipe.
        rest = b""
        while self._may_read.wait() and (data := os.read(self.process.stdout.fileno(), 65_536)):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                frame = json.loads(line)
                with self._changed:
                    self.frames.append(frame)
                    if frame.get("c") == "kitty":
                        self.events.extend(frame["e"])
                    self._changed.notify_all()
        with self._changed:
            assert rest == b"", rest
            self._changed.notify_all()

    def _read_stderr(self) -> None:
        for line in self.process.stderr:
            with self._changed:
                self.stderr += line.decode("utf-8", "replace")
                self._changed.notify_all()
