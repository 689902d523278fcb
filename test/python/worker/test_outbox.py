"""The order and the joining of what is sent, over a real pipe."""

from __future__ import annotations

import json
import os
import select
import threading
import time
from collections.abc import Iterator

import pytest

from kitty_kv.worker.outbox import Outbox
from kitty_kv.worker.send_queue import HOLD_S

COUNT = 30_000
TIMEOUT_S = 5


class Pipe:
    """An outbox and the other end of its pipe, which is read only on request."""

    def __init__(self) -> None:
        self.read_fd, write_fd = os.pipe()
        self.broken = threading.Event()
        self.outbox = Outbox(write_fd, self._on_broken)

    def read_now(self) -> list[list]:
        """The events of what lies in the pipe."""
        is_readable = select.select([self.read_fd], [], [], 0)[0]
        data = os.read(self.read_fd, 65_536) if is_readable else b""
        return [event for line in data.split(b"\n")[:-1] for event in json.loads(line).get("e", [])]

    def frames_until(self, last: list[object]) -> list[dict]:
        frames, rest = [], b""
        while not frames or last not in frames[-1].get("e", []):
            assert select.select([self.read_fd], [], [], TIMEOUT_S)[0], f"{last} did not come"
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


def test_the_first_tokens_and_every_end_are_written_before_send_returns(pipe: Pipe) -> None:
    quick = 0
    for i in range(100):
        started = time.monotonic()
        pipe.outbox.send_event(["tok", f"s{i}", "a", 1])
        first = pipe.read_now()
        pipe.outbox.send_event(["tok", f"s{i}", "b", 1])
        pipe.outbox.send_event(["end", f"s{i}", {"error": {}}])
        rest = pipe.read_now()
        # A test that was held up for longer lets the other thread write.
        if time.monotonic() - started > HOLD_S:
            assert pipe.outbox.flush(timeout_s=10)
            pipe.read_now()
            continue
        quick += 1
        assert first == [["tok", f"s{i}", "a", 1]]
        assert rest == [["tok", f"s{i}", "b", 1], ["end", f"s{i}", {"error": {}}]]
    assert quick > 10


def test_tokens_that_nobody_takes_along_are_written_by_themselves(pipe: Pipe) -> None:
    pipe.outbox.send_event(["tok", "s", "a", 1])
    assert pipe.read_now() == [["tok", "s", "a", 1]]
    for _ in range(5):
        pipe.outbox.send_event(["tok", "s", "b", 1])
    text, started = "", time.monotonic()
    while text != "bbbbb":
        assert select.select([pipe.read_fd], [], [], 10)[0], f"only {text!r} came"
        text += "".join(event[2] for event in pipe.read_now())
    # Milliseconds are wanted; a second is what a loaded machine may take.
    assert time.monotonic() - started < 1


def test_a_reply_does_not_wait_for_held_tokens_nor_overtakes_them(pipe: Pipe) -> None:
    quick = 0
    for i in range(100):
        started = time.monotonic()
        pipe.outbox.send_event(["tok", f"s{i}", "a", 1])
        pipe.outbox.send_event(["tok", f"s{i}", "b", 1])
        pipe.outbox.send_reply({"r": i, "key": "string", "val": "", "sig": ""})
        is_quick = time.monotonic() - started < HOLD_S
        assert is_quick or pipe.outbox.flush(timeout_s=10)
        quick += is_quick
        frames = [json.loads(line) for line in os.read(pipe.read_fd, 65_536).split(b"\n")[:-1]]
        assert frames[-1]["r"] == i
        assert [event[2] for frame in frames[:-1] for event in frame["e"]] == ["a", "b"]
    assert quick > 10


def test_flush_sends_held_tokens_at_once(pipe: Pipe) -> None:
    pipe.outbox.send_event(["tok", "s", "a", 1])
    pipe.outbox.send_event(["tok", "s", "b", 1])
    assert pipe.outbox.flush(timeout_s=10)
    assert [event[2] for event in pipe.read_now()] == ["a", "b"]


def test_flush_hears_of_the_end_of_another_threads_write(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    write, began, may_end = os.write, threading.Event(), threading.Event()

    def slow_write(fd: int, data: bytes) -> int:
        began.set()
        may_end.wait(10)
        return write(fd, data)

    monkeypatch.setattr("kitty_kv.worker.outbox.os.write", slow_write)
    sender = threading.Thread(target=pipe.outbox.send_event, args=[["end", "s", {}]])
    sender.start()
    assert began.wait(10)
    threading.Timer(0.1, may_end.set).start()
    started = time.monotonic()
    assert pipe.outbox.flush(timeout_s=10)
    assert time.monotonic() - started < 5
    sender.join()


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
