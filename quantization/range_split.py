"""More than 8 bits for what a convolution reads or writes, out of two convolutions of 8 bits.

Most values lie within some c, where the step can be a fraction of what the whole range needs, and both grids hold 0:

- read: x = inside + rest with inside = clamp(x, -c, c), so conv(x) = conv(inside) + conv(rest). No layer that is fitted
  can make up for what is rounded last, and smooth images show it most.
- written: y = clamp(y, -c, c) + (y - clamp(y, -c, c)), both summands from a convolution of their own with a grid of its
  own: a fine one within c, and one for the whole range, that counts outside of c alone.

(Splitting outliers off a tensor: Dettmers et al., "LLM.int8()", 2022, there by channels.)
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from edgesr.quantization.prepared import (
    ADD,
    ATEN,
    CLAMP,
    CONVOLUTION,
    Node,
    bias_of,
    convolution_like,
    convolutions,
    exported,
    is_dense,
    is_image,
    name_of,
    source_of,
    weight_of,
)
from edgesr.quantization.sensitivity import measure, passes

SUBTRACT = ATEN.sub.Tensor
PIXEL_SHUFFLE = ATEN.pixel_shuffle.default
FRACTIONS = (1 / 2, 1 / 3, 1 / 4, 1 / 6, 1 / 8, 1 / 12)
"""Of the largest absolute value: where a range may be split."""
LEAST_GAIN = 2.0
"""A written range is split if that saves this many times as large a part of the error as it adds to the work."""


@dataclass(frozen=True, slots=True)
class Splits:
    """Convolutions of a prepared graph by name -> c, in the unit of what they read or write."""

    reads: Mapping[str, float] = field(default_factory=dict)
    writes: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class _Spread:
    """How the energy of an activation (edgesr.quantization.sensitivity) lies over its values."""

    largest: float
    energy: float = 0.0
    outside: dict[float, float] = field(default_factory=lambda: dict.fromkeys(FRACTIONS, 0.0))
    """Of the values beyond each fraction of the largest."""

    def add(self, values: Tensor, squares: Tensor) -> None:
        self.energy += float(squares.sum())
        for fraction in FRACTIONS:
            self.outside[fraction] += float(squares[values.abs() > fraction * self.largest].sum())

    def error_of_read(self, fraction: float) -> float:
        """Of the output, up to a factor: of a grid up to `fraction`, and one for how far the largest is beyond."""
        return self.largest**2 * (self.energy * fraction**2 + self.outside[fraction] * (1 - fraction) ** 2)

    def error_of_written(self, fraction: float) -> float:
        """Of the output, up to a factor: of a grid up to `fraction`, and one up to the largest for what is beyond."""
        outside = self.outside[fraction] if fraction < 1 else 0.0
        return self.largest**2 * (self.energy * fraction**2 + outside)


def last_split(graph: fx.GraphModule, crops: Sequence[Tensor], kept_float: Collection[str]) -> dict[str, float]:
    """Where to split what the convolutions read behind which nothing but sums and the pixel shuffle follow, as far as
    they are rounded: with the least error of the output, predicted on `crops`.
    """
    chosen = [conv for conv in last_convolutions(graph) if is_dense(conv) and name_of(conv) not in kept_float]
    spreads = _spreads(graph, [source_of(conv) for conv in chosen], crops)
    reads = {name_of(conv): spreads[source_of(conv)] for conv in chosen}
    return {name: spread.largest * min(FRACTIONS, key=spread.error_of_read) for name, spread in reads.items()}


def written_splits(
    graph: fx.GraphModule, crops: Sequence[Tensor], work: Mapping[str, float], left_out: Collection[str], most: float
) -> dict[str, float]:
    """Where to split what convolutions write, greedily by error saved per work added, predicted on `crops`.

    work: of each convolution, part of all multiply-accumulates; most: that may be added. left_out: names.
    """
    convs = [conv for conv in convolutions(graph) if name_of(conv) not in left_out]
    work = {name_of(conv): work[name_of(conv)] * _as_dense(graph, conv) for conv in convs}
    spreads = {name_of(conv): spread for conv, spread in _spreads(graph, convs, crops).items()}
    total = sum(spread.error_of_written(1.0) for spread in spreads.values())
    best = {name: min(FRACTIONS, key=spread.error_of_written) for name, spread in spreads.items()}
    gains = {
        name: (spread.error_of_written(1.0) - spread.error_of_written(best[name])) / total / work[name]
        for name, spread in spreads.items()
    }
    found: dict[str, float] = {}
    for name in sorted(gains, key=lambda name: -gains[name]):
        if gains[name] < LEAST_GAIN:
            break
        if work[name] <= most:
            most -= work[name]
            found[name] = best[name] * spreads[name].largest
    return found


def _as_dense(graph: fx.GraphModule, conv: Node) -> float:
    """What the work of `conv` is multiplied by: the sums of a split cost as much as a dense 1x1 does, so a depthwise
    convolution, which has few products, counts as one of its width."""
    weight = weight_of(graph, conv)
    return 1.0 if is_dense(conv) else max(1.0, weight.shape[0] / weight[0, 0].numel())


def _spreads(graph: fx.GraphModule, nodes: Iterable[Node], crops: Sequence[Tensor]) -> dict[Node, _Spread]:
    wanted = list(nodes)
    if not wanted:
        return {}
    flows = measure(graph, wanted, crops)
    found = {node: _Spread(float(torch.maximum(flow.high, -flow.low).max())) for node, flow in flows.items()}
    for passed in passes(graph, wanted, crops):
        for node, spread in found.items():
            spread.add(passed.values[node], passed.gradients[node].square())
    return found


def last_convolutions(graph: fx.GraphModule) -> list[Node]:
    """Behind which nothing but sums and the pixel shuffle follow, and that do not read the image itself."""
    found: list[Node] = []
    (output,) = (node for node in graph.graph.nodes if node.op == "output")
    waiting = list(output.all_input_nodes)
    while waiting:
        node = waiting.pop()
        if node.target is CONVOLUTION:
            found.append(node)
        elif node.target in (ADD, PIXEL_SHUFFLE):
            waiting += node.all_input_nodes
    return [conv for conv in found if not is_image(source_of(conv))]


def split_ranges(graph: fx.GraphModule, splits: Splits, example: Tensor, dynamic_shapes: Any) -> fx.GraphModule:
    """A prepared graph with the convolutions that `splits` names in two: NAME_0 of inside, NAME_1 of the rest.

    The same function up to the order of sums. `example`, `dynamic_shapes`: for tracing it again. Uses up `graph`.
    """
    if not splits.reads and not splits.writes:
        return graph
    with torch.no_grad():
        for conv in convolutions(graph):
            name = name_of(conv)
            if name in splits.reads:
                _split_read(graph, conv, splits.reads[name])
            elif name in splits.writes:
                _split_written(graph, conv, splits.writes[name])
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return exported(graph, example, dynamic_shapes)


def _split_read(graph: fx.GraphModule, conv: Node, bound: float) -> None:
    source, weight, bias = source_of(conv), weight_of(graph, conv), bias_of(graph, conv)
    with graph.graph.inserting_before(conv):
        inside = graph.graph.call_function(CLAMP, (source, -bound, bound))
        rest = graph.graph.call_function(SUBTRACT, (source, inside))
        parts = convolution_like(graph, conv, 0, inside, weight, bias), convolution_like(graph, conv, 1, rest, weight)
        total = graph.graph.call_function(ADD, parts)
    conv.replace_all_uses_with(total)


def _split_written(graph: fx.GraphModule, conv: Node, bound: float) -> None:
    source, weight, bias = source_of(conv), weight_of(graph, conv), bias_of(graph, conv)
    with graph.graph.inserting_before(conv):
        fine, whole = (convolution_like(graph, conv, part, source, weight, bias) for part in (0, 1))
        inside = graph.graph.call_function(CLAMP, (fine, -bound, bound))
        outside = graph.graph.call_function(SUBTRACT, (whole, graph.graph.call_function(CLAMP, (whole, -bound, bound))))
        total = graph.graph.call_function(ADD, (inside, outside))
    conv.replace_all_uses_with(total)
