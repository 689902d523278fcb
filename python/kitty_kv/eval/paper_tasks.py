"""The six tasks of the Kitty paper (arXiv 2511.18643, section 5.1) as arguments of lm-evaluation-harness."""

from __future__ import annotations

import dataclasses
import difflib

from ..errors import ConfigError

SAMPLING_OPTIONS = {"do_sample": True, "temperature": 0.6, "top_p": 0.95, "top_k": 20}
SAMPLING = ",".join(f"{name}={value}" for name, value in SAMPLING_OPTIONS.items())


@dataclasses.dataclass(frozen=True, slots=True)
class PaperTask:
    """How one task is run; ``repeats`` says how many seeds its mean is over, and ``num_fewshot`` None is the task's own."""

    name: str
    num_fewshot: int | None
    max_new_tokens: int
    repeats: int
    runs_code: bool = False

    def arguments(self) -> list[str]:
        """Of the harness's ``run``, for one repeat."""
        found = ["--tasks", self.name, "--gen_kwargs", f"{SAMPLING},max_gen_toks={self.max_new_tokens}"]
        if self.num_fewshot is not None:
            found += ["--num_fewshot", str(self.num_fewshot)]
        return [*found, "--confirm_run_unsafe_code"] if self.runs_code else found


PAPER_TASKS = {
    task.name: task
    for task in (
        PaperTask("gsm8k_cot_llama", 8, 4096, 3),
        PaperTask("minerva_math_algebra", 4, 4096, 3),
        PaperTask("humaneval_instruct", None, 4096, 3, runs_code=True),
        PaperTask("gpqa_diamond_cot_n_shot", 5, 4096, 3),
        PaperTask("aime24", None, 32_768, 10),
        PaperTask("aime25", None, 32_768, 10),
    )
}


def paper_task(name: str) -> PaperTask:
    """By its name.

    Raises:
        ConfigError: it is none of the paper's.
    """
    if name not in PAPER_TASKS:
        nearest = difflib.get_close_matches(name, PAPER_TASKS, n=1, cutoff=0.5)
        hint = f", did you mean {nearest[0]!r}? The" if nearest else "; the"
        raise ConfigError(
            f"Cannot run paper task {name!r}: it is unknown{hint} tasks are {', '.join(PAPER_TASKS)}.",
            code="unknown_task",
            details={"task": name, "known": list(PAPER_TASKS)},
        )
    return PAPER_TASKS[name]
