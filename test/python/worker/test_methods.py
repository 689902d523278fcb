"""Calls: what is accepted, what is refused, and that neither harms the worker."""

from __future__ import annotations


def test_ready(shared, model_folder):
    h = shared
    print(h.event("hello"), h.call("ping"))
    print(h.event("ready"))
    print(h.open_session("s", model_folder))
    h.generate("s", "t", "the cat", maxNewTokens=20)
    print(h.result("t"), h.tokens("t"))
