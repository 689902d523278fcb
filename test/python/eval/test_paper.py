"""The paper's protocol: its repeats with seeds of their own, kept one by one, and what cannot be run refused first."""

from __future__ import annotations

import importlib.util
import json
import pathlib

import pytest

from kitty_kv.errors import KittyKvError
from kitty_kv.eval import paper
from kitty_kv.eval.paper import main, summarize

has_harness = importlib.util.find_spec("lm_eval") is not None


class Harness:
    """Writes results where the harness would, and ends like it after so many runs."""

    def __init__(self, scores: list[float], dies_after: int | None = None):
        self.calls: list[list[str]] = []
        self.scores, self.dies_after = scores, dies_after

    def __call__(self, arguments):
        if len(self.calls) == self.dies_after:
            raise KittyKvError("Cannot go on: stopped", code="stopped")
        self.calls.append(list(arguments))
        folder = pathlib.Path(arguments[arguments.index("--output_path") + 1]) / "kitty"
        folder.mkdir(parents=True)
        score = self.scores[len(self.calls) - 1]
        results = {"results": {"t": {"alias": "t", "exact_match,none": score, "exact_match_stderr,none": 0.5}}}
        (folder / "results_2026.json").write_text(json.dumps(results))


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.delenv("APPTAINER_CONTAINER", raising=False)
    if not has_harness:
        monkeypatch.setattr(paper, "check_harness", lambda: None)


def test_every_repeat_has_a_seed_and_a_killed_run_goes_on(tmp_path, capsys):
    arguments = ["--tasks", "gsm8k_cot_llama", "--preset", "fp16,kitty", "--model", "m", "--out", str(tmp_path)]
    first = Harness([0.5, 0.4, 0.7], dies_after=3)
    assert main(arguments, first) == 1
    second = Harness([0.6, 0.9, 0.5])
    assert main(arguments, second) == 0
    given = [call[call.index("--model_args") + 1] for call in first.calls + second.calls]
    assert given == [
        f"pretrained=m,preset={preset},seed={seed},dtype=auto" for seed in range(3) for preset in ("fp16", "kitty")
    ]
    assert all("max_gen_toks=4096" in " ".join(call) and "--num_fewshot 8" in " ".join(call) for call in first.calls)
    rows = {row["preset"]: row for row in summarize(tmp_path)}
    assert rows["fp16"]["mean"] == pytest.approx((0.5 + 0.7 + 0.9) / 3)
    assert rows["kitty"]["largestDeviation"] == pytest.approx(0.1)
    assert {row["repeats"] for row in rows.values()} == {3}
    assert "| gsm8k_cot_llama | kitty | exact_match,none | 3 | 0.5000 | 0.1000 |" in capsys.readouterr().out
    third = Harness([])
    assert main(arguments, third) == 0
    assert third.calls == []
    assert json.loads((tmp_path / "summary.json").read_text()) == summarize(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--tasks", "aime-24"], 2, "did you mean 'aime24'"),
        (["--preset", "kity"], 2, "did you mean 'kitty'"),
        (["--tasks", "humaneval_instruct"], 1, "inside a container only"),
        (["--tasks", ","], 2, "a list is empty"),
        (["--repeats", "0"], 2, "want a whole number >= 1, got '0'"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is(tmp_path, capsys, arguments, code, message):
    harness = Harness([])
    assert main([*arguments, "--out", str(tmp_path / "new")], harness) == code
    assert message in capsys.readouterr().err
    assert harness.calls == [] and not (tmp_path / "new").exists()


def test_results_of_another_model_are_refused(tmp_path, capsys):
    arguments = ["--tasks", "aime24", "--preset", "fp16", "--repeats", "1", "--out", str(tmp_path)]
    assert main([*arguments, "--model", "a"], Harness([0.1])) == 0
    assert main([*arguments, "--model", "b"], Harness([0.1])) == 2
    assert "model was 'a' and is 'b'" in capsys.readouterr().err
