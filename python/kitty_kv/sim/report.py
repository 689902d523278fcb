"""A simulation's document as text for people."""

from __future__ import annotations

from typing import Any

FULL_PRECISION_BITS = 16


def report(document: dict[str, Any]) -> str:
    """Markdown tables and a sentence or two."""
    parts = [_heading(document), _likelihoods(document), _layers(document["layers"])]
    if "verification" in document:
        parts.append(_verification(document["verification"]))
    return "\n\n".join(parts)


def _heading(document: dict[str, Any]) -> str:
    where = "{model}, {sequences} x {length} tokens of {text}, {dtype}, {hardware}".format(**document)
    lines = [where, f"cache: {_cache(document['cache'])}"]
    cache = document["cache"]
    if cache["boostRatio"] > 0 and cache["boostBits"] < cache["kBits"] < FULL_PRECISION_BITS:
        lines.append(f"note: boosted channels have {cache['boostBits']} bits, fewer than the others' {cache['kBits']}")
    return "\n".join(lines)


def _cache(cache: dict[str, Any]) -> str:
    parts = [cache["preset"]]
    for side in ("k", "v"):
        bits = cache[f"{side}Bits"]
        parts.append(f"{side.upper()} {bits} bits")
    if cache["boostRatio"] > 0 and cache["kBits"] < FULL_PRECISION_BITS:
        parts.append(f"{cache['boostRatio']:.4g} of key channels at {cache['boostBits']} bits by {cache['selection']}")
    parts += [f"{cache['sinkTokens']} sink tokens", f"{cache['recentTokens']} recent tokens"]
    return ", ".join([*parts, f"pages of {cache['pageSize']}"])


def _likelihoods(document: dict[str, Any]) -> str:
    lines = ["| cache | bits per byte | perplexity |", "|---|---:|---:|"]
    for label, name in (("16 bits", "baseline"), ("simulated", "simulated")):
        found = document[name]
        lines.append(f"| {label} | {found['bitsPerByte']:.4f} | {found['perplexity']:.3f} |")
    lines += [
        "",
        f"KL divergence {document['klDivergence']:.5f} nats a token, the same most probable token "
        f"{document['top1Agreement']:.2%} of the time, over {document['predictedTokens']} tokens.",
    ]
    return "\n".join(lines)


def _layers(layers: list[dict[str, Any]]) -> str:
    lines = ["| layer | relative error of keys | of values |", "|---:|---:|---:|"]
    for row in layers:
        lines.append(f"| {row['layer']} | {_share(row['keyError'])} | {_share(row['valueError'])} |")
    return "\n".join(lines)


def _share(error: float | None) -> str:
    return "–" if error is None else f"{error:.4f}"


def _verification(found: dict[str, Any]) -> str:
    largest = max(found["attentionErrors"])
    over = f"{found['calls']} calls, {found['tokens']} tokens, {len(found['attentionErrors'])} layers"
    bound = f"attention's largest error is {largest:.2e} of the largest value, the bound {found['bound']:.2e}"
    if found["isEqual"]:
        return f"Verified: the packed cache holds what the simulated one holds, to the bit ({over}); {bound}."
    lines = [
        f"Not equal: the packed cache and the simulated one differ in {found['differenceCount']} places ({over}); {bound}."
    ]
    lines += [f"- {difference['sentence']}" for difference in found["differences"]]
    left = found["differenceCount"] - len(found["differences"])
    return "\n".join(lines + ([f"- and {left} more"] if left else []))
