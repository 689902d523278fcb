"""Sessions that go on from a file: to the bit, or not at all."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from worker_host import Host

from kitty_kv.hf.cache_file import read_cache_file, write_cache_file

NUMBERS = itertools.count()
PROMPT = "the cat sat on the mat and the dog ate the hat " * 8
MESSAGE = {"role": "user", "content": "naïve café — 你好 🙂"}


@pytest.fixture
def session(shared: Host, model_folder: pathlib.Path) -> Iterator[str]:
    name = f"saving{next(NUMBERS)}"
    shared.open_session(name, model_folder)
    yield name
    shared.call("closeSession", {"session": name})


def write_and_save(host: Host, session: str, path: pathlib.Path) -> None:
    host.text(session, f"{session}-begin", PROMPT, maxNewTokens=150)
    assert host.call("saveSession", {"session": session, "path": str(path)}) == {}


def open_saved(host: Host, model: pathlib.Path, path: pathlib.Path) -> tuple[str, dict[str, Any]]:
    name = f"resumed{next(NUMBERS)}"
    return name, host.open_session(name, model, preset="kitty", saved=str(path))


def refusal(host: Host, model: pathlib.Path, path: object) -> dict[str, Any]:
    cache = {"preset": "kitty"}
    params = {"session": "refused", "model": str(model), "cache": cache, "dtype": "auto", "device": "cpu"}
    return host.error("openSession", params | {"saved": str(path)})


def test_a_saved_session_goes_on_to_the_bit_in_another_worker_and_the_first_one_too(
    shared: Host, session: str, start: Callable[..., Host], model_folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "a.kitty"
    write_and_save(shared, session, path)
    memory = shared.call("memory", {"session": session})
    wanted = shared.text(session, f"{session}-more", " and then", maxNewTokens=60)
    other = start()
    name, opened = open_saved(other, model_folder, path)
    # What the file says counts, not what is asked for.
    assert opened["cache"]["preset"] == "kitty-pro"
    resumed = other.call("memory", {"session": name})
    assert resumed | {"allocatedBytes": 0} == memory | {"allocatedBytes": 0}
    assert memory["packedBytes"] > 0
    assert other.text(name, "more", " and then", maxNewTokens=60) == wanted


def test_a_session_whose_channels_queries_choose_opens_beside_a_busy_one_and_is_saved_with_their_weights(
    shared: Host, session: str, start: Callable[..., Host], model_folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    shared.generate(session, f"{session}-busy", "the cat", maxNewTokens=150)
    by_query = {"cache": {"preset": "kitty", "selection": "query"}}
    texts, names = [], [f"query{next(NUMBERS)}" for _ in range(2)]
    for name in names:
        assert shared.open_session(name, model_folder, **by_query)["cache"]["selection"] == "query"
        texts.append(shared.text(name, f"{name}-first", PROMPT, maxNewTokens=150))
    assert texts[0] == texts[1]
    assert shared.result(f"{session}-busy")["completionTokens"] == 150
    assert shared.call("saveSession", {"session": names[0], "path": str(tmp_path / "a.kitty")}) == {}
    wanted = shared.text(names[0], f"{names[0]}-more", " and then", maxNewTokens=60)
    other = start()
    name, opened = open_saved(other, model_folder, tmp_path / "a.kitty")
    assert opened["cache"]["selection"] == "query"
    assert other.text(name, "more", " and then", maxNewTokens=60) == wanted
    for name in names:
        shared.call("closeSession", {"session": name})


def test_two_sessions_of_one_file_run_at_once_beside_others(
    shared: Host, session: str, model_folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "a.kitty"
    write_and_save(shared, session, path)
    names = [session, *(open_saved(shared, model_folder, path)[0] for _ in range(2))]
    for name in names:
        shared.generate(name, f"{name}-at-once", " and then", maxNewTokens=40)
    texts = {shared.result(f"{name}-at-once")["text"] for name in names}
    assert len(texts) == 1
    for name in names[1:]:
        shared.call("closeSession", {"session": name})


def test_the_turns_of_a_chat_are_saved_too(
    shared: Host, session: str, model_folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    def turn(name: str, stream: str) -> dict[str, Any]:
        params = {"session": name, "stream": stream, "prompt": None, "messages": [MESSAGE]}
        shared.call("generate", params | {"options": {"maxNewTokens": 8}, "credit": 1000})
        return shared.result(stream)

    turn(session, f"{session}-one")
    shared.call("saveSession", {"session": session, "path": str(tmp_path / "chat.kitty")})
    name, _ = open_saved(shared, model_folder, tmp_path / "chat.kitty")
    one, two = turn(session, f"{session}-two"), turn(name, f"{name}-two")
    assert (one["text"], one["promptTokens"]) == (two["text"], two["promptTokens"])
    shared.call("closeSession", {"session": name})


def test_an_empty_session_can_be_saved(
    shared: Host, session: str, model_folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    shared.call("saveSession", {"session": session, "path": str(tmp_path / "empty.kitty")})
    name, _ = open_saved(shared, model_folder, tmp_path / "empty.kitty")
    texts = [shared.text(x, f"{x}-empty", "the cat", maxNewTokens=5) for x in (session, name)]
    assert texts[0] == texts[1]
    shared.call("closeSession", {"session": name})


def test_a_session_that_writes_cannot_be_saved_nor_one_to_a_folder_that_is_not_there(
    shared: Host, session: str, tmp_path: pathlib.Path
) -> None:
    stream = f"{session}-long"
    shared.generate(session, stream, "the cat", maxNewTokens=3000)
    params = {"session": session, "path": str(tmp_path / "a.kitty")}
    assert shared.error("saveSession", params)["code"] == "session_busy"
    shared.call("cancel", {"stream": stream})
    shared.result(stream)
    error = shared.error("saveSession", params | {"path": str(tmp_path / "none" / "a.kitty")})
    assert error["code"] == "cache_file"
    assert list(tmp_path.iterdir()) == []


def test_files_of_another_model_damaged_or_without_a_session_are_refused(
    shared: Host,
    session: str,
    model_folder: pathlib.Path,
    save_model: Callable[..., pathlib.Path],
    tmp_path: pathlib.Path,
) -> None:
    path, changed = tmp_path / "a.kitty", tmp_path / "b.kitty"
    write_and_save(shared, session, path)
    other = save_model(tmp_path / "other", seed=1)
    assert "other weights" in refusal(shared, other, path)["message"]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    changed.write_bytes(data)
    assert refusal(shared, model_folder, changed)["code"] == "cache_file"
    document, tensors = read_cache_file(path)
    tensors = {name: tensors[name] for name in tensors}
    history = document.pop("session")
    write_cache_file(changed, document, tensors)
    assert "a cache without its tokens" in refusal(shared, model_folder, changed)["message"]
    wrong = {
        "tokens beyond the vocabulary": {"tokens": [10**6, *history["tokens"][1:]]},
        "tokens that are text": {"tokens": ["x", *history["tokens"][1:]]},
        "fewer tokens than the cache": {"tokens": history["tokens"][:9]},
        "passes of other sizes": {"passes": [1]},
        "more passes than there are": {"nextPass": 10**6},
        "turns that are none": {"messages": ["hi"]},
    }
    for what, fields in wrong.items():
        write_cache_file(changed, {**document, "session": {**history, **fields}}, tensors)
        error = refusal(shared, model_folder, changed)
        assert (error["code"], "do not fit together" in error["message"]) == ("cache_file", True), what
    assert refusal(shared, model_folder, tmp_path / "none")["code"] == "cache_file"
    assert "absolute path" in refusal(shared, model_folder, "a.kitty")["message"]
