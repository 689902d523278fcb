"""Which implementation runs, and what is refused instead of replaced."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from kitty_kernels.dequantize.api import dequantize_keys, dequantize_values
from kitty_kernels.dispatch import choose
from kitty_kernels.pack.api import pack_keys, pack_values

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def test_auto_is_triton_on_cuda_and_the_reference_elsewhere(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    implementations = {"reference": lambda: "reference", "triton": lambda: "triton"}
    assert choose("f", implementations, "auto", CPU)() == "reference"
    assert choose("f", implementations, "auto", CUDA)() == "triton"
    assert choose("f", implementations, "reference", CUDA)() == "reference"


def test_an_implementation_that_does_not_exist_is_refused_not_replaced():
    pages, values = pack_keys(torch.randn(128, 64), boosted=8), pack_values(torch.randn(128, 64))
    for call in (
        lambda: pack_keys(torch.randn(128, 64), boosted=8, impl="cuda"),
        lambda: pack_values(torch.randn(128, 64), impl="cuda"),
        lambda: dequantize_keys(pages, impl="cuda"),
        lambda: dequantize_values(values, impl="cuda"),
    ):
        with pytest.raises(NotImplementedError, match="impl='cuda'"):
            call()


def test_triton_on_the_cpu_is_refused_without_its_interpreter(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(NotImplementedError, match=r"pack_keys .* on cpu: .*TRITON_INTERPRET=1 .*impl='reference'"):
        pack_keys(torch.randn(128, 64), boosted=8, impl="triton")


def test_triton_that_is_not_installed_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotImplementedError, match="triton is not installed; install it"):
        choose("f", {"reference": print, "triton": print}, "auto", CUDA)
