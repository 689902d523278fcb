"""The Python blocks of the documentation run as they are, one after the other."""

from __future__ import annotations

import pathlib
import re

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

import kitty_kv

ROOT = pathlib.Path(__file__).parents[2]
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# What a page takes as given: a script that has a model already.
_GIVEN = ("README.md", "docs/simulate.md")


@pytest.mark.parametrize("page", ["README.md", "docs/cache.md", "docs/simulate.md"])
@pytest.mark.filterwarnings("ignore:The Kitty cache runs under")
def test_python_blocks_of_the_documentation_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / page).read_text()
    names = _script() if page in _GIVEN else {}
    blocks = list(_BLOCK.finditer(text))
    assert len(blocks) == text.count("```python")
    try:
        for block in blocks:
            # Lines of a traceback are those of the page.
            padding = "\n" * text.count("\n", 0, block.start(1))
            exec(compile(padding + block.group(1), page, "exec"), names)
    finally:
        kitty_kv.uninstall()


def _script() -> dict[str, object]:
    path = str(kitty_kv.tiny.MODEL_PATH)
    model = AutoModelForCausalLM.from_pretrained(path).eval()
    inputs = AutoTokenizer.from_pretrained(path)("Once upon a time", return_tensors="pt")
    return {"AutoModelForCausalLM": AutoModelForCausalLM, "path": path, "model": model, "inputs": inputs}
