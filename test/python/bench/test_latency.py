"""The report of ``kitty_kv.bench.latency`` on rows whose figures are known."""

from __future__ import annotations

from kitty_kv.bench.latency.measure import LatencyRow
from kitty_kv.bench.latency.report import fastest_stock, markdown, write_svg

ROWS = [
    LatencyRow("hf-dynamic", 1, 64, 8, first_token_ms=10.0, step_ms=4.0, tokens_per_second=250.0, peak_bytes=2**31),
    LatencyRow("hf-static", 1, 64, 8, first_token_ms=10.0, step_ms=3.0, tokens_per_second=333.3),
    LatencyRow("hf-hqq-2", 1, 64, 8, reason="hqq not installed"),
    LatencyRow("kitty kitty-pro", 1, 64, 8, first_token_ms=11.0, step_ms=1.5, tokens_per_second=666.7),
    LatencyRow("kitty kitty-pro", 2, 64, 8, first_token_ms=11.0, step_ms=1.5, tokens_per_second=1333.3),
]


def test_ratios_are_to_the_fastest_stock_cache_of_the_same_shape():
    assert fastest_stock(ROWS, ROWS[3]) == 3.0
    assert fastest_stock(ROWS, ROWS[4]) is None
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in markdown(ROWS).splitlines()[2:]]
    assert [line[-1] for line in cells] == ["0.75x", "1.00x", "hqq not installed", "2.00x", "–"]
    assert cells[0][5] == "2.00"


def test_the_plot_has_a_bar_for_every_measured_row(tmp_path):
    write_svg(ROWS, tmp_path / "steps.svg", "a <model>")
    svg = (tmp_path / "steps.svg").read_text()
    assert svg.count('height="13"') == 4
    assert "a &lt;model&gt;" in svg and "hqq" not in svg
