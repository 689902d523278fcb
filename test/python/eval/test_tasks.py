"""Generators: right answers, the asked lengths, the same questions for the same seed."""

from __future__ import annotations

import random
import re

import pytest

from kitty_kv.errors import ConfigError
from kitty_kv.eval.offline import TASKS, check_lengths, make_items, resolve_tasks
from kitty_kv.tasks.fitting import fit

LENGTHS = (512, 1024, 4096)
GENERATED = [name for name in TASKS if name != "book_perplexity"]


@pytest.fixture(scope="module")
def items(loaded):
    return {name: make_items([name], loaded.tokenizer, LENGTHS, 6, 3, None) for name in TASKS}


def tokens(loaded, text: str) -> int:
    return len(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("name", GENERATED)
def test_prompts_and_answers_are_as_long_as_asked(loaded, items, name):
    # A unit more must not fit: a sentence, a record or a worked example.
    unit = 200 if name in ("passkey", "variable_tracking", "copying") else 140
    for item in items[name]:
        found = tokens(loaded, item.prompt) + tokens(loaded, item.answer)
        assert item.length - unit < found <= item.length, item.name
    assert [item.length for item in items[name]] == [*LENGTHS, *LENGTHS]


@pytest.mark.parametrize("name", TASKS)
def test_a_seed_repeats_and_another_differs(loaded, items, name):
    assert make_items([name], loaded.tokenizer, LENGTHS, 6, 3, None) == items[name]
    # Fewer items are the first of more, so that a larger limit goes on.
    if name != "book_perplexity":
        assert make_items([name], loaded.tokenizer, LENGTHS, 2, 3, None) == items[name][:2]
        assert make_items([name], loaded.tokenizer, LENGTHS, 6, 4, None) != items[name]


def test_a_passkey_is_the_number_in_the_text(items):
    for item in items["passkey"]:
        assert re.findall(r"pass key is (\d{7})\.", item.prompt) == [item.answer.strip()]


def test_the_asked_record_is_one_of_many_that_look_alike(items):
    for item in items["multi_key"]:
        records = dict(re.findall(r"The code of (\w+ \w+ \d{4}) is (\d{6}-\d{6})\.", item.prompt))
        asked = re.search(r"The code of (\w+ \w+ \d{4}) is$", item.prompt)[1]
        assert records[asked] == item.answer.strip()
        assert len(records) >= item.length // 40
        assert len({key.rsplit(" ", 1)[0] for key in records}) == 1


def test_a_variable_is_followed_back_to_the_number_its_chain_began_with(items):
    for item in items["variable_tracking"]:
        given: dict[str, str] = {}
        for name, value in re.findall(r"VAR (\w{3}) = (?:VAR )?(\w+)\.", item.prompt):
            assert value.isdigit() or value in given
            given[name] = value
        assert len(given) == (6 if item.length == 512 else 16)
        at, expected = re.search(r"VAR (\w{3}) =$", item.prompt)[1], ""
        while not at.isdigit():
            at = given[at]
            expected += f" {at}" if at.isdigit() else f" VAR {at} ="
        assert item.answer == expected
        assert expected.count("VAR") == (2 if item.length == 512 else 3)


def test_a_copy_is_the_list_behind_its_first_line(items):
    for item in items["copying"]:
        listed = item.prompt.split("The list:\n")[1].split("\n\n")[0]
        begun = item.prompt.split("The list again:\n")[1]
        assert begun + item.answer == listed + "\n"
        assert item.answer.count("\n") >= item.length // 100


def test_totals_are_those_of_the_steps(items):
    for item in items["arithmetic"]:
        question = item.prompt.rsplit("Begin with ", 1)[1]
        total = int(re.match(r"\d+", question)[0])
        lines = []
        for step, word, amount in re.findall(r"(\d+): (add|take) (\d+)", question):
            after = total + int(amount) if word == "add" else total - int(amount)
            lines.append(f"{step}: {total} {'+' if word == 'add' else '-'} {amount} = {after}")
            total = after
        assert item.answer == "\n".join([*lines, f"Result: {total}", ""])
        assert len(lines) == (12 if item.length == 512 else 24)


def test_what_is_asked_for_lies_in_packed_pages(loaded, items):
    # Of 512 tokens the paper's presets pack the values up to token 288: 32 sinks and two pages of 128.
    for name, mark in (("passkey", "is the pass key."), ("multi_key", None), ("variable_tracking", "VAR ")):
        for item in items[name]:
            ends = item.prompt.split(item.answer.strip())[0] if mark is None else item.prompt.rsplit("\n\n", 1)[0]
            place = ends if mark is None else ends[: ends.rindex(mark)]
            assert tokens(loaded, place) <= item.length * 288 / 512, item.name


def test_windows_of_the_book_are_its_text_at_its_length(loaded, items):
    for item in items["book_perplexity"]:
        assert abs(tokens(loaded, item.answer) - item.length) <= 2
    assert items["book_perplexity"][0].answer in kitty_text()


def kitty_text() -> str:
    from kitty_kv.sim.windows import EXCERPT, read_text

    return read_text(EXCERPT)


def test_fit_takes_the_most_units_that_fit():
    chance = random.Random(0)
    for _ in range(50):
        size, length = chance.randrange(1, 9), chance.randrange(9, 300)
        assert len(fit(lambda units, size=size: "x" * (units * size), length, len)) == length // size * size
    with pytest.raises(ConfigError, match="the question alone is longer"):
        fit(lambda units: "xxxx" * units, 3, len)


def test_names_and_lengths_that_cannot_be_are_refused(loaded):
    assert resolve_tasks(["copying", "offline"]) == ["copying", *[name for name in TASKS if name != "copying"]]
    with pytest.raises(ConfigError, match="did you mean 'passkey'"):
        resolve_tasks(["pass-key"])
    assert resolve_tasks(["aime24"]) == ["aime24"]
    with pytest.raises(ConfigError, match="lm-evaluation-harness, which has others, is not here"):
        resolve_tasks(["hellaswag"])
    assert resolve_tasks(["hellaswag"], others_known=True) == ["hellaswag"]
    with pytest.raises(ConfigError, match="did you mean 'aime24'"):
        resolve_tasks(["AIME-24"], others_known=True)
    with pytest.raises(ConfigError, match="the context of kitty-tiny is 4096"):
        check_lengths([512, 8192], loaded)
    with pytest.raises(ConfigError, match="512 tokens or more"):
        check_lengths([256], loaded)
