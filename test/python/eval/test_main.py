"""The command: a document, a report, files that a killed run goes on from, and one sentence for what is wrong."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import torch

import kitty_kv
from kitty_kv.eval.__main__ import main
from kitty_kv.eval.threads import threads_for

QUICK = ["--lengths", "512", "--dtype", "float32"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    kitty_kv.uninstall()


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    code = main([*QUICK, *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def records(folder: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]


def test_every_task_gives_a_row_a_preset_and_a_comparison(capsys, tmp_path):
    code, out, err = run(capsys, "--preset", "kivi-2,fp16", "--limit", "1", "--out", str(tmp_path), "--json")
    document = json.loads(out)
    assert code == 0
    assert [(row["task"], row["preset"]) for row in document["rows"]] == [
        (task, preset)
        for task in ("passkey", "multi_key", "variable_tracking", "copying", "arithmetic", "book_perplexity")
        for preset in ("kivi-2", "fp16")
    ]
    for row in document["rows"]:
        assert ("againstFp16" in row) == (row["preset"] == "kivi-2")
        assert (row["compression"] > 1.2) == (row["preset"] == "kivi-2")
    book = document["rows"][-1]
    assert 1 < book["bitsPerByte"] < 2
    assert [line.split(" ")[0] for line in err.strip().split("\n")] == [f"{at}/12" for at in range(1, 13)]
    assert json.loads((tmp_path / "figures.json").read_text())["rows"] == document["rows"]
    assert f"{tmp_path}/report.html" in document["report"]
    (reported,) = json.loads((tmp_path / "report.json").read_text())["evaluations"]
    assert {(row["task"], row["preset"]): row["items"] for row in reported["tasks"]} == {
        (row["task"], row["preset"]): row["items"] for row in document["rows"]
    }
    assert "| passkey | all | kivi-2 | " in document["report"]
    # Quantized pages were there to be read in every item.
    assert all((record["packed_bytes"] > 0) == (record["preset"] == "kivi-2") for record in records(tmp_path))


def test_a_killed_run_goes_on_and_repeats_no_item(capsys, tmp_path):
    arguments = ["--preset", "fp16,kitty", "--tasks", "passkey,copying", "--limit", "4", "--out", str(tmp_path)]
    command = [sys.executable, "-m", "kitty_kv.eval", *QUICK, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    for _ in range(3):
        child.stderr.readline()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stderr.close()
    before = records(tmp_path)
    assert 3 <= len(before) < 16
    with (tmp_path / "items.jsonl").open("a") as file:
        file.write('{"preset": "kitty", "item": "pass')  # as a kill in the middle of a line leaves it
    code, out, err = run(capsys, *arguments, "--json")
    document = json.loads(out)
    after = records(tmp_path)
    assert (code, document["resumedItems"]) == (0, len(before))
    assert after[: len(before)] == before
    assert len({(record["preset"], record["item"]) for record in after}) == len(after) == 16
    assert f"{len(before)} of 16 items were done before" in err
    whole = run(capsys, *arguments[:-2], "--json")[1]
    assert json.loads(whole)["rows"] == document["rows"]
    started = time.monotonic()
    assert json.loads(run(capsys, *arguments, "--json")[1])["rows"] == document["rows"]
    assert time.monotonic() - started < 5


def test_results_of_another_run_or_version_are_refused(capsys, tmp_path):
    arguments = ["--preset", "fp16", "--tasks", "passkey", "--limit", "1", "--out", str(tmp_path)]
    assert run(capsys, *arguments)[0] == 0
    code, _, err = run(capsys, *arguments, "--seed", "1")
    assert code == 2
    assert "its results are of another run (seed was 0 and is 1); give another --out" in err
    facts = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**facts, "version": 0}))
    assert "version was 0 and is 2" in run(capsys, *arguments)[2]
    (tmp_path / "run.json").unlink()
    assert "holds items.jsonl without run.json" in run(capsys, *arguments)[2]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--tasks", "multikey"], 2, "did you mean 'multi_key'"),
        (["--preset", "kity"], 2, "did you mean 'kitty'"),
        (["--preset", "kitty:selecton=range"], 2, "did you mean 'selection'"),
        (["--preset", "kitty:boost_ratio=much"], 2, "boost_ratio wants a number, got 'much'"),
        (["--preset", "kitty:preset=fp16"], 2, "it names two presets; give 'fp16' alone"),
        (["--preset", "kitty:boost_ratio=2"], 2, "want a number from 0 to 1, got 2.0"),
        (["--lengths", "8192"], 2, "the context of kitty-tiny is 4096; give smaller --lengths"),
        (["--lengths", "512,x"], 2, "want a whole number >= 1, got 'x'"),
        (["--limit", "0"], 2, "want a whole number >= 1, got '0'"),
        (["--limt", "1"], 2, "unrecognized arguments: --limt 1"),
        (["--text", "/no/such/text"], 2, 'Cannot read the text "/no/such/text": No such file'),
        (["--model", "/no/such/model"], 2, "there is no such folder"),
        (["--out", "/proc/no"], 2, 'Cannot write results to "/proc/no"'),
        (["--tasks", ","], 2, "no task is named"),
    ],
)
def test_wrong_usage_is_one_sentence_before_any_item(capsys, arguments, code, message):
    got, out, err = run(capsys, *arguments)
    assert (got, out) == (code, "")
    assert message in err
    assert err.startswith("Cannot ") and err.count("\n") == 1
    got, out, _ = run(capsys, *arguments, "--json")
    assert message in json.loads(out)["error"]["message"]


def test_a_short_text_is_refused(capsys, tmp_path):
    text = tmp_path / "short.txt"
    text.write_text("It was a bright cold day in April. " * 20)
    code, _, err = run(capsys, "--text", str(text))
    assert (code, "the text has" in err, "give a longer text" in err) == (2, True, True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it holds no text"),
        (b" \n\n", "it holds no text"),
        (bytes(range(256)) * 40, "is not UTF-8"),
        (None, "Is a directory"),
    ],
)
def test_a_text_that_is_none_and_results_of_another_version_are_refused_before_a_model_is_loaded(
    capsys, tmp_path, content, message
):
    text = tmp_path / "text"
    text.mkdir() if content is None else text.write_bytes(content)
    missing = ["--model", "/no/such/model"]
    code, _, err = run(capsys, "--text", str(text), *missing)
    assert code == 2 and message in err and err.count("\n") == 1
    (tmp_path / "run.json").write_text('{"version": 1}')
    assert "version was 1 and is 2" in run(capsys, "--out", str(tmp_path), *missing)[2]


def test_a_small_model_is_computed_with_one_thread_unless_it_is_said_otherwise(loaded, monkeypatch):
    torch.set_num_threads(2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with threads_for(loaded.model):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with threads_for(loaded.model):
        assert torch.get_num_threads() == 2
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr("kitty_kv.eval.threads.SMALL_PARAMETERS", 1000)
    with threads_for(loaded.model):
        assert torch.get_num_threads() == 2


def test_a_preset_with_changed_fields_is_evaluated_under_its_whole_name(capsys):
    name = "kitty:boost_ratio=0.5:sink_tokens=0"
    code, out, _ = run(capsys, "--preset", name, "--tasks", "passkey", "--limit", "1", "--json")
    (row,) = json.loads(out)["rows"]
    assert (code, row["preset"]) == (0, name)
    plain = json.loads(run(capsys, "--preset", "kitty", "--tasks", "passkey", "--limit", "1", "--json")[1])["rows"][0]
    assert row["compression"] != plain["compression"]


def test_stopping_early_leaves_out_what_is_decided_and_a_second_run_adds_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "kitty_kv.eval.early_stop.MARGIN", 0.9
    )  # so that three items are enough to call a preset as good
    arguments = ["--preset", "kitty,fp16", "--tasks", "passkey", "--limit", "6", "--max-batch", "2", "--stop-early"]
    code, out, _ = run(capsys, *arguments, "--out", str(tmp_path), "--json")
    document = json.loads(out)
    rows = {row["preset"]: row for row in document["rows"]}
    assert (code, document["presets"]) == (0, ["fp16", "kitty"])
    assert rows["kitty"]["stopped"]["decision"] == "equal"
    assert rows["kitty"]["stopped"]["afterItems"] <= rows["kitty"]["items"] < 6 == rows["fp16"]["items"]
    before = records(tmp_path)
    assert json.loads(run(capsys, *arguments, "--out", str(tmp_path), "--json")[1])["rows"] == document["rows"]
    assert records(tmp_path) == before
    assert "held to fp16" in run(capsys, "--preset", "kitty", "--stop-early")[2]


def test_without_out_results_go_where_what_decides_them_says(capsys, tmp_path):
    arguments = ["--preset", "fp16", "--tasks", "passkey", "--limit", "1", "--home", str(tmp_path), "--json"]
    first = json.loads(run(capsys, *arguments)[1])
    again = json.loads(run(capsys, *arguments)[1])
    other = json.loads(run(capsys, *arguments, "--seed", "1")[1])
    assert (again["folder"], again["resumedItems"]) == (first["folder"], 1)
    assert other["folder"] != first["folder"]
    assert {pathlib.Path(each["folder"]).parent for each in (first, other)} == {tmp_path}
