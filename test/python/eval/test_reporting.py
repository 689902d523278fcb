"""Reports: figures against counts by hand, pairs across folders, nothing unescaped, and what is no result refused."""

from __future__ import annotations

import csv
import html.parser
import io
import json
import pathlib
import re

import pytest

from kitty_kv.errors import ConfigError
from kitty_kv.eval.report import report
from kitty_kv.eval.reporting.__main__ import main
from kitty_kv.eval.reporting.blocks import as_markdown
from kitty_kv.eval.reporting.combine import combine, preset_rows, task_rows
from kitty_kv.eval.reporting.commands import latency_command
from kitty_kv.eval.reporting.document import build
from kitty_kv.eval.reporting.pareto import Point, front, svg
from kitty_kv.eval.reporting.sources import read_sources
from kitty_kv.eval.results_folder import VERSION
from kitty_kv.eval.statistics import holm, wilson

EVIL = '<script>alert("x")</script>|`'


def results(folder: pathlib.Path, answers: dict[str, str], seed: int = 0, model: str = "m") -> pathlib.Path:
    """A results folder; ``answers`` says of each preset by a letter an item whether it was right."""
    folder.mkdir()
    run = {
        "version": VERSION,
        "model": model,
        "seed": seed,
        "lengths": [512],
        "dtype": "bfloat16",
        "kittyKv": "1",
        "torch": "2",
    }
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "environment.json").write_text(json.dumps({"hardware": EVIL}))
    lines = []
    for preset, rights in answers.items():
        for at, letter in enumerate(rights):
            record = {
                "preset": preset,
                "item": f"passkey/{at}",
                "task": "passkey",
                "length": 512,
                "is_correct": letter == "r",
            }
            figures = {"score": float(letter == "r"), "nats": 2.0, "answer_tokens": 4, "answer_bytes": 8}
            lines.append(json.dumps({**record, **figures, "compression": 1.0 if preset == "fp16" else 4.0}) + "\n")
    (folder / "items.jsonl").write_text("".join(lines))
    return folder


def test_presets_of_different_folders_are_paired_by_their_questions(tmp_path):
    one = results(tmp_path / "a", {"fp16": "rrrrw"})
    two = results(tmp_path / "b", {"kitty": "rwwrr"})
    other_seed = results(tmp_path / "c", {"fp16": "rr", "kitty": "rw"}, seed=1)
    other_model = results(tmp_path / "d", {"fp16": "r"}, model="n")
    first, second = combine(read_sources([one, two, other_seed, other_model]).evaluations)
    assert second.run["model"] == "n"
    base, kitty = preset_rows(first)
    assert (base["correct"], base["answers"], base["bits"]) == (6, 7, 16)
    assert (kitty["correct"], kitty["answers"], kitty["bits"]) == (4, 7, 4)
    against = kitty["againstFp16"]
    assert (against["lost"], against["won"], against["items"]) == (3, 1, 7)
    assert against["accuracy"]["difference"] == pytest.approx(-2 / 7)
    # Two-sided: of four changed pairs at most one went the other way.
    assert against["mcnemarP"] == against["holmP"] == pytest.approx(2 * (1 + 4) / 16)
    # The same folder twice counts once.
    assert preset_rows(combine(read_sources([one, one]).evaluations)[0])[0]["answers"] == 5


def test_what_the_sequential_test_says_is_in_the_report(tmp_path):
    folder = results(tmp_path / "a", {"fp16": "r" * 40, "kivi-2": "w" * 8, "kitty": "r" * 40})
    rows = {row["preset"]: row for row in task_rows(combine(read_sources([folder]).evaluations)[0])}
    assert rows["kivi-2"]["decided"] == {"decision": "worse", "afterItems": 7}
    assert rows["kitty"]["decided"]["decision"] == "equal"
    assert "decided" not in rows["fp16"]


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_the_front_has_what_nothing_beats():
    points = [
        Point(name, bits, score, 0, 1)
        for name, bits, score in (("a", 16, 0.9), ("b", 3, 0.5), ("c", 4, 0.5), ("d", 3, 0.4))
    ]
    assert [point.name for point in front(points)] == ["b", "a"]


def test_the_axis_has_round_numbers_around_all_intervals_and_a_name_is_drawn_over_what_it_crosses():
    points = [Point("a", 16, 0.97, 0.93, 0.99), Point("b", 2.5, 0.57, 0.49, 0.66)]
    drawn = svg(points, "right answers", is_share=True)
    assert re.findall(r">(\d+)%<", drawn) == ["40", "50", "60", "70", "80", "90", "100"]
    assert drawn.rindex("<circle") < drawn.index(">b</text>") < len(drawn)
    for low, high in ((0.0, 1.0), (0.34, 0.34), (0.981, 0.999), (0.5, 0.5001)):
        found = re.findall(r">(\d+)%<", svg([Point("a", 4, low, low, high)], "x", is_share=True))
        assert 2 <= len(found) <= 12


class Tags(html.parser.HTMLParser):
    """All tags and attributes of a page, and whether each is closed."""

    def __init__(self):
        super().__init__()
        self.found, self.open, self.links = set(), [], []

    def handle_starttag(self, tag, attrs):
        self.found.add(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]
        if tag not in ("meta", "line", "circle", "polyline", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.found.add(tag)


def test_the_files_are_whole_self_contained_and_nothing_in_them_is_markup_of_others(tmp_path, capsys):
    folder = results(tmp_path / "a", {"fp16": "rrw", EVIL: "rwr", "=1+1": "rrr"}, model=EVIL)
    latency = {
        "environment": {"model": EVIL, "command": EVIL},
        "rows": [{"part": "step", "peer": EVIL, "cacheBytes": 1 << 20}],
    }
    (tmp_path / "latency.json").write_text(json.dumps(latency))
    out = tmp_path / "new" / "out.html"
    assert main([str(folder), str(tmp_path / "latency.json"), "--out", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    page = out.read_text()
    tags = Tags()
    tags.feed(page)
    assert tags.open == [] and tags.links == []
    assert "script" not in tags.found and "svg" in tags.found
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    outside_code = re.sub(
        r"^(`{3,})sh\n.*?\n\1$", "", out.with_suffix(".md").read_text(), flags=re.DOTALL | re.MULTILINE
    )
    assert "<script" not in outside_code and "lt;script" in outside_code
    rows = list(csv.DictReader(io.StringIO(out.with_suffix(".csv").read_text())))
    assert {row["preset"] for row in rows} == {"fp16", EVIL, "'=1+1"}
    assert json.loads(out.with_suffix(".json").read_text())["evaluations"] == document["evaluations"]
    assert sorted(path.name for path in out.parent.iterdir()) == ["out.csv", "out.html", "out.json", "out.md"]


def test_what_carries_the_error_is_told(tmp_path):
    rows = [{"name": EVIL, "klDivergence": 0.25, "klInterval": [0.125, 0.5], "top1Agreement": 0.75}]
    document = {
        "cache": {"preset": "kitty"},
        "klDivergence": 0.5,
        "sensitivity": {"layers": rows, "heads": []},
        "model": "m",
    }
    (tmp_path / "figures.json").write_text(json.dumps(document))
    made = build(read_sources([tmp_path]), "today")
    text = as_markdown(made.blocks)
    assert "What carries the error of kitty on m" in text
    assert "| 0.25000 | 0.12500 to 0.50000 | 0.75000 |" in text
    assert "kitty-kv simulate --preset=kitty --model=m --sensitivity=layers,heads" in text
    command = "kitty-kv simulate --preset=kitty --model=m --sensitivity=layers,heads"
    assert "<script" not in text and made.data["sensitivities"] == [{**document, "command": command}]


def test_programs_get_what_people_read(tmp_path):
    one = results(tmp_path / "a", {"fp16": "rrrr", "kitty": "rrrw", "kivi-2": "wwww"})
    document = {"cache": {"preset": "kitty"}, "klDivergence": 0.5, "model": "m"}
    (tmp_path / "figures.json").write_text(json.dumps(document))
    report = build(read_sources([one, tmp_path]), "today")
    evaluation = report.data["evaluations"][0]
    # kivi-2 takes as few bits as kitty and gets less right.
    assert evaluation["unbeaten"] == ["kitty", "fp16"]
    text = as_markdown(report.blocks)
    for command in (*evaluation["commands"], report.data["simulations"][0]["command"]):
        assert command.startswith("kitty-kv ") and command in text


def test_a_latency_is_repeated_by_our_command_line_however_its_module_was_called():
    called = "python -m kitty_kv.bench.latency --json --shapes=1x64 '--peers=a b' --device=auto"
    assert latency_command({"environment": {"command": called}}) == "kitty-kv bench latency --shapes=1x64 '--peers=a b'"
    assert latency_command({"environment": {"command": "kitty-kv bench latency"}}) == "kitty-kv bench latency"
    assert latency_command({"environment": {"command": "python -m kitty_kv.bench.latency 'open"}}).endswith("'open")
    assert latency_command({"environment": {}}) is None


def test_a_question_counts_once_in_intervals_and_tests_however_often_it_was_asked(tmp_path):
    folder = results(tmp_path / "a", {"fp16": "rrrr", "kitty": "rwrw"})
    lines = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
    for line in lines:
        number, repeat = divmod(int(line["item"].split("/")[1]), 2)
        question = f"t/{number}"
        line |= {"task": "t", "length": None, "asked": f"{number}", "question": question, "repeat": repeat}
        line["item"] = f"{question}@{repeat}"
    (folder / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    comparison = combine(read_sources([folder]).evaluations)[0]
    base, kitty = preset_rows(comparison)
    assert (base["answers"], kitty["correct"]) == (4, 2)
    assert kitty["accuracyInterval"] == pytest.approx(wilson(1, 2))
    # Of two questions both were answered worse, half the time each.
    assert (kitty["againstFp16"]["lost"], kitty["againstFp16"]["won"]) == (2, 0)
    assert kitty["againstFp16"]["mcnemarP"] == 0.5
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**run, "harness": {"version": "0.4.13", "repeats": 2}}))
    text = as_markdown(build(read_sources([folder]), "today").blocks)
    assert "lm\\_eval 0.4.13" in text and "--limit=2 --lengths=512 --seed=0 --model=m --repeats=2" in text
    (row,) = [row for row in task_rows(comparison) if row["preset"] == "kitty"]
    assert (row["items"], row["questions"], row["length"]) == (4, 2, None)


def test_a_metric_that_gives_shares_is_reported_by_its_mean_and_difference(tmp_path):
    folder = results(tmp_path / "a", {"fp16": "rrr", "kitty": "rrr"})
    lines = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
    for line in lines:
        line |= {"is_correct": None, "score": 0.5 if line["preset"] == "fp16" else 0.25, "nats": None}
    (folder / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = build(read_sources([folder]), "today")
    text = as_markdown(found.blocks)
    assert "| passkey | all | fp16 |  |  | 0.50 |" in text
    assert "| passkey | all | kitty |  |  | 0.25, -0.25 (-0.25 to -0.25) |" in text
    rows = found.data["evaluations"][0]["tasks"]
    document = {"model": "m", "dtype": "d", "hardware": "h", "text": "t", "seed": 0, "presets": ["fp16"], "rows": rows}
    assert "| passkey | all | kitty |  |  | 0.25 | -0.25 (-0.25 to -0.25) |  |  | 1/4.00 |" in report(document)


def test_published_figures_are_labelled_as_such(tmp_path):
    text = as_markdown(build(read_sources([results(tmp_path / "a", {"fp16": "r"})]), "today").blocks)
    assert "References only, not measured here" in text
    assert "94.34" in text


def test_what_holds_no_results_is_refused(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    old = results(tmp_path / "old", {"fp16": "r"})
    (old / "run.json").write_text('{"version": 1}')
    broken = results(tmp_path / "broken", {"fp16": "r"})
    (broken / "items.jsonl").write_text('{"preset": 1}\n')
    sweep = tmp_path / "sweep.json"
    sweep.write_text('{"children": []}')
    for path, message in (
        (tmp_path / "none", "there is no such job, folder or file"),
        (empty, "it holds neither run.json nor figures.json"),
        (old, "its results are of version 1, this is 2"),
        (broken, "line 1 of items.jsonl is no record"),
        (sweep, "it is a sweep"),
    ):
        with pytest.raises(ConfigError, match=message):
            read_sources([path])
    # A record that is being written is not there yet.
    (broken / "items.jsonl").write_text('{"preset": 1')
    with pytest.raises(ConfigError, match="it holds no item yet"):
        read_sources([broken])
