"""Convolutions for LiteRT: on integers where the graph rounds what they read and write, else on float32."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from torch import fx

from edgesr.errors import ConversionError
from edgesr.targets.tflite_file import Rounding, Tensor
from edgesr.targets.tflite_lowering import (
    DEQUANTIZE,
    DEQUANTIZE_WEIGHT,
    QUANTIZE,
    Lowering,
    Values,
    arguments,
    nhwc,
    wanted,
)

CONVOLUTION = "aten.conv2d.default"
ADD = "aten.add.Tensor"
PIXEL_SHUFFLE = "aten.pixel_shuffle.default"
BIAS_LIMIT = 2**30
"""Half the range of an int32 accumulator, the other half for the products."""


@dataclass(frozen=True, slots=True)
class Layer:
    """weight: (out, in / groups, height, width), float32, or int8 with one scale per output channel; bias: float32."""

    weight: Values
    bias: Values
    scales: Values | None
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    depthwise: bool

    @property
    def kernel(self) -> tuple[int, int]:
        """Height and width, with what dilation leaves out."""
        height, width = self.weight.shape[2:]
        return (height - 1) * self.dilation[0] + 1, (width - 1) * self.dilation[1] + 1


def convolution(graph: Lowering, node: fx.Node) -> Tensor:
    """CONV_2D or DEPTHWISE_CONV_2D, with a PAD before it where its padding is neither none nor LiteRT's "same"."""
    layer = order_for_depth_to_space(_layer(graph, node), shuffle_after(node))
    source, rounding = graph.of(node.args[0]), wanted(node)
    step = source.rounding
    integer = step is not None and rounding is not None and source.dtype == rounding.dtype and layer.scales is not None
    if not integer:
        source = graph.plain(node.args[0])
    source, same = pad_where_same_is_not(graph, node, layer, source)
    constants = _integer_constants(graph, node, layer, step) if integer and step else _constants(graph, node, layer)
    kind = source.dtype
    graph.macs[kind] = graph.macs.get(kind, 0) + int(np.prod(nhwc(node)[:3])) * layer.weight.size
    code = "DEPTHWISE_CONV_2D" if layer.depthwise else "CONV_2D"
    result = rounding if integer and rounding else "float32"
    return graph.emit(code, [source, *constants], node, result, _options(layer, same))


def _layer(graph: Lowering, node: fx.Node) -> Layer:
    source, weight_node, bias_node, stride, padding, dilation, groups = arguments(node, 7)
    groups = groups or 1
    weight, scales = _weight(graph, weight_node)
    depthwise = 1 < groups == nhwc(source)[3] and weight.shape[1] == 1
    if groups > 1 and not depthwise:
        raise ConversionError("lower", f"{node.name} has {groups} groups of several channels: LiteRT has no rule")
    bias = np.zeros(len(weight), np.float32) if bias_node is None else graph.weight(bias_node)
    return Layer(
        weight, bias, scales, _pair(stride or [1, 1]), _pair(padding or [0, 0]), _pair(dilation or [1, 1]), depthwise
    )


def _pair(value: Any) -> tuple[int, int]:
    return (value[0], value[0]) if len(value) == 1 else (value[0], value[1])


def _weight(graph: Lowering, node: Any) -> tuple[Values, Values | None]:
    if isinstance(node, fx.Node) and str(node.target) == DEQUANTIZE_WEIGHT:
        return graph.weight(node.args[0]), graph.weight(node.args[1])
    return graph.weight(node), None


def pad_where_same_is_not(graph: Lowering, node: fx.Node, layer: Layer, source: Tensor) -> tuple[Tensor, bool]:
    """What the convolution reads, and whether with LiteRT's "same" padding (else without any).

    "Same" puts the odd row of a stride-2 convolution behind an even input, torch before it: that takes a PAD.
    """
    if layer.padding == (0, 0):
        return source, False
    sides = zip(source.shape[1:3], nhwc(node)[1:3], layer.kernel, layer.stride, layer.padding, strict=True)
    if all(_is_same(*side) for side in sides):
        return source, True
    (top, left), (images, height, width, channels) = layer.padding, source.shape
    borders = np.array([(0, 0), (top, top), (left, left), (0, 0)], np.int32)
    padded = (images, height + 2 * top, width + 2 * left, channels)
    inputs = [source, graph.file.constant(f"{node.name}_borders", borders)]
    output = graph.file.tensor(f"{node.name}_padded", padded, source.rounding or "float32")
    return graph.file.operator("PAD", inputs, output, schema.PadOptionsT()), False


def _is_same(size: int, result: int, kernel: int, stride: int, padding: int) -> bool:
    total = max((result - 1) * stride + kernel - size, 0)
    return result == -(-size // stride) and total // 2 == padding


def _constants(graph: Lowering, node: fx.Node, layer: Layer) -> list[Tensor]:
    weight = layer.weight
    if layer.scales is not None:
        weight = weight * layer.scales.astype(np.float32)[:, None, None, None]
    values = _written(weight.astype(np.float32), layer.depthwise)
    bias = graph.file.constant(f"{node.name}_bias", layer.bias.astype(np.float32))
    return [graph.stored(f"{node.name}_weight", values), bias]


def _integer_constants(graph: Lowering, node: fx.Node, layer: Layer, step: Rounding) -> list[Tensor]:
    """int8 weights; the bias in units of input step times weight step, as the accumulators count."""
    layer = keep_bias_in_range(layer, step)
    assert layer.scales is not None
    scales = layer.scales.astype(np.float32)
    units = np.float32(step.scale) * scales
    bias = np.round(layer.bias.astype(np.float64) / units).astype(np.int32)
    weight = _written(layer.weight, layer.depthwise)
    return [
        graph.file.constant(f"{node.name}_weight", weight, scales, axis=3 if layer.depthwise else 0),
        graph.file.constant(f"{node.name}_bias", bias, units),
    ]


def keep_bias_in_range(layer: Layer, step: Rounding) -> Layer:
    """Coarser weight steps for channels whose bias would leave int32, where weights are (almost) all zero.

    At the limit a weight's rounding error is less than 2**-30 of the bias: nothing that float32 would show.
    """
    assert layer.scales is not None
    least = np.abs(layer.bias.astype(np.float64)) / (BIAS_LIMIT * step.scale)
    scales = np.maximum(layer.scales, least)
    factor = (layer.scales / scales)[:, None, None, None]
    weight = np.round(layer.weight * factor).astype(np.int8)
    return replace(layer, weight=weight, scales=scales)


def _written(weight: Values, depthwise: bool) -> Values:
    """(out, in, height, width) as LiteRT stores it: out first, or for depthwise (1, height, width, out)."""
    return weight.transpose(1, 2, 3, 0) if depthwise else weight.transpose(0, 2, 3, 1)


def _options(layer: Layer, same: bool) -> Any:
    options = schema.DepthwiseConv2DOptionsT() if layer.depthwise else schema.Conv2DOptionsT()
    options.padding = schema.Padding.SAME if same else schema.Padding.VALID
    options.strideH, options.strideW = layer.stride
    options.dilationHFactor, options.dilationWFactor = layer.dilation
    if layer.depthwise:
        options.depthMultiplier = 1
    return options


def order_for_depth_to_space(layer: Layer, shuffle: fx.Node | None) -> Layer:
    """The output channels in the order in which DEPTH_TO_SPACE reads them, if `shuffle` follows.

    Pixel shuffle reads channel c * block**2 + (row * block + column), DEPTH_TO_SPACE (row * block + column) * C + c.
    """
    if shuffle is None:
        return layer
    block = shuffle.args[1]
    assert isinstance(block, int)
    order = np.arange(len(layer.bias)).reshape(-1, block**2).T.ravel()
    scales = None if layer.scales is None else layer.scales[order]
    return replace(layer, weight=layer.weight[order], bias=layer.bias[order], scales=scales)


def producers(shuffle: fx.Node) -> list[fx.Node]:
    """The convolutions that make what a pixel shuffle reads, if only roundings and sums lie between and nothing else
    reads any of it; else none.
    """
    return _producers(shuffle.args[0])


def _producers(node: Any) -> list[fx.Node]:
    if not isinstance(node, fx.Node) or len(node.users) != 1:
        return []
    if str(node.target) == CONVOLUTION:
        return [node]
    if str(node.target) in (QUANTIZE, DEQUANTIZE):
        return _producers(node.args[0])
    if str(node.target) == ADD:
        terms = [_producers(term) for term in node.args[:2]]
        return [conv for term in terms for conv in term] if all(terms) else []
    return []


def shuffle_after(conv: fx.Node) -> fx.Node | None:
    """The pixel shuffle that reads `conv` and nothing else does; `producers` the other way round."""
    node = conv
    while len(node.users) == 1:
        (node,) = node.users
        if str(node.target) == PIXEL_SHUFFLE:
            return node if conv in producers(node) else None
        if str(node.target) not in (QUANTIZE, DEQUANTIZE, ADD):
            return None
    return None
