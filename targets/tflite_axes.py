"""The rules for what window attention is made of: tensors of any rank, and products of matrices.

An image lies channels last, and what is made of it keeps the order in which it lies as long as it can: swapping axes
costs nothing, a reshape moves nothing unless axes that it joins lie apart, and a product of matrices takes and gives
transposed ones.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from torch import fx

from edgesr.errors import ConversionError
from edgesr.targets.tflite_file import Tensor
from edgesr.targets.tflite_lowering import Lowering, Rule, arguments, shape_of

SOFTMAX = "aten.softmax.int"
ELEMENTWISE = ("aten.add.Tensor", "aten.mul.Tensor")
Groups = list[tuple[list[int], list[int]]]


def reshape(graph: Lowering, node: fx.Node) -> Tensor:
    """Every operator that gives the same values another shape."""
    source = graph.lying(node.args[0])
    old, new = shape_of(node.args[0]), shape_of(node)  # type: ignore[arg-type]
    parts = groups(old, new)
    order = _joinable(source.order, parts)
    source = graph.turned(source, order)
    became = {part[0][0]: part[1] for part in parts if part[0]}
    result = [axis for place in order for axis in became.get(place, [])]
    result = [axis for axis in range(len(new)) if axis not in result] + result
    reshaped = graph.reshaped(source, tuple(new[axis] for axis in result), node.name)
    return replace(reshaped, order=tuple(result))


def groups(old: tuple[int, ...], new: tuple[int, ...]) -> Groups:
    """The smallest runs of axes of `old` that hold what runs of axes of `new` hold; sides of 1 are left out."""
    found: Groups = []
    left, right = ([axis for axis, side in enumerate(shape) if side != 1] for shape in (old, new))
    while left:
        here, there = [left.pop(0)], [right.pop(0)]
        while (have := math.prod(old[axis] for axis in here)) != (want := math.prod(new[axis] for axis in there)):
            if have < want:
                here.append(left.pop(0))
            else:
                there.append(right.pop(0))
        found.append((here, there))
    return found


def _joinable(order: tuple[int, ...], parts: Groups) -> tuple[int, ...]:
    """`order` with the axes of each part next to each other, at the place of the one that lies first."""
    part_of = {axis: here for here, _ in parts for axis in here}
    result: list[int] = []
    for axis in order:
        if axis not in result:
            result.extend(part_of.get(axis, [axis]))
    return tuple(result)


def permute(graph: Lowering, node: fx.Node) -> Tensor:
    """Moves nothing: the axes get other numbers."""
    source = graph.lying(node.args[0])
    axes = _permutation(node, len(source.shape))
    return replace(source, order=tuple(axes.index(axis) for axis in source.order))


def _permutation(node: fx.Node, rank: int) -> list[int]:
    """For every axis of the result the axis that it was."""
    axes = list(range(rank))
    _, *given = arguments(node)
    if str(node.target) == "aten.permute.default":
        return [axis % rank for axis in given[0]]
    first, second = (axis % rank for axis in given)
    if str(node.target) == "aten.movedim.int":
        axes.insert(second, axes.pop(first))
    else:
        axes[first], axes[second] = axes[second], axes[first]
    return axes


def expand(graph: Lowering, node: fx.Node) -> Tensor:
    source = graph.of(node.args[0], tuple(range(len(shape_of(node)))))
    shape = graph.integers(*shape_of(node))
    return graph.emit("BROADCAST_TO", [source, shape], node, source.rounding or "float32", None, source.order)


def product(graph: Lowering, node: fx.Node) -> Tensor:
    """A batch of matrix products; which of them are transposed follows from how they lie.

    The result lies like the second factor, unless a softmax along its rows follows.
    """
    first, second = (graph.cast(graph.lying(each), None, f"{node.name}_{side}") for side, each in enumerate(node.args))
    first, second = (graph.turned(each, _matrices_last(each)) for each in (first, second))
    plain = tuple(range(len(first.shape)))
    swapped = (*plain[:-2], plain[-1], plain[-2])
    options = schema.BatchMatMulOptionsT()
    if second.order == plain or _feeds_softmax(node):
        options.adjX, options.adjY = first.order != plain, second.order != plain
        return graph.emit("BATCH_MATMUL", [first, second], node, "float32", options, plain)
    options.adjX, options.adjY = second.order == plain, first.order == plain
    return graph.emit("BATCH_MATMUL", [second, first], node, "float32", options, swapped)


def _matrices_last(tensor: Tensor) -> tuple[int, ...]:
    """The order nearest to that of `tensor` in which the batch lies first and as it is numbered."""
    rank = len(tensor.shape)
    last = [axis for axis in tensor.order if axis >= rank - 2]
    return (*range(rank - 2), *last)


def _feeds_softmax(node: fx.Node) -> bool:
    for reader in node.users:
        if str(reader.target) == SOFTMAX or (str(reader.target) in ELEMENTWISE and _feeds_softmax(reader)):
            return True
    return False


def softmax(graph: Lowering, node: fx.Node) -> Tensor:
    given, axis, *_ = arguments(node)
    order = graph.lying(given).order
    axis = axis % len(order)
    source = graph.plain(given, (*(each for each in order if each != axis), axis))
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    return graph.emit("SOFTMAX", [source], node, "float32", options, source.order)


def reduction(code: str) -> Rule:
    """Over some axes, which stay as sides of 1."""

    def rule(graph: Lowering, node: fx.Node) -> Tensor:
        source, axes, keep, *_ = arguments(node, 3)
        if not keep:
            raise ConversionError("lower", f"{node.name} drops axes; only keepdim=True has a rule")
        tensor = graph.plain(source, graph.lying(source).order)
        return _reduced(graph, code, tensor, node, [axis % len(tensor.shape) for axis in axes])

    return rule


def _reduced(graph: Lowering, code: str, tensor: Tensor, node: fx.Node, axes: list[int]) -> Tensor:
    options = schema.ReducerOptionsT()
    options.keepDims = True
    places = graph.integers(*sorted(tensor.order.index(axis) for axis in axes))
    return graph.emit(code, [tensor, places], node, "float32", options, tensor.order)


def pool_all(graph: Lowering, node: fx.Node) -> Tensor:
    """Adaptive average pooling to a single pixel."""
    if any(side != 1 for side in shape_of(node)[2:]):
        raise ConversionError("lower", f"{node.name} pools to {shape_of(node)[2:]}; only pooling to 1x1 has a rule")
    return _reduced(graph, "MEAN", graph.plain(node.args[0]), node, [2, 3])


def part(graph: Lowering, node: fx.Node) -> Tensor:
    """One part of a split or of a chunk, as a slice."""
    split, index = arguments(node)
    source, _, axis = arguments(split, 3)
    sizes = [int(each.shape[axis or 0]) for each in split.meta["val"]]
    return cut(graph, node, source, axis or 0, sum(sizes[:index]))


def narrow(graph: Lowering, node: fx.Node) -> Tensor:
    source, axis, start, _ = arguments(node)
    return cut(graph, node, source, axis, start)


def cut(graph: Lowering, node: fx.Node, source: Any, axis: int, start: int) -> Tensor:
    """A range along one axis, as long as the result."""
    tensor, shape = graph.lying(source), shape_of(node)
    begin = [0] * len(shape)
    begin[tensor.order.index(axis % len(shape))] = start
    sizes = [shape[axis] for axis in tensor.order]
    inputs = [tensor, graph.integers(*begin), graph.integers(*sizes)]
    return graph.emit("SLICE", inputs, node, tensor.rounding or "float32", schema.SliceOptionsT(), tensor.order)


def pad(graph: Lowering, node: fx.Node) -> Tensor:
    source, sides, *mode = arguments(node)
    if mode and mode[0] != "constant":
        raise ConversionError("lower", f"{node.name} pads by {mode[0]}; only zeros have a rule")
    tensor = graph.plain(source, graph.lying(source).order)
    rank = len(tensor.shape)
    borders = {rank - 1 - index // 2: sides[index : index + 2] for index in range(0, len(sides), 2)}
    values = np.array([borders.get(axis, (0, 0)) for axis in tensor.order], np.int32)
    inputs = [tensor, graph.file.constant(f"{node.name}_borders", values)]
    return graph.emit("PAD", inputs, node, "float32", schema.PadOptionsT(), tensor.order)


def linear(graph: Lowering, node: fx.Node) -> Tensor:
    """Along the last axis; everything else is a batch."""
    source, weight, bias = arguments(node, 3)
    tensor = graph.plain(source, tuple(range(len(shape_of(node)))))
    values = graph.weight(weight)
    constants = [graph.stored(f"{node.name}_weight", values)]
    if bias is not None:
        constants.append(graph.file.constant(f"{node.name}_bias", graph.weight(bias)))
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims = True
    graph.macs["float32"] = graph.macs.get("float32", 0) + values.size * math.prod(tensor.shape[:-1])
    return graph.emit("FULLY_CONNECTED", [tensor, *constants], node, "float32", options, tensor.order)


def layer_norm(graph: Lowering, node: fx.Node) -> Tensor:
    """(x - mean) / sqrt(variance + epsilon) * weight + bias along the last axis; LiteRT has no operator for it."""
    source, axes, weight, bias, epsilon, *_ = arguments(node, 5)
    if len(axes) != 1:
        raise ConversionError("lower", f"{node.name} normalizes {len(axes)} axes; only one has a rule")
    tensor = graph.plain(source, tuple(range(len(shape_of(node)))))
    last = graph.integers(len(tensor.shape) - 1)
    narrow_shape = (*tensor.shape[:-1], 1)
    ones = (1,) * (len(tensor.shape) - 1)

    def step(code: str, inputs: list[Tensor], shape: tuple[int, ...], options: Any = None) -> Tensor:
        return graph.file.operator(code, inputs, graph.file.tensor(f"{node.name}_{next(numbers)}", shape), options)

    def mean(x: Tensor) -> Tensor:
        options = schema.ReducerOptionsT()
        options.keepDims = True
        return step("MEAN", [x, last], narrow_shape, options)

    def constant(name: str, values: Any) -> Tensor:
        return graph.file.constant(f"{node.name}_{name}", np.asarray(values, np.float32).reshape(*ones, -1))

    numbers = itertools.count(1)
    centred = step("SUB", [tensor, mean(tensor)], tensor.shape, schema.SubOptionsT())
    squared = step("MUL", [centred, centred], tensor.shape, schema.MulOptionsT())
    variance = step(
        "ADD",
        [mean(squared), constant("epsilon", 1e-5 if epsilon is None else epsilon)],
        narrow_shape,
        schema.AddOptionsT(),
    )
    normed = step("MUL", [centred, step("RSQRT", [variance], narrow_shape)], tensor.shape, schema.MulOptionsT())
    weighted = step("MUL", [normed, constant("weight", graph.weight(weight))], tensor.shape, schema.MulOptionsT())
    inputs = [weighted, constant("bias", graph.weight(bias))]
    return graph.emit("ADD", inputs, node, "float32", schema.AddOptionsT(), tuple(range(len(tensor.shape))))


AXIS_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        **dict.fromkeys((f"aten.{name}.default" for name in ("reshape", "view", "unsqueeze")), reshape),
        "aten.flatten.using_ints": reshape,
        "aten.unflatten.int": reshape,
        **dict.fromkeys(("aten.permute.default", "aten.transpose.int", "aten.movedim.int"), permute),
        "aten.expand.default": expand,
        "aten.matmul.default": product,
        SOFTMAX: softmax,
        "aten.mean.dim": reduction("MEAN"),
        "aten.sum.dim_IntList": reduction("SUM"),
        "aten.adaptive_avg_pool2d.default": pool_all,
        "<built-in function getitem>": part,
        "aten.narrow.default": narrow,
        "aten.pad.default": pad,
        "aten.linear.default": linear,
        "aten.layer_norm.default": layer_norm,
    }
)
