"""The kernels' benchmark, all but its clock: caches, byte counts, peers, errors, tables."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from kitty_kernels.bench import __main__ as program
from kitty_kernels.bench import decode, pack, peers, timing
from kitty_kernels.bench.decode import Conditions, DecodeRow, check_memory, error_of, measure_decode
from kitty_kernels.bench.pack import PackRow, jobs_of, measure_flush, measure_prefill
from kitty_kernels.bench.peers import PEERS, PeerTime, best_of
from kitty_kernels.bench.random_cache import CacheShape, random_view, rows_of
from kitty_kernels.bench.shapes import SHAPES, DecodeShape, shapes_of
from kitty_kernels.bench.table import decode_table, misses, pack_table, reasons
from kitty_kernels.decode_attention.api import decode_attention
from kitty_kernels.dequantize.api import dequantize_view

CPU = torch.device("cpu")
LENGTHS = (0, 1, 32, 159, 160, 287, 288, 1000)
AT = Conditions(CPU, bytes_per_ms=1e6, cache_bytes=2**20, replays=1, skip={"flex": "needs a compiler"})


@pytest.fixture
def no_clock(monkeypatch):
    """Runs what would be timed, once each; a millisecond each."""

    def run(calls, replays):
        for call in calls:
            call()
        return 1.0

    for module in (decode, pack, peers):
        monkeypatch.setattr(module, "graph_ms", run)
        monkeypatch.setattr(module, "plain_ms", lambda call: run([call], 1))
    monkeypatch.setattr(decode, "free_bytes", lambda device: 2**40)


def test_a_random_caches_pages_are_packed_when_the_contract_says():
    view = random_view(CacheShape(LENGTHS, head_dim=64, boosted=8, kv_heads=2), CPU)
    assert view.lengths.tolist() == list(LENGTHS)
    assert view.key_page_counts.tolist() == [0, 0, 0, 0, 1, 1, 2, 7]
    assert view.value_page_counts.tolist() == [0, 0, 0, 0, 0, 0, 1, 6]


def test_no_two_rows_of_a_random_cache_share_a_page_or_a_block_and_ids_are_shuffled():
    view = random_view(CacheShape((3000, 2000), head_dim=64, boosted=8, kv_heads=2), CPU)
    for table, counts, pages in (
        (view.key_table, view.key_page_counts, view.key_pages),
        (view.value_table, view.value_page_counts, view.value_pages),
    ):
        used = torch.cat([row[:count] for row, count in zip(table, counts.tolist(), strict=True)])
        assert sorted(used.tolist()) == list(range(pages.shape[0]))
        assert used.tolist() != sorted(used.tolist())
    blocks = torch.cat([view.key_block_table, view.value_block_table]).flatten().tolist()
    assert sorted(blocks) == list(range(view.blocks.shape[0]))


def test_a_random_cache_holds_normal_tokens():
    view = random_view(CacheShape((1000,), kv_heads=2), CPU)
    for tokens in dequantize_view(view, tokens=1000, dtype=torch.float32):
        assert tokens.isfinite().all()
        # Two bits keep a normal distribution's width.
        assert tokens.std().item() == pytest.approx(1.0, abs=0.15)
        assert tokens.mean().item() == pytest.approx(0.0, abs=0.02)


def test_held_bytes_are_the_records_and_16_bit_tokens_that_rows_have():
    shape = CacheShape(LENGTHS, head_dim=64, boosted=8, kv_heads=2)
    view = random_view(shape, CPU)
    want = 0
    for counts, pages in ((view.key_page_counts, view.key_pages), (view.value_page_counts, view.value_pages)):
        want += counts.sum().item() * pages[0].numel()
        want += (view.lengths - 128 * counts).sum().item() * 2 * 64 * 2
    assert shape.held_bytes == want
    assert shape.dense_bytes == sum(LENGTHS) * 2 * 64 * 2 * 2


def test_rows_of_a_cache_attend_as_they_do_among_the_others():
    view = random_view(CacheShape((300, 40, 700), kv_heads=2), CPU)
    query = torch.randn(3, 4, 1, 128)
    whole = decode_attention(query, view, scaling=0.1)
    part = decode_attention(query[1:], rows_of(view, slice(1, 3)), scaling=0.1)
    assert torch.equal(whole[1:], part)


def test_the_error_is_that_of_the_output_and_grows_with_it():
    view = random_view(CacheShape((300, 40), kv_heads=2), CPU)
    query = torch.randn(2, 4, 1, 128)
    out = decode_attention(query, view, scaling=0.1)
    assert error_of(out, query, view, 0.1) < 1e-6
    assert error_of(out * 1.01, query, view, 0.1) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(
    ("input_bytes", "copies", "calls"),
    [(2**30, 1, 16), (200 * 2**20, 1, 16), (199 * 2**20, 2, 16), (10 * 2**20, 20, 20), (1, 512, 512)],
)
def test_inputs_rotate_until_the_cache_has_forgotten_them(input_bytes, copies, calls):
    assert timing.copies_needed(input_bytes, 50 * 2**20) == copies
    assert timing.calls_per_graph(copies) == calls
    assert timing.calls_per_graph(copies) % copies == 0


def test_the_issues_sizes_are_measured():
    names = {shape.name for shape in SHAPES}
    assert {"1 x 1K", "1 x 4K", "1 x 32K", "1 x 128K", "8 x 32K", "32 x 8K", "32 x 32K", "256 x 4K"} <= names
    assert any(len(set(shape.lengths)) > 1 for shape in SHAPES)
    assert any(shape.dtype == torch.bfloat16 for shape in SHAPES)
    assert all(max(shape.lengths) <= 1024 for shape in shapes_of(is_quick=False, is_short=True))
    assert 0 < len(shapes_of(is_quick=True, is_short=False)) < len(shapes_of(is_quick=False, is_short=False))


def test_peers_of_ragged_rows_have_as_many_tokens():
    (shape,) = (one for one in SHAPES if len(set(one.lengths)) > 1)
    assert shape.dense_shape.batch == len(shape.lengths)
    assert shape.dense_shape.bytes == pytest.approx(shape.cache_shape.dense_bytes, rel=0.01)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_line_is_measured_from_caches_and_peers_of_its_lengths(no_clock, dtype):
    row = measure_decode(DecodeShape((300, 200), 0.5, dtype=dtype), AT)
    assert row.shape.startswith("2 x 300")
    assert row.error < (2e-3 if dtype == torch.float16 else 1e-2)
    assert row.limit_ms == row.held_bytes / 1e6
    found = {peer.name: peer for peer in row.peers}
    assert set(found) == set(PEERS)
    assert found["flex"].reason == "needs a compiler"
    # The CPU has a flash back-end and no cuDNN.
    assert found["flash"].ms == 1.0
    assert found["cudnn"].ms is None
    assert found["cudnn"].reason
    assert (row.ratio, row.is_met) == (1.0, True)


def test_heads_as_tokens_computes_what_grouped_heads_compute():
    query = torch.randn(2, 8, 1, 64)
    keys, values = torch.randn(2, 2, 2, 50, 64)
    with PEERS["flash"]() as plain, PEERS["flash, heads as tokens"]() as turned:
        torch.testing.assert_close(turned(query, keys, values), plain(query, keys, values))


def test_a_peer_that_fails_is_told_and_the_next_one_runs(no_clock):
    times = peers.time_peers(peers.DenseShape(1, 64), CPU, cache=1, replays=1, skip={"flex": "no"})
    assert [one.ms is None for one in times] == [one.reason is not None for one in times]
    assert best_of(times).name in ("flash", "flash, heads as tokens")
    assert best_of([one for one in times if one.ms is None]) is None


def test_a_size_that_does_not_fit_says_so_with_numbers():
    shape = max(SHAPES, key=lambda one: one.needed_bytes)
    with pytest.raises(MemoryError, match=r"^needs \d+ GiB, 1 GiB are free$"):
        check_memory(shape, 2**30)
    check_memory(shape, 60 * 2**30)


def test_jobs_name_every_page_once():
    view = random_view(CacheShape((600, 40, 300), kv_heads=1), CPU)
    for kind, counts, table in (
        ("keys", view.key_page_counts, view.key_table),
        ("values", view.value_page_counts, view.value_table),
    ):
        jobs = jobs_of(view, kind)
        assert jobs.dtype == torch.int32
        pages = [(row, page) for row in range(3) for page in range(counts[row])]
        assert [tuple(job[:2].tolist()) for job in jobs] == pages
        assert [job[2].item() for job in jobs] == [table[row, page].item() for row, page in pages]


def test_packing_is_measured_with_the_bytes_it_reads(no_clock):
    prefill = measure_prefill(AT, batch=2, tokens=1024)
    # 7 key pages and 6 value pages a row, 8 heads of 128 channels in 16 bits.
    assert prefill.read_ms == 2 * 13 * 128 * 8 * 128 * 2 / 1e6
    assert prefill.most_ms == 2 * prefill.read_ms
    flush = measure_flush(AT, batch=2, layers=3)
    assert flush.read_ms == 2 * 3 * 2 * 128 * 8 * 128 * 2 / 1e6
    assert flush.most_ms == 0.25


DECODE = [
    DecodeRow("1 x 4K", 0.01, 0.03, (PeerTime("flash", 0.025), PeerTime("cudnn", 0.02)), 10, 0.002, 1e-3, 1.8),
    DecodeRow("8 x 32K", 0.1, 0.1, (PeerTime("flash", None, None, "it broke"), PeerTime("cudnn", 0.3)), 10, 0.06, 0, 4),
]
PACK = [PackRow("prefill", 0.3, 0.31, 0.2, 0.1, 0.1, 0.2)]


def test_tables_show_ratios_shares_and_misses():
    (met, missed) = decode_table(DECODE).splitlines()[2:]
    assert [cell.strip() for cell in met.split("|")[1:6]] == ["1 x 4K", "0.0100", "0.0300", "0.0250", "0.0200"]
    assert "| 2.00x " in met and "| 20%" in met and "MISS" not in met
    assert "| 3.00x MISS" in missed and "| 60%" in missed and "| - " in missed
    assert "3.00x MISS" in pack_table(PACK)
    assert reasons(DECODE) == ["flash: it broke"]
    assert misses(DECODE, PACK) == ["8 x 32K: 3.00x, wanted 4.00x", "prefill: 0.300 ms, wanted 0.200 ms"]


def test_the_document_is_json_with_the_report_in_it():
    environment = dict.fromkeys(("gpu", "torch", "triton", "python", "date", "command", "copyTBps"), "x")
    found = json.loads(json.dumps(program.document(environment, DECODE, PACK, ["32 x 32K: too large"])))
    assert found["decode"][0] | {"peers": None} == {
        "shape": "1 x 4K", "ms": 0.01, "plainMs": 0.03, "peers": None, "heldBytes": 10, "limitMs": 0.002,
        "error": 0.001, "leastRatio": 1.8, "bestPeer": "cudnn", "ratio": 2.0, "share": 0.2, "isMet": True,
    }  # fmt: skip
    assert found["decode"][1]["peers"][0] == {"name": "flash", "ms": None, "plainMs": None, "reason": "it broke"}
    assert found["pack"][0]["isMet"] is False
    for part in (
        "| 1 x 4K",
        "| prefill",
        "Not run: flash: it broke",
        "Not run: 32 x 32K: too large",
        "Missed: prefill",
    ):
        assert part in found["report"]


def test_each_part_can_be_measured_alone(no_clock, monkeypatch):
    small = tuple(dataclasses.replace(one, lengths=(200,)) for one in SHAPES if one.is_quick)
    monkeypatch.setattr("kitty_kernels.bench.shapes.SHAPES", small)
    monkeypatch.setattr(program, "measure_prefill", lambda at: PACK[0])
    monkeypatch.setattr(program, "measure_flush", lambda at: PACK[0])
    counts = {"decode": (3, 0), "short": (2, 0), "pack": (0, 1), "flush": (0, 1)}
    for part, count in counts.items():
        options = program._parse(["--quick", "--only", part])
        rows, packed, skipped = program._measure(options, AT)
        assert (len(rows), len(packed), skipped) == (*count, [])


def test_without_cuda_one_sentence_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert program.main([]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("Cannot measure kernels: torch ")
    assert program.main(["--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "unsupported"
