"""Speculative decoding through the real worker."""

from __future__ import annotations

import json
import pathlib
import shutil
import time

from worker_host import Host

from kitty_kv.engine import speculation
from kitty_kv.worker import params

REPEATING = "the cat sat on the mat. " * 6
TOKENS = 80


def results(host: Host, model_folder: pathlib.Path, ways: dict[str, dict | None]) -> dict[str, dict]:
    """A result a way, each of a session of its own."""
    for name, way in ways.items():
        host.open_session(name, model_folder)
        host.generate(name, name, REPEATING, maxNewTokens=TOKENS, **({} if way is None else {"speculation": way}))
    found = {name: host.result(name) for name in ways}
    for name in ways:
        host.call("closeSession", {"session": name})
    return found


def test_drafts_change_no_text_and_are_counted(shared: Host, model_folder: pathlib.Path) -> None:
    found = results(
        shared,
        model_folder,
        {
            "plain": None,
            "none": {"method": "none"},
            "lookup": {"method": "prompt-lookup", "ngramMin": 1},
            "model": {"method": "draft-model", "model": str(model_folder), "draftTokens": 3},
        },
    )
    assert {result["text"] for result in found.values()} == {found["plain"]["text"]}
    assert [found[name]["draftedTokens"] for name in ("plain", "none")] == [0, 0]
    assert found["lookup"]["acceptedTokens"] > 0
    assert found["model"]["draftedTokens"] >= found["model"]["acceptedTokens"] > TOKENS / 2


def test_a_draft_model_that_cannot_be_loaded_ends_its_own_stream(shared: Host, model_folder: pathlib.Path) -> None:
    shared.open_session("missing", model_folder)
    way = {"method": "draft-model", "model": "/nowhere/at/all"}
    shared.generate("missing", "missing", REPEATING, maxNewTokens=4, speculation=way)
    assert shared.event("end", "missing")[2]["error"]["code"] == "model_not_found"
    # The session is as it was.
    shared.generate("missing", "again", REPEATING, maxNewTokens=4)
    assert shared.result("again")["completionTokens"] == 4
    shared.call("closeSession", {"session": "missing"})


def test_a_draft_model_with_another_tokenizer_is_refused(
    shared: Host, model_folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(model_folder, other)
    parts = json.loads((other / "tokenizer.json").read_text())
    vocabulary = parts["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (other / "tokenizer.json").write_text(json.dumps(parts))
    shared.open_session("strange", model_folder)
    way = {"method": "draft-model", "model": str(other)}
    shared.generate("strange", "strange", REPEATING, maxNewTokens=4, speculation=way)
    assert "tokenizer of the draft model" in shared.event("end", "strange")[2]["error"]["message"]
    shared.call("closeSession", {"session": "strange"})


def test_a_stream_cancelled_while_its_draft_model_loads_ends_cancelled(
    shared: Host, model_folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model_folder, copy)
    shared.open_session("hasty", model_folder)
    way = {"method": "draft-model", "model": str(copy)}
    shared.generate("hasty", "hasty", REPEATING, maxNewTokens=3000, speculation=way)
    assert shared.call("cancel", {"stream": "hasty"}) == {"cancelled": True}
    started = time.monotonic()
    assert shared.result("hasty")["finishReason"] == "cancelled"
    assert time.monotonic() - started < 30
    shared.call("closeSession", {"session": "hasty"})


def test_the_limits_of_the_wire_are_the_engines() -> None:
    assert params.MAX_DRAFT_TOKENS == speculation.MAX_DRAFT_TOKENS
    assert set(params.SPECULATION_METHODS) == set(speculation.Method.__args__)
    defaults = speculation.Speculation("prompt-lookup")
    fields = params._SPECULATION
    assert (fields["draftTokens"].default, fields["ngramMax"].default, fields["ngramMin"].default) == (
        defaults.draft_tokens,
        defaults.ngram_max,
        defaults.ngram_min,
    )
