"""Tests that need lm-evaluation-harness, and tasks of each kind over a local file, so that no network is needed."""

from __future__ import annotations

import importlib.util
import json
import pathlib

import pytest

SENTENCE = "The old man looked at the sea and the sky. "
CHOICES = ["sea", "sky and the sea"]
ROWS = [
    {"text": SENTENCE * 50 + f"He saw {at}.", "choices": CHOICES, "gold": at % 2, "wanted": "The old man"}
    for at in range(3)
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Here alone: the hook is called for all tests."""
    if importlib.util.find_spec("lm_eval") is not None:
        return
    for item in items:
        if pathlib.Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="lm_eval is not installed: pip install kitty-kv[eval]"))


@pytest.fixture(autouse=True)
def no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for name in ("HF_DATASETS_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.delenv("APPTAINER_CONTAINER", raising=False)


@pytest.fixture
def tasks(tmp_path) -> pathlib.Path:
    """A folder with a task of each kind, one that runs code, one whose data is missing, and a group."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    write_data(folder, ROWS)
    choose = "output_type: multiple_choice\ndoc_to_choice: '{{choices}}'\ndoc_to_target: gold\n"
    choose += "doc_to_text: '{{text}} The old man looked at the'\nmetric_list: [{metric: acc}, {metric: acc_norm}]\n"
    roll = "output_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: '{{text}}'\n"
    roll += "metric_list: [{metric: bits_per_byte}]\n"
    write = "output_type: generate_until\ndoc_to_text: '{{text}}'\ndoc_to_target: '{{wanted}}'\n"
    write += (
        "generation_kwargs: {until: ['.'], max_gen_toks: 12, do_sample: false}\nmetric_list: [{metric: exact_match}]\n"
    )
    write += "filter_list:\n"
    for name, pattern in (("whole", "(.*)"), ("first", "(The old man)")):
        write += (
            f"- {{name: {name}, filter: [{{function: regex, regex_pattern: '{pattern}'}}, {{function: take_first}}]}}\n"
        )
    corpus = write.replace("exact_match", "bleu")
    kinds = {"choose": choose, "roll": roll, "write": write, "corpus": corpus, "code": f"unsafe_code: true\n{write}"}
    for name, body in {**kinds, "gone": write}.items():
        data = folder / ("none.jsonl" if name == "gone" else "data.jsonl")
        common = f"dataset_path: json\ndataset_kwargs: {{data_files: {{test: {data}}}}}\ntest_split: test\n"
        (folder / f"{name}.yaml").write_text(f"task: kitty_{name}\n{common}{body}")
    (folder / "group.yaml").write_text("group: kitty_all\ntask: [kitty_choose, kitty_roll, kitty_write]\n")
    (folder / "unsafe.yaml").write_text("group: kitty_unsafe\ntask: [kitty_choose, kitty_code]\n")
    (folder / "hidden.yaml").write_text(
        "group: kitty_hidden\ntask: [{task: kitty_roll}, {task: kitty_write, unsafe_code: true}]\n"
    )
    return folder


def write_data(folder: pathlib.Path, rows: list[dict]) -> None:
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
