"""What attention refuses, by argument, wanted and got."""

from __future__ import annotations

import re

import pytest
import torch
from plain_cache import PlainCache, random_rows

from kitty_kernels.decode_attention.api import decode_attention
from kitty_kernels.pages import CacheView

HEADS, HEAD_DIM = 2, 64


@pytest.fixture(scope="module")
def view() -> CacheView:
    keys, values = (random_rows([40, 200], HEADS, HEAD_DIM, torch.float16, seed) for seed in (1, 2))
    return PlainCache(keys, values, [0, 1], [0, 0], 32, 8).view()


def query(*shape: int, dtype: torch.dtype = torch.float16) -> torch.Tensor:
    return torch.zeros(shape or (2, 4, 1, HEAD_DIM), dtype=dtype)


def spread(pool: torch.Tensor) -> torch.Tensor:
    """The same pool with its heads further apart."""
    return torch.cat([pool, pool], -1)[..., : pool.shape[-1]]


def swapped(view: CacheView, **parts: object) -> CacheView:
    return view._replace(**parts)


REFUSED = {
    "query must be floating point of shape (2, any, any, 64), got torch.float16 of (2, 4, 64)": (
        lambda v: (query(2, 4, HEAD_DIM), v),
        {},
    ),
    "query must be floating point of shape (2, any, any, 64), got torch.float16 of (2, 4, 1, 32)": (
        lambda v: (query(2, 4, 1, 32), v),
        {},
    ),
    "3 query heads do not divide among 2 KV heads": (lambda v: (query(2, 3, 1, HEAD_DIM), v), {}),
    "query must be floating point of shape (2, any, any, 64), got torch.float16 of (3, 4, 1, 64)": (
        lambda v: (query(3, 4, 1, HEAD_DIM), v),
        {},
    ),
    "lengths must be int32, got int64": (lambda v: (query(), swapped(v, lengths=v.lengths.long())), {}),
    "key_page_counts must have shape (2), got (1,)": (
        lambda v: (query(), swapped(v, key_page_counts=v.key_page_counts[:1])),
        {},
    ),
    "value_table must be int32, got int64": (lambda v: (query(), swapped(v, value_table=v.value_table.long())), {}),
    "key_table must have shape (2, any), got (1, 1)": (lambda v: (query(), swapped(v, key_table=v.key_table[:1])), {}),
    "key_block_table must have at least the 2 sink blocks of a row, got 1 columns": (
        lambda v: (query(), swapped(v, key_block_table=v.key_block_table[:, :1])),
        {},
    ),
    "key_pages must have shape (any, 2, ": (lambda v: (query(), swapped(v, key_pages=v.key_pages[..., 1:])), {}),
    "value_pages must be uint8, got float32": (lambda v: (query(), swapped(v, value_pages=v.value_pages.float())), {}),
    "blocks must have shape (any, 2, 16, 64), got": (lambda v: (query(), swapped(v, blocks=v.blocks[:, :, :8])), {}),
    "blocks must be contiguous": (
        lambda v: (query(), swapped(v, blocks=v.blocks.transpose(0, 1).contiguous().transpose(0, 1))),
        {},
    ),
    "key_pages must be contiguous": (lambda v: (query(), swapped(v, key_pages=spread(v.key_pages))), {}),
    "blocks must be float16 or bfloat16 or float32, got float64": (
        lambda v: (query(), swapped(v, blocks=v.blocks.double())),
        {},
    ),
    "query must lie on cpu, got meta": (lambda v: (query().to("meta"), v), {}),
    "lengths must have shape (any), got ()": (lambda v: (query(), swapped(v, lengths=v.lengths[0])), {}),
    "first_positions must be int32, got float32": (lambda v: (query(), v), {"first_positions": torch.zeros(2)}),
    "window must be at least 1 or None, got 0": (lambda v: (query(), v), {"window": 0}),
    "softcap must be over 0 or None, got -1.0": (lambda v: (query(), v), {"softcap": -1.0}),
    "scaling must be finite, got nan": (lambda v: (query(), v), {"scaling": float("nan")}),
}


@pytest.mark.parametrize("said", REFUSED)
def test_wrong_arguments_are_refused_by_name(view, said):
    make, options = REFUSED[said]
    bad_query, bad_view = make(view)
    with pytest.raises((TypeError, ValueError), match=re.escape(said)) as refused:
        decode_attention(bad_query, bad_view, **{"scaling": 0.1, **options})
    assert str(refused.value).startswith("Cannot attend: ")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (query(2, 4, 17, HEAD_DIM), "query has 17 tokens a row, the kernel takes 1 to 16"),
        (query(dtype=torch.float32), "query must be float16 or bfloat16, got torch.float32"),
        (query(dtype=torch.bfloat16), "query is torch.bfloat16, the cache's blocks torch.float16"),
    ],
    ids=["long", "float32", "mixed"],
)
def test_what_the_kernel_lacks_is_refused_and_not_replaced(device, view, bad, said):
    on_device = CacheView(*(part.to(device) if isinstance(part, torch.Tensor) else part for part in view))
    with pytest.raises((TypeError, ValueError), match=re.escape(said)):
        decode_attention(bad.to(device), on_device, scaling=0.1, impl="triton")


def test_an_unknown_implementation_is_refused(view):
    with pytest.raises(NotImplementedError, match="impl='cuda'"):
        decode_attention(query(), view, scaling=0.1, impl="cuda")
