"""The bytes of frames: one JSON object a line, however long what it holds is."""

from __future__ import annotations

import json

import pytest

from kitty_kv.worker.wire_frames import LINE_LIMIT_BYTES, frames, reply_frame


def lines(*entries: object) -> list[object]:
    data = b"".join(frames(entries))
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.split(b"\n")[:-1]]


def test_events_next_to_each_other_share_a_frame_and_replies_keep_their_place():
    reply = reply_frame({"r": 1, "key": "string", "val": "x", "sig": ""})
    got = lines(["tok", "s", "a", 1], ["tok", "t", "b", 1], reply, ["end", "s", {}], reply, reply)
    told = {"r": 1, "key": "string", "val": "x", "sig": ""}
    assert got == [
        {"c": "kitty", "e": [["tok", "s", "a", 1], ["tok", "t", "b", 1]]},
        told,
        {"c": "kitty", "e": [["end", "s", {}]]},
        told,
        told,
    ]


def test_nothing_makes_no_frame():
    assert list(frames([])) == []


def test_an_outcome_too_long_for_a_line_ends_the_stream_with_an_error():
    (frame,) = lines(["end", "s", {"ok": {"text": "x" * LINE_LIMIT_BYTES}}])
    kind, stream, outcome = frame["e"][0]
    assert (kind, stream) == ("end", "s")
    assert outcome["error"]["code"] == "invalid_argument"
    assert outcome["error"]["details"]["sizeBytes"] > LINE_LIMIT_BYTES


def test_a_reply_too_long_for_a_line_becomes_an_error_of_the_same_call():
    reply = json.loads(reply_frame({"r": 7, "key": "string", "val": "x" * LINE_LIMIT_BYTES, "sig": ""}))
    assert reply["r"] == 7
    assert json.loads(reply["val"])["error"]["code"] == "invalid_argument"


def test_what_json_does_not_have_is_refused():
    with pytest.raises(ValueError, match="JSON compliant"):
        list(frames([["end", "s", {"ok": float("nan")}]]))
