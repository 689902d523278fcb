"""Tasks of the harness in our own evaluation: through the packed cache, item by item, and refused before a model is loaded."""

from __future__ import annotations

import json
import os
import pathlib
import shlex

import pytest

import kitty_kv
from kitty_kv.config import PRESETS
from kitty_kv.eval.__main__ import main
from kitty_kv.eval.evaluator import Evaluator, GenerationRequest
from kitty_kv.eval.fetch import main as fetch
from kitty_kv.eval.reporting.commands import evaluation_command
from kitty_kv.eval.reporting.sources import read_sources

QUICK = ["--dtype", "float32", "--device", "cpu", "--lengths", "512"]


def run(capsys, tasks: pathlib.Path, names: str, *arguments: str) -> tuple[int, str, str]:
    code = main(["--tasks", names, "--include-path", str(tasks), *QUICK, *arguments])
    out, err = capsys.readouterr()
    kitty_kv.install()  # the evaluation's model belongs to this process too
    return code, out, err


def records(folder: pathlib.Path) -> dict[tuple[str, str], dict]:
    lines = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
    return {(line["preset"], line["item"]): line for line in lines}


def test_every_kind_reads_packed_pages_beside_our_own_tasks_and_is_kept_item_by_item(tasks, loaded, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--preset", "kivi-2,fp16", "--limit", "1", "--out", str(out), "--json"]
    code, text, _ = run(capsys, tasks, "kitty_all,passkey", *arguments)
    document = json.loads(text)
    found = records(out)
    assert (code, document["tasks"]) == (0, ["passkey", "kitty_choose", "kitty_roll", "kitty_write"])
    assert all((record["packed_bytes"] > 0) == (preset == "kivi-2") for (preset, _), record in found.items())
    row = json.loads((tasks / "data.jsonl").read_text().splitlines()[0])
    for preset in ("kivi-2", "fp16"):
        evaluator = Evaluator(loaded, PRESETS[preset])
        prompt = evaluator.encode(row["text"])
        context = evaluator.encode(f"{row['text']} The old man looked at the")
        nats = [evaluator.loglikelihood(context, evaluator.encode(f" {each}")).nats for each in row["choices"]]
        assert found[preset, "kitty_choose/0"]["metrics"]["acc,none"] == float(nats.index(min(nats)) == row["gold"])
        rolled = evaluator.loglikelihood_rolling(prompt)
        assert found[preset, "kitty_roll/0"]["nats"] == pytest.approx(rolled.nats, abs=1e-3)
        written = evaluator.generate_until([GenerationRequest(prompt, 12, until=["."])])[0].text
        kept = found[preset, "kitty_write/0"]
        assert (kept["text"], kept["prompt_tokens"]) == (written, len(prompt))
        assert kept["metrics"]["exact_match,first"] == float("The old man" in written)
    again = json.loads(run(capsys, tasks, "kitty_all,passkey", *arguments)[1])
    assert (again["resumedItems"], again["rows"]) == (8, document["rows"])
    more = json.loads(run(capsys, tasks, "kitty_all,passkey", *arguments, "--limit", "2")[1])
    assert more["resumedItems"] == 8 and len(records(out)) == 16
    # The same numbers, other questions.
    text = (tasks / "data.jsonl").read_text()
    (tasks / "data.jsonl").write_text(text.replace("the sky", "the hills"))
    code, _, err = run(capsys, tasks, "kitty_all,passkey", *arguments[:-1])
    assert code == 2 and "is another question than the one answered there" in err
    (command,) = [shlex.split(evaluation_command(each)) for each in read_sources([out]).evaluations]
    assert command[:2] == ["kitty-kv", "eval"] and f"--include-path={tasks}" in command and "--limit=2" in command


def test_repeats_sample_with_seeds_of_their_own_the_same_for_every_run(tasks, tmp_path, capsys):
    # Our name for one of the paper's: the protocol comes with it, whatever file has the questions.
    (tasks / "aime24.yaml").write_text((tasks / "write.yaml").read_text().replace("kitty_write", "aime24"))
    code, _, err = run(capsys, tasks, "aime24", "--preset", "fp16")
    assert code == 2
    assert "it needs a context of 33" in err and "that of kitty-tiny is 4096" in err and "--max-new-tokens" in err
    arguments = ["--preset", "fp16,kivi-2", "--limit", "1", "--max-new-tokens", "20", "--json"]
    code, text, _ = run(capsys, tasks, "aime24", *arguments, "--out", str(tmp_path / "a"), "--repeats", "4")
    first = records(tmp_path / "a")
    run(capsys, tasks, "aime24", *arguments, "--out", str(tmp_path / "b"), "--repeats", "4")
    assert {key: record["text"] for key, record in first.items()} == {
        key: record["text"] for key, record in records(tmp_path / "b").items()
    }
    names = ["aime24/0", *[f"aime24/0@{at}" for at in (1, 2, 3)]]
    assert sorted(name for preset, name in first if preset == "fp16") == names
    assert len({record["text"] for (preset, _), record in first.items() if preset == "fp16"}) > 1
    row = json.loads(text)["rows"][0]
    # One question, however often it was asked, leaves its share wide open.
    assert (code, row["items"], row["questions"]) == (0, 4, 1)
    assert row["accuracyInterval"][1] - row["accuracyInterval"][0] > 0.5
    code, _, err = run(capsys, tasks, "aime24", *arguments[:-1], "--out", str(tmp_path / "a"), "--repeats", "2")
    assert code == 2 and "harness was" in err


@pytest.mark.parametrize(
    ("names", "arguments", "code", "message"),
    [
        ("kitty_chose", [], 2, "did you mean 'kitty_choose'"),
        ("pass-key", [], 2, "did you mean 'passkey'"),
        ("kitty_write", ["--metric", "exact_mach"], 2, "did you mean 'exact_match'"),
        ("kitty_write", ["--metric", "exact_match,last"], 2, "exact_match,whole and exact_match,first"),
        ("kitty_roll", ["--metric", "acc"], 2, "it measures likelihoods; leave --metric out"),
        ("kitty_corpus", [], 1, "its metrics (bleu) are of all answers together"),
        ("kitty_gone", [], 1, "python -m kitty_kv.eval.fetch --tasks kitty_gone"),
        ("kitty_code", [], 1, "which is done inside a container only"),
        ("kitty_unsafe", [], 1, "Cannot run kitty_code here"),
        ("kitty_hidden", [], 1, "which is done inside a container only"),
        ("kitty_all", ["--include-path", "/no/such"], 2, "there is no such folder"),
        ("kitty_all", ["--repeats", "0"], 2, "want a whole number >= 1, got '0'"),
        ("kitty_all", ["--text", "/no/such"], 2, "Cannot read the text"),
        ("kitty_all", [], 2, "/no/such/model"),
    ],
)
def test_what_cannot_be_is_refused_before_a_model_is_loaded(tasks, capsys, names, arguments, code, message):
    got, out, err = run(capsys, tasks, names, *arguments, "--model", "/no/such/model")
    assert (got, out) == (code, "")
    assert message in err.splitlines()[-1] and "/5 " not in err


WRITES = (
    "output_type: generate_until\ndoc_to_text: '{{text}}'\ndoc_to_target: x\nmetric_list: [{metric: exact_match}]\n"
)
READS = "dataset_path: json\ndataset_kwargs: {data_files: {test: DATA}}\ntest_split: test\n"


@pytest.mark.parametrize(
    ("file", "data", "message"),
    [
        ("task: broken\n  x: [\n", "", 'what cannot be read of --include-path: "broken.yaml" ('),
        (f"task: broken\n{WRITES}", "", "Cannot load task 'broken': "),
        (f"task: broken\n{READS}{WRITES}", "", "Cannot load task 'broken': "),
        (f"task: broken\n{READS}{WRITES}", '{"text": 1', "Cannot load task 'broken': "),
        (f"task: broken\n{READS}{WRITES}", '{"txt": "a"}', "'text' is undefined"),
        (
            f"task: broken\n{READS}{WRITES}process_docs: !function nothing.here\n",
            '{"text": "a"}',
            "Cannot import module 'nothing' for function 'here'",
        ),
    ],
)
def test_what_is_wrong_in_a_task_file_or_its_data_is_one_sentence(tasks, capsys, file, data, message):
    (tasks / "broken.jsonl").write_text(data)
    (tasks / "broken.yaml").write_text(file.replace("DATA", str(tasks / "broken.jsonl")))
    code, out, err = run(capsys, tasks, "broken", "--model", "/no/such/model")
    assert code in (1, 2) and out == ""
    last = err.strip().splitlines()[-1]
    assert last.startswith("Cannot ") and message in last


def test_a_task_that_cannot_judge_or_asks_for_what_we_have_not_says_so(tasks, capsys, tmp_path):
    (tasks / "judging.py").write_text(
        "def judge(doc, results):\n    return {'exact_match': 1 / len(doc['choices'][2:])}\n"
    )
    text = (tasks / "write.yaml").read_text()
    (tasks / "judged.yaml").write_text(
        text.replace("kitty_write", "judged") + "process_results: !function judging.judge\n"
    )
    code, _, err = run(capsys, tasks, "judged", "--limit", "1", "--preset", "fp16")
    assert code == 1 and "Cannot judge judged/0: ZeroDivisionError" in err
    beams = text.replace("kitty_write", "beams").replace("do_sample: false", "do_sample: false, num_beams: 4")
    (tasks / "beams.yaml").write_text(beams)
    code, _, err = run(capsys, tasks, "beams", "--out", str(tmp_path / "out"))
    assert code == 2 and "Cannot generate with num_beams" in err and not (tmp_path / "out").exists()


def test_code_that_a_model_wrote_is_judged_inside_a_container(tasks, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("APPTAINER_CONTAINER", "/kitty.sif")
    monkeypatch.delenv("HF_ALLOW_CODE_EVAL", raising=False)
    code, text, _ = run(capsys, tasks, "kitty_code", "--preset", "fp16", "--limit", "1", "--json")
    assert (code, json.loads(text)["rows"][0]["items"]) == (0, 1)
    assert os.environ["HF_ALLOW_CODE_EVAL"] == "1"


def test_a_metric_by_its_name_or_with_a_filter_decides_what_is_right(tasks, tmp_path, capsys):
    for metric in ("exact_match,first", "exact_match"):
        out = tmp_path / metric
        arguments = ["--preset", "fp16", "--metric", metric, "--out", str(out)]
        assert run(capsys, tasks, "kitty_write", *arguments)[0] == 0
        name = metric if "," in metric else "exact_match,whole"
        for record in records(out).values():
            assert record["score"] == record["metrics"][name]


def test_data_is_fetched_without_a_model_and_without_a_container(tasks, capsys):
    assert fetch(["--tasks", "kitty_code,kitty_roll", "--include-path", str(tasks)]) == 0
    assert capsys.readouterr().out.startswith("kitty_code: 3 questions, in ")
    assert fetch(["--tasks", "kitty_gone", "--include-path", str(tasks)]) == 1


def test_prompts_begin_as_the_tokenizer_begins_texts_but_never_twice(loaded):
    from kitty_kv.eval.harness_model import KittyLM

    model = KittyLM.over(Evaluator(loaded, PRESETS["fp16"]))
    first = loaded.tokenizer.bos_token
    assert model.tok_encode(f"{first}sea") == loaded.tokenizer(f"{first}sea", add_special_tokens=False)["input_ids"]
    assert model.tok_encode("sea") == loaded.tokenizer("sea")["input_ids"]
