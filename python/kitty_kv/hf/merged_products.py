"""One matrix product instead of several of the same input, where their weights lie one behind the other.

A product of a few rows takes the time of reading its weights, and small weights are read slowly: the keys' and values' projections
of a model with grouped heads take half as long again as their bytes would. Nothing is copied for long: the weights are moved
to one piece of memory, and each module keeps its part of it as its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

# Modules of one parent that all get the same input, in every family that has them under these names.
_SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
# How the compiler names a module's parameter.
_PARAMETER = re.compile(r"(?P<parent>.*_modules_)(?P<module>\w+?_proj)_parameters_(?P<kind>weight|bias)_")


def make_adjacent(layers: Sequence[torch.nn.Module]) -> bool:
    """Moves the weights of siblings behind each other; false, and nothing is moved, where a layer has siblings that cannot be."""
    groups = [group for layer in layers for parent in layer.modules() for group in _siblings(parent)]
    if not all(map(_is_plain, groups)):
        return False
    # Inference tensors could not be trained any more.
    with torch.inference_mode(False):
        for group in groups:
            for kind in ("weight", "bias"):
                parts = [getattr(module, kind) for module in group]
                if parts[0] is None or _is_adjacent(parts):
                    continue
                whole = torch.cat([part.data for part in parts])
                for part, place in zip(parts, whole.split([part.shape[0] for part in parts]), strict=True):
                    part.data = place
    return bool(groups)


def merging(compile_graph: Callable[..., Any]) -> Callable[..., Any]:
    """A backend of ``torch.compile`` that merges the products of siblings, all of which ``make_adjacent`` has moved."""

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        merge_siblings(graph)
        return compile_graph(graph, inputs)

    return backend


def merge_siblings(graph: torch.fx.GraphModule) -> int:
    """Merges products in a graph that the compiler has traced: how many were made of several."""
    groups: dict[tuple[Any, str], dict[str, torch.fx.Node]] = {}
    for node in graph.graph.find_nodes(op="call_function", target=F.linear):
        found = _PARAMETER.fullmatch(getattr(node.args[1], "name", "")) if len(node.args) > 1 else None
        if found is not None and not node.kwargs:
            groups.setdefault((node.args[0], found["parent"]), {})[found["module"]] = node
    merged = 0
    for nodes in groups.values():
        for names in _SIBLINGS:
            if set(names) <= nodes.keys():
                _merge(graph.graph, [nodes[name] for name in names])
                merged += 1
    graph.graph.lint()
    graph.recompile()
    return merged


def _merge(graph: torch.fx.Graph, nodes: Sequence[torch.fx.Node]) -> None:
    sizes = [node.args[1].meta["example_value"].shape[0] for node in nodes]
    first = min(nodes, key=list(graph.nodes).index)
    with graph.inserting_before(first):
        # The others' weights, and biases if they have any, follow the first's in memory.
        whole = [graph.call_function(_whole, (part, sum(sizes))) for part in nodes[0].args[1:] if part is not None]
        product = graph.call_function(F.linear, (nodes[0].args[0], *whole))
        parts = graph.call_function(torch.split, (product, sizes, -1))
        for at, node in enumerate(nodes):
            node.replace_all_uses_with(graph.call_function(_item, (parts, at)))
    for node in nodes:
        graph.erase_node(node)


def _whole(first: torch.Tensor, rows: int) -> torch.Tensor:
    return first.as_strided((rows, *first.shape[1:]), first.stride())


def _item(parts: Sequence[torch.Tensor], at: int) -> torch.Tensor:
    return parts[at]


def _siblings(parent: torch.nn.Module) -> list[list[torch.nn.Module]]:
    found = []
    for names in _SIBLINGS:
        modules = [getattr(parent, name, None) for name in names]
        if all(isinstance(module, torch.nn.Module) for module in modules):
            found.append(modules)
    return found


def _is_plain(group: Sequence[torch.nn.Module]) -> bool:
    """Whether these are what they seem: linear layers without subclass, hooks or quantized weights, all with bias or none."""
    return (
        all(type(module) is torch.nn.Linear and type(module.weight.data) is torch.Tensor for module in group)
        and len({(module.in_features, module.weight.dtype, module.weight.device) for module in group}) == 1
        and len({module.bias is None for module in group}) == 1
        and all(module.weight.is_contiguous() for module in group)
        # accelerate replaces forward where it moves weights about.
        and not any(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module) for module in group)
    )


def _is_adjacent(parts: Sequence[torch.Tensor]) -> bool:
    ends = [part.data_ptr() + part.nbytes for part in parts]
    storage = parts[0].untyped_storage().data_ptr()
    return all(part.untyped_storage().data_ptr() == storage for part in parts) and all(
        part.data_ptr() == end for part, end in zip(parts[1:], ends, strict=False)
    )
