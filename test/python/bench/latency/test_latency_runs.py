"""What ``kitty_kv.bench.latency`` measures is what it says, on tiny models."""

from __future__ import annotations

import json

import pytest
import torch

from kitty_kv import KittyCache
from kitty_kv.bench.latency import attempts, measure
from kitty_kv.bench.latency.__main__ import main
from kitty_kv.bench.latency.attempts import Attempt, Clock, measured
from kitty_kv.bench.latency.measure import from_prompts, from_repeated_rows, random_prompts
from kitty_kv.bench.latency.own_pages import own_pages
from kitty_kv.bench.latency.peers import peers
from kitty_kv.bench.latency.timed import Timed
from kitty_kv.bench.latency.timed_engine import TimedEngine
from kitty_kv.config import KittyConfig
from kitty_kv.errors import CacheOutOfMemoryError
from kitty_kv.hf.repeated_rows import repeated_rows

SMALL_PAGES = KittyConfig(preset="kitty-pro", page_size=32, sink_tokens=16, recent_tokens=32)
PEERS = {peer.name: peer for peer in peers("kitty-pro")}


def token_bytes(model) -> int:
    config = model.config
    return config.num_hidden_layers * 2 * config.num_key_value_heads * config.head_dim * model.dtype.itemsize


@torch.inference_mode()
def test_rows_with_pages_of_their_own_hold_the_same_and_share_nothing(make_model):
    model = make_model()
    cache = KittyCache.for_model(model, config=SMALL_PAGES)
    model(input_ids=random_prompts(model, 1, 150), past_key_values=cache, use_cache=True)
    one_row = cache.pages.store.in_use
    cache.batch_repeat_interleave(3)
    assert cache.pages.store.in_use == one_row
    before = [cache.dequantize(layer) for layer in range(3)]
    own_pages(cache.pages)
    assert cache.pages.store.in_use == tuple(3 * count for count in one_row)
    for layer, (keys, values) in enumerate(before):
        now = cache.dequantize(layer)
        assert torch.equal(now[0], keys) and torch.equal(now[1], values)
    rows = cache.pages.rows
    for ids in ([row.keys.pages for row in rows], [row.values.pages for row in rows]):
        assert len({page for pages in ids for page in pages}) == sum(map(len, ids)) > 0
    # What one row gains does not reach the others.
    model(input_ids=torch.tensor([[5], [6], [7]]).repeat(1, 40), past_key_values=cache, use_cache=True)
    keys, _ = cache.dequantize(2)
    assert not torch.equal(keys[0], keys[1])


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_repeated_rows_of_stock_caches_go_on_like_rows_that_were_fed(make_model, kind):
    model = make_model(attention="sdpa")
    prompt, last = random_prompts(model, 1, 40), torch.tensor([[5], [6], [7]])
    cache = repeated_rows(model, kind, {}, prompt, 3, 64)
    found = model(input_ids=last, past_key_values=cache, use_cache=True, cache_position=torch.tensor([40])).logits[
        :, -1
    ]
    wanted = model(input_ids=torch.cat([prompt.expand(3, -1), last], 1)).logits[:, -1]
    assert torch.allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("name", ["hf-dynamic", "hf-static", "kitty fp16", "kitty kitty-pro", "engine fp16"])
def test_the_cache_of_16_bits_takes_what_its_tokens_need(make_model, name):
    model = make_model(dtype=torch.bfloat16)
    timed = from_repeated_rows(model, PEERS[name], 3, 400, 10, is_compiled=False)
    needed = 3 * 410 * token_bytes(model)
    if name == "hf-dynamic":
        assert timed.cache_bytes == needed - 3 * token_bytes(model)  # the last token is never fed
    elif name == "hf-static":
        assert timed.cache_bytes == pytest.approx(needed, rel=0.001)
    elif name == "kitty kitty-pro":
        assert timed.used_bytes < 0.7 * needed
    else:
        assert needed * 0.99 < timed.used_bytes < needed * 1.05 and timed.used_bytes <= timed.cache_bytes
    assert timed.first_token_s is None and timed.step_s > 0


@torch.inference_mode()
def test_the_engine_goes_on_from_repeated_rows_as_from_a_prompt(make_model):
    model = make_model()
    prompt, last = random_prompts(model, 1, 100)[0].tolist(), [[5], [6]]
    with TimedEngine.started(model, SMALL_PAGES, 2, 99) as engine:
        rows = engine.repeated(prompt, 2)
        engine.run(rows, last, 20)
    for row, token in zip(rows, last, strict=True):
        cache = KittyCache.for_model(model, config=SMALL_PAGES)
        for tokens in (prompt[:-1], prompt[-1:]):
            model(input_ids=torch.tensor([tokens]), past_key_values=cache, use_cache=True)
        wanted = model.generate(
            torch.tensor([prompt + token]), past_key_values=cache, do_sample=False, max_new_tokens=20, pad_token_id=0
        )
        assert row.tokens == wanted[0].tolist()


def test_the_engine_feeds_all_prompts_before_it_decodes(make_model):
    model = make_model()
    prompts = random_prompts(model, 3, 200).tolist()
    with TimedEngine.started(model, SMALL_PAGES, 3, 64) as engine:
        counts: list[int] = []
        rows = engine.empty(3)
        timed = engine.run(rows, prompts, 8, on_token=lambda count: counts.append(len(rows[0].tokens) - 200 - count))
    # When the last row has its n-th token the first row has no more.
    assert counts == [0] * 8
    assert timed.first_token_s > 0 and timed.step_s > 0


@pytest.mark.parametrize("name", ["hf-dynamic", "hf-static", "kitty kitty-pro", "engine kitty-pro"])
def test_no_peer_computes_logits_of_a_whole_prompt(make_model, name):
    model = make_model()
    shapes: set[tuple[int, ...]] = set()
    model.lm_head.register_forward_hook(lambda module, args, output: shapes.add(tuple(output.shape[:2])))
    from_prompts(model, PEERS[name], 2, 150, 6, chunk_tokens=64, runs=1)
    assert shapes and all(tokens == 1 for _, tokens in shapes)


def test_a_failure_and_the_time_limit_become_reasons_and_the_run_goes_on(make_model, monkeypatch, capsys):
    def failing(attempt: Attempt) -> Timed:
        raise AssertionError("quantizer\nbroke")

    def working(attempt: Attempt) -> Timed:
        return Timed(0.5, 0.25, 10, 10)

    model, peer = make_model(), PEERS["hf-dynamic"]
    rows = measured(
        model, [Attempt("step", peer, 2, 4, 6, run) for run in (failing, working, working)], clock := Clock(60)
    )
    assert next(rows).reason == "AssertionError: quantizer"
    row = next(rows)
    assert (row.first_token_ms, row.step_ms, row.tokens_per_second, row.reason) == (500.0, 250.0, 8.0, None)
    monkeypatch.setattr(attempts.time, "monotonic", lambda start=clock._began: start + 61)
    assert next(rows).reason == "time limit"
    assert "s] step 2 x 4 hf-dynamic: AssertionError: quantizer" in capsys.readouterr().err


def test_all_parts_in_one_command(tmp_path, capsys):
    argv = ["--json", "--parts=step,budget,prefill", "--shapes=2x40", "--new-tokens=6", "--kv-budget-gib=0.008"]
    argv += ["--budget-tokens=400", "--prefill=1x80", "--peers=hf-dynamic,kitty kitty-pro,engine kitty-pro"]
    assert main([*argv, f"--out={tmp_path}"]) == 0
    document = json.loads(capsys.readouterr().out)
    rows = document["rows"]
    assert [row["reason"] for row in rows] == [None] * 12
    assert [row["part"] for row in rows] == ["step"] * 3 + ["budget"] * 6 + ["prefill"] * 3
    for row in rows[3:9]:
        assert row["cacheBytes"] <= 0.008 * 2**30
    largest = {row["peer"]: row["batch"] for row in rows[3:9:2]}
    # 6 layers, keys and values, 2 heads of 128 channels, 2 bytes, 399 tokens a row.
    assert largest["hf-dynamic"] == int(0.008 * 2**30) // (6 * 2 * 2 * 128 * 2 * 399)
    assert largest["engine kitty-pro"] >= largest["kitty kitty-pro"] > largest["hf-dynamic"]
    assert [row["batch"] for row in rows[4:9:2]] == [batch // 2 for batch in largest.values()]
    assert json.loads((tmp_path / "report.json").read_text())["rows"] == rows
    assert (tmp_path / "report.md").read_text() == document["report"] + "\n"


@pytest.mark.parametrize("pass_tokens", [10_000, 50])
def test_a_prompt_for_each_row_fills_the_same_memory(make_model, monkeypatch, pass_tokens):
    monkeypatch.setattr(measure, "_PASS_TOKENS", pass_tokens)
    model = make_model(dtype=torch.bfloat16)
    for name in ("hf-dynamic", "hf-static", "kitty fp16", "engine fp16"):
        limits = {"chunk_tokens": 64, "max_bytes": 100 * 410 * token_bytes(model)}
        (timed,) = from_prompts(model, PEERS[name], 2, 400, 10, runs=1, **limits)
        assert timed.used_bytes == pytest.approx(2 * 410 * token_bytes(model), rel=0.05)
        assert timed.first_token_s > 0 and timed.step_s > 0


@pytest.mark.parametrize("name", ["kitty kitty-pro", "engine kitty-pro"])
def test_rows_that_do_not_fit_are_an_error_not_a_slow_figure(make_model, name):
    model = make_model(dtype=torch.bfloat16)
    one = from_repeated_rows(model, PEERS[name], 1, 300, 10, is_compiled=False).used_bytes
    fitting = from_repeated_rows(model, PEERS[name], 2, 300, 10, is_compiled=False, max_bytes=3 * one)
    assert fitting.cache_bytes <= 3 * one
    with pytest.raises(CacheOutOfMemoryError):
        from_repeated_rows(model, PEERS[name], 5, 300, 10, is_compiled=False, max_bytes=3 * one)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--model=/nowhere"], 'Cannot load model "/nowhere": there is no such folder'),
        (["--parts=step,paint"], "want some of step, budget, prefill, got 'step,paint'"),
        (["--parts=budget", "--budget-tokens=8192"], "--budget-tokens needs 8192 tokens a row"),
        (["--parts=prefill", "--prefill=1x4096"], "--prefill needs 4097 tokens a row"),
        (["--parts=budget", "--budget-tokens=20"], "leaves no prompt of 3 tokens"),
        (["--new-tokens=5"], "want a whole number above 5"),
        (["--time-limit=0"], "want a number above 0"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(argv, message, capsys):
    assert main(argv) == 2
    assert message in capsys.readouterr().err
