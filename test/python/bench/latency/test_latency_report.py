"""The report and the plot of ``kitty_kv.bench.latency`` on rows whose figures are known."""

from __future__ import annotations

import json
import pathlib
import xml.etree.ElementTree as ElementTree

import pytest

from kitty_kv.bench.latency.plot import svg
from kitty_kv.bench.latency.record import Record
from kitty_kv.bench.latency.redraw import joined
from kitty_kv.bench.latency.redraw import main as redraw
from kitty_kv.bench.latency.report import best_of_each, markdown
from kitty_kv.bench.latency.row import LatencyRow
from kitty_kv.bench.latency.timed import Timed

ENVIRONMENT = {
    "hardware": "a <GPU>",
    "model": "a model",
    "dtype": "bfloat16",
    "torch": "2",
    "transformers": "4",
    "date": "today",
    "command": "python -m x",
    "fill": "repeat",
    "kvBudgetGib": 24.0,
    "chunkTokens": 512,
    "warmUpSteps": 4,
}


def step(peer: str, batch: int, step_ms: float | None, **others: object) -> LatencyRow:
    rate = None if step_ms is None else batch / step_ms * 1e3
    return LatencyRow("step", peer, batch, 64, 8, step_ms=step_ms, tokens_per_second=rate, **others)


def budget(peer: str, batch: int, rate: float) -> LatencyRow:
    return LatencyRow("budget", peer, batch, 8000, 192, step_ms=batch / rate * 1e3, tokens_per_second=rate)


ROWS = [
    step("hf-dynamic", 1, 4.0, first_token_ms=10.0, peak_bytes=2**31, above_weights_bytes=2**30),
    step("hf-static", 1, 3.0, first_token_ms=10.0),
    step("hf-hqq-2", 1, None, reason="ValueError: a|b"),
    step("kitty kitty-pro", 1, 1.5, first_token_ms=11.0),
    step("engine kitty-pro", 2, 1.5, first_token_ms=11.0),
    budget("hf-dynamic", 20, 100.0),
    budget("hf-dynamic", 10, 125.0),
    budget("engine kitty-pro", 100, 500.0),
    budget("engine kitty-pro", 50, 400.0),
    LatencyRow("prefill", "hf-dynamic", 1, 512, 1, first_token_ms=30.0),
    LatencyRow("prefill", "engine kitty-pro", 1, 512, 1, first_token_ms=40.0),
]


def table(report: str, heading: str) -> list[dict[str, str]]:
    lines = report.split(f"## {heading}")[1].split("\n## ")[0].splitlines()
    names, _, *rows = [
        [cell.strip() for cell in line.replace("\\|", "/").split("|")[1:-1]] for line in lines if line[:1] == "|"
    ]
    return [dict(zip(names, row, strict=True)) for row in rows]


def test_each_step_is_set_against_every_stock_peer_of_its_shape():
    rows = table(markdown(ENVIRONMENT, ROWS), "Decode steps")
    assert [
        (row["x hf-dynamic"], row["x hf-static"], row["x hf-hqq-2"]) for row in rows if row["cache"] != "hf-hqq-2"
    ] == [
        ("1.00", "0.75", "–"),
        ("1.33", "1.00", "–"),
        ("2.67", "2.00", "–"),
        ("–", "–", "–"),
    ]
    assert rows[2]["first token ms"] == "ValueError: a/b"
    assert (rows[0]["peak GiB"], rows[0]["above weights GiB"], rows[1]["peak GiB"]) == ("2.000", "1.000", "–")


def test_the_same_memory_is_compared_by_the_better_batch_of_each():
    assert [(row.peer, row.batch) for row in best_of_each(ROWS[5:9])] == [("hf-dynamic", 10), ("engine kitty-pro", 100)]
    rows = table(markdown(ENVIRONMENT, ROWS), "The same KV memory: 24 GiB, rows of 8192 tokens")
    assert [row["x hf-dynamic"] for row in rows] == ["", "1.00", "4.00", ""]
    assert rows[2]["tokens/s"] == "**500.0**"


def test_first_tokens_are_set_against_stock():
    rows = table(markdown(ENVIRONMENT, ROWS), "Time to first token")
    assert [row["x hf-dynamic"] for row in rows] == ["1.00", "0.75"]


def test_the_plot_has_a_bar_for_every_figure_in_its_panels_scale():
    root = ElementTree.fromstring(svg(ENVIRONMENT, ROWS))
    bars = [float(bar.get("width")) for bar in root.iter() if bar.get("class") == "bar"]
    texts = [text.text for text in root.iter() if text.tag.endswith("text")]
    # Three steps at batch 1, one at batch 2, two of the same memory, two first tokens.
    assert len(bars) == 8
    assert bars[0] / bars[2] == pytest.approx(4.0 / 1.5, rel=0.01)
    assert bars[5] / bars[4] == pytest.approx(500 / 125, rel=0.01)
    assert "a model (bfloat16) on a <GPU>" in texts and "500 (batch 100)" in texts and "ms a step" in texts


def test_a_run_that_is_cut_off_leaves_the_rows_it_has(tmp_path):
    record = Record(ENVIRONMENT, tmp_path / "out", tmp_path / "plot.svg")
    for count, row in enumerate(ROWS[:3], 1):
        record.add(row)
        document = json.loads((tmp_path / "out/report.json").read_text())
        assert [row["peer"] for row in document["rows"]] == [row.peer for row in ROWS[:count]]
        assert row.peer in (tmp_path / "out/report.md").read_text()
    assert (tmp_path / "plot.svg").read_text() == (tmp_path / "out/latency.svg").read_text()
    assert not list(tmp_path.rglob("*.part"))


def test_the_report_has_the_caches_of_transformers_first_in_each_shape(tmp_path):
    record = Record(ENVIRONMENT, tmp_path, None)
    came = [
        step("engine fp16", 1, 2.0),
        step("kitty fp16", 2, 2.0),
        step("hf-static", 2, 2.0),
        step("hf-static", 1, 2.0),
    ]
    for row in [*came, budget("kitty fp16", 9, 2.0), budget("hf-dynamic", 8, 2.0), budget("hf-dynamic", 4, 2.0)]:
        record.add(row)
    steps = table(record.report(), "Decode steps")
    assert [(row["batch x tokens"], row["cache"]) for row in steps] == [
        ("1 x 64", "hf-static"),
        ("1 x 64", "engine fp16"),
        ("2 x 64", "hf-static"),
        ("2 x 64", "kitty fp16"),
    ]
    same = table(record.report(), "The same KV memory")
    assert [(row["cache"], row["batch"]) for row in same] == [
        ("hf-dynamic", "8"),
        ("hf-dynamic", "4"),
        ("kitty fp16", "9"),
    ]
    assert [row["peer"] for row in record.document()["rows"]][:4] == [row.peer for row in came]


def test_steps_count_from_the_last_rows_first_token_and_after_the_warm_up():
    slow, fast = [1.0] * 4, [0.25, 0.5]
    early = [1.0, 2.0]  # before the other row has begun
    late = [3.0, *(3.0 + sum((slow + fast)[: count + 1]) for count in range(6))]
    timed = Timed.of([early + late, late], 7, 6)
    assert (timed.first_token_s, timed.step_s, timed.cache_bytes, timed.used_bytes) == (3.0, 0.375, 7, 6)
    assert Timed.of([[2.0]], 0, 0).step_s is None


def written(tmp_path, name: str, rows: list[LatencyRow], **environment: object) -> pathlib.Path:
    record = Record(ENVIRONMENT | environment, tmp_path / name, None)
    for row in rows:
        record.add(row)
    return tmp_path / name / "report.json"


def test_reports_are_drawn_together_and_the_last_row_of_a_peer_counts(tmp_path) -> None:
    first = written(tmp_path, "first", [*ROWS, step("engine kitty-pro", 1, 2.0)])
    second = written(tmp_path, "second", [step("engine kitty-pro", 1, 1.25)])
    peers = ["engine kitty-pro", "hf-dynamic"]
    _, rows = joined([first, second], peers, ["step"])
    assert [(row.batch, row.peer, row.step_ms) for row in rows] == [
        (1, "engine kitty-pro", 1.25),
        (1, "hf-dynamic", 4.0),
        (2, "engine kitty-pro", 1.5),
    ]
    plot = tmp_path / "plot.svg"
    assert redraw([str(first), str(second), "--peers", ",".join(peers), "--plot", str(plot)]) == 0
    ElementTree.parse(plot)


@pytest.mark.parametrize("text", ["", "[]", '{"rows": [{"part": 1}], "environment": {}}'])
def test_what_is_no_report_is_refused(tmp_path, capsys, text: str) -> None:
    report = tmp_path / "report.json"
    report.write_text(text)
    assert redraw([str(report), "--peers", "x", "--plot", str(tmp_path / "plot.svg")]) == 2
    assert "no report.json" in capsys.readouterr().err


def test_reports_of_other_hardware_are_not_drawn_together(tmp_path, capsys) -> None:
    reports = [written(tmp_path, name, ROWS, hardware=name) for name in ("one", "other")]
    assert redraw([*map(str, reports), "--peers", "hf-dynamic", "--plot", str(tmp_path / "plot.svg")]) == 2
    assert "hardware is other, theirs one" in capsys.readouterr().err
