"""Our offline tasks as tasks of lm-evaluation-harness, for its own command line and any of its model types.

The harness reads this file by its path. ``--metadata`` says which questions: ``lengths`` (512, 1024 and 2048 tokens), ``items``
of each task (24) and ``questions_seed`` (0); they are those of ``kitty-kv eval`` with the same ``--lengths``, ``--limit`` and
``--seed``.
"""

from __future__ import annotations

import functools
from typing import Any

from datasets import Dataset

from kitty_kv.errors import ConfigError
from kitty_kv.eval.offline import TASKS, make_items
from kitty_kv.eval.scoring import is_right, right_share
from kitty_kv.hf.loading import load_tokenizer

DEFAULTS = {"lengths": [512, 1024, 2048], "items": 24, "questions_seed": 0}


def judge(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether what was written is right, and the share of its lines before the first error."""
    written = results[0]
    return {
        "exact_match": float(is_right(doc["task"], written, doc["answer"])),
        "score": right_share(written, doc["answer"]),
    }


def _questions(task: str, **metadata: Any) -> dict[str, Dataset]:
    chosen = {name: metadata.get(name, default) for name, default in DEFAULTS.items()}
    lengths = chosen["lengths"] if isinstance(chosen["lengths"], list) else [chosen["lengths"]]
    counts = [*lengths, chosen["items"]]
    if not lengths or not all(isinstance(count, int) and count > 0 for count in counts):
        raise ConfigError(
            f"Cannot make questions of {task} from --metadata {chosen}: lengths and items want whole numbers >= 1, as in "
            '\'{"lengths": [512], "items": 8}\'.'
        )
    # The model's own, so that questions are as long as they say; a model without one says which under "tokenizer".
    tokenizer = load_tokenizer(metadata.get("tokenizer") or metadata.get("pretrained"))
    items = make_items([task], tokenizer, lengths, chosen["items"], chosen["questions_seed"], None)
    rows = [{"task": task, "prompt": item.prompt, "answer": item.answer, "length": item.length} for item in items]
    return {"test": Dataset.from_list(rows)}


# What the task files name: questions.passkey and so on.
passkey, multi_key, variable_tracking, copying, arithmetic, book_perplexity = (
    functools.partial(_questions, task) for task in TASKS
)
