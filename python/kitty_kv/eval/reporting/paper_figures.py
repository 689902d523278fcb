"""Published accuracies of the Kitty paper (arXiv 2511.18643, tables 3 and 4), taken from a transcription by others.

They stand beside measurements as references, on other models, tasks and hardware; nothing is compared with them.
"""

from __future__ import annotations

SOURCE = (
    "References only, not measured here: accuracies in percent as the Kitty paper publishes them (arXiv 2511.18643, tables 3 and "
    "4), read from a transcription by others. AIME columns are of generations of 32K tokens; an empty cell was not found."
)
HEAD = ("model", "cache", "GSM8K", "MATH algebra", "HumanEval", "GPQA diamond", "mean of these", "AIME24", "AIME25")
ROWS = (
    ("Qwen3-8B", "fp16", 94.79, 88.26, 84.82, 40.71, 77.15, 71.67, 66.00),
    ("Qwen3-8B", "KIVI-2", 89.13, 47.29, 76.89, 32.24, 61.39, 57.00, 52.33),
    ("Qwen3-8B", "KIVI*-2", 89.71, 74.92, 78.54, 36.02, 69.80, 67.67, 57.67),
    ("Qwen3-8B", "Kitty", 93.61, 85.12, 81.77, 39.39, 74.97, 70.67, 59.67),
    ("Qwen3-8B", "Kitty-Pro", 94.34, 88.12, 81.34, 40.92, 76.18, None, None),
    ("Llama-3.1-8B-Instruct", "fp16", 76.75, 47.15, 63.96, 26.94, 53.70, None, None),
    ("Llama-3.1-8B-Instruct", "KIVI-2", 63.58, 31.45, 55.30, 23.88, 43.55, None, None),
    ("Llama-3.1-8B-Instruct", "KIVI*-2", 71.04, 44.12, 56.71, 23.67, 48.89, None, None),
    ("Llama-3.1-8B-Instruct", "Kitty", 75.99, 45.97, 60.00, 25.41, 51.84, None, None),
    ("Llama-3.1-8B-Instruct", "Kitty-Pro", 75.51, 47.37, 61.65, 25.82, 52.59, None, None),
)


def table_rows() -> list[list[str]]:
    """As text."""
    return [["" if cell is None else cell if isinstance(cell, str) else f"{cell:.2f}" for cell in row] for row in ROWS]
