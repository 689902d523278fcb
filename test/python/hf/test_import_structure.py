"""A remembered import structure is Transformers' own, and spares it the reading."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

from kitty_kv.hf.import_structure import write_known_structure

LOOK = """
import json, pathlib, sys
from kitty_kv.hf.import_structure import use_known_structure
opened = []
sys.addaudithook(lambda name, args: opened.append(str(args[0])) if name == "open" else None)
is_known = use_known_structure(pathlib.Path(sys.argv[1]))
import transformers
from transformers import AutoModelForCausalLM, LlamaForCausalLM, Qwen3Config
import transformers.models
sources = [path for path in opened if "/transformers/models/" in path and path.endswith(".py")]
names = sorted(name for name in dir(transformers) if not name.startswith("_"))
print(json.dumps({"isKnown": is_known, "sources": len(sources), "names": names, "models": sorted(dir(transformers.models)),
                  "late": use_known_structure(pathlib.Path(sys.argv[1]))}))
"""


def look(path: pathlib.Path) -> dict[str, object]:
    finished = subprocess.run([sys.executable, "-c", LOOK, str(path)], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return write_known_structure(tmp_path_factory.mktemp("structure") / "known.json")


def test_transformers_has_the_same_names_and_reads_no_model_for_them(
    known: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    plain, told = look(tmp_path / "none"), look(known)
    assert (plain["isKnown"], told["isKnown"], told["late"]) == (False, True, False)
    assert told["names"] == plain["names"]
    assert told["models"] == plain["models"]
    assert plain["sources"] > 1000
    assert told["sources"] < 100


def test_a_file_of_another_version_is_left_alone(known: pathlib.Path, tmp_path: pathlib.Path) -> None:
    document = json.loads(known.read_text())
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**document, "version": "4.0.0"}))
    assert look(other)["isKnown"] is False
