"""The order and the joining of what is sent, over a real pipe."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator

import pytest

from kitty_kv.worker.outbox import Outbox

COUNT = 30_000


class Pipe:
    """An outbox and the other end of its pipe, which is read only on request."""

    def __init__(self) -> None:
        self.read_fd, write_fd = os.pipe()
        self.broken = threading.Event()
        self.outbox = Outbox(write_fd, self._on_broken)

    def frames_until(self, last: list[object]) -> list[dict]:
        frames, rest = [], b""
        while not frames or last not in frames[-1].get("e", []):
            *lines, rest = (rest + os.read(self.read_fd, 65_536)).split(b"\n")
            frames.extend(json.loads(line) for line in lines)
        return frames

    def events_until(self, last: list[object]) -> list[list]:
        return [event for frame in self.frames_until(last) for event in frame.get("e", [])]

    def _on_broken(self) -> None:
        self.broken.set()
        raise SystemExit


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    yield Pipe()


def test_tokens_of_a_stream_are_joined_while_the_pipe_is_full(pipe: Pipe) -> None:
    for i in range(COUNT):
        pipe.outbox.send_event(["tok", f"s{i % 3}", f"{i},", 1])
    for stream in range(3):
        pipe.outbox.send_event(["end", f"s{stream}", {"ok": {}}])
    events = pipe.events_until(["end", "s2", {"ok": {}}])
    assert len(events) < COUNT / 4
    for stream in range(3):
        mine = [event for event in events if event[1] == f"s{stream}"]
        assert mine[-1] == ["end", f"s{stream}", {"ok": {}}]
        assert "".join(event[2] for event in mine[:-1]) == "".join(f"{i}," for i in range(stream, COUNT, 3))
        assert sum(event[3] for event in mine[:-1]) == COUNT / 3


def test_nobody_waits_for_a_pipe_that_is_full(pipe: Pipe) -> None:
    for i in range(COUNT):
        pipe.outbox.send_reply({"r": i, "key": "string", "val": "x" * 100, "sig": ""})
    assert not pipe.outbox.flush(timeout_s=0.0)
    pipe.outbox.send_event(["end", "s", {}])
    frames = pipe.frames_until(["end", "s", {}])
    assert [frame["r"] for frame in frames[:-1]] == list(range(COUNT))
    assert pipe.outbox.flush(timeout_s=10)


def test_each_of_many_threads_keeps_its_order(pipe: Pipe) -> None:
    def send(stream: str) -> None:
        for i in range(2000):
            pipe.outbox.send_event(["tok", stream, f"{i},", 1])

    threads = [threading.Thread(target=send, args=[f"t{i}"]) for i in range(8)]
    for thread in threads:
        thread.start()
    closer = threading.Thread(
        target=lambda: ([thread.join() for thread in threads], pipe.outbox.send_event(["end", "all", {}]))
    )
    closer.start()
    events = pipe.events_until(["end", "all", {}])
    closer.join()
    wanted = "".join(f"{i}," for i in range(2000))
    for i in range(8):
        assert "".join(event[2] for event in events if event[1] == f"t{i}") == wanted


def test_tokens_sent_after_an_end_follow_it(pipe: Pipe) -> None:
    for i in range(COUNT):
        pipe.outbox.send_event(["tok", "s", "x", 1])
        if i % 1000 == 999:
            pipe.outbox.send_event(["end", "s", {"turn": i // 1000}])
    last = ["end", "s", {"turn": COUNT // 1000 - 1}]
    tokens = 0
    for event in pipe.events_until(last):
        tokens += event[3] if event[0] == "tok" else 0
        if event[0] == "end":
            assert tokens == 1000
            tokens = 0


def test_frames_are_short_however_much_is_queued(pipe: Pipe) -> None:
    text = "é" * 10_000
    for i in range(400):
        pipe.outbox.send_event(["log", {"stream": "worker", "text": f"{i} {text}"}])
    pipe.outbox.send_event(["end", "s", {}])
    frames = pipe.frames_until(["end", "s", {}])
    assert max(len(json.dumps(frame)) for frame in frames) < 400_000
    events = [event for frame in frames for event in frame["e"]]
    assert [event[1]["text"] for event in events[:-1]] == [f"{i} {text}" for i in range(400)]


def test_text_without_utf8_crosses_as_an_escape(pipe: Pipe) -> None:
    pipe.outbox.send_event(["tok", "s", "a\udc80é", 1])
    pipe.outbox.send_event(["end", "s", {}])
    assert pipe.events_until(["end", "s", {}])[0][2] == "a\udc80é"


def test_a_pipe_that_nobody_reads_any_more_is_noticed(pipe: Pipe) -> None:
    os.close(pipe.read_fd)
    with pytest.raises(SystemExit):
        pipe.outbox.send_event(["tok", "s", "x", 1])
    assert pipe.broken.is_set()
