"""What a recipe does to every convolution, and where its error comes from: for a person who asks why.

Three float32 graphs of one structure run on the same crops. The *network*: prepared, as it was loaded. The *unrounded*
one: with the recipe's factors and its weights, dequantized, so that its activations are those of the *quantized* one
but for the rounding of activations. Between the last two lies what activations lose; between the first and the last,
what weights and activations lose together.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

from edgesr.quantization.calibration import Calibration
from edgesr.quantization.equalization import WEIGHT_SHARE, ends, weight_error
from edgesr.quantization.mixed import saving
from edgesr.quantization.pixels import to_tensor
from edgesr.quantization.prepared import Node, convolutions, groups_of, source_of, weight_of
from edgesr.quantization.range_split import is_half
from edgesr.quantization.recipe import Grid, Layer, Recipe
from edgesr.quantization.recipe_float import structure, take_numbers
from edgesr.quantization.recipe_graph import rounded
from edgesr.quantization.reconstruction import QUANTIZE
from edgesr.quantization.rounding import LEVELS
from edgesr.quantization.sensitivity import Flow, measure, passes
from edgesr.quantization.toolchain import stage

CROPS = 8
"""Of calibration photos, the first ones: as many as the choice of what stays in float looks at."""
SQUARED_LEVELS = 255**2
"""From squared errors of values in [0, 1] to squared 8-bit levels."""
EQUAL = 1e-10
"""Of a mean square, 100 dB: less is the order of sums in float32, and no difference."""
SMALLEST = 1e-300
"""Of a mean square: a finite ratio for a channel of zeros."""

Bits = Literal[8, 32]
"""8: on a grid; 32: float32."""
Report = Callable[[str, int, int], None]
"""Called with the name of a step, what is done of it and all of it."""


@dataclass(frozen=True, slots=True)
class Rounding:
    """A uint8 grid, and what it does to an activation of the unrounded graph.

    low, high: its first and last level, in the activation's unit, as `step`. clipped: part of the values, 0 to 1, that
    fall on a level beyond them. snr_db: mean square of the values to mean square of what this rounding alone changes;
    None if it changes nothing (EQUAL).
    """

    step: float
    zero_point: int
    low: float
    high: float
    clipped: float
    snr_db: float | None


@dataclass(frozen=True, slots=True)
class Activation:
    """What a convolution reads or writes. low, high: seen in the unrounded graph. rounding: None where bits is 32."""

    low: float
    high: float
    bits: Bits
    rounding: Rounding | None


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One convolution; `work`, its part of all multiply-accumulates, and `kernel` (height, width) as in the network.

    Errors are predicted mean squared errors of the output image in squared 8-bit levels, to first order and without
    correlation (edgesr.quantization.sensitivity); their sum over all rows is the prediction for the whole graph.
    input_error, output_error: squared changes by rounding, clipping included, each times the squared gradient at its
    place. A rounding counts once: where it was written, or else in equal parts where it is read. weight_error: of
    rounding to nearest, times WEIGHT_SHARE. error: all three.
    error_per_work: `error` by `work`. if_rounded: what a convolution in float would add, None for the others.

    snr_db: of what is read of it (rounded, if all that reads it reads it so) in the quantized graph against the
    unrounded one: activations rounded up to here. network_snr_db: against the network, each channel of which may be
    rescaled to fit best, since a recipe keeps channels at scales of its own (the scale-invariant ratio of Le Roux et
    al., "SDR - half-baked or well done?", 2019, per channel). Fitted weights may leave the network's features for a
    better image: then it is low although nothing is wrong. None: no difference (EQUAL). Convolutions of coarse and of
    fine values have one number together, of their sum: one coarse step more and as much less of the fine is no error.
    """

    name: str
    work: float
    kernel: tuple[int, int]
    inputs: int
    outputs: int
    groups: int
    weight_bits: Bits
    reads: Activation
    writes: Activation
    input_error: float
    output_error: float
    weight_error: float
    error: float
    error_per_work: float
    if_rounded: float | None
    snr_db: float | None
    network_snr_db: float | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """`rows` in the order of execution. Errors of the output image on `crops` crops, mean squares of 8-bit levels,
    before clipping to [0, 1]: `predicted`, the sum over all rows; `rounding_error`, quantized against unrounded;
    `network_error`, quantized against the network.
    """

    rows: tuple[LayerRow, ...]
    crops: int
    predicted: float
    rounding_error: float
    network_error: float


def explain(
    recipe: Recipe,
    network: nn.Module,
    calibration: Calibration,
    example: Tensor,
    dynamic_shapes: Any,
    report: Report,
) -> Explanation:
    """What `recipe` does to `network` (float32 NCHW RGB [0, 1]). Deterministic on one machine.

    `example`, `dynamic_shapes`: as for edgesr.quantization.recipe_graph.apply. Raises ArtifactError if the recipe is
    not for this network.
    """
    crops = [to_tensor(crop) for crop in calibration.photos[:CROPS]]
    report("explain", 0, len(crops) + 1)
    exact = structure(recipe.facts, network, example, dynamic_shapes)
    with stage("explain"):
        graph = copy.deepcopy(exact)
        take_numbers(recipe, graph)
        quantized = rounded(recipe, copy.deepcopy(graph), example)
    costs = _Costs(graph, recipe, crops)
    report("explain", 1, len(crops) + 1)
    compared = _Compared(exact, graph, quantized)
    for done, crop in enumerate(crops, start=1):
        compared.add(crop)
        report("explain", done + 1, len(crops) + 1)
    rows = tuple(costs.row(index, compared.layers[index]) for index in range(len(recipe.facts.layers)))
    return Explanation(
        rows=rows,
        crops=len(crops),
        predicted=sum(row.error for row in rows),
        rounding_error=SQUARED_LEVELS * compared.rounding_error / len(crops),
        network_error=SQUARED_LEVELS * compared.network_error / len(crops),
    )


@dataclass(slots=True)
class _Seen:
    """Sums over the values of one activation, and over the changes that a grid makes to them."""

    low: float = float("inf")
    high: float = float("-inf")
    values: int = 0
    clipped: int = 0
    signal: float = 0.0
    noise: float = 0.0
    cost: float = 0.0

    def add(self, value: Tensor, gradient: Tensor, grid: Grid | None) -> None:
        self.low, self.high = min(self.low, float(value.min())), max(self.high, float(value.max()))
        if grid is None:
            return
        levels = (value / grid.step).round() + grid.zero_point
        change = ((levels.clamp(0, LEVELS) - grid.zero_point) * grid.step - value).double()
        self.values += value.numel()
        self.clipped += int(((levels < 0) | (levels > LEVELS)).sum())
        self.signal += float(value.double().square().sum())
        self.noise += float(change.square().sum())
        self.cost += SQUARED_LEVELS * float((change * gradient.double()).square().sum())

    def activation(self, grid: Grid | None) -> Activation:
        if grid is None:
            return Activation(self.low, self.high, 32, None)
        low, high = -grid.zero_point * grid.step, (LEVELS - grid.zero_point) * grid.step
        clipped, snr_db = self.clipped / self.values, _decibels(self.signal, self.noise)
        return Activation(self.low, self.high, 8, Rounding(grid.step, grid.zero_point, low, high, clipped, snr_db))


class _Costs:
    """What every rounding of a recipe costs, predicted from passes through its unrounded graph."""

    def __init__(self, graph: fx.GraphModule, recipe: Recipe, crops: Sequence[Tensor]) -> None:
        self.graph, self.layers, self.convs = graph, recipe.facts.layers, convolutions(graph)
        self.flows: Mapping[Node, Flow] = measure(graph, ends(graph), crops)
        self.written = {(conv, layer.writes) for layer, conv in self._pairs()}
        self.read = [(source_of(conv), layer.reads) for layer, conv in self._pairs()]
        self.seen = {key: _Seen() for key in (*self.written, *self.read)}
        for passed in passes(graph, ends(graph), crops):
            for (node, grid), seen in self.seen.items():
                seen.add(passed.values[node], passed.gradients[node], grid)

    def _pairs(self) -> Iterator[tuple[Layer, Node]]:
        return zip(self.layers, self.convs, strict=True)

    def row(self, index: int, agreement: "_Agreement") -> LayerRow:
        layer, conv = self.layers[index], self.convs[index]
        weight = weight_of(self.graph, conv)
        errors = self._input_error(index), self.seen[conv, layer.writes].cost, self._weight_error(layer, conv)
        return LayerRow(
            name=layer.name,
            work=layer.work,
            kernel=(weight.shape[2], weight.shape[3]),
            inputs=weight.shape[1] * groups_of(conv),
            outputs=weight.shape[0],
            groups=groups_of(conv),
            weight_bits=8 if layer.integer else 32,
            reads=self.seen[self.read[index]].activation(layer.reads),
            writes=self.seen[conv, layer.writes].activation(layer.writes),
            input_error=errors[0],
            output_error=errors[1],
            weight_error=errors[2],
            error=sum(errors),
            error_per_work=sum(errors) / layer.work,
            if_rounded=self._if_rounded(layer, conv),
            snr_db=_decibels(agreement.signal, agreement.noise),
            network_snr_db=agreement.rescaled_db(),
        )

    def _input_error(self, index: int) -> float:
        key = self.read[index]
        return 0.0 if key in self.written else self.seen[key].cost / self.read.count(key)

    def _weight_error(self, layer: Layer, conv: Node) -> float:
        if not layer.integer:
            return 0.0
        return SQUARED_LEVELS * WEIGHT_SHARE / 12 * weight_error(self.graph, conv, self.flows)

    def _if_rounded(self, layer: Layer, conv: Node) -> float | None:
        if layer.integer:
            return None
        rounded = {other.name: node for other, node in self._pairs() if other.integer or other is layer}
        return SQUARED_LEVELS * saving(self.graph, conv, rounded, self.flows)


@dataclass(slots=True)
class _Agreement:
    """Sums over the values of one convolution in the three graphs; those of `products` float64 (3, C): quantized times
    network, network squared, quantized squared.
    """

    signal: float = 0.0
    noise: float = 0.0
    products: Tensor = field(default_factory=lambda: torch.zeros(3, 1, dtype=torch.float64))

    def add(self, exact: Tensor, unrounded_: Tensor, quantized: Tensor) -> None:
        """Each (1, C, H, W)."""
        a, u, q = exact.double(), unrounded_.double(), quantized.double()
        self.signal += float(u.square().sum())
        self.noise += float((q - u).square().sum())
        self.products = self.products + torch.stack([(x * y).sum((0, 2, 3)) for x, y in ((q, a), (a, a), (q, q))])

    def rescaled_db(self) -> float | None:
        both, exact, quantized = self.products
        explained = torch.where(exact > 0, both.square() / exact, 0.0)
        return _decibels(float(explained.sum()), float((quantized - explained).clamp(min=0).sum()))


class _Compared:
    """The three graphs, crop after crop."""

    def __init__(self, exact: fx.GraphModule, unrounded_: fx.GraphModule, quantized: fx.GraphModule) -> None:
        halves = [is_half(conv) for conv in convolutions(exact)]
        self.runs = [
            _Run(graph, [_judged(conv, half) for conv, half in zip(convolutions(graph), halves, strict=True)])
            for graph in (exact, unrounded_, quantized)
        ]
        self.layers = [_Agreement() for _ in self.runs[0].nodes]
        self.rounding_error = self.network_error = 0.0

    def add(self, crop: Tensor) -> None:
        exact, unrounded_, quantized = (each.image_of(crop) for each in self.runs)
        self.network_error += float((quantized - exact).square().mean())
        self.rounding_error += float((quantized - unrounded_).square().mean())
        for index, agreement in enumerate(self.layers):
            agreement.add(*(each.values[each.nodes[index]] for each in self.runs))


class _Run(fx.Interpreter):
    """Keeps the values of some nodes, each (1, C, H, W), from one crop to the next."""

    def __init__(self, graph: fx.GraphModule, nodes: Sequence[Node]) -> None:
        super().__init__(graph)
        self.nodes, self.wanted = nodes, frozenset(nodes)
        self.values: dict[Node, Tensor] = {}

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        if n in self.wanted:
            self.values[n] = result
        return result

    @torch.no_grad()
    def image_of(self, crop: Tensor) -> Tensor:
        found: Tensor = self.run(crop)
        return found


def _judged(conv: Node, half: bool) -> Node:
    """What is read of `conv`; of coarse and fine values' convolutions the sum."""
    value = _flows_on(conv)
    return next(iter(value.users)) if half else value


def _flows_on(conv: Node) -> Node:
    """What is read of `conv` in a quantized graph: its output rounded, if that is all that is read."""
    readers = list(conv.users)
    rounded = len(readers) == 1 and readers[0].target is QUANTIZE
    return next(iter(readers[0].users)) if rounded else conv


def _decibels(signal: float, noise: float) -> float | None:
    """10 log10(signal / noise); None for no difference."""
    return None if noise <= EQUAL * signal else 10 * math.log10(max(signal, SMALLEST) / noise)
