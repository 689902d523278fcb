"""Order, joining and waiting of what is to be sent, on a clock of the test's own."""

from __future__ import annotations

import itertools
import random

import pytest

from kitty_kv.worker.send_queue import GRACE_S, HOLD_S, NEVER, NOW, Entry, SendQueue

START = 100.0
SHORT = HOLD_S / 4


def tokens(text: str, stream: str = "s", count: int = 1) -> list[object]:
    return ["tok", stream, text, count]


def end(stream: str = "s") -> list[object]:
    return ["end", stream, {"ok": {}}]


def sent_first_token(at: float = START) -> SendQueue:
    """A queue whose stream ``s`` has just sent a token."""
    queue = SendQueue()
    queue.add(tokens("a"), at)
    queue.take(at)
    return queue


def test_nothing_is_due_in_an_empty_queue():
    queue = SendQueue()
    assert not queue
    assert queue.due == queue.overdue == NEVER


def test_the_first_tokens_of_a_stream_are_due_at_once():
    queue = sent_first_token()
    queue.add(tokens("b", "other"), START + SHORT)
    assert queue.due <= START + SHORT
    assert queue.take(START + SHORT) == [tokens("b", "other")]


def test_tokens_soon_after_the_last_ones_wait_and_become_one_event():
    queue = sent_first_token()
    for i, text in enumerate("bcd", 1):
        queue.add(tokens(text), START + i * SHORT)
    assert queue.due == pytest.approx(START + HOLD_S)
    assert queue.overdue == pytest.approx(START + HOLD_S + GRACE_S)
    assert queue.take(START + HOLD_S) == [tokens("bcd", count=3)]
    assert queue.due == NEVER


def test_tokens_that_come_slowly_never_wait():
    queue, now = SendQueue(), START
    for text in "abc":
        queue.add(tokens(text), now)
        assert queue.due <= now
        assert queue.take(now) == [tokens(text)]
        now += HOLD_S


@pytest.mark.parametrize(
    "other",
    [end(), end("other"), ["log", {"text": "x"}], ["settled", 1, {"error": {}}], b"reply", tokens("first", "new")],
    ids=["end", "another end", "log", "settled", "reply", "another stream"],
)
def test_everything_else_is_due_at_once_and_takes_held_tokens_along_in_order(other):
    queue = sent_first_token()
    queue.add(tokens("b"), START + SHORT)
    assert queue.due > START + SHORT
    queue.add(other, START + SHORT)
    assert queue.due <= START + SHORT
    assert queue.take(START + SHORT) == [tokens("b"), other]


def test_tokens_behind_something_due_do_not_put_it_off():
    queue = sent_first_token()
    queue.add(b"reply", START + SHORT)
    queue.add(tokens("b"), START + SHORT)
    assert queue.due == NOW
    assert queue.take(START + SHORT) == [b"reply", tokens("b")]


def test_the_stream_whose_tokens_wait_longest_decides():
    queue = SendQueue()
    queue.add(tokens("a", "early"), START)
    queue.take(START)
    queue.add(tokens("a", "late"), START + SHORT)
    queue.take(START + SHORT)
    queue.add(tokens("b", "late"), START + 2 * SHORT)
    queue.add(tokens("b", "early"), START + 2 * SHORT)
    assert queue.due == pytest.approx(START + HOLD_S)


def test_a_stream_that_begins_again_under_the_same_name_is_new():
    queue = sent_first_token()
    queue.add(end(), START)
    queue.take(START)
    queue.add(tokens("b"), START + SHORT)
    assert queue.due <= START + SHORT


def test_tokens_after_an_end_are_not_joined_with_those_before_it():
    queue = sent_first_token()
    for entry in (tokens("b"), end(), tokens("c")):
        queue.add(entry, START + SHORT)
    assert queue.take(START + SHORT) == [tokens("b"), end(), tokens("c")]


def test_what_was_taken_is_not_added_to():
    queue = sent_first_token()
    queue.add(tokens("b"), START + SHORT)
    taken = queue.take(START + SHORT)
    queue.add(tokens("c"), START + 2 * SHORT)
    assert taken == [tokens("b")]
    assert queue.take(START + HOLD_S + SHORT) == [tokens("c")]


def test_an_unsent_end_comes_before_all_else_and_is_due():
    queue = sent_first_token()
    queue.add(tokens("b"), START + SHORT)
    queue.put_back(b"unsent")
    assert queue.due == NOW
    assert queue.take(START + SHORT) == [b"unsent", tokens("b")]


def test_a_long_queue_is_taken_in_parts_and_stays_due():
    queue = SendQueue()
    sent = [b"%d" % i for i in range(3000)]
    for entry in sent:
        queue.add(entry, START)
    parts = []
    while queue:
        assert queue.due == NOW
        parts.append(queue.take(START))
    assert list(itertools.chain(*parts)) == sent
    assert max(map(len, parts)) < 1000


def test_events_of_joined_tokens_do_not_grow_without_end():
    queue = sent_first_token()
    for _ in range(100):
        queue.add(tokens("x" * 1000, count=2), START + SHORT)
    taken = queue.take(START + SHORT)
    assert max(len(event[2]) for event in taken) < 6000
    assert sum(event[3] for event in taken) == 200


@pytest.mark.parametrize("seed", range(20))
def test_any_order_of_adding_and_taking_loses_nothing_and_holds_nothing_too_long(seed):
    rng, queue, now = random.Random(seed), SendQueue(), START
    added: list[Entry] = []
    taken: list[Entry] = []
    oldest: float | None = None  # when what waits longest was added
    for number in range(400):
        now += rng.expovariate(1 / SHORT)
        if queue.due <= now:
            assert oldest is not None
            taken += queue.take(now)
            oldest = None
        stream = f"s{rng.randrange(3)}"
        entry = rng.choices([tokens(f"{number},", stream), end(stream), b"%d" % number], [20, 1, 1])[0]
        added.append(list(entry) if isinstance(entry, list) else entry)
        queue.add(entry, now)
        oldest = now if oldest is None else oldest
        # What waits is due no later than a hold after it came.
        assert queue.due <= oldest + HOLD_S
        if not (isinstance(entry, list) and entry[0] == "tok"):
            assert queue.due <= now
    taken += queue.take(now)
    assert [entry for entry in taken if isinstance(entry, bytes)] == [e for e in added if isinstance(e, bytes)]
    for stream in ("s0", "s1", "s2"):
        assert turns(taken, stream) == turns(added, stream)


def turns(entries: list[Entry], stream: str) -> list[tuple[str, int]]:
    """Text and tokens of a stream between its ends."""
    out = [("", 0)]
    for entry in entries:
        if isinstance(entry, list) and entry[1] == stream:
            text, count = out[-1]
            if entry[0] == "tok":
                out[-1] = (text + entry[2], count + entry[3])
            else:
                out.append(("", 0))
    return out


def test_joined_tokens_have_the_log_probabilities_of_all() -> None:
    queue = SendQueue()
    for i in range(3):
        queue.add(["tok", "s", f"{i}", 1, [{"token": i}]], 0.0)
    queue.add(["tok", "s", "", 0, []], 0.0)
    assert queue.take(0.0) == [["tok", "s", "012", 3, [{"token": 0}, {"token": 1}, {"token": 2}]]]
