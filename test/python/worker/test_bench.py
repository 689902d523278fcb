"""The benchmark's generation, inside Python and through the worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from worker_host import ROOT, Host

TOKENS = 80


def test_bench_generate_streams_the_tokens_it_was_asked_for(shared: Host) -> None:
    shared.call("bench.generate", {"stream": "bench", "tokens": TOKENS, "tokensPerSecond": None, "credit": TOKENS})
    result = shared.result("bench")
    assert (result["completionTokens"], result["finishReason"]) == (TOKENS, "length")
    assert result["text"] == "a" * TOKENS
    assert sum(event[3] for event in shared.tokens("bench")) == TOKENS


def test_bench_generate_keeps_to_a_rate(shared: Host) -> None:
    shared.call("bench.generate", {"stream": "paced-bench", "tokens": 20, "tokensPerSecond": 50, "credit": 20})
    assert 35 < shared.result("paced-bench")["tokensPerSecond"] < 52


def test_bench_generate_refuses_more_tokens_than_its_model_has_room_for(shared: Host) -> None:
    params = {"stream": "x", "tokens": 10**6, "tokensPerSecond": None, "credit": 1}
    assert shared.error("bench.generate", params)["code"] == "invalid_argument"


def test_bench_inside_prints_its_figures() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kitty_kv.worker.bench_inside", "--tokens", str(TOKENS)],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'python'}:{ROOT / 'kernels'}"},
        check=True,
        timeout=120,
    )
    figures = json.loads(done.stdout)
    assert figures["tokens"] == TOKENS
    assert figures["tokensPerSecond"] == TOKENS / figures["seconds"]


def test_bench_sessions_generates_what_the_worker_generates(shared: Host) -> None:
    prompts = ["Chapter 1. The ship", "Chapter 2. The captain had been two days"]
    done = subprocess.run(
        [sys.executable, "-m", "kitty_kv.worker.bench_sessions", "--preset", "kitty-pro", "--new-tokens", "12"],
        input=json.dumps(prompts),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'python'}:{ROOT / 'kernels'}"},
        check=True,
        timeout=120,
    )
    figures = json.loads(done.stdout)
    assert figures["tokens"] == 24
    assert figures["tokensPerSecond"] == 24 / figures["seconds"]
    assert figures["processorSeconds"] > 0
    for number, prompt in enumerate(prompts):
        shared.open_session(f"bench-{number}", None)
        assert shared.text(f"bench-{number}", f"bench-{number}", prompt, maxNewTokens=12) == figures["texts"][number]
        shared.call("closeSession", {"session": f"bench-{number}"})
