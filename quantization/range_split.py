"""More than 8 bits for what a convolution reads or writes, out of two convolutions of 8 bits.

- written: y = clamp(y, -c, c) + (y - clamp(y, -c, c)), both summands from a convolution of their own with a grid of its
  own: a fine one within c, where most values lie, and one for the whole range, that counts outside of c alone.
- read: x = inside + rest with inside = clamp(x, -c, c), so conv(x) = conv(inside) + conv(rest), each read and written
  with a grid of its own. That is for the end of the network: no layer that is fitted can make up for what is rounded
  last, what is written there is not split, and smooth images, which show it most, have no rest.
- read: x = coarse + fine with coarse = s * floor(x / s), which a grid with the step s holds without rounding, and fine,
  within [0, s), on a grid of its own: conv(x) = conv(coarse) + conv(fine), as if x had 16 bits. What conv(fine) writes
  is small, so its rounding is too. s is generous, so that no image leaves the grid.

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
    FLOOR,
    MULTIPLY,
    Node,
    bias_of,
    convolution_like,
    convolutions,
    exported,
    is_dense,
    is_image,
    is_on_grid,
    name_of,
    part_of,
    source_of,
    weight_of,
)
from edgesr.quantization.sensitivity import measure, passes, reached

SUBTRACT = ATEN.sub.Tensor
PIXEL_SHUFFLE = ATEN.pixel_shuffle.default
FRACTIONS = (1 / 2, 1 / 3, 1 / 4, 1 / 6, 1 / 8, 1 / 12)
"""Of the largest absolute value: where a range may be split."""
LEAST_GAIN_WRITTEN = 2.0
"""Where only written ranges are split: how many times as large a part of their error that must save as it adds to the
work."""
LEAST_GAIN, LEAST_SAVED = 0.5, 0.01
"""The same where others are too, of the error of all; and the part of it that a split has to save."""
COARSE_LEVELS = 128
"""Of coarse values, above 0 and below."""
MARGIN = 2.0
"""How much further coarse values reach than what calibration shows, rare crops included."""
FINE = 2
"""The part of a convolution that reads fine values; 0 and 1 are those of a written range."""


@dataclass(frozen=True, slots=True)
class Splits:
    """Convolutions of a prepared graph by name -> c, in the unit of what they read or write; `fine`: -> s."""

    reads: Mapping[str, float] = field(default_factory=dict)
    writes: Mapping[str, float] = field(default_factory=dict)
    fine: Mapping[str, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any((self.reads, self.writes, self.fine))

    @property
    def names(self) -> tuple[str, ...]:
        """Of all, each once."""
        return tuple(dict.fromkeys((*self.reads, *self.fine, *self.writes)))

    @property
    def second(self) -> frozenset[str]:
        """Names of the convolutions that are there for a split alone."""
        seconds = {part_of(name, 1) for name in (*self.reads, *self.writes)}
        return frozenset(seconds | {part_of(name, FINE) for name in self.fine})


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
    sites = [_Site((conv,), conv) for conv in convolutions(graph) if name_of(conv) not in left_out]
    found = _greedy(graph, crops, sites, work, most, LEAST_GAIN_WRITTEN)
    return {name_of(site.node): bound for site, bound in found.items()}


def best_splits(
    graph: fx.GraphModule,
    crops: Sequence[Tensor],
    further: Sequence[Tensor],
    work: Mapping[str, float],
    left_out: Collection[str],
    most: float,
) -> Splits:
    """Where to split what convolutions write, as `written_splits`, or to read fine values.

    What a rounded convolution writes has its grid before another reads it, so only its writing can be split. `further`:
    more crops, that show how far values may reach.
    """
    convs = [conv for conv in convolutions(graph) if name_of(conv) not in left_out]
    sites = [_Site((conv,), conv) for conv in convs]
    for source in dict.fromkeys(map(source_of, convs)):
        if source not in convs and not is_image(source):
            sites.append(_Site(tuple(conv for conv in convs if source_of(conv) is source), source, is_read=True))
    found = _greedy(graph, crops, sites, work, most, LEAST_GAIN, LEAST_SAVED)
    fine = [site.node for site in found if site.is_read]
    steps = _coarse_steps(graph, fine, [*crops, *further])
    return Splits(
        writes={name_of(site.node): bound for site, bound in found.items() if not site.is_read},
        fine={name_of(conv): steps[source_of(conv)] for conv in convs if source_of(conv) in steps},
    )


def _coarse_steps(graph: fx.GraphModule, nodes: Collection[Node], crops: Sequence[Tensor]) -> dict[Node, float]:
    if not nodes:
        return {}
    ends = reached(graph, nodes, crops)
    largest = {node: float(torch.maximum(high, -low).max()) for node, (low, high) in ends.items()}
    return {node: MARGIN * value / COARSE_LEVELS for node, value in largest.items() if value > 0}


@dataclass(frozen=True, slots=True)
class _Site:
    """What may be split, `node`, and the convolutions that are then computed twice."""

    convs: tuple[Node, ...]
    node: Node
    is_read: bool = False


def _greedy(
    graph: fx.GraphModule,
    crops: Sequence[Tensor],
    sites: Sequence[_Site],
    work: Mapping[str, float],
    most: float,
    least_gain: float,
    least_saved: float = 0.0,
) -> dict[_Site, float]:
    """Chosen sites -> c. Those that save a smaller part than `least_saved` of the error of all, or for their work a
    smaller part of it than `least_gain`, stay whole."""
    spreads = _spreads(graph, dict.fromkeys(site.node for site in sites), crops)
    total = sum(spread.error_of_written(1.0) for spread in spreads.values())
    best, saved = {}, {}
    for site in sites:
        spread = spreads[site.node]
        best[site] = min(FRACTIONS, key=spread.error_of_written)
        left = 0.0 if site.is_read else spread.error_of_written(best[site])
        saved[site] = (spread.error_of_written(1.0) - left) / total
    added = {site: sum(work[name_of(conv)] * _as_dense(graph, conv) for conv in site.convs) for site in sites}
    found: dict[_Site, float] = {}
    for site in sorted(sites, key=lambda site: -saved[site] / added[site]):
        if saved[site] >= max(least_saved, least_gain * added[site]) and added[site] <= most:
            most -= added[site]
            found[site] = best[site] * spreads[site.node].largest
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
    """A prepared graph with the convolutions that `splits` names in two: NAME_0 of inside, NAME_1 of the rest; where
    they read fine values, NAME of coarse ones and NAME_2.

    The same function up to the order of sums. `example`, `dynamic_shapes`: for tracing it again. Uses up `graph`.
    """
    if not splits:
        return graph
    with torch.no_grad():
        _read_fine(graph, splits.fine)
        for conv in convolutions(graph):
            name = name_of(conv)
            if name in splits.reads:
                _split_read(graph, conv, splits.reads[name])
            elif name in splits.writes:
                _split_written(graph, conv, splits.writes[name])
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return exported(graph, example, dynamic_shapes)


def _read_fine(graph: fx.GraphModule, steps: Mapping[str, float]) -> None:
    parts: dict[Node, tuple[Node, Node]] = {}
    for conv in convolutions(graph):
        name, source = name_of(conv), source_of(conv)
        if name not in steps:
            continue
        if source not in parts:
            parts[source] = _coarse_and_fine(graph, conv, steps[name])
        coarse, fine = parts[source]
        conv.replace_input_with(source, coarse)
        with graph.graph.inserting_before(conv):
            second = convolution_like(graph, conv, FINE, fine, weight_of(graph, conv))
        with graph.graph.inserting_before(conv.next):
            total = graph.graph.call_function(ADD, (conv, second))
        conv.replace_all_uses_with(total, delete_user_cb=lambda user, total=total: user is not total)


def _coarse_and_fine(graph: fx.GraphModule, conv: Node, step: float) -> tuple[Node, Node]:
    source = source_of(conv)
    with graph.graph.inserting_before(conv):
        whole = graph.graph.call_function(FLOOR, (graph.graph.call_function(MULTIPLY, (source, 1 / step)),))
        coarse = graph.graph.call_function(MULTIPLY, (whole, step))
        return coarse, graph.graph.call_function(SUBTRACT, (source, coarse))


def is_half(conv: Node) -> bool:
    """Whether a convolution of a prepared graph reads coarse or fine values: another one has the other half."""
    source = source_of(conv)
    return is_on_grid(source) or (source.target is SUBTRACT and is_on_grid(source.args[1]))


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
