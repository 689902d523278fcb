"""Forks of sessions: the same history, memory shared until they part, lives of their own."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from worker_host import Host

NUMBERS = itertools.count()
PROMPT = "the cat sat on the mat and the dog ate the hat " * 40
MESSAGE = {"role": "user", "content": "naïve café"}


@pytest.fixture
def session(shared: Host, model_folder: pathlib.Path) -> Iterator[str]:
    name = f"forked{next(NUMBERS)}"
    shared.open_session(name, model_folder)
    yield name
    shared.call("closeSession", {"session": name})


def fork(host: Host, session: str) -> str:
    name = f"fork{next(NUMBERS)}"
    opened = host.call("forkSession", {"session": session, "fork": name})
    assert (opened["session"], opened["cache"]["preset"]) == (name, "kitty-pro")
    return name


def test_a_fork_and_its_source_go_on_to_the_same_bits_whoever_goes_first(shared: Host, session: str) -> None:
    shared.text(session, f"{session}-begin", PROMPT, maxNewTokens=150)
    names = [session, fork(shared, session)]
    names.append(fork(shared, names[1]))
    memories = [shared.call("memory", {"session": name}) for name in names]
    assert memories[0]["packedBytes"] > 0
    assert all(memory["tokens"] == memories[0]["tokens"] for memory in memories)
    for name in names:
        shared.generate(name, f"{name}-at-once", " and then", maxNewTokens=150)
    assert len({shared.result(f"{name}-at-once")["text"] for name in names}) == 1
    # From here they part, and none changes what another holds.
    drawn = {"maxNewTokens": 40, "temperature": 1.0}
    texts = [shared.text(name, f"{name}-part", " so", seed=seed, **drawn) for seed, name in enumerate(names)]
    again = fork(shared, names[2])
    wanted = shared.text(names[2], f"{names[2]}-end", " so", seed=7, **drawn)
    assert len(set(texts)) == 3
    for name in names[1:]:
        shared.call("closeSession", {"session": name})
    assert shared.text(again, f"{again}-end", " so", seed=7, **drawn) == wanted
    shared.call("closeSession", {"session": again})


def test_a_fork_outlives_its_source_and_keeps_the_turns(shared: Host, model_folder: pathlib.Path) -> None:
    def turn(name: str, stream: str) -> dict[str, Any]:
        params = {"session": name, "stream": stream, "prompt": None, "messages": [MESSAGE]}
        shared.call("generate", params | {"options": {"maxNewTokens": 8}, "credit": 1000})
        return shared.result(stream)

    shared.open_session("source", model_folder)
    turn("source", "source-one")
    name = fork(shared, "source")
    wanted = turn("source", "source-two")
    shared.call("closeSession", {"session": "source"})
    found = turn(name, f"{name}-two")
    assert (found["text"], found["promptTokens"]) == (wanted["text"], wanted["promptTokens"])
    shared.call("closeSession", {"session": name})


def test_forks_share_memory_and_give_it_back(shared: Host, session: str) -> None:
    shared.text(session, f"{session}-begin", PROMPT, maxNewTokens=2)
    before = shared.call("memory", {"session": session})
    names = [fork(shared, session) for _ in range(8)]
    after = shared.call("memory", {"session": names[-1]})
    assert after == before
    for name in names:
        shared.call("closeSession", {"session": name})
    assert shared.call("memory", {"session": session}) == before


def test_a_model_with_sliding_windows_forks_too(
    shared: Host, save_model: Callable[..., pathlib.Path], tmp_path: pathlib.Path
) -> None:
    windows = {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1}
    shared.open_session("sliding", save_model(tmp_path / "sliding", **windows))
    drawn = {"maxNewTokens": 60, "temperature": 1.0, "seed": 3}
    shared.text("sliding", "sliding-begin", PROMPT, **drawn)
    name = fork(shared, "sliding")
    texts = {shared.text(x, f"{x}-slides", " and", **drawn) for x in (name, "sliding")}
    assert len(texts) == 1
    for x in ("sliding", name):
        shared.call("closeSession", {"session": x})


def test_a_session_from_a_file_forks_too(
    shared: Host, session: str, model_folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    shared.text(session, f"{session}-begin", PROMPT, maxNewTokens=20)
    shared.call("saveSession", {"session": session, "path": str(tmp_path / "a.kitty")})
    shared.open_session("resumed", model_folder, saved=str(tmp_path / "a.kitty"))
    name = fork(shared, "resumed")
    drawn = {"maxNewTokens": 30, "temperature": 1.0, "seed": 5}
    texts = {shared.text(x, f"{x}-more", " and", **drawn) for x in (session, "resumed", name)}
    assert len(texts) == 1
    for x in ("resumed", name):
        shared.call("closeSession", {"session": x})


def test_a_session_that_writes_cannot_be_forked_nor_one_that_is_not_there_nor_to_a_name_in_use(
    shared: Host, session: str
) -> None:
    shared.generate(session, f"{session}-long", "the cat", maxNewTokens=3000)
    assert shared.error("forkSession", {"session": session, "fork": "busy"})["code"] == "session_busy"
    shared.call("cancel", {"stream": f"{session}-long"})
    shared.result(f"{session}-long")
    assert shared.error("forkSession", {"session": "nobody", "fork": "busy"})["code"] == "session_not_found"
    assert shared.error("forkSession", {"session": session, "fork": session})["code"] == "invalid_argument"
    assert "letters" in shared.error("forkSession", {"session": session, "fork": "../x"})["message"]
    # A refusal takes no name away.
    shared.call("forkSession", {"session": session, "fork": "busy"})
    shared.call("closeSession", {"session": "busy"})


def test_a_fork_keeps_the_model_loaded(
    start: Callable[..., Host], save_model: Callable[..., pathlib.Path], tmp_path: pathlib.Path
) -> None:
    host = start()
    host.open_session("a", save_model(tmp_path / "a"))
    host.text("a", "a-begin", PROMPT, maxNewTokens=4)
    name = fork(host, "a")
    wanted = host.text("a", "a-more", " and", maxNewTokens=20)
    host.call("closeSession", {"session": "a"})
    # Loading another model lets go of those that nobody uses.
    host.open_session("b", save_model(tmp_path / "b", seed=1))
    assert host.text(name, "fork-more", " and", maxNewTokens=20) == wanted
