"""Ways of using a model over a cache. Each drives one; whoever calls it watches every forward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from recording import RecordingCache
from transformers import PreTrainedModel

# With and without sinks, keys or values of some row fill a page in the course of every case: 128, 160, 256, 288 tokens.
LENGTHS = (284, 40, 157)
GREEDY = {"do_sample": False, "max_new_tokens": 6}


class Case(NamedTuple):
    """One row of the table."""

    run: Callable[[PreTrainedModel, RecordingCache], None]
    attention: str = "kitty"


class Batch(NamedTuple):
    ids: torch.Tensor  # [B, T]
    mask: torch.Tensor  # [B, T]

    @property
    def inputs(self) -> dict[str, torch.Tensor]:
        return {"input_ids": self.ids, "attention_mask": self.mask}


def batch(lengths=LENGTHS, side: str = "left", seed: int = 0) -> Batch:
    """Rows of random tokens, padded to the longest."""
    generator = torch.Generator().manual_seed(seed)
    width = max(lengths)
    ids, mask = torch.zeros(2, len(lengths), width, dtype=torch.long)
    for row, length in enumerate(lengths):
        at = slice(width - length, width) if side == "left" else slice(0, length)
        ids[row, at], mask[row, at] = torch.randint(3, 96, (length,), generator=generator), 1
    return Batch(ids, mask)


def joined(*batches: Batch) -> Batch:
    return Batch(*(torch.cat(parts, 1) for parts in zip(*batches, strict=True)))


def on_device(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.to(model.device) for name, tensor in inputs.items()}


def feed(model: PreTrainedModel, cache: RecordingCache, seen: Batch | None, new: Batch) -> Batch:
    """One forward pass over new positions, with the position ids that a padded batch needs."""
    whole = new if seen is None else joined(seen, new)
    positions = (whole.mask.cumsum(1) - 1).clamp_min(0)[:, -new.ids.shape[1] :]
    with torch.no_grad():
        given = {"input_ids": new.ids, "attention_mask": whole.mask, "position_ids": positions}
        model(**on_device(model, given), past_key_values=cache)
    return whole


def generate(model: PreTrainedModel, cache: RecordingCache, given: Batch, **options: Any) -> Batch:
    """Greedy unless told otherwise; what was written joins the batch, so that a next turn may follow."""
    ids = model.generate(**on_device(model, given.inputs), past_key_values=cache, **{**GREEDY, **options}).cpu()
    new = ids.shape[1] - given.ids.shape[1]
    return Batch(ids, torch.cat((given.mask, given.mask.new_ones(len(given.mask), new)), 1))


def left_padded(model, cache):
    generate(model, cache, batch())
    assert cache.lengths == [length + GREEDY["max_new_tokens"] - 1 for length in LENGTHS]


def right_padded(model, cache):
    seen = feed(model, cache, None, batch(side="right"))
    for step in range(4):
        seen = feed(model, cache, seen, batch((1, 1, 1), seed=step))
    assert cache.lengths == [length + 4 for length in LENGTHS]


def padding_between_turns(model, cache):
    seen = feed(model, cache, None, batch(side="right"))
    for turn, lengths in enumerate([(3, 1, 20), (5, 130, 2), (0, 1, 1), (12, 1, 7)]):
        seen = feed(model, cache, seen, batch(lengths, side=("left", "right")[turn % 2], seed=turn))


def several_turns(model, cache):
    seen = generate(model, cache, batch())
    seen = generate(model, cache, joined(seen, batch((20, 20, 20), seed=1)))
    generate(model, cache, joined(seen, batch((140, 140, 140), seed=2)))
    assert cache.lengths == [length + 20 + 140 + 3 * GREEDY["max_new_tokens"] - 1 for length in LENGTHS]


def chunked_prefill(model, cache):
    seen = generate(model, cache, batch(), prefill_chunk_size=50)
    generate(model, cache, joined(seen, batch((33, 33, 33), seed=1)), prefill_chunk_size=16)


def return_sequences(model, cache):
    torch.manual_seed(0)
    generate(model, cache, batch((157, 40)), do_sample=True, num_return_sequences=2, max_new_tokens=5)
    assert len(cache.lengths) == 4


def beams(model, cache):
    generate(model, cache, batch((157, 284)), num_beams=3, max_new_tokens=5)


def sampled_beams(model, cache):
    torch.manual_seed(0)
    generate(model, cache, batch((157, 40)), do_sample=True, num_beams=2, max_new_tokens=5)


def grouped_beams(model, cache):
    groups = {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5}
    generate(model, cache, batch((157,)), max_new_tokens=5, **groups)


def prompt_lookup(model, cache):
    ids = batch((40,)).ids.repeat(1, 7)  # repetition is what a look-up finds
    given = Batch(ids[:, :284], torch.ones(1, 284, dtype=torch.long))
    generate(model, cache, given, prompt_lookup_num_tokens=4, max_new_tokens=10, eos_token_id=2)


def crops(model, cache):
    seen = feed(model, cache, None, batch())
    cache.crop(-9)
    seen = Batch(seen.ids[:, :275], seen.mask[:, :275])
    for count in (20, 1, 13):  # over the end of a page, and back
        fed = feed(model, cache, seen, batch((count, count, count), seed=count))
        cache.crop(seen.ids.shape[1] + count // 2)
        assert cache.get_seq_length() == seen.ids.shape[1] + count // 2
        seen = Batch(*(part[:, : cache.get_seq_length()] for part in fed))
    cache.crop(10_000)
    feed(model, cache, seen, batch((2, 2, 2), seed=9))


def selected_rows(model, cache):
    seen = feed(model, cache, None, batch())
    cache.batch_repeat_interleave(2)
    seen = feed(model, cache, Batch(*(part.repeat_interleave(2, 0) for part in seen)), batch((5,) * 6, seed=1))
    rows = [5, 0, 0]
    cache.batch_select_indices(torch.tensor(rows))
    seen = feed(model, cache, Batch(*(part[rows] for part in seen)), batch((5,) * 3, seed=2))
    cache.reorder_cache(torch.tensor([2, 0, 1]))
    feed(model, cache, Batch(*(part[[2, 0, 1]] for part in seen)), batch((1,) * 3, seed=3))


def reset_and_again(model, cache):
    feed(model, cache, None, batch((157, 40)))
    cache.reset()
    assert cache.lengths == []
    assert cache.memory()["tokens"] == 0
    generate(model, cache, batch((40, 284, 40)))


def inference_mode(model, cache):
    with torch.inference_mode():
        seen = feed(model, cache, None, batch())
    feed(model, cache, seen, batch((1, 1, 1)))
    with torch.inference_mode():
        feed(model, cache, joined(seen, batch((1, 1, 1))), batch((3, 3, 3)))


CASES = {
    "left-padded": Case(left_padded),
    "right-padded": Case(right_padded),
    "padding-between-turns": Case(padding_between_turns),
    "several-turns": Case(several_turns),
    "chunked-prefill": Case(chunked_prefill),
    "return-sequences": Case(return_sequences),
    "beams": Case(beams),
    "sampled-beams": Case(sampled_beams),
    "grouped-beams": Case(grouped_beams),
    "prompt-lookup": Case(prompt_lookup),
    "crops": Case(crops),
    "selected-rows": Case(selected_rows),
    "reset": Case(reset_and_again),
    "inference-mode": Case(inference_mode),
    "sdpa-several-turns": Case(several_turns, "sdpa"),
    "eager-beams": Case(beams, "eager"),
    "eager-crops": Case(crops, "eager"),
}
