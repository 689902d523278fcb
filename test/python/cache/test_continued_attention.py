"""A chunk's attention behind cached tokens, on a GPU, against plain softmax in float64."""

from __future__ import annotations

import pytest
import torch

from kitty_kv.cache.continued_attention import continued_attention

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("head_dim", [64, 128, 256])
@pytest.mark.parametrize(("new_tokens", "total"), [(2, 3), (17, 500), (512, 1536), (1024, 3072)])
def test_equals_softmax_in_float64(new_tokens: int, total: int, head_dim: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    query = torch.randn(2, 8, new_tokens, head_dim, dtype=dtype, device="cuda")
    keys, values = (torch.randn(2, 2, total, head_dim, dtype=dtype, device="cuda") for _ in range(2))
    found = continued_attention(query, keys, values, 0.1)
    scores = query.double() @ keys.double().repeat_interleave(4, 1).transpose(-1, -2) * 0.1
    allowed = torch.ones(new_tokens, total, dtype=torch.bool, device="cuda").tril(total - new_tokens)
    wanted = scores.masked_fill(~allowed, float("-inf")).softmax(-1) @ values.double().repeat_interleave(4, 1)
    # Two parts are rounded, and then their sum.
    assert (found.double() - wanted).abs().max() <= 3 * torch.finfo(dtype).eps * wanted.abs().max()
