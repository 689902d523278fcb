"""What stands for the paper's tasks, and what is said where the harness is not here, or of another version."""

from __future__ import annotations

import importlib.metadata
import importlib.util

import pytest

from kitty_kv.errors import ConfigError, UnsupportedError
from kitty_kv.eval.__main__ import main as evaluate
from kitty_kv.eval.harness import expand_paper, main

has_harness = importlib.util.find_spec("lm_eval") is not None


@pytest.mark.skipif(has_harness, reason="lm_eval is installed")
def test_without_the_harness_the_remedy_is_said(capsys):
    assert main(["run", "--model", "kitty"]) == 1
    assert 'it is not installed, and model type kitty was tested with 0.4.13; install it with "pip install' in (
        capsys.readouterr().err
    )


def test_another_version_of_the_harness_is_refused_before_a_model_is_loaded(capsys, monkeypatch):
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.4.9" if name == "lm_eval" else real(name))
    assert evaluate(["--tasks", "gsm8k_cot_llama", "--model", "/no/such/model"]) == 1
    assert "version 0.4.9 is installed, and model type kitty was tested with 0.4.13" in capsys.readouterr().err
    assert evaluate(["--tasks", "hellaswag"]) == 2
    assert "is not here in the version that is wanted" in capsys.readouterr().err


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
