"""What a model makes of items, by the kind of their task."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..tasks.item import Item
from .evaluator import Evaluator, GenerationRequest, Likelihood
from .generations import GenerationResult
from .harness_items import HarnessItem, answer_harness_items
from .offline import ASKED, BOOK
from .outcome import Outcome

# Beyond the right answer's, so that a wrong one of about its length can end.
SPARE_TOKENS = 16
END = "\n\n"


def answer_items(
    evaluator: Evaluator,
    items: Sequence[Item | HarnessItem],
    on_outcome: Callable[[Item | HarnessItem, Outcome], None],
    seed: int = 0,
) -> None:
    """Answers all ``items`` and hands over each outcome as soon as it is there; ``seed`` is of sampling.

    Retrieval is right when greedy decoding would write exactly the answer, which scoring the answer shows; copying and
    arithmetic are decoded.
    """
    written, theirs = [], []
    for item in items:
        if isinstance(item, HarnessItem):
            theirs.append(item)
        elif item.task == BOOK:
            on_outcome(item, _book(evaluator, item))
        elif item.task in ASKED:
            on_outcome(item, _asked(evaluator, item))
        else:
            written.append(item)
    if theirs:
        answer_harness_items(evaluator, theirs, seed, on_outcome)
    if not written:
        return
    requests = [_request(evaluator, item) for item in written]

    def on_result(index: int, result: GenerationResult) -> None:
        on_outcome(written[index], _written(written[index], result, len(requests[index].prompt)))

    evaluator.generate_until(requests, on_result)


def right_share(text: str, answer: str) -> float:
    """The share of the answer's lines that the text repeats before its first wrong one."""
    wanted, got = answer.strip().split("\n"), text.strip().split("\n")
    right = 0
    while right < min(len(wanted), len(got)) and wanted[right].strip() == got[right].strip():
        right += 1
    return right / len(wanted)


def is_right(task: str, text: str, answer: str) -> bool:
    """Whether a written answer is right: what is asked of arithmetic is its last line alone, a copy must be so as a whole."""
    lines = -1 if task == "arithmetic" else 0
    return text.strip().split("\n")[lines:] == answer.strip().split("\n")[lines:]


def _asked(evaluator: Evaluator, item: Item) -> Outcome:
    prompt = evaluator.encode(item.prompt)
    found = evaluator.loglikelihood(prompt, evaluator.encode(item.answer))
    return _likelihood(item, found, len(prompt), is_correct=found.is_greedy)


def _book(evaluator: Evaluator, item: Item) -> Outcome:
    found = evaluator.loglikelihood_rolling(evaluator.encode(item.answer))
    return _likelihood(item, found, 0, is_correct=None)


def _likelihood(item: Item, found: Likelihood, prompt_tokens: int, is_correct: bool | None) -> Outcome:
    return Outcome(
        is_correct=is_correct,
        score=None if is_correct is None else float(is_correct),
        nats=found.nats,
        answer_tokens=found.tokens,
        answer_bytes=len(item.answer.encode()),
        text=None,
        prompt_tokens=prompt_tokens,
        packed_bytes=found.packed_bytes,
        compression=found.compression,
    )


def _request(evaluator: Evaluator, item: Item) -> GenerationRequest:
    wanted = len(evaluator.encode(item.answer)) + SPARE_TOKENS
    return GenerationRequest(evaluator.encode(item.prompt), wanted, until=[END])


def _written(item: Item, result: GenerationResult, prompt_tokens: int) -> Outcome:
    return Outcome(
        is_correct=is_right(item.task, result.text, item.answer),
        score=right_share(result.text, item.answer),
        nats=None,
        answer_tokens=result.tokens,
        answer_bytes=len(item.answer.encode()),
        text=result.text,
        prompt_tokens=prompt_tokens,
        packed_bytes=result.packed_bytes,
        compression=result.compression,
    )
