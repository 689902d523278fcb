"""A crowd of short requests under a small budget."""

from __future__ import annotations

import pytest

from kitty_kv.bench.soak import soak


@pytest.mark.parametrize("runs_ahead", [False, True], ids=["in-step", "ahead"])
def test_a_crowd_changes_no_result_and_leaves_the_pool_empty(runs_ahead: bool) -> None:
    report = soak(150, seed=1, runs_ahead=runs_ahead)
    assert report.is_good, report
    assert report.finished + report.cancelled == report.requests
    # What is claimed must have happened.
    assert min(report.cancelled, report.refused, report.preemptions, report.reused_tokens) > 0
