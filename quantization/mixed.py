"""Which convolutions stay in float: those whose rounding costs most for the work that they do."""

import math
from collections.abc import Mapping

from torch import Tensor, fx

from edgesr.quantization.equalization import ACTIVATION_LEVELS, WEIGHT_SHARE, ends, weight_error
from edgesr.quantization.prepared import (
    CONVOLUTION,
    Node,
    convolutions,
    groups_of,
    is_image,
    name_of,
    shapes_of,
    source_of,
    weight_of,
)
from edgesr.quantization.sensitivity import Flow, measure


def work_shares(graph: fx.GraphModule, example: Tensor) -> dict[str, float]:
    """Part of the multiply-accumulates of all convolutions that each does, 0 to 1, by name."""
    shapes = shapes_of(graph, example)
    macs = {}
    for conv in convolutions(graph):
        inputs, taps = shapes[source_of(conv)][1], math.prod(weight_of(graph, conv).shape[2:])
        macs[name_of(conv)] = math.prod(shapes[conv]) * inputs // groups_of(conv) * taps
    return {name: value / sum(macs.values()) for name, value in macs.items()}


def choose_float(graph: fx.GraphModule, crops: list[Tensor], most: float) -> tuple[str, ...]:
    """Names of convolutions to leave in float: at most the part `most` of the work, greedily by error per work.

    The error is what rounding a convolution's weights, output and input adds to the network's output, predicted from
    the float graph (edgesr.quantization.sensitivity). An input counts as long as no other rounded convolution reads
    it, so all that read one activation are tried together too; an output as long as no rounded convolution reads it.
    What saves less than its part of the error stays, and so does a convolution between two rounded ones: ONNX Runtime
    would round its weights by itself.
    """
    shares = work_shares(graph, crops[0])
    flows = measure(graph, ends(graph), crops)
    rounded = {name_of(conv): conv for conv in convolutions(graph)}
    moves = {(name,) for name in rounded} | {
        tuple(name_of(reader) for reader in source.users if reader.target is CONVOLUTION)
        for source in map(source_of, rounded.values())
    }
    chosen: list[str] = []
    left = most
    total = _saved(graph, tuple(rounded), rounded, flows)
    while True:
        rated = {}
        for move in sorted(moves):
            names = tuple(name for name in move if name in rounded)
            work = sum(shares[name] for name in names)
            if names and work <= left and (gain := _saved(graph, names, rounded, flows)) / total > work:
                rated[names] = gain / work
        if not rated:
            return tuple(chosen)
        best = max(rated, key=rated.__getitem__)
        chosen += best
        left -= sum(shares[name] for name in best)
        for name in best:
            del rounded[name]


def _saved(
    graph: fx.GraphModule, names: tuple[str, ...], rounded: Mapping[str, Node], flows: Mapping[Node, Flow]
) -> float:
    """What is saved if all of `names` are taken out of `rounded`, one after another."""
    left, saved = dict(rounded), 0.0
    for name in names:
        saved += saving(graph, left[name], left, flows)
        del left[name]
    return saved


def saving(graph: fx.GraphModule, conv: Node, rounded: Mapping[str, Node], flows: Mapping[Node, Flow]) -> float:
    """What is saved if `conv` is taken out of `rounded`: mean squared error of the output, of values in [0, 1]."""
    source = source_of(conv)
    sources = [source_of(other) for other in rounded.values()]
    error = WEIGHT_SHARE / 12 * weight_error(graph, conv, flows)
    if conv not in sources:
        error += _activation(flows[conv])
    if not is_image(source) and sources.count(source) == 1 and source not in rounded.values():
        error += _activation(flows[source])
    return error


def _activation(flow: Flow) -> float:
    step = (flow.high.max() - flow.low.min()) / ACTIVATION_LEVELS
    return float(step.square() / 12 * flow.energy.sum())
