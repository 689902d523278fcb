"""The command: one document, one table, and one sentence for what is wrong."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Iterator

import pytest

import kitty_kv
from kitty_kv.sim.__main__ import as_json, main
from kitty_kv.sim.windows import EXCERPT

SMALL = ["--sequences", "1", "--length", "300", "--dtype", "float32"]


@pytest.fixture(autouse=True)
def uninstalled() -> Iterator[None]:
    """Loading a model installs the plug-in."""
    yield
    kitty_kv.uninstall()


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


def test_the_document_has_every_figure_and_the_verification(capsys):
    code, out, _ = run(capsys, *SMALL, "--verify", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["cache"]["preset"] == "kitty-pro"
    assert document["predictedTokens"] == 299
    assert all(1 < document[name]["bitsPerByte"] < 3 for name in ("baseline", "simulated"))
    assert 0 < document["klDivergence"] < 0.1
    assert 0.8 < document["top1Agreement"] <= 1
    assert [row["layer"] for row in document["layers"]] == list(range(6))
    assert document["verification"]["isEqual"]
    assert document["report"].startswith("kitty-tiny, 1 x 300 tokens of excerpt of Treasure Island, float32")


def test_any_bit_widths_print_a_table(capsys):
    code, out, _ = run(capsys, *SMALL, "--k-bits", "5", "--v-bits", "3", "--preset", "kitty", "--seed", "1")
    assert code == 0
    assert "cache: kitty, K 5 bits, V 3 bits, 0.125 of key channels at 4 bits by magnitude" in out
    assert "note: boosted channels have 4 bits, fewer than the others' 5" in out
    assert "| 16 bits | 1." in out
    assert "Verified" not in out


def test_a_difference_is_told_and_ends_with_1(capsys, monkeypatch):
    # A codec that is off by one scale in one place, as a wrong kernel would be.
    from kitty_kv.sim import cache

    encode = cache.encode_values

    def encode_wrongly(pages, config):
        found = encode(pages, config)
        found.codes[0, 1, 0, 3, 9] ^= 1
        return found

    monkeypatch.setattr(cache, "encode_values", encode_wrongly)
    code, out, _ = run(capsys, *SMALL, "--verify")
    assert code == 1
    assert "Not equal: the packed cache and the simulated one differ in" in out
    assert "layer 0, row 0, head 1, page 0, token 35, channel 9: values" in out
    code, out, _ = run(capsys, *SMALL, "--verify", "--json")
    document = json.loads(out)
    assert (code, document["verification"]["isEqual"]) == (1, False)
    assert {"what": "values", "token": 35, "channel": 9}.items() <= document["verification"]["differences"][0].items()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--k-bits", "0"], 2, "k_bits: want 1 to 8 or 16, got 0"),
        (["--v-bits", "9"], 2, "v_bits: want 1 to 8 or 16, got 9"),
        (["--boost-ratio", "1.5"], 2, "boost_ratio: want a number from 0 to 1, got 1.5"),
        (["--preset", "kity"], 2, "did you mean 'kitty'"),
        (["--kbits", "2"], 2, "unrecognized arguments: --kbits 2"),
        (["--text", "/no/such/text"], 2, 'Cannot read the text "/no/such/text": No such file'),
        (["--text", "/dev/null"], 2, "it holds no text"),
        (["--model", "/no/such/model"], 2, "there is no such folder"),
        (["--length", "5000"], 2, "the model takes 2 to 4096 tokens"),
        (["--sequences", "500"], 2, "give a longer text, or fewer or shorter windows"),
        (["--k-bits", "3", "--verify"], 1, "Cannot store a packed cache with k_bits = 3"),
    ],
)
def test_wrong_usage_is_one_sentence(capsys, arguments, code, message):
    got, out, err = run(capsys, *arguments)
    assert (got, out) == (code, "")
    assert message in err
    assert err.startswith("Cannot ") and err.count("\n") == 1
    got, out, _ = run(capsys, *arguments, "--json")
    assert message in json.loads(out)["error"]["message"]
    assert got == code


def test_numbers_that_json_lacks_become_null():
    document = {"a": [1.5, math.nan], "b": {"c": math.inf, "d": "x"}, "e": None}
    assert as_json(document) == {"a": [1.5, None], "b": {"c": None, "d": "x"}, "e": None}


def test_the_excerpt_is_what_the_text_flag_reads(capsys, tmp_path):
    copy = pathlib.Path(tmp_path / "copy.txt")
    copy.write_bytes(EXCERPT.read_bytes())
    figures = [json.loads(run(capsys, *SMALL, "--json", *more)[1]) for more in ([], ["--text", str(copy)])]
    assert figures[0]["simulated"] == figures[1]["simulated"]
    assert figures[1]["text"] == "copy.txt"
