"""Model type kitty in lm-evaluation-harness's own command line, and what is said where the harness is not."""

from __future__ import annotations

import importlib.util
import json

import pytest

import kitty_kv
from kitty_kv.config import PRESETS
from kitty_kv.errors import ConfigError, UnsupportedError
from kitty_kv.eval.evaluator import Evaluator, GenerationRequest
from kitty_kv.eval.harness import expand_paper, main
from kitty_kv.eval.paper_tasks import PAPER_TASKS

has_harness = importlib.util.find_spec("lm_eval") is not None
needs_harness = pytest.mark.skipif(not has_harness, reason="lm_eval is not installed: pip install kitty-kv[eval]")

TEXT = "The old man looked at the sea. The old man looked at the sea."
CHOICES = ["sea", "sea and the sky"]


@pytest.fixture
def task(tmp_path):
    """A folder with one task of each kind over a local file."""
    data = tmp_path / "data.jsonl"
    data.write_text(json.dumps({"text": TEXT, "choices": CHOICES, "gold": 0}) + "\n")
    common = f"dataset_path: json\ndataset_kwargs: {{data_files: {{test: {data}}}}}\ntest_split: test\n"
    kinds = {
        "choose": "output_type: multiple_choice\ndoc_to_choice: '{{choices}}'\ndoc_to_target: gold\n"
        "doc_to_text: '{{text}} The old man looked at the'\nmetric_list: [{metric: acc}]\n",
        "roll": "output_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: '{{text}}'\n"
        "metric_list: [{metric: bits_per_byte}]\n",
        "write": "output_type: generate_until\ndoc_to_text: '{{text}}'\ndoc_to_target: 'x'\n"
        "generation_kwargs: {until: ['.'], max_gen_toks: 12, do_sample: false}\nmetric_list: [{metric: exact_match}]\n",
    }
    for name, body in kinds.items():
        (tmp_path / f"{name}.yaml").write_text(f"task: kitty_{name}\n{common}{body}")
    return tmp_path


@needs_harness
def test_the_harness_command_line_gives_what_the_evaluator_gives(task, loaded, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(task / "hf"))
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    arguments = ["run", "--model", "kitty", "--model_args", "preset=kivi-2,dtype=float32", "--device", "cpu"]
    arguments += ["--tasks", "kitty_choose,kitty_roll,kitty_write", "--include_path", str(task)]
    assert main([*arguments, "--output_path", str(task / "out"), "--log_samples"]) == 0
    found = {path.name.split("_202")[0]: json.loads(path.read_text()) for path in task.glob("out/**/samples_*.jsonl")}
    evaluator = Evaluator(loaded, PRESETS["kivi-2"])
    context = evaluator.encode(f"{TEXT} The old man looked at the")
    chosen = [float(answer[0][0]) for answer in found["samples_kitty_choose"]["resps"]]
    wanted = [-evaluator.loglikelihood(context, evaluator.encode(f" {choice}")).nats for choice in CHOICES]
    assert chosen == pytest.approx(wanted, abs=1e-3)
    rolled = float(found["samples_kitty_roll"]["resps"][0][0])
    assert rolled == pytest.approx(-evaluator.loglikelihood_rolling(evaluator.encode(TEXT)).nats, abs=1e-3)
    request = GenerationRequest(evaluator.encode(TEXT), 12, until=["."])
    assert found["samples_kitty_write"]["resps"] == [[evaluator.generate_until([request])[0].text]]
    kitty_kv.install()  # the harness's model belongs to this process too


@needs_harness
def test_the_paper_tasks_are_tasks_of_the_harness():
    from lm_eval.tasks import TaskManager

    assert set(PAPER_TASKS) <= set(TaskManager().all_tasks)


@pytest.mark.skipif(has_harness, reason="lm_eval is installed")
def test_without_the_harness_the_remedy_is_said(capsys):
    assert main(["run", "--model", "kitty"]) == 1
    assert 'it is not installed, and model type kitty was tested with 0.4.13; install it with "pip install' in (
        capsys.readouterr().err
    )


def test_a_paper_task_stands_for_its_protocol(monkeypatch):
    monkeypatch.delenv("APPTAINER_CONTAINER", raising=False)
    assert expand_paper(["run", "--paper", "aime24", "--model", "kitty"]) == [
        *["run", "--tasks", "aime24", "--gen_kwargs"],
        "do_sample=True,temperature=0.6,top_p=0.95,top_k=20,max_gen_toks=32768",
        *["--model", "kitty"],
    ]
    with pytest.raises(ConfigError, match="did you mean 'aime25'"):
        expand_paper(["run", "--paper", "aime-25"])
    with pytest.raises(ConfigError, match="needs the name of a task"):
        expand_paper(["run", "--paper"])
    with pytest.raises(UnsupportedError, match="inside a container only"):
        expand_paper(["run", "--paper", "humaneval_instruct"])
    monkeypatch.setenv("APPTAINER_CONTAINER", "/kitty.sif")
    assert "--confirm_run_unsafe_code" in expand_paper(["run", "--paper", "humaneval_instruct"])
