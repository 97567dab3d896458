"""Exact rescaling of channels so that one step suits them all: less rounding error, the same function.

Where the mathematics between two convolutions is linear or positively homogeneous, channel c may be stored divided by
s_c > 0: the first convolution's row c is divided, the second's column c multiplied (Nagel et al., "Data-Free
Quantization Through Weight Equalization and Bias Correction", 2019, section 4.1). Channels that have to share their
factor, over branches, sums and concatenations, form one class. The factors of all classes minimise the predicted
rounding error of the output, activations and weights together.
"""

import math
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from edgesr.quantization.prepared import (
    ADD,
    ATEN,
    CONCAT,
    CONVOLUTION,
    LEAKY_RELU,
    MULTIPLY,
    RESIZE,
    SIGMOID,
    SLICE,
    SPLIT,
    Node,
    Shapes,
    bias_of,
    convolutions,
    factors,
    is_dense,
    is_factor,
    is_image,
    name_of,
    shapes_of,
    source_of,
    tensor_of,
    weight_of,
)
from edgesr.quantization.range_split import last_convolutions
from edgesr.quantization.sensitivity import Flow, hold, measure, passes

ACTIVATION_LEVELS, WEIGHT_LEVELS = 255, 127
WEIGHT_SHARE = 0.1
"""How much of the error of weights rounded to nearest GPTQ leaves, about: they count that much here."""
STEPS, RATE = 400, 0.05
LARGEST_LOG = 6.0
"""A factor stays within e^-6 to e^6."""
MOST_BEYOND = 2.0
"""Of a range that photos show: how far rare crops may widen it."""
COST_OF_A_FLIP = 0.002
"""In squared 8-bit levels of the output, per channel; rounding costs some hundred times as much."""

CHANNELWISE = frozenset(
    {
        LEAKY_RELU,
        RESIZE,
        ATEN.relu.default,
        ATEN.max_pool2d.default,
        ATEN.avg_pool2d.default,
        ATEN.clone.default,
        ATEN.mean.dim,
        ATEN.square.default,
        ATEN.sqrt.default,
    }
)
"""f(s x) = s f(x) per channel; square and sqrt only together, as in a deviation."""
SIDE = ATEN.sym_size.int
SUMS = frozenset({ADD, ATEN.sub.Tensor})


@dataclass(frozen=True, slots=True)
class Equalized:
    """Predicted mean squared error of the output in 8-bit levels, before and after."""

    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Reach:
    """Crops that show how far activations reach: `photos`, and `rare` ones, whose colours few photos have."""

    photos: Sequence[Tensor]
    rare: Sequence[Tensor]


def equalize(
    graph: fx.GraphModule, crops: Sequence[Tensor], kept_float: Collection[str], reach: Reach | None = None
) -> Equalized:
    """Rescale the weights of a prepared graph in place.

    `crops`: photos, each float32 (1, 3, H, W) in [0, 1], on which errors are predicted. `kept_float`: names of
    convolutions that will not be rounded. `reach`: see measure_reaching.
    """
    flows = measure_reaching(graph, ends(graph), crops, reach)
    classes = Classes(graph, shapes_of(graph, crops[0]))
    error = predicted_error(graph, flows, classes, kept_float)
    logs = torch.zeros(classes.count, requires_grad=True)
    with torch.no_grad():
        before = float(error(logs))
    optimizer = torch.optim.Adam([logs], lr=RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.002, STEPS)
    for _ in range(STEPS if classes.count else 0):
        optimizer.zero_grad()
        torch.autograd.backward([error(logs).log()])
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            logs.clamp_(-LARGEST_LOG, LARGEST_LOG)
    with torch.no_grad():
        _rescale(graph, classes, logs)
        return Equalized(before, float(error(logs)))


def measure_reaching(
    graph: fx.GraphModule, nodes: Collection[Node], crops: Sequence[Tensor], reach: Reach | None
) -> dict[Node, Flow]:
    """Like edgesr.quantization.sensitivity.measure on `crops`, with ranges that hold what `reach` shows.

    Its rare crops count for what the last convolutions read, which no layer can make up for, and up to MOST_BEYOND
    times what photos show. Everywhere else they would only make steps coarse.
    """
    flows = measure(graph, nodes, crops)
    if reach is not None:
        hold(flows, graph, reach.photos)
        last = {source_of(conv) for conv in last_convolutions(graph)}
        hold({node: flow for node, flow in flows.items() if node in last}, graph, reach.rare, MOST_BEYOND)
    return flows


def ends(graph: fx.GraphModule) -> list[Node]:
    """What convolutions read and write, each once."""
    return list(dict.fromkeys(node for conv in convolutions(graph) for node in (source_of(conv), conv)))


def flip_one_sided(graph: fx.GraphModule, crops: Sequence[Tensor]) -> int:
    """Let channels that LeakyReLU sees negative only pass it on its positive side; the number of them.

    There LeakyReLU(x) = a x = -LeakyReLU(-a x). Stored as -a x such a channel needs a twentieth of the range (a = 0.05)
    before the function, where it forced a coarse step on all the others. This alone is not exact everywhere: a rare
    positive x would come out as a^2 x. A channel is flipped if that costs next to nothing on `crops`, predicted.
    """
    pairs = {node: node.args[0] for node in graph.graph.nodes if node.target is LEAKY_RELU and _flippable(node)}
    if not pairs:
        return 0
    cost = {node: torch.zeros(()) for node in pairs}
    for passed in passes(graph, (*pairs, *pairs.values()), crops):
        for node, conv in pairs.items():
            wrong = passed.values[conv].clamp(min=0) * passed.gradients[node] * 255
            cost[node] = cost[node] + wrong.square().sum((0, 2, 3))
    with torch.no_grad():
        return sum(_flip(graph, node, cost[node] <= COST_OF_A_FLIP) for node in pairs)


def _flippable(leaky: Node) -> bool:
    conv = leaky.all_input_nodes[0]
    alone = conv.target is CONVOLUTION and len(conv.users) == 1
    return alone and all(reader.target is CONVOLUTION and is_dense(reader) for reader in leaky.users)


def _flip(graph: fx.GraphModule, leaky: Node, chosen: Tensor) -> int:
    conv, slope = leaky.all_input_nodes[0], leaky.args[1]
    assert isinstance(slope, float)
    factor = torch.where(chosen, -slope, 1.0)
    weight_of(graph, conv).mul_(factor[:, None, None, None])
    bias = bias_of(graph, conv)
    if bias is not None:
        bias *= factor
    for reader in leaky.users:
        weight_of(graph, reader).mul_(torch.where(chosen, -1.0, 1.0)[None, :, None, None])
    return int(chosen.sum())


class Classes:
    """Channels that must be stored with one factor. `index`: of each channel of an activation, `count` for "fixed"."""

    def __init__(self, graph: fx.GraphModule, shapes: Shapes) -> None:
        self.shapes, self._parent = shapes, dict[object, object]()
        for node in graph.graph.nodes:
            self._relate(node)
        self._numbers: dict[object, int] = {}
        for node in [node for node in graph.graph.nodes if node in shapes]:
            for channel in range(shapes[node][1]):
                root = self._find((node, channel))
                if root != self._find(None):
                    self._numbers.setdefault(root, len(self._numbers))
        self.count = len(self._numbers)

    def index(self, node: Node) -> Tensor:
        """(C,) int64, in 0 to count."""
        roots = (self._find((node, channel)) for channel in range(self.shapes[node][1]))
        return torch.tensor([self._numbers.get(root, self.count) for root in roots])

    def _find(self, key: object) -> object:
        while self._parent.setdefault(key, key) != key:
            self._parent[key] = self._parent[self._parent[key]]
            key = self._parent[key]
        return key

    def _join(self, first: object, second: object) -> None:
        self._parent[self._find(first)] = self._find(second)

    def _join_all(self, node: Node, other: Node, *, start: int = 0, other_start: int = 0) -> None:
        width = min(self.shapes[node][1] - start, self.shapes[other][1] - other_start)
        for channel in range(width):
            self._join((node, start + channel), (other, other_start + channel))

    def _fix(self, *nodes: Node) -> None:
        for node in nodes:
            for channel in range(self.shapes[node][1]):
                self._join((node, channel), None)

    def _relate(self, node: Node) -> None:
        """Join the channels of `node` with those of its inputs where they share a factor; fix all that is unknown."""
        inputs = [each for each in node.all_input_nodes if each in self.shapes]
        if node.op == "output":
            self._fix(*inputs)
        elif node not in self.shapes:
            # Windows and tokens have no channels of their own. A split's parts are related one by one.
            self._fix(*(inputs if node.target not in (SPLIT, SIDE) else ()))
        elif node.target is not CONVOLUTION and not is_factor(node):
            relations = (self._relate_channelwise, self._relate_selection, self._relate_sum, self._relate_product)
            if not any(relate(node, inputs) for relate in relations):
                self._fix(node, *inputs)

    def _relate_channelwise(self, node: Node, inputs: list[Node]) -> bool:
        if node.target in CHANNELWISE:
            self._join_all(node, inputs[0])
        return node.target in CHANNELWISE

    def _relate_selection(self, node: Node, inputs: list[Node]) -> bool:
        """Slices, parts of splits and concatenations along the channels."""
        if node.target is operator.getitem and node.args[0].target is SPLIT:
            split, part = node.args
            self._join_all(node, split.args[0], other_start=sum(split.args[1][:part]))
        elif node.target is SLICE:
            self._join_all(node, inputs[0], other_start=_first_channel(node))
        elif node.target is CONCAT and node.args[1] == 1:
            start = 0
            for each in node.args[0]:
                self._join_all(node, each, start=start)
                start += self.shapes[each][1]
        else:
            return False
        return True

    def _relate_sum(self, node: Node, inputs: list[Node]) -> bool:
        same = len(inputs) == 2 and self.shapes[inputs[0]][1] == self.shapes[inputs[1]][1]
        if node.target not in SUMS or not same:
            return False
        self._join_all(node, inputs[0])
        self._join_all(node, inputs[1])
        return True

    def _relate_product(self, node: Node, inputs: list[Node]) -> bool:
        """x * mask: a mask with factors of its own may change the scale of the product. Other products have that of
        their first operand.
        """
        masked = any(map(is_mask, inputs))
        same = len(inputs) == 2 and self.shapes[inputs[0]] == self.shapes[inputs[1]]
        if node.target is not MULTIPLY or not (masked or same):
            return False
        value, mask = gated(node) if masked else inputs
        if not masked or not _has_factor(mask):
            self._fix(mask)
            self._join_all(node, value)
        return True


def _first_channel(node: Node) -> int:
    axis, start = node.args[1], node.args[2]
    assert isinstance(start, int)
    return start if axis == 1 else 0


def is_mask(node: Node) -> bool:
    """A sigmoid, perhaps scaled and resized."""
    while node.target is RESIZE or is_factor(node):
        node = node.all_input_nodes[0]
    return node.target is SIGMOID


def _has_factor(mask: Node) -> bool:
    while mask.target is RESIZE:
        mask = mask.all_input_nodes[0]
    return is_factor(mask)


def gated(node: Node) -> tuple[Node, Node]:
    """(value, mask) of a multiplication by a mask."""
    first, second = node.args
    return (second, first) if is_mask(first) and not is_mask(second) else (first, second)


def predicted_error(
    graph: fx.GraphModule, flows: dict[Node, Flow], classes: Classes, kept_float: Collection[str]
) -> Callable[[Tensor], Tensor]:
    """A function: logarithms of all factors (count,) -> mean squared error of the output in 8-bit levels.

    Rounding an activation with step d adds d^2 / 12 times its energy. Rounding the weights of output o with step d_o
    adds d_o^2 / 12 times the mean square of what they multiply, times the energy of o.
    """
    rounded = [conv for conv in convolutions(graph) if name_of(conv) not in kept_float]
    activations = _activation_error(rounded, flows, classes)
    weights = _weight_error(graph, [conv for conv in rounded if is_dense(conv)], flows, classes)
    # A depthwise convolution has one input per output: its relative steps do not change with the factors.
    constant = sum(weight_error(graph, conv, flows) for conv in rounded if not is_dense(conv))

    def error(logs: Tensor) -> Tensor:
        factor = torch.cat([logs, torch.zeros(1)]).exp()
        return 255**2 / 12 * (activations(factor) + WEIGHT_SHARE * (weights(factor) + constant))

    return error


def _activation_error(rounded: list[Node], flows: dict[Node, Flow], classes: Classes) -> Callable[[Tensor], Tensor]:
    ends_of = (node for conv in rounded for node in (source_of(conv), conv) if not is_image(node))
    sites = list(dict.fromkeys(ends_of))
    index, site = _gathered(classes, sites)
    low, high, energy = (
        torch.cat([getattr(flows[node], name) for node in sites]) for name in ("low", "high", "energy")
    )

    def error(factor: Tensor) -> Tensor:
        scale = factor[index]
        empty = torch.zeros(len(sites))
        top = empty.scatter_reduce(0, site, high / scale, "amax")
        bottom = empty.scatter_reduce(0, site, low / scale, "amin")
        shown = empty.index_add(0, site, energy * scale.square())
        return (((top - bottom) / ACTIVATION_LEVELS).square() * shown).sum()

    return error


def _weight_error(
    graph: fx.GraphModule, dense: list[Node], flows: dict[Node, Flow], classes: Classes
) -> Callable[[Tensor], Tensor]:
    index, conv_of_input = _gathered(classes, [source_of(conv) for conv in dense])
    mean_square = torch.cat([flows[source_of(conv)].mean_square for conv in dense])
    largest = [weight_of(graph, conv).detach().abs().amax((2, 3)) for conv in dense]
    energy = torch.cat([flows[conv].energy * math.prod(weight_of(graph, conv).shape[2:]) for conv in dense])
    conv_of_row = torch.cat([torch.full((len(rows),), number) for number, rows in enumerate(largest)])
    starts = torch.tensor([0, *(len(rows) for rows in largest)]).cumsum(0)
    row = torch.cat(
        [
            (starts[number] + torch.arange(len(rows)))[:, None].expand_as(rows).flatten()
            for number, rows in enumerate(largest)
        ]
    )
    column = torch.cat(
        [classes.index(source_of(conv)).expand_as(rows).flatten() for conv, rows in zip(dense, largest, strict=True)]
    )
    flat = torch.cat([rows.flatten() for rows in largest])

    def error(factor: Tensor) -> Tensor:
        step = torch.zeros(len(energy)).scatter_reduce(0, row, flat * factor[column], "amax") / WEIGHT_LEVELS
        power = torch.zeros(len(dense)).index_add(0, conv_of_input, mean_square / factor[index].square())
        return (step.square() * energy * power[conv_of_row]).sum()

    return error


def weight_error(graph: fx.GraphModule, conv: Node, flows: Mapping[Node, Flow]) -> float:
    """Squared weight steps of `conv` as it is, times what they multiply, times the energy of its outputs."""
    weight, power = weight_of(graph, conv).detach(), flows[source_of(conv)].mean_square
    step = weight.abs().amax((1, 2, 3)) / WEIGHT_LEVELS
    power = power.sum() if is_dense(conv) else power
    return float((step.square() * math.prod(weight.shape[2:]) * power * flows[conv].energy).sum())


def _gathered(classes: Classes, nodes: list[Node]) -> tuple[Tensor, Tensor]:
    """For the channels of all nodes, one after another: the class, and the number of the node."""
    found = [classes.index(node) for node in nodes]
    numbers = [torch.full((len(index),), number) for number, index in enumerate(found)]
    return torch.cat(found), torch.cat(numbers)


def _rescale(graph: fx.GraphModule, classes: Classes, logs: Tensor) -> None:
    factor = torch.cat([logs, torch.zeros(1)]).exp()
    for conv in convolutions(graph):
        weight, bias = weight_of(graph, conv), bias_of(graph, conv)
        written, read = factor[classes.index(conv)], factor[classes.index(source_of(conv))]
        weight /= written[:, None, None, None]
        weight *= read[None, :, None, None] if is_dense(conv) else read[:, None, None, None]
        if bias is not None:
            bias /= written
    for node in factors(graph):
        value = node.all_input_nodes[0]
        if is_mask(node):
            product = node
            while is_mask(product):
                (product,) = [reader for reader in product.users if reader.target in (RESIZE, MULTIPLY)]
            change = factor[classes.index(gated(product)[0])] / factor[classes.index(product)]
        else:
            change = factor[classes.index(value)] / factor[classes.index(node)]
        tensor_of(graph, node.args[1]).mul_(change[None, :, None, None])
