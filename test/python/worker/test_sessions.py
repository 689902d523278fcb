"""Sessions and generations through the real worker."""

from __future__ import annotations

import itertools
import pathlib
import time
from collections.abc import Callable, Iterator

import pytest
from worker_host import Host

LONG = 3000
NUMBERS = itertools.count()
OK_MESSAGES = {"prompt": None, "options": {"maxNewTokens": 8}, "credit": 1000}


@pytest.fixture(scope="module")
def host(shared: Host, model_folder: pathlib.Path) -> Host:
    shared.open_session("warm", model_folder)
    shared.text("warm", "warm", "the cat", maxNewTokens=4)
    return shared


@pytest.fixture
def session(host: Host, model_folder: pathlib.Path) -> Iterator[str]:
    name = f"s{next(NUMBERS)}"
    host.open_session(name, model_folder)
    yield name
    host.call("closeSession", {"session": name})


def run_on(host: Host, session: str, stream: str, tokens: int = 5) -> None:
    """Starts a long generation and waits until it has written something."""
    host.generate(session, stream, "the cat sat", maxNewTokens=LONG)
    host.wait(lambda: sum(event[3] for event in host.tokens(stream)) >= tokens, "the first tokens")


def cancel(host: Host, stream: str) -> dict:
    host.call("cancel", {"stream": stream})
    return host.result(stream)


def test_an_open_session_describes_its_model_and_its_whole_cache_config(host: Host, model_folder: pathlib.Path) -> None:
    opened = host.call(
        "openSession",
        {
            "session": "described",
            "model": str(model_folder),
            "cache": {"preset": "kitty", "sinkTokens": 16, "seed": None},
            "dtype": "auto",
            "device": "auto",
        },
    )
    assert opened["model"] == {
        "name": "tiny",
        "path": str(model_folder),
        "contextLength": 4096,
        "vocabSize": 300,
        "chatTemplate": True,
        "dtype": "float32",
        "device": opened["model"]["device"],
    }
    assert opened["cache"] == {
        "preset": "kitty",
        "kBits": 2,
        "vBits": 2,
        "boostBits": 4,
        "boostRatio": 0.125,
        "selection": "magnitude",
        "sinkTokens": 16,
        "recentTokens": 128,
        "pageSize": 128,
        "seed": 0,
    }
    host.call("closeSession", {"session": "described"})


def test_sessions_of_one_limit_share_it_and_what_never_fits_is_refused(host: Host, model_folder: pathlib.Path) -> None:
    def open_session(name: str, **limit: int) -> None:
        host.open_session(name, model_folder, preset="fp16", **limit)  # a megabyte holds some 250 tokens

    prompts = {"limit0": "the cat", "limit1": "a dog"}
    for name in prompts:
        open_session(name)
    wanted = [host.text(name, f"{name}-free", prompt, maxNewTokens=150) for name, prompt in prompts.items()]
    for name in prompts:
        host.call("closeSession", {"session": name})
        open_session(name, kvMemoryMiB=1)
    host.generate("limit0", "too-long", "the cat sat " * 120, maxNewTokens=4)
    error = host.event("end", "too-long")[2]["error"]
    assert (error["code"], error["details"]["maxBytes"]) == ("cache_out_of_memory", 2**20)
    assert "1,048,576 bytes" in error["message"] and "(kvMemoryMiB)" in error["message"]
    for name, prompt in prompts.items():
        host.generate(name, f"{name}-tight", prompt, maxNewTokens=150)
    results = [host.result(f"{name}-tight") for name in prompts]
    assert [result["text"] for result in results] == wanted
    assert sum(result["preemptions"] for result in results) > 0
    for name in prompts:
        host.call("closeSession", {"session": name})
    wrong = {"session": "x", "model": None, "cache": {}, "dtype": "auto", "device": "cpu", "kvMemoryMiB": 0}
    assert host.error("openSession", wrong)["details"] == {"field": "kvMemoryMiB"}


def test_a_result_adds_up(host: Host, session: str) -> None:
    host.generate(session, "sum", "the cat sat", maxNewTokens=300)
    result = host.result("sum")
    tokens = host.tokens("sum")
    assert "".join(event[2] for event in tokens) == result["text"]
    assert sum(event[3] for event in tokens) == result["completionTokens"] == 300
    assert result["finishReason"] == "length"
    assert result["timeToFirstTokenMs"] > 0
    assert result["tokensPerSecond"] > 0
    memory = result["kvCache"]
    assert memory["tokens"] == result["promptTokens"] + 299
    assert memory["packedBytes"] > 0
    assert memory["compression"] == memory["denseBytes"] / (memory["packedBytes"] + memory["fullPrecisionBytes"])
    assert host.call("memory", {"session": session}) == memory


def test_the_end_follows_the_last_token(host: Host, session: str) -> None:
    host.generate(session, "order", "the cat", maxNewTokens=20)
    end = host.event("end", "order")
    assert host.events.index(host.tokens("order")[-1]) < host.events.index(end)


def test_calls_are_answered_fast_while_a_generation_runs(host: Host, session: str) -> None:
    run_on(host, session, "busy")
    before = sum(event[3] for event in host.tokens("busy"))
    for _ in range(200):
        assert host.call("ping")["activeStreams"] == 1
    steps = sum(event[3] for event in host.tokens("busy")) - before
    # If calls waited for steps there would be one step a call, at least.
    assert steps < 100
    assert host.call("memory", {"session": session})["tokens"] > 0
    assert cancel(host, "busy")["finishReason"] == "cancelled"


def test_cancelling_stops_within_one_step(host: Host, session: str) -> None:
    run_on(host, session, "stop")
    request = host.send("cancel", {"stream": "stop"})
    assert host.envelope(request)["ok"] == {"cancelled": True}
    end = host.event("end", "stop")
    reply = host.frames.index(next(frame for frame in host.frames if frame.get("r") == request))
    later = [event for frame in host.frames[reply:] for event in frame.get("e", []) if event[:2] == ["tok", "stop"]]
    # The step that ran when the call came may finish, and what was held back is shown.
    assert sum(event[3] for event in later) <= 2
    result = end[2]["ok"]
    assert result["finishReason"] == "cancelled"
    assert result["text"] == "".join(event[2] for event in host.tokens("stop"))
    assert result["completionTokens"] < LONG


def test_a_cancelled_stream_leaves_a_session_that_goes_on(host: Host, session: str, model_folder: pathlib.Path) -> None:
    run_on(host, session, "half")
    said = cancel(host, "half")
    assert said["promptTokens"] + said["completionTokens"] > 5
    second = host.text(session, "whole", " and the dog", maxNewTokens=10)
    memory = host.call("memory", {"session": session})
    assert len(second) > 0
    assert (
        memory["tokens"] == said["promptTokens"] + said["completionTokens"] + host.result("whole")["promptTokens"] + 9
    )


def test_a_session_runs_one_generation_at_a_time(host: Host, session: str) -> None:
    run_on(host, session, "first")
    error = host.error("generate", Host.generate_params(session, "second", "more"))
    assert (error["code"], error["details"]) == ("session_busy", {"stream": "first"})
    cancel(host, "first")
    # The end is sent after the session is free, so nobody who heard of it is refused.
    assert host.text(session, "third", "more", maxNewTokens=3)


def test_a_stream_id_is_used_by_one_generation_at_a_time(host: Host, session: str, model_folder: pathlib.Path) -> None:
    run_on(host, session, "same")
    host.open_session("other", model_folder)
    assert host.error("generate", Host.generate_params("other", "same", "more"))["code"] == "invalid_argument"
    host.call("closeSession", {"session": "other"})
    cancel(host, "same")


def test_sessions_at_once_write_what_each_writes_alone(host: Host, model_folder: pathlib.Path) -> None:
    cases = {
        f"m{i}": (f"{word} cat", {"temperature": 0.9, "seed": i} if i % 2 else {}) for i, word in enumerate("abcd")
    }
    alone = {}
    for name, (prompt, options) in cases.items():
        host.open_session(name, model_folder)
        alone[name] = host.text(name, f"{name}-alone", prompt, maxNewTokens=60, **options)
        host.call("closeSession", {"session": name})
        host.open_session(name, model_folder)
    for name, (prompt, options) in cases.items():
        host.generate(name, f"{name}-at-once", prompt, maxNewTokens=60, **options)
    assert {name: host.result(f"{name}-at-once")["text"] for name in cases} == alone
    for name in cases:
        host.call("closeSession", {"session": name})


def test_a_model_that_loads_changes_nothing_in_a_running_generation(
    host: Host,
    session: str,
    tmp_path: pathlib.Path,
    model_folder: pathlib.Path,
    save_model: Callable[..., pathlib.Path],
) -> None:
    other = save_model(tmp_path / "other", dtype="bfloat16")
    host.open_session("quiet", model_folder)
    alone = host.text("quiet", "quiet", "the cat sat", maxNewTokens=400)
    host.call("closeSession", {"session": "quiet"})
    host.generate(session, "during", "the cat sat", maxNewTokens=400)
    host.event("tok", "during")
    opened = host.open_session("loaded", other)
    assert opened["model"]["dtype"] == "bfloat16"
    assert host.text("loaded", "of-other", "the", maxNewTokens=3) is not None
    assert host.result("during")["text"] == alone
    host.call("closeSession", {"session": "loaded"})


def test_seeds_reproduce_and_differ(host: Host, model_folder: pathlib.Path) -> None:
    texts = []
    for i, seed in enumerate([11, 11, 12]):
        host.open_session(f"seed{i}", model_folder)
        options = {"temperature": 1.0, "topK": 50, "topP": 0.95, "seed": seed}
        texts.append(host.text(f"seed{i}", f"seed{i}", "the cat", maxNewTokens=40, **options))
        host.call("closeSession", {"session": f"seed{i}"})
    assert texts[0] == texts[1] != texts[2]


def test_a_stop_string_that_spans_tokens_never_shows(host: Host, session: str, model_folder: pathlib.Path) -> None:
    text = host.text(session, "free", "the cat sat", maxNewTokens=40)
    stop = text[20:26]
    host.open_session("stopped", model_folder)
    result_text = host.text("stopped", "stopped", "the cat sat", maxNewTokens=40, stop=["never", stop])
    assert result_text == text.partition(stop)[0]
    assert host.result("stopped")["finishReason"] == "stop"
    assert "".join(event[2] for event in host.tokens("stopped")) == result_text
    host.call("closeSession", {"session": "stopped"})


def test_no_more_tokens_are_sent_than_there_is_credit_for(host: Host, session: str, model_folder: pathlib.Path) -> None:
    host.generate(session, "slow", "the cat", credit=7, maxNewTokens=30)
    host.wait(lambda: sum(event[3] for event in host.tokens("slow")) == 7, "the credit's worth")
    host.open_session("fast", model_folder)
    host.text("fast", "fast", "the cat", maxNewTokens=60)
    assert sum(event[3] for event in host.tokens("slow")) == 7
    # A step is over a moment after the end that it sends.
    deadline = time.monotonic() + 10
    while host.call("ping")["stepAgeMs"] is not None:
        assert time.monotonic() < deadline, "the engine steps a stream without credit"
    host.call("credit", {"stream": "slow", "tokens": 5})
    host.wait(lambda: sum(event[3] for event in host.tokens("slow")) == 12, "the next ones")
    host.call("credit", {"stream": "slow", "tokens": 1000})
    assert host.result("slow")["completionTokens"] == 30
    host.call("closeSession", {"session": "fast"})


def test_a_prompt_beyond_the_context_is_refused_with_numbers(host: Host, session: str) -> None:
    host.generate(session, "huge", "cat " * 5000, maxNewTokens=1)
    error = host.event("end", "huge")[2]["error"]
    assert error["code"] == "context_exceeded"
    assert error["details"]["contextLength"] == 4096
    assert error["details"]["promptTokens"] > 4096
    assert host.text(session, "after-huge", "cat", maxNewTokens=2) is not None


def test_messages_go_through_the_chat_template_and_each_turn_costs_its_own_tokens(host: Host, session: str) -> None:
    def turn(stream: str, content: str) -> dict:
        messages = [{"role": "user", "content": content}]
        host.call("generate", OK_MESSAGES | {"session": session, "stream": stream, "messages": messages})
        return host.result(stream)

    first = turn("turn1", "the cat")
    second = turn("turn2", "the cat")
    # The same message again: the end of the reply before it, and the same opening.
    assert first["promptTokens"] < second["promptTokens"] <= first["promptTokens"] + 2
    total = sum(result["promptTokens"] + result["completionTokens"] for result in (first, second))
    assert second["kvCache"]["tokens"] == total - 1


def test_messages_for_a_model_without_a_chat_template_are_unsupported(
    host: Host, tmp_path: pathlib.Path, save_model: Callable[..., pathlib.Path]
) -> None:
    host.open_session("plain", save_model(tmp_path / "plain", chat_template=None))
    messages = [{"role": "user", "content": "hi"}]
    error = host.error("generate", OK_MESSAGES | {"session": "plain", "stream": "plain", "messages": messages})
    assert error["code"] == "unsupported"
    host.call("closeSession", {"session": "plain"})


def test_a_closed_session_ends_its_stream_and_frees_its_name(host: Host, model_folder: pathlib.Path) -> None:
    host.open_session("short", model_folder)
    run_on(host, "short", "cut")
    host.call("closeSession", {"session": "short"})
    assert host.result("cut")["finishReason"] == "cancelled"
    assert host.error("memory", {"session": "short"})["code"] == "session_not_found"
    host.open_session("short", model_folder)
    host.call("closeSession", {"session": "short"})


def test_a_session_closed_while_it_opens_does_not_open(start: Callable[..., Host], model_folder: pathlib.Path) -> None:
    host = start()
    host.event("ready")
    opening = host.send("openSession", {"session": "x", "model": str(model_folder), "device": "cpu"})
    assert host.call("closeSession", {"session": "x"}) == {}
    outcome = host.envelope(opening)
    # It was either closed before it was open, or right after.
    assert "ok" in outcome or outcome["error"]["code"] == "session_not_found"
    assert host.error("memory", {"session": "x"})["code"] == "session_not_found"


def test_tokens_have_texts_of_their_own_and_unknown_ones_are_refused(host: Host, session: str) -> None:
    host.generate(session, "named", "the cat sat", maxNewTokens=6, logprobs=1)
    result = host.result("named")
    # They come with the texts that they are of, and all of them once more in the end.
    sent = [entry for event in host.tokens("named") for entry in event[4]]
    assert [len(event[4]) for event in host.tokens("named")] == [event[3] for event in host.tokens("named")]
    assert sent == result["logprobs"][: len(sent)]
    ids = [entry["token"] for entry in result["logprobs"]]
    texts = host.call("tokenTexts", {"session": session, "tokens": ids})["texts"]
    assert len(texts) == 6
    # Those parts of characters that stand for nothing alone are the one way in which they do not add up.
    assert "\ufffd" in "".join(texts) or "".join(texts) == result["text"]
    assert host.call("tokenTexts", {"session": session, "tokens": []}) == {"texts": []}
    assert "tokens 0 to" in host.error("tokenTexts", {"session": session, "tokens": [10**6]})["message"]
