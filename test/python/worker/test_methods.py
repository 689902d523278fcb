"""Calls: what is accepted, what is refused, and that neither harms the worker."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable

import pytest
from worker_host import Host

OK = {"session": "x", "stream": "y", "prompt": "a", "messages": None, "options": {}, "credit": 1}
OPEN = {"session": "x", "model": None, "cache": {"preset": "kitty"}, "dtype": "auto", "device": "cpu"}
EMIT = {"stream": "x", "events": 1, "text": "t", "tokensPerSecond": None}
MESSAGE = {"role": "user", "content": "hi"}

BAD_PARAMS = {
    "a method that does not exist": ("nothing", {}, "no such method"),
    "parameters that are a list": ("ping", [], "want an object"),
    "parameters that are null": ("generate", None, "want an object"),
    "an unknown key": ("ping", {"verbose": True}, "unknown key 'verbose'"),
    "a misspelt key": ("generate", OK | {"promt": "a"}, "did you mean 'prompt'"),
    "a misspelt option": ("generate", OK | {"options": {"maxNewToken": 3}}, "did you mean 'options.maxNewTokens'"),
    "a missing session": ("memory", {}, "session must be"),
    "an empty session": ("memory", {"session": ""}, "session must be"),
    "a session with a slash": ("memory", {"session": "../x"}, "session must be"),
    "a session with a line end": ("memory", {"session": "x\n"}, "session must be"),
    "a session too long": ("memory", {"session": "x" * 65}, "session must be"),
    "a session that is a number": ("memory", {"session": 1}, "session must be"),
    "a stream that is a list": ("cancel", {"stream": ["x"]}, "stream must be"),
    "credit of zero": ("credit", {"stream": "x", "tokens": 0}, "tokens must be"),
    "credit below zero": ("credit", {"stream": "x", "tokens": -5}, "tokens must be"),
    "credit that is true": ("credit", {"stream": "x", "tokens": True}, "tokens must be"),
    "credit that is a fraction": ("credit", {"stream": "x", "tokens": 1.5}, "tokens must be"),
    "credit beyond safe integers": ("credit", {"stream": "x", "tokens": 2**60}, "tokens must be"),
    "a payload that is null": ("bench.echo", {"payload": None}, "payload must be"),
    "a rate of zero": ("bench.emit", EMIT | {"tokensPerSecond": 0}, "tokensPerSecond must be"),
    "events below zero": ("bench.emit", EMIT | {"events": -1}, "events must be"),
    "no prompt": ("generate", OK | {"prompt": None}, "neither"),
    "prompt and messages": ("generate", OK | {"messages": [MESSAGE]}, "both"),
    "a prompt that is a number": ("generate", OK | {"prompt": 7}, "prompt must be"),
    "a prompt with half a character": ("generate", OK | {"prompt": "a\ud800"}, "prompt must be"),
    "messages that are empty": ("generate", OK | {"prompt": None, "messages": []}, "messages must be"),
    "a message of an unknown role": (
        "generate",
        OK | {"prompt": None, "messages": [{"role": "tool", "content": ""}]},
        "messages must be",
    ),
    "a message without content": (
        "generate",
        OK | {"prompt": None, "messages": [{"role": "user"}]},
        "messages must be",
    ),
    "no new tokens": ("generate", OK | {"options": {"maxNewTokens": 0}}, "options.maxNewTokens must be"),
    "new tokens below zero": ("generate", OK | {"options": {"maxNewTokens": -3}}, "options.maxNewTokens must be"),
    "a temperature below zero": ("generate", OK | {"options": {"temperature": -0.1}}, "options.temperature must be"),
    "a temperature that is text": ("generate", OK | {"options": {"temperature": "1"}}, "options.temperature must be"),
    "a temperature beyond numbers": (
        "generate",
        OK | {"options": {"temperature": 1e300}},
        "options.temperature must be",
    ),
    "topK of zero": ("generate", OK | {"options": {"topK": 0}}, "options.topK must be"),
    "topP of zero": ("generate", OK | {"options": {"topP": 0}}, "options.topP must be"),
    "topP over one": ("generate", OK | {"options": {"topP": 1.01}}, "options.topP must be"),
    "a seed that is a fraction": ("generate", OK | {"options": {"seed": 0.5}}, "options.seed must be"),
    "stop that is a text": ("generate", OK | {"options": {"stop": "x"}}, "options.stop must be"),
    "an empty stop string": ("generate", OK | {"options": {"stop": [""]}}, "options.stop must be"),
    "too many stop strings": ("generate", OK | {"options": {"stop": ["x"] * 17}}, "options.stop must be"),
    "speculation without a method": (
        "generate",
        OK | {"options": {"speculation": {}}},
        "options.speculation.method must be",
    ),
    "speculation by magic": (
        "generate",
        OK | {"options": {"speculation": {"method": "magic"}}},
        "one of none, prompt-lookup, draft-model",
    ),
    "a misspelt field of speculation": (
        "generate",
        OK | {"options": {"speculation": {"method": "prompt-lookup", "draftToken": 3}}},
        "did you mean 'options.speculation.draftTokens'",
    ),
    "a draft that is too long": (
        "generate",
        OK | {"options": {"speculation": {"method": "prompt-lookup", "draftTokens": 16}}},
        "options.speculation.draftTokens must be",
    ),
    "no draft model to draft with": (
        "generate",
        OK | {"options": {"speculation": {"method": "draft-model"}}},
        "options.speculation.model must be the draft model's folder",
    ),
    "a draft model that nothing needs": (
        "generate",
        OK | {"options": {"speculation": {"method": "prompt-lookup", "model": "x"}}},
        "options.speculation.model must be left out",
    ),
    "matches shorter than the shortest": (
        "generate",
        OK | {"options": {"speculation": {"method": "prompt-lookup", "ngramMax": 1}}},
        "ngramMax must be at least ngramMin, 2, got 1",
    ),
    "options that are a list": ("generate", OK | {"options": []}, "options must be"),
    "a model that is empty": ("openSession", OPEN | {"model": ""}, "model must be"),
    "a model with a null byte": ("openSession", OPEN | {"model": "a\0b"}, "model must be"),
    "an unknown dtype": ("openSession", OPEN | {"dtype": "int8"}, "dtype must be"),
    "an unknown device": ("openSession", OPEN | {"device": "tpu"}, "device must be"),
    "a cache that is a text": ("openSession", OPEN | {"cache": "kitty"}, "cache must be"),
    "a misspelt cache field": ("openSession", OPEN | {"cache": {"sinkToken": 1}}, "did you mean 'sinkTokens'"),
    "a cache field of the wrong size": ("openSession", OPEN | {"cache": {"kBits": 99}}, "field kBits: want"),
    "a cache field of the wrong type": ("openSession", OPEN | {"cache": {"boostRatio": "x"}}, "field boostRatio: want"),
}


@pytest.mark.parametrize("name", BAD_PARAMS)
def test_bad_parameters_are_answered_with_invalid_argument(shared: Host, name: str) -> None:
    method, params, text = BAD_PARAMS[name]
    error = shared.envelope(shared.send_raw_params(method, json.dumps(params)))["error"]
    assert error["code"] == "invalid_argument"
    assert text in error["message"]
    assert error["message"].startswith("Cannot ")
    assert shared.call("ping")["activeStreams"] == 0


@pytest.mark.parametrize("text", ["", "{", "nonsense", '{"session": NaN}', "[" * 100_000, '{"payload": Infinity}'])
def test_parameters_that_are_not_json_are_answered_with_invalid_argument(shared: Host, text: str) -> None:
    error = shared.envelope(shared.send_raw_params("bench.echo", text))["error"]
    assert error["code"] == "invalid_argument"
    assert shared.call("ping")["activeStreams"] == 0


def test_an_unknown_preset_is_named_with_the_nearest(shared: Host) -> None:
    error = shared.error("openSession", OPEN | {"cache": {"preset": "kity-pro"}})
    assert error["code"] == "unknown_preset"
    assert "did you mean 'kitty-pro'" in error["message"]


def test_an_empty_prompt_has_a_code_of_its_own(shared: Host) -> None:
    assert shared.error("generate", OK | {"prompt": ""})["code"] == "empty_prompt"


@pytest.mark.parametrize(
    ("method", "params"), [("generate", OK), ("memory", {"session": "x"}), ("closeSession", {"session": "x"})]
)
def test_a_session_that_is_not_open_is_not_found(shared: Host, method: str, params: dict) -> None:
    error = shared.error(method, params)
    assert error["code"] == "session_not_found"
    assert error["details"] == {"session": "x"}


def test_credit_and_cancel_for_a_stream_that_has_ended_are_no_errors(shared: Host) -> None:
    assert shared.call("credit", {"stream": "gone", "tokens": 5}) == {}
    assert shared.call("cancel", {"stream": "gone"}) == {"cancelled": False}


def test_a_model_folder_that_is_missing_is_not_found(shared: Host, tmp_path: pathlib.Path) -> None:
    error = shared.error("openSession", OPEN | {"model": str(tmp_path / "none")})
    assert error["code"] == "model_not_found"
    assert str(tmp_path / "none") in error["message"]


def test_a_hub_model_that_is_not_cached_is_not_found_and_the_error_says_how_to_fetch_it(shared: Host) -> None:
    error = shared.error("openSession", OPEN | {"model": "nobody/nothing"})
    assert error["code"] == "model_not_found"
    assert "download nobody/nothing" in error["message"]


@pytest.mark.parametrize("files", [{}, {"config.json": "{}"}, {"config.json": "not json", "model.safetensors": "x"}])
def test_a_folder_that_holds_no_model_is_not_a_model(
    shared: Host, tmp_path: pathlib.Path, files: dict[str, str]
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    error = shared.error("openSession", OPEN | {"model": str(tmp_path)})
    assert error["code"] == "not_a_model"


def test_a_session_that_failed_to_open_leaves_its_name_free(shared: Host, tmp_path: pathlib.Path) -> None:
    for _ in range(2):
        assert shared.error("openSession", OPEN | {"model": str(tmp_path / "none")})["code"] == "model_not_found"


def test_calls_before_the_worker_is_ready_are_answered_in_order_when_it_is(
    start: Callable[..., Host], model_folder: pathlib.Path
) -> None:
    host = start()
    opening = host.send("openSession", OPEN | {"model": str(model_folder)})
    again = host.send("openSession", OPEN | {"model": str(model_folder)})
    missing = host.send("memory", {"session": "none"})
    ping = host.envelope(host.send("ping"))
    assert ping["ok"]["stepAgeMs"] is None
    assert not [event for event in host.events if event[0] == "ready"]
    assert host.envelope(opening)["ok"]["session"] == "x"
    assert host.envelope(again)["error"]["code"] == "invalid_argument"
    assert host.envelope(missing)["error"]["code"] == "session_not_found"


def test_an_unexpected_exception_is_answered_and_the_worker_lives(start: Callable[..., Host]) -> None:
    code = """
import kitty_kv.worker.bench as bench, kitty_kv.worker.__main__ as worker
bench.Emitter.start = lambda self, params: 1 // 0
worker.main()
"""
    host = start(code=code)
    error = host.error("bench.emit", EMIT)
    assert error["code"] == "python_exception"
    assert "ZeroDivisionError" in error["message"]
    assert "Traceback" in error["details"]["traceback"]
    assert host.call("ping")["activeStreams"] == 0
