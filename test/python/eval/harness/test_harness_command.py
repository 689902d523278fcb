"""Model type kitty in lm-evaluation-harness's own command line."""

from __future__ import annotations

import json
import pathlib
import shutil

import pytest

import kitty_kv
from kitty_kv.config import PRESETS
from kitty_kv.errors import ConfigError, KittyKvError
from kitty_kv.eval.evaluator import Evaluator, GenerationRequest
from kitty_kv.eval.harness import OUR_TASKS, main, with_our_tasks
from kitty_kv.eval.offline import TASKS, make_items
from kitty_kv.eval.paper import main as run_paper
from kitty_kv.eval.paper_tasks import PAPER_TASKS
from kitty_kv.eval.scoring import answer_items


def test_the_harness_command_line_gives_what_the_evaluator_gives(tasks, loaded, tmp_path):
    arguments = ["run", "--model", "kitty", "--model_args", "preset=kivi-2,dtype=float32", "--device", "cpu"]
    arguments += ["--tasks", "kitty_all,kitty_offline", "--include_path", str(tasks), "--limit", "1"]
    arguments += ["--metadata", '{"lengths": [512], "items": 1, "questions_seed": 3}']
    shutil.copytree(OUR_TASKS, tasks / "ours")  # the harness takes one folder
    assert main([*arguments, "--output_path", str(tmp_path / "out"), "--log_samples"]) == 0
    found = {
        path.name.split("_202")[0]: json.loads(path.read_text().splitlines()[0])
        for path in tmp_path.glob("out/**/samples_*.jsonl")
    }
    evaluator = Evaluator(loaded, PRESETS["kivi-2"])
    row = json.loads((tasks / "data.jsonl").read_text().splitlines()[0])
    context = evaluator.encode(f"{row['text']} The old man looked at the")
    chosen = [float(answer[0][0]) for answer in found["samples_kitty_choose"]["resps"]]
    wanted = [evaluator.loglikelihood(context, evaluator.encode(f" {choice}")) for choice in row["choices"]]
    assert chosen == pytest.approx([-each.nats for each in wanted], abs=1e-3)
    assert all(each.packed_bytes > 0 for each in wanted)
    rolled = float(found["samples_kitty_roll"]["resps"][0][0])
    assert rolled == pytest.approx(-evaluator.loglikelihood_rolling(evaluator.encode(row["text"])).nats, abs=1e-3)
    request = GenerationRequest(evaluator.encode(row["text"]), 12, until=["."])
    assert found["samples_kitty_write"]["resps"] == [[evaluator.generate_until([request])[0].text]]
    # Our own tasks in its format are the questions that we ask, with the same answers.
    items = make_items(TASKS, loaded.tokenizer, [512], 1, 3, None)
    outcomes = {}
    answer_items(evaluator, items, lambda item, outcome: outcomes.update({item.task: (item, outcome)}))
    for task, (item, outcome) in outcomes.items():
        sample = found[f"samples_kitty_{task}"]
        assert sample["doc"]["prompt"] == item.prompt
        if outcome.nats is not None:
            assert -float(sample["resps"][0][0][0] if item.prompt else sample["resps"][0][0]) == pytest.approx(
                outcome.nats, abs=1e-3
            )
        if outcome.text is not None:
            assert sample["resps"] == [[outcome.text]]
            assert (sample["exact_match"], sample["score"]) == (outcome.is_correct, outcome.score)
        elif outcome.is_correct is not None:
            assert sample["acc"] == outcome.is_correct
    kitty_kv.install()  # the harness's model belongs to this process too


def test_our_tasks_come_with_the_command_and_say_what_is_wrong_with_their_metadata():
    from kitty_kv.eval.harness_format import questions

    assert with_our_tasks(["run", "--tasks", "x"])[-2:] == ["--include_path", str(OUR_TASKS)]
    assert with_our_tasks(["run", "--include_path=y"]) == ["run", "--include_path=y"]
    assert with_our_tasks(["ls", "tasks"]) == ["ls", "tasks"]
    with pytest.raises(ConfigError, match="lengths and items want whole numbers >= 1"):
        questions.passkey(lengths=["512"])
    with pytest.raises(KittyKvError, match="there is no such folder"):
        questions.passkey(pretrained="/no/such/model")
    assert [len(row["answer"]) > 0 for row in questions.copying(lengths=512, items=2)["test"]] == [True, True]


def test_the_paper_tasks_are_tasks_of_the_harness_and_data_that_cannot_be_reached_is_said_first(tmp_path, capsys):
    import lm_eval.tasks

    # All fifteen thousand take ten seconds to read.
    all_tasks = pathlib.Path(lm_eval.tasks.__file__).parent
    folders = [str(all_tasks / name) for name in ("gsm8k", "minerva_math", "humaneval", "gpqa", "aime")]
    manager = lm_eval.tasks.TaskManager(include_path=folders, include_defaults=False)
    assert set(PAPER_TASKS) <= set(manager.all_tasks)
    unsafe = {name for name in PAPER_TASKS if manager.task_index[name].cfg.get("unsafe_code")}
    assert unsafe == {name for name, task in PAPER_TASKS.items() if task.runs_code}
    # The model does not exist: had it been loaded first, that would be said.
    arguments = ["--tasks", "aime24", "--preset", "fp16", "--model", "/no/such/model", "--out", str(tmp_path / "out")]
    assert run_paper([*arguments, "--device", "cpu"]) == 1
    assert "Cannot get a task's data" in capsys.readouterr().err
