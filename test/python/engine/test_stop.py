"""Stop strings over text in pieces."""

from __future__ import annotations

import random

import pytest

from kitty_kv.engine.stop import StopMatcher


def feed(stops: list[str], pieces: list[str]) -> tuple[list[str], str | None]:
    """What is shown after each piece (and at the end), and the stop string found."""
    matcher = StopMatcher(stops)
    shown = []
    for piece in pieces:
        shown.append(matcher.push(piece))
        if matcher.matched is not None:
            return shown, matcher.matched
    return [*shown, matcher.flush()], None


def test_text_without_stop_strings_passes_at_once() -> None:
    assert feed([], ["a", "", "b"]) == (["a", "", "b", ""], None)


def test_no_part_of_a_stop_string_is_shown_when_it_spans_pieces() -> None:
    assert feed(["END"], ["abcE", "N", "D more"]) == (["abc", "", ""], "END")


def test_what_only_began_like_a_stop_string_is_shown_as_soon_as_that_is_known() -> None:
    assert feed(["END"], ["xE", "N", "x"]) == (["x", "", "ENx", ""], None)


def test_held_back_text_is_shown_at_the_end() -> None:
    assert feed(["END"], ["xEN"]) == (["x", "EN"], None)


def test_a_stop_string_may_begin_inside_a_failed_beginning() -> None:
    assert feed(["aab"], ["a", "a", "a", "b"]) == (["", "", "a", ""], "aab")


def test_the_first_of_several_stop_strings_ends_the_text() -> None:
    assert feed(["two", "one"], ["0 one two"]) == (["0 "], "one")


@pytest.mark.parametrize("seed", range(5))
def test_shown_text_equals_the_whole_text_cut_at_the_stop_string(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(400):
        stops = ["".join(rng.choices("ab", k=rng.randint(1, 4))) for _ in range(rng.randint(1, 3))]
        pieces = ["".join(rng.choices("abc", k=rng.randint(0, 3))) for _ in range(12)]
        shown, matched = feed(stops, pieces)
        whole, text = "".join(pieces), "".join(shown)
        if matched is None:
            assert text == whole
            assert not any(stop in whole for stop in stops)
        else:
            assert whole.startswith(text + matched)
            assert not any(stop in text for stop in stops)
