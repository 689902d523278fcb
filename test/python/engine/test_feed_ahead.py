"""A pass that feeds rows several tokens is as many passes of one token, to the bit on the CPU."""

from __future__ import annotations

import random

import pytest
import torch
from engine_run import SMALL_PAGES

from kitty_kv.config import PRESETS, KittyConfig
from kitty_kv.engine.kv_pool import KvPool
from kitty_kv.engine.passes import JoinedPasses, feed, is_joinable
from kitty_kv.engine.sequence import Sequence
from kitty_kv.hf.miniature import CONTEXT_LENGTH, VOCABULARY, miniature

LENGTHS = (5, 70, 33)
STEPS = 90


class WidePasses(JoinedPasses):
    """As on a GPU, with more columns than any row has tokens."""

    def _width(self, most: int, model) -> int:
        return 1 << most.bit_length()


@pytest.fixture(autouse=True)
def inference(one_thread):
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def model(request):
    return miniature().to(request.param)


def started(model, config: KittyConfig) -> list[Sequence]:
    """Rows of these lengths, prompts that were fed in chunks."""
    pool = KvPool(model, config, prefix_bytes=0, chunk_tokens=32)
    chance = random.Random(0)
    rows = [pool.new_sequence(CONTEXT_LENGTH) for _ in LENGTHS]
    for row, length in zip(rows, LENGTHS, strict=True):
        row.tokens.extend(chance.randrange(VOCABULARY) for _ in range(length))
        fill(row)
    return rows


def fill(row: Sequence) -> None:
    """As the engine does: joined where a pass is of one token."""
    passes = JoinedPasses()
    while row.unfed:
        if is_joinable(row):
            passes.feed([row])
        else:
            feed(row)


def texts() -> list[list[int]]:
    chance = random.Random(1)
    return [[chance.randrange(VOCABULARY) for _ in range(STEPS)] for _ in LENGTHS]


def one_by_one(model, config: KittyConfig) -> tuple[list[list[torch.Tensor]], list[Sequence]]:
    """Logits behind each token of the texts, a row's list."""
    rows, passes = started(model, config), JoinedPasses()
    out: list[list[torch.Tensor]] = [[] for _ in rows]
    for tokens in zip(*texts(), strict=True):
        for row, token in zip(rows, tokens, strict=True):
            row.tokens.append(token)
        for found, logits in zip(out, passes.feed(rows), strict=True):
            found.append(logits.clone())
    return out, rows


@pytest.mark.parametrize("passes_class", [JoinedPasses, WidePasses])
@pytest.mark.parametrize("config", [SMALL_PAGES, PRESETS["fp16"]], ids=["packed", "fp16"])
def test_logits_and_caches_are_those_of_passes_of_one_token(model, config: KittyConfig, passes_class) -> None:
    wanted, single = one_by_one(model, config)
    rows, passes, chance = started(model, config), passes_class(), random.Random(2)
    said = [0] * len(rows)
    while said != [STEPS] * len(rows):
        active = [at for at, done in enumerate(said) if done < STEPS]
        right, fed = {}, {}
        for at in active:
            rest = texts()[at][said[at] :]
            most = min(rows[at].most_ahead(), len(rest))
            right[at] = chance.randint(1, most)
            # What follows the right ones is wrong, and taken back.
            wrong = [0] * chance.randint(0, most - right[at])
            fed[at] = rest[: right[at]] + wrong
            rows[at].tokens.append(rest[0])
        logits = passes.feed_ahead([rows[at] for at in active], [fed[at] for at in active])
        for found, at in zip(logits, active, strict=True):
            for step in range(right[at]):
                assert torch.equal(found[step], wanted[at][said[at] + step])
            rows[at].tokens.extend(fed[at][1 : right[at]])
            said[at] += right[at]
            rows[at].crop(len(rows[at].tokens))
    assert [row.tokens for row in rows] == [row.tokens for row in single]
    assert_same(rows, single)
    for row in rows:
        row.drop()
        fill(row)
    assert_same(rows, single)


def assert_same(rows: list[Sequence], others: list[Sequence]) -> None:
    for row, other in zip(rows, others, strict=True):
        assert row.held == other.held
        for layer in range(len(row.cache.layers)):
            for left, right in zip(row.cache.dequantize(layer), other.cache.dequantize(layer), strict=True):
                assert torch.equal(left, right)


@pytest.mark.parametrize("length", [1, 15, 47, 48, 79, 80, 81, 111, 112])
def test_a_draft_ends_where_a_page_does(model, length: int) -> None:
    row = KvPool(model, SMALL_PAGES, prefix_bytes=0).new_sequence(CONTEXT_LENGTH)
    row.tokens.extend([1] * length)
    feed(row)
    most = row.most_ahead()
    # By definition: how many tokens a pass takes so that no page is complete before its last one.
    keys, values = row.cache.pages.geometry
    packed = [(keys.pages(length + count), values.pages(length + count)) for count in range(17)]
    assert most == max(count for count in range(1, 17) if packed[count - 1] == packed[0])
