"""The channel survives whatever is printed, keeps order, and joins tokens under load."""

from __future__ import annotations

from collections.abc import Callable

from worker_host import Host

# Runs beside the worker in its own process, from the moment the channel stands.
PRINTER = """
import kitty_kv.worker.__main__ as worker
stock = worker.Worker._start_service
def beside(self):
    import os, subprocess, sys, threading
    {body}
    print("all printed")
    stock(self)
worker.Worker._start_service = beside
worker.main()
"""


def printing(body: str) -> str:
    return PRINTER.format(body=body)


def test_hello_is_the_first_frame_and_ready_follows(shared: Host) -> None:
    shared.event("ready")
    kind, hello = shared.frames[0]["e"][0]
    assert kind == "hello"
    assert hello == {"protocol": 1, "version": "0.1.0", "pid": shared.process.pid, "python": hello["python"]}


def test_what_python_prints_arrives_as_log_events(start: Callable[..., Host]) -> None:
    host = start(code=printing(r"print('one\ntwo'); print('{\"r\":10001}'); sys.stdout.buffer.write('é\n'.encode())"))
    assert host.call("ping")["activeStreams"] == 0
    for text in ("one", "two", '{"r":10001}', "é", "all printed"):
        assert host.logged(text)


def test_what_is_not_text_arrives_as_text_too(start: Callable[..., Host]) -> None:
    host = start(code=printing(r"sys.stdout.buffer.write(b'\xff\xfe ok\n'); print('\udc80 lone')"))
    assert host.logged("\ufffd\ufffd ok")
    assert host.logged("\ufffd lone")


def test_what_c_code_and_children_print_goes_to_stderr(start: Callable[..., Host]) -> None:
    body = (
        "os.write(1, b'from fd 1\\n'); subprocess.run(['echo', 'from a child']);"
        "subprocess.run(['echo', 'from a child of sys.stdout'], stdout=sys.stdout); print('to stderr', file=sys.stderr)"
    )
    host = start(code=printing(body))
    assert host.logged("all printed")
    for text in ("from fd 1", "from a child", "from a child of sys.stdout", "to stderr"):
        assert host.wait(lambda text=text: f"{text}\n" in host.stderr, text)


def test_a_forked_child_cannot_write_to_the_channel(start: Callable[..., Host]) -> None:
    body = """
    child = os.fork()
    if child == 0:
        print("from a fork", flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""
    host = start(code=printing(body.strip()))
    assert host.logged("all printed")
    assert host.wait(lambda: "from a fork\n" in host.stderr, "the fork's line")


def test_a_child_reads_nothing_of_what_the_host_sends(start: Callable[..., Host]) -> None:
    host = start(code=printing("print('read', subprocess.run(['cat'], capture_output=True).stdout, sys.stdin.read())"))
    assert host.logged("read b'' ")
    assert host.call("ping")["activeStreams"] == 0


def test_prints_of_any_thread_do_not_break_the_frames_of_a_generation(
    start: Callable[..., Host], model_folder: object
) -> None:
    body = """
    def chatter(name):
        while True:
            print(name * 30)
            threading.Event().wait(0.0005)
    for name in "xyz":
        threading.Thread(target=chatter, args=[name], daemon=True).start()
"""
    host = start(code=printing(body.strip()))
    host.open_session("s", model_folder)
    host.generate("s", "g", "the cat", maxNewTokens=80)
    result = host.result("g")
    assert "".join(text for _, _, text, _ in host.tokens("g")) == result["text"]
    printed = {event[1]["text"] for event in host.events if event[0] == "log"}
    assert printed <= {"x" * 30, "y" * 30, "z" * 30, "all printed"}


def test_tokens_of_streams_at_full_speed_stay_whole_and_in_order(start: Callable[..., Host]) -> None:
    host = start()
    host.call("ping")
    host.stop_reading()
    count = 20_000
    host.send("bench.emit", {"stream": "a", "events": count, "text": "ab", "tokensPerSecond": None})
    host.send("bench.emit", {"stream": "b", "events": count, "text": "cd", "tokensPerSecond": None})
    host.go_on_reading()
    for stream, text in (("a", "ab"), ("b", "cd")):
        host.event("end", stream)
        tokens = host.tokens(stream)
        assert "".join(event[2] for event in tokens) == text * count
        assert sum(event[3] for event in tokens) == count
        assert all(event[2] == text * event[3] for event in tokens)
        assert host.events.index(tokens[-1]) < host.events.index(host.event("end", stream))


def test_a_slow_stream_is_not_joined(shared: Host) -> None:
    shared.call("bench.emit", {"stream": "paced", "events": 20, "text": "t", "tokensPerSecond": 100})
    shared.event("end", "paced")
    assert [event[2:] for event in shared.tokens("paced")] == [["t", 1]] * 20


def test_a_large_payload_crosses_whole(shared: Host) -> None:
    payload = 'é\n"\\🙂' * 200_000
    assert shared.call("bench.echo", {"payload": payload}) == {"payload": payload}


def test_an_answer_longer_than_a_line_is_an_error(shared: Host) -> None:
    error = shared.error("bench.echo", {"payload": "🙂" * 1_500_000})
    assert error["code"] == "invalid_argument"
    assert "16777216" in error["message"]


def test_lines_that_are_no_calls_are_reported_and_skipped(shared: Host) -> None:
    calls = [
        b"\xff\xfe binary",
        b"not json",
        b"[]",
        b"[" * 100_000,
        b'{"r":1,"action":"pcall","ffid":0,"key":["eval"],"val":[["1",""],{}]}',
        b'{"r":2,"action":"pcall","ffid":0,"key":["invoke"],"val":[[{"ffid":0},"{}"],{}]}',
        b'{"r":3,"action":"get","ffid":0,"key":["invoke"],"val":[]}',
        b'{"r":4,"action":"pcall","ffid":1,"key":["invoke"],"val":[["ping","{}"],{}]}',
        b'{"r":5,"action":"make","ffid":"","key":"","val":""}',
        b'{"r":true,"action":"pcall","ffid":0,"key":["invoke"],"val":[["ping","{}"],{}]}',
    ]
    before = len([e for e in shared.events if e[0] == "log" and e[1]["stream"] == "worker"])
    for call in calls:
        shared.write(call + b"\n")
    shared.call("ping")
    logs = [e[1]["text"] for e in shared.events if e[0] == "log" and e[1]["stream"] == "worker"][before:]
    assert len(logs) == len(calls)
    assert not [frame for frame in shared.frames if frame.get("r") in (1, 2, 3, 4, 5)]


def test_a_line_over_the_limit_is_skipped_and_the_next_one_read(shared: Host) -> None:
    shared.write(b'{"r":7,' + b"x" * (17 * 1024 * 1024) + b"\n")
    assert shared.call("ping")
    assert [e for e in shared.events if e[0] == "log" and "longer than" in e[1]["text"]]


def test_no_frame_ever_asks_for_a_host_object(start: Callable[..., Host]) -> None:
    # Whatever pythonia's half tries, up to dropping its proxies, stays inside.
    body = """
    from Bridge import Bridge
    from proxy import Proxy
    assert not hasattr(os, "JSPyBridge")
    for attempt in (lambda: Proxy(self._bridge._bridge.executor, 0).require, lambda: self._bridge._bridge.read()):
        try:
            attempt()
        except ValueError as error:
            print("refused:", error)
    print(sorted(self._bridge._bridge.m), sorted(self._bridge._bridge.m[0]))
"""
    host = start(code=printing(body.strip()))
    assert host.logged("all printed")
    assert host.logged("[0] ['invoke']")
    assert len([e for e in host.events if e[0] == "log" and e[1]["text"].startswith("refused:")]) == 2
    host.call("ping")
    assert all(frame.get("c", "kitty") == "kitty" for frame in host.frames)
