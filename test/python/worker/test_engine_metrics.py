"""What the engine tells of itself, and the limits that the host gives it."""

from __future__ import annotations

import pathlib

import pytest
from worker_host import Host


def test_metrics_count_what_was_generated_and_what_is_held(shared: Host, model_folder: pathlib.Path) -> None:
    shared.open_session("metered", model_folder)
    before = shared.call("engineMetrics", {})
    drafts = {"speculation": {"method": "prompt-lookup"}}
    shared.text("metered", "metered-1", "one two three one two three one two", maxNewTokens=20, **drafts)
    after = shared.call("engineMetrics", {})
    assert after["tokens"] - before["tokens"] == 20
    assert after["tokensPerSecond"] > 0
    assert (after["running"], after["waiting"]) == (0, 0)
    assert 0 <= after["acceptedTokens"] <= after["draftedTokens"]
    assert sum(pool["bytesInUse"] for pool in after["pools"]) > 0
    assert all(pool["maxBytes"] is None for pool in after["pools"])
    shared.call("closeSession", {"session": "metered"})


@pytest.mark.parametrize("arguments", [["--max-batch", "0"], ["--max-waiting", "-3"], ["--max-batch", "many"]])
def test_limits_that_are_none_are_refused_at_the_start(arguments: list[str]) -> None:
    host = Host(arguments=arguments)
    assert host.process.wait(60) == 2
    host.close()
