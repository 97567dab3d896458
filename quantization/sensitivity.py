"""What flows through a graph, and how much an error there shows in the image: one forward and one backward pass a crop.

For an output f and a random v with independent entries of variance 1, E[(d(v . f) / dx)^2] is the energy that a small
error of x adds to f: squared rows of the Jacobian, summed (Hutchinson, 1990). All means are over crops.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from edgesr.quantization.prepared import Node

SEED = 0


@dataclass(slots=True)
class Flow:
    """One activation, per channel, each float (C,). low <= 0 <= high hold everything seen.

    energy: squared error of the output, mean over its values, per unit of squared error at every position at once.
    mean_square: of the values.
    """

    low: Tensor
    high: Tensor
    mean_square: Tensor
    energy: Tensor


class _Recorder(fx.Interpreter):
    """Adds a zero that takes the gradient to every activation of interest."""

    def __init__(self, graph: fx.GraphModule, nodes: frozenset[Node]) -> None:
        super().__init__(graph)
        self.nodes = nodes
        self.values: dict[Node, Tensor] = {}
        self.zeros: dict[Node, Tensor] = {}

    def run_node(self, n: Node) -> object:
        result = super().run_node(n)
        if n not in self.nodes:
            return result
        assert isinstance(result, Tensor)
        self.values[n] = result.detach()
        self.zeros[n] = torch.zeros_like(result, requires_grad=True)
        return result + self.zeros[n]


@dataclass(slots=True)
class Passed:
    """One crop's forward and backward pass: values and gradients of each node, (1, C, H, W).

    A gradient squared is the energy of that value: squared error of the output, mean over its values and over all
    crops, per unit of squared error.
    """

    values: dict[Node, Tensor]
    gradients: dict[Node, Tensor]


def passes(graph: fx.GraphModule, nodes: Iterable[Node], crops: Sequence[Tensor]) -> Iterator[Passed]:
    """A forward and a backward pass per crop, each float32 (1, 3, H, W) in [0, 1], through a float graph."""
    wanted = list(dict.fromkeys(nodes))
    random = torch.Generator().manual_seed(SEED)
    for crop in crops:
        recorder = _Recorder(graph, frozenset(wanted))
        output: Tensor = recorder.run(crop)
        probe = torch.randn(output.shape, generator=random) / math.sqrt(output.numel() * len(crops))
        gradients = torch.autograd.grad((output * probe).sum(), [recorder.zeros[node] for node in wanted])
        yield Passed(recorder.values, dict(zip(wanted, gradients, strict=True)))


def measure(graph: fx.GraphModule, nodes: Iterable[Node], crops: Sequence[Tensor]) -> dict[Node, Flow]:
    """The flow at each of `nodes`, activations of a float graph, over `crops`."""
    found: dict[Node, Flow] = {}
    for passed in passes(graph, nodes, crops):
        for node, value in passed.values.items():
            flow = _flow(value, passed.gradients[node], len(crops))
            found[node] = _merge(found[node], flow) if node in found else flow
    return found


def hold(flows: Mapping[Node, Flow], graph: fx.GraphModule, crops: Iterable[Tensor], most: float | None = None) -> None:
    """Let the ranges of `flows` hold what `crops` show, in place; at most `most` times what they held before."""
    for node, (low, high) in reached(graph, flows, crops).items():
        flow = flows[node]
        low, high = torch.minimum(low, flow.low), torch.maximum(high, flow.high)
        flow.low = low if most is None else torch.maximum(low, most * flow.low)
        flow.high = high if most is None else torch.minimum(high, most * flow.high)


def reached(graph: fx.GraphModule, nodes: Iterable[Node], crops: Iterable[Tensor]) -> dict[Node, tuple[Tensor, Tensor]]:
    """How far each of `nodes` reaches over `crops`: low <= 0 <= high, per channel, each float (C,)."""
    wanted = frozenset(nodes)
    found: dict[Node, tuple[Tensor, Tensor]] = {}
    for crop in crops:
        recorder = _Recorder(graph, wanted)
        with torch.no_grad():
            recorder.run(crop)
        for node, value in recorder.values.items():
            low, high = value.amin((0, 2, 3)).clamp(max=0), value.amax((0, 2, 3)).clamp(min=0)
            lower, higher = found.get(node, (low, high))
            found[node] = torch.minimum(low, lower), torch.maximum(high, higher)
    return found


def _flow(value: Tensor, gradient: Tensor, crops: int) -> Flow:
    axes = (0, 2, 3)
    return Flow(
        low=value.amin(axes).clamp(max=0),
        high=value.amax(axes).clamp(min=0),
        mean_square=value.square().mean(axes) / crops,
        energy=gradient.square().sum(axes),
    )


def _merge(first: Flow, second: Flow) -> Flow:
    return Flow(
        low=torch.minimum(first.low, second.low),
        high=torch.maximum(first.high, second.high),
        mean_square=first.mean_square + second.mean_square,
        energy=first.energy + second.energy,
    )
