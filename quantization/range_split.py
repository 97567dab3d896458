"""More than 8 bits for what the last convolution reads, out of two convolutions of 8 bits.

x = inside + rest with inside = clamp(x, -c, c): most values lie within c, where the step can be a fraction of what the
whole range needs, and there the rest is 0, which every grid holds. So conv(x) = conv(inside) + conv(rest), with both
rounded, loses what a few bits more would lose. No layer that is fitted can make up for what is rounded last, and smooth
images show it most. (Splitting outliers off a tensor: Dettmers et al., "LLM.int8()", 2022, there by channels.)
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from edgesr.quantization.prepared import (
    ADD,
    ATEN,
    CONVOLUTION,
    Node,
    bias_of,
    convolution_like,
    convolutions,
    exported,
    is_dense,
    name_of,
    source_of,
    weight_of,
)
from edgesr.quantization.sensitivity import passes

CLAMP = ATEN.clamp.default
SUBTRACT = ATEN.sub.Tensor
PIXEL_SHUFFLE = ATEN.pixel_shuffle.default
FRACTIONS = (1 / 2, 1 / 3, 1 / 4, 1 / 6, 1 / 8, 1 / 12)
"""Of the largest absolute value: where a range may be split."""


def last_split(graph: fx.GraphModule, crops: Sequence[Tensor], kept_float: Collection[str]) -> dict[str, float]:
    """The convolutions behind which nothing but sums and the pixel shuffle follow, as far as they are rounded: name ->
    c, in the unit of what they read, with the least error of the output, predicted on `crops`.
    """
    chosen = [conv for conv in _last(graph) if is_dense(conv) and name_of(conv) not in kept_float]
    return {name_of(conv): _best_bound(graph, source_of(conv), crops) for conv in chosen}


def _last(graph: fx.GraphModule) -> list[Node]:
    found: list[Node] = []
    (output,) = (node for node in graph.graph.nodes if node.op == "output")
    waiting = list(output.all_input_nodes)
    while waiting:
        node = waiting.pop()
        if node.target is CONVOLUTION:
            found.append(node)
        elif node.target in (ADD, PIXEL_SHUFFLE):
            waiting += node.all_input_nodes
    return [conv for conv in found if source_of(conv).op != "placeholder"]


def _best_bound(graph: fx.GraphModule, source: Node, crops: Sequence[Tensor]) -> float:
    seen = [(passed.values[source], passed.gradients[source].square()) for passed in passes(graph, [source], crops)]
    largest = max(float(values.abs().max()) for values, _ in seen)
    energy = sum(float(squares.sum()) for _, squares in seen)

    def error(bound: float) -> float:
        outside = sum(float(squares[values.abs() > bound].sum()) for values, squares in seen)
        return energy * bound**2 + outside * (largest - bound) ** 2

    return min((fraction * largest for fraction in FRACTIONS), key=error)


def split_ranges(
    graph: fx.GraphModule, bounds: Mapping[str, float], example: Tensor, dynamic_shapes: Any
) -> fx.GraphModule:
    """A prepared graph with the convolutions named in `bounds` (name -> c) split: NAME_0 of inside, NAME_1 of the rest.

    The same function up to the order of sums. `example`, `dynamic_shapes`: for tracing it again. Uses up `graph`.
    """
    if not bounds:
        return graph
    with torch.no_grad():
        for conv in convolutions(graph):
            if name_of(conv) in bounds:
                _split(graph, conv, bounds[name_of(conv)])
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return exported(graph, example, dynamic_shapes)


def _split(graph: fx.GraphModule, conv: Node, bound: float) -> None:
    source, weight, bias = source_of(conv), weight_of(graph, conv), bias_of(graph, conv)
    with graph.graph.inserting_before(conv):
        inside = graph.graph.call_function(CLAMP, (source, -bound, bound))
        rest = graph.graph.call_function(SUBTRACT, (source, inside))
        parts = convolution_like(graph, conv, 0, inside, weight, bias), convolution_like(graph, conv, 1, rest, weight)
        total = graph.graph.call_function(ADD, parts)
    conv.replace_all_uses_with(total)
