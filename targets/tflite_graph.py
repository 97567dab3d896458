"""The rules by which LiteRT's operators stand for those of ATen."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ai_edge_litert import schema_py_generated as schema
from torch import fx

from edgesr.errors import ConversionError
from edgesr.targets.rewrite import Rewrite
from edgesr.targets.tflite_axes import AXIS_RULES, cut
from edgesr.targets.tflite_convolution import PIXEL_SHUFFLE, convolution, producers
from edgesr.targets.tflite_file import Tensor, usual_order
from edgesr.targets.tflite_lowering import (
    DEQUANTIZE,
    QUANTIZE,
    Lowering,
    Rule,
    arguments,
    nhwc,
    rounding_of,
    shape_of,
    wanted,
)


def _quantize(graph: Lowering, node: fx.Node) -> Tensor:
    return graph.cast(graph.of(node.args[0]), rounding_of(node), node.name)


def _dequantize(graph: Lowering, node: fx.Node) -> Tensor:
    """Still the integers: DEQUANTIZE is written when something reads plain numbers."""
    return graph.of(node.args[0])


def _unary(code: str, *, integer: bool) -> Rule:
    """`integer`: the runtimes' int8 kernel is a table of the 256 exact results, for any pair of scales.

    That of LEAKY_RELU is not: XNNPACK multiplies by numbers of 8 bits after the point.
    """

    def rule(graph: Lowering, node: fx.Node) -> Tensor:
        source, rounding = graph.lying(node.args[0]), wanted(node)
        options, order = _activation_options(code, node), source.order
        if integer and source.dtype == "int8" and rounding is not None:
            return graph.emit(code, [source], node, rounding, options, order)
        return graph.emit(code, [graph.plain(node.args[0], order)], node, "float32", options, order)

    return rule


def _activation_options(code: str, node: fx.Node) -> Any:
    if code == "LEAKY_RELU":
        options = schema.LeakyReluOptionsT()
        options.alpha = node.args[1] if len(node.args) > 1 else 0.01
        return options
    if code == "GELU":
        options = schema.GeluOptionsT()
        options.approximate = node.kwargs.get("approximate", "none") == "tanh"
        return options
    return None


def _binary(code: str) -> Rule:
    def rule(graph: Lowering, node: fx.Node) -> Tensor:
        order, rounding = _common_order(graph, node), wanted(node)
        inputs = [graph.of(source, order) for source in node.args[:2]]
        options = getattr(schema, f"{code.title()}OptionsT")()
        if code in ("ADD", "MUL", "SUB") and rounding is not None and all(each.dtype == "int8" for each in inputs):
            return graph.emit(code, inputs, node, rounding, options, order)
        return graph.emit(
            code, [graph.plain(source, order) for source in node.args[:2]], node, "float32", options, order
        )

    return rule


def _common_order(graph: Lowering, node: fx.Node) -> tuple[int, ...]:
    """How the operand of the result's shape lies: the other one may be a constant, or be repeated."""
    shape = shape_of(node)
    for source in node.args[:2]:
        if isinstance(source, fx.Node) and source in graph.values and shape_of(source) == shape:
            return graph.lying(source).order
    return usual_order(len(shape))


def round_parts_before_concat(graph: Lowering, node: fx.Node) -> Tensor:
    """Rounding commutes with joining: parts that are integers already never become float32 again."""
    sources, axis = arguments(node, 2)
    options = schema.ConcatenationOptionsT()
    order = _concat_order(graph, sources)
    options.axis = order.index((axis or 0) % len(order))
    tensors = [graph.of(source, order) for source in sources]
    rounding, roundings = wanted(node), {tensor.rounding for tensor in tensors}
    if rounding is None and len(roundings) == 1:
        (rounding,) = roundings
    parts = [graph.cast(tensor, rounding, f"{node.name}_{index}") for index, tensor in enumerate(tensors)]
    return graph.emit("CONCATENATION", parts, node, rounding or "float32", options, order)


def _concat_order(graph: Lowering, sources: list[fx.Node]) -> tuple[int, ...]:
    """How the first activation among the parts lies."""
    return next(graph.lying(source).order for source in sources if source in graph.values)


def _slice(graph: Lowering, node: fx.Node) -> Tensor:
    source, axis, start, _, step = arguments(node, 5)
    if step not in (None, 1):
        raise ConversionError("lower", f"{node.name} takes every {step}th element; only whole ranges have a rule")
    return cut(graph, node, source, axis or 0, start or 0)


def _max_pool(graph: Lowering, node: fx.Node) -> Tensor:
    """Rounding is monotone, so the largest integer is the integer of the largest number."""
    source = graph.of(node.args[0])
    return graph.emit("MAX_POOL_2D", [source], node, source.rounding or "float32", _pool_options(node))


def _average_pool(graph: Lowering, node: fx.Node) -> Tensor:
    return graph.emit("AVERAGE_POOL_2D", [graph.plain(node.args[0])], node, "float32", _pool_options(node))


def _pool_options(node: fx.Node) -> Any:
    """Kernel and stride; without padding it does not matter whether padded elements count."""
    source, window, stride, padding = arguments(node, 4)[:4]
    sides = zip(nhwc(source)[1:3], nhwc(node)[1:3], _pair(window), _pair(stride or window), strict=True)
    plain = all(result == (size - kernel) // step + 1 for size, result, kernel, step in sides)
    if any(_pair(padding or 0)) or not plain:
        raise ConversionError(
            "lower", f"{node.name} pads, dilates or rounds its size up; only plain pooling has a rule"
        )
    options = schema.Pool2DOptionsT()
    options.padding = schema.Padding.VALID
    options.filterHeight, options.filterWidth = _pair(window)
    options.strideH, options.strideW = _pair(stride or window)
    return options


def _pair(value: Any) -> tuple[int, ...]:
    if isinstance(value, int):
        return value, value
    return tuple(value) if len(value) != 1 else (value[0], value[0])


def resize_between_pixel_centres(graph: Lowering, node: fx.Node) -> Tensor:
    """torch's bilinear resize without aligned corners is RESIZE_BILINEAR with half_pixel_centers: the same weights."""
    if node.args[2]:
        raise ConversionError("lower", f"{node.name} resizes with aligned corners, which has no rule")
    options = schema.ResizeBilinearOptionsT()
    options.halfPixelCenters = True
    size = graph.integers(*nhwc(node)[1:3])
    return graph.emit("RESIZE_BILINEAR", [graph.plain(node.args[0]), size], node, "float32", options)


def _clamp(graph: Lowering, node: fx.Node) -> Tensor:
    source, low, high = arguments(node, 3)
    order = graph.lying(source).order
    tensor, steps = graph.plain(source, order), (("MINIMUM", high), ("MAXIMUM", low))
    asked = [(code, end) for code, end in steps if end is not None]
    for index, (code, end) in enumerate(asked, start=1):
        inputs, options = [tensor, graph.of(float(end), order)], schema.MaximumMinimumOptionsT()
        if index == len(asked):
            return graph.emit(code, inputs, node, "float32", options, order)
        tensor = graph.file.operator(code, inputs, graph.file.tensor(f"{node.name}_{index}", tensor.shape), options)
    return tensor


def _square(graph: Lowering, node: fx.Node) -> Tensor:
    if len(node.args) > 1 and node.args[1] != 2:
        raise ConversionError("lower", f"{node.name} raises to the power {node.args[1]}; only squares have a rule")
    source = graph.plain(node.args[0], graph.lying(node.args[0]).order)
    return graph.emit("MUL", [source, source], node, "float32", schema.MulOptionsT(), source.order)


def shuffle_with_depth_to_space(graph: Lowering, node: fx.Node) -> Tensor:
    """Pixel shuffle as one DEPTH_TO_SPACE: the convolution before it writes its channels in the order wanted there.

    Without that it would be two reshapes and a transpose of rank 6, the largest tensor of the network twice over.
    """
    if not producers(node):
        raise ConversionError(
            "lower", f"{node.name} does not follow convolutions, or a sum of them, that nothing else reads"
        )
    source = graph.of(node.args[0])
    options = schema.DepthToSpaceOptionsT()
    options.blockSize = node.args[1]
    return graph.emit("DEPTH_TO_SPACE", [source], node, source.rounding or "float32", options)


REWRITES: tuple[Rewrite, ...] = (
    Rewrite(
        "shuffle_with_depth_to_space", "DEPTH_TO_SPACE orders channels otherwise; the last convolution's are permuted"
    ),
    Rewrite("pad_where_same_is_not", "padding of stride 2 lies on the other side: SAME where it is equal, else a PAD"),
    Rewrite(
        "keep_bias_in_range", "biases are int32; channels whose weights are almost zero take a coarser weight step"
    ),
    Rewrite("round_parts_before_concat", "parts of a concat are rounded one by one, so integers stay integers"),
    Rewrite("resize_between_pixel_centres", "RESIZE_BILINEAR with half_pixel_centers weighs as torch does"),
)

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        **AXIS_RULES,
        QUANTIZE: _quantize,
        DEQUANTIZE: _dequantize,
        "aten.conv2d.default": convolution,
        "aten.gelu.default": _unary("GELU", integer=True),
        "aten.leaky_relu.default": _unary("LEAKY_RELU", integer=False),
        "aten.relu.default": _unary("RELU", integer=False),
        "aten.sigmoid.default": _unary("LOGISTIC", integer=False),
        "aten.exp.default": _unary("EXP", integer=False),
        "aten.floor.default": _unary("FLOOR", integer=False),
        "aten.sqrt.default": _unary("SQRT", integer=False),
        "aten.rsqrt.default": _unary("RSQRT", integer=False),
        "aten.tanh.default": _unary("TANH", integer=False),
        "aten.add.Tensor": _binary("ADD"),
        "aten.sub.Tensor": _binary("SUB"),
        "aten.mul.Tensor": _binary("MUL"),
        "aten.div.Tensor": _binary("DIV"),
        "aten.clamp.default": _clamp,
        "aten.square.default": _square,
        "aten.pow.Tensor_Scalar": _square,
        "aten.cat.default": round_parts_before_concat,
        "aten.slice.Tensor": _slice,
        "aten.max_pool2d.default": _max_pool,
        "aten.avg_pool2d.default": _average_pool,
        "aten.upsample_bilinear2d.vec": resize_between_pixel_centres,
        PIXEL_SHUFFLE: shuffle_with_depth_to_space,
    }
)
