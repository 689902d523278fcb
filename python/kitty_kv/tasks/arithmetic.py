"""Multi-step arithmetic: a running total through many numbered steps, written out one step a line."""

from __future__ import annotations

import random

from .fitting import Count, fit
from .item import Item

STEPS = 24
SMALLEST_LENGTH_STEPS = 12  # at 512 tokens a question of more steps leaves no room for a worked example
LIMIT = 1000
HEAD = "Keep the total, one step a line.\n\n"
SOLVE = "Step by step:\n"


def arithmetic(index: int, length: int, chance: random.Random, text: list[str], count: Count) -> Item:
    """A question of at most ``length`` tokens, its answer included; ``text`` is not used.

    As many worked examples as fit come before the question. The answer repeats each numbered step with its total, and says
    the last total behind ``Result:``.
    """
    steps = SMALLEST_LENGTH_STEPS if length < 1024 else STEPS
    problem, answer = exercise(chance, steps)
    examples = [exercise(chance, 4) for _ in range(length // 16)]

    def build(units: int) -> str:
        shown = "".join(f"{question}{worked}\n" for question, worked in examples[:units])
        return f"{HEAD}{shown}{problem}"

    prompt = fit(build, length - count(answer) - 1, count)
    return Item("arithmetic", index, length, prompt, answer)


def exercise(chance: random.Random, steps: int) -> tuple[str, str]:
    """A question and its worked answer; totals stay from 0 to ``LIMIT``."""
    total = chance.randrange(10, 100)
    asked, lines = [f"Begin with {total}.\n"], []
    for step in range(1, steps + 1):
        amount = chance.randrange(2, 100)
        is_added = total < amount or (total + amount < LIMIT and chance.random() < 0.5)
        word, sign = ("add", "+") if is_added else ("take", "-")
        before, total = total, total + amount if is_added else total - amount
        asked.append(f"{step}: {word} {amount}\n")
        lines.append(f"{step}: {before} {sign} {amount} = {total}\n")
    return "".join([*asked, SOLVE]), "".join(lines) + f"Result: {total}\n"
