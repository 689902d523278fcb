"""A crowd of short requests under a small budget."""

from __future__ import annotations

from kitty_kv.bench.soak import soak


def test_a_crowd_changes_no_result_and_leaves_the_pool_empty() -> None:
    report = soak(150, seed=1)
    assert report.is_good, report
    assert report.finished + report.cancelled == report.requests
    # What is claimed must have happened.
    assert min(report.cancelled, report.refused, report.preemptions, report.reused_tokens) > 0
