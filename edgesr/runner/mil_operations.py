"""MIL operations in numpy: one function per operation, one table. Values are computed in float32.

Definitions: the operation reference of coremltools (MIL, opsets iOS15 to iOS17).
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from edgesr.errors import ArtifactError
from edgesr.runner import mil_shapes
from edgesr.runner.contract import Array
from edgesr.runner.mil_arguments import Arguments, Function
from edgesr.runner.mil_program import TYPES, Values, check_size
from edgesr.runner.mil_windows import (
    Pair,
    Sides,
    Window,
    average_pool,
    convolve,
    max_pool,
    resize_bilinear,
    same_pads,
)

CHUNK = 1 << 15
"""Elements that a function of many steps works on at a time: its intermediate values stay in the cache."""

DTYPES = {"fp16": "float16", "fp32": "float32"}
NAMES = MappingProxyType({dtype.name: dtype for dtype in TYPES.values()})


def _pair(arguments: Arguments, key: str) -> Pair:
    numbers = arguments.integers(key, (1, 1))
    if len(numbers) != 2:
        raise ArtifactError(f"{key} must hold two numbers; found {numbers}")
    return numbers[0], numbers[1]


def _window(arguments: Arguments, size: Pair, kernel: Pair) -> Window:
    strides, dilations = _pair(arguments, "strides"), _pair(arguments, "dilations")
    return Window(kernel, strides, _pads(arguments, size, kernel, strides, dilations), dilations)


def _pads(arguments: Arguments, size: Pair, kernel: Pair, strides: Pair, dilations: Pair) -> Sides:
    kind = arguments.text("pad_type", "valid")
    if kind == "valid":
        return (0, 0), (0, 0)
    if kind in ("same", "same_lower"):
        return same_pads(size, kernel, strides, dilations, lower=kind == "same_lower")
    if kind != "custom":
        raise ArtifactError(f"has the unknown pad_type {kind!r:.40}")
    numbers = arguments.integers("pad", (0, 0, 0, 0))
    if len(numbers) != 4:
        raise ArtifactError(f"pad must hold four numbers; found {numbers}")
    return (numbers[0], numbers[1]), (numbers[2], numbers[3])


def conv(arguments: Arguments) -> Values:
    x, weight, bias = arguments.images(), arguments.tensor("weight"), arguments.optional("bias")
    if weight.ndim != 4:
        raise ArtifactError(f"takes weights of four dimensions; found {weight.shape}")
    window = _window(arguments, (x.shape[2], x.shape[3]), (weight.shape[2], weight.shape[3]))
    weight = weight.astype(np.float32, copy=False)
    bias = None if bias is None else bias.astype(np.float32, copy=False)
    return convolve(x, weight, bias, window, arguments.integer("groups", 1))


def _pool_window(arguments: Arguments, x: Array) -> Window:
    if arguments.flag("ceil_mode", False):
        raise ArtifactError("ceil_mode is not known to this kit")
    return _window(arguments, (x.shape[2], x.shape[3]), _pair(arguments, "kernel_sizes"))


def max_pooling(arguments: Arguments) -> Values:
    x = arguments.image()
    return max_pool(x, _pool_window(arguments, x))


def average_pooling(arguments: Arguments) -> Values:
    x = arguments.image()
    exclude = arguments.flag("exclude_padding_from_average", False)
    return average_pool(x, _pool_window(arguments, x), exclude_padding=exclude)


def upsample_bilinear(arguments: Arguments) -> Values:
    """The size is floor(side * factor); the spacing follows from the sizes, not from the factor."""
    x = arguments.image()
    factors = arguments.number("scale_factor_height", 1), arguments.number("scale_factor_width", 1)
    if not all(math.isfinite(factor) and 0 < factor < 1e4 for factor in factors):
        raise ArtifactError(f"has the scale factors {factors}")
    height, width = (math.floor(side * factor) for side, factor in zip(x.shape[2:], factors, strict=True))
    check_size((x.shape[1], height, width))
    return resize_bilinear(x, height, width, align_corners=arguments.flag("align_corners", True))


def resize(arguments: Arguments) -> Values:
    """The iOS17 operation, as far as it equals upsample_bilinear without aligned corners."""
    x, shape = arguments.image(), arguments.integers("shape")
    modes = arguments.text("interpolation_mode", "LINEAR"), arguments.text("sampling_mode", "DEFAULT")
    if modes != ("LINEAR", "UNALIGN_CORNERS") or arguments.integer("resized_dims", 0) != 2 or len(shape) < 2:
        raise ArtifactError(f"with {modes} and the shape {shape} is not known to this kit")
    height, width = (wanted or side for wanted, side in zip(shape[-2:], x.shape[2:], strict=True))
    check_size((x.shape[1], height, width))
    return resize_bilinear(x, height, width, align_corners=False)


def pixel_shuffle(arguments: Arguments) -> Values:
    x, factor = arguments.image(), arguments.integer("upscale_factor", 1)
    _, channels, height, width = x.shape
    if factor < 1 or channels % factor**2:
        raise ArtifactError(f"cannot shuffle {channels} channels by {factor}")
    parts = x.reshape(channels // factor**2, factor, factor, height, width)
    return np.ascontiguousarray(parts.transpose(0, 3, 1, 4, 2)).reshape(1, -1, height * factor, width * factor)


def _binary(function: "np.ufunc") -> Function:
    def compute(arguments: Arguments) -> Values:
        x, y = arguments.tensor("x"), arguments.tensor("y")
        check_size(np.broadcast_shapes(x.shape, y.shape))
        result: Values = function(x, y)
        return result

    return compute


def real_div(arguments: Arguments) -> Values:
    """Integers are divided like numbers and rounded down, as MIL does."""
    x, y = arguments.tensor("x"), arguments.tensor("y")
    check_size(np.broadcast_shapes(x.shape, y.shape))
    result: Values = np.divide(x, y) if x.dtype.kind == "f" else np.floor_divide(x, y)
    return result


def _unary(function: Callable[[Array], Array]) -> Function:
    """In chunks: several steps over a chunk are faster than several passes over the whole tensor."""

    def compute(arguments: Arguments) -> Values:
        x = np.ascontiguousarray(arguments.tensor("x"), dtype=np.float32)
        result = np.empty_like(x)
        flat, into = x.reshape(-1), result.reshape(-1)
        for start in range(0, flat.size, CHUNK):
            into[start : start + CHUNK] = function(flat[start : start + CHUNK])
        return result

    return compute


def gelu(arguments: Arguments) -> Values:
    mode = arguments.text("mode", "EXACT")
    if mode not in GELUS:
        raise ArtifactError(f"has the unknown mode {mode!r:.40}")
    return _unary(GELUS[mode])(arguments)  # type: ignore[return-value]


def _gelu_exact(x: Array) -> Array:
    """max(x, 0) - |x| * Phi(-|x|); Phi by Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: 1e-7."""
    size = np.abs(x)
    t = np.float32(1) / (np.float32(1) + np.float32(0.3275911 * math.sqrt(0.5)) * size)
    tail: Array = t * np.float32(1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail += np.float32(coefficient)
        tail *= t
    tail *= np.exp(np.float32(-0.5) * size * size)
    tail *= size
    result: Array = np.maximum(x, np.float32(0)) - np.float32(0.5) * tail
    return result


def _gelu_tanh(x: Array) -> Array:
    cube = x * x * x
    inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * cube)
    curve: Array = np.tanh(inner)
    result: Array = np.float32(0.5) * x * (np.float32(1) + curve)
    return result


def _gelu_sigmoid(x: Array) -> Array:
    return x * _sigmoid(np.float32(1.702) * x)


def _sigmoid(x: Array) -> Array:
    result: Array = np.float32(1) / (np.float32(1) + np.exp(-x))
    return result


GELUS = MappingProxyType(
    {"EXACT": _gelu_exact, "TANH_APPROXIMATION": _gelu_tanh, "SIGMOID_APPROXIMATION": _gelu_sigmoid}
)


def leaky_relu(arguments: Arguments) -> Values:
    alpha = np.float32(arguments.number("alpha", 0.01))
    return _unary(lambda x: np.where(x >= 0, x, alpha * x))(arguments)  # type: ignore[return-value]


def clip(arguments: Arguments) -> Values:
    x = arguments.tensor("x")
    low, high = arguments.number("alpha", -math.inf), arguments.number("beta", math.inf)
    return np.clip(x, np.float32(low), np.float32(high))


def cast(arguments: Arguments) -> Values:
    """float16 results are rounded behind every operation, so float32 holds them here."""
    name = arguments.text("dtype", "")
    dtype = NAMES.get(DTYPES.get(name, name))
    if dtype is None:
        raise ArtifactError(f"to {name!r:.40} is not known to this kit")
    return arguments.tensor("x").astype(np.float32 if dtype.kind == "f" else dtype)


def _reduce(function: Callable[..., Values]) -> Function:
    def compute(arguments: Arguments) -> Values:
        x = arguments.tensor("x")
        axes = arguments.integers("axes", tuple(range(x.ndim)))
        return function(x, axis=axes, keepdims=arguments.flag("keep_dims", False))

    return compute


def rsqrt(arguments: Arguments) -> Values:
    epsilon = np.float32(arguments.number("epsilon", 1e-12))
    return _unary(lambda x: np.float32(1) / np.sqrt(x + epsilon))(arguments)  # type: ignore[return-value]


def quantize(arguments: Arguments) -> Values:
    """clip(round(input / scale) + zero_point), half to even."""
    name = arguments.text("output_dtype", "")
    if name not in ("int8", "uint8"):
        raise ArtifactError(f"to {name!r:.40} is not known to this kit")
    limits, x = np.iinfo(name), arguments.tensor("input")
    scale, zero_point = _affine(arguments, x.ndim)
    levels = x / scale
    np.rint(levels, out=levels)
    levels += zero_point
    return np.clip(levels, limits.min, limits.max, out=levels).astype(name)


def dequantize(arguments: Arguments) -> Values:
    x = arguments.tensor("input")
    scale, zero_point = _affine(arguments, x.ndim)
    values = x.astype(np.float32)
    values -= zero_point
    values *= scale
    return values


def constexpr_affine_dequantize(arguments: Arguments) -> Values:
    """scale * (quantized_data - zero_point), per channel of `axis` or per tensor."""
    x = arguments.tensor("quantized_data")
    scale, zero_point = _affine(arguments, x.ndim)
    check_size(np.broadcast_shapes(x.shape, scale.shape, zero_point.shape))
    return np.asarray((x.astype(np.float32) - zero_point) * scale)


def constexpr_lut_to_dense(arguments: Arguments) -> Values:
    """Indices of log2(entries) bits, packed from the least significant bit of each byte on."""
    table, packed = arguments.tensor("lut").ravel(), arguments.tensor("indices").ravel()
    shape = arguments.integers("shape")
    check_size(shape)
    if table.size not in (2, 4, 16, 64, 256) or packed.dtype != np.uint8:
        raise ArtifactError(f"has a table of {table.size} entries with indices of type {packed.dtype}")
    width, count = table.size.bit_length() - 1, math.prod(shape)
    bits = np.unpackbits(packed, bitorder="little")
    if min(shape, default=1) < 1 or bits.size < count * width:
        raise ArtifactError(f"needs {count} indices of {width} bits; found {packed.size} bytes")
    parts = bits[: count * width].reshape(count, width).astype(np.int64)
    return table[parts @ (1 << np.arange(width))].reshape(shape).astype(np.float32)


def fill(arguments: Arguments) -> Values:
    """One value everywhere."""
    shape = arguments.integers("shape")
    check_size(shape)
    if min(shape, default=1) < 1:
        raise ArtifactError(f"cannot fill the shape {shape}")
    return np.full(shape, arguments.number("value", 0.0), np.float32)


def _affine(arguments: Arguments, rank: int) -> tuple[Array, Array]:
    """Scale and zero point in float32, shaped so that vectors lie along `axis`."""
    axis = arguments.integer("axis", 0)
    if not -rank <= axis < rank:
        raise ArtifactError(f"has the axis {axis} for {rank} dimensions")
    zero_point = arguments.optional("zero_point")
    parts = (arguments.tensor("scale"), np.zeros(()) if zero_point is None else zero_point)
    scale, zero = (_along(part, axis % rank, rank) for part in parts)
    if not np.all(np.isfinite(scale) & (scale != 0)):
        raise ArtifactError("has a scale that is zero or not finite")
    return scale, zero


def _along(part: Values, axis: int, rank: int) -> Array:
    part = part.astype(np.float32)
    return part.reshape([-1 if index == axis else 1 for index in range(rank)]) if part.ndim else part


OPERATIONS: Mapping[str, Function] = MappingProxyType(
    {
        "abs": _unary(np.abs),
        "add": _binary(np.add),
        "avg_pool": average_pooling,
        "cast": cast,
        "clip": clip,
        "concat": mil_shapes.concat,
        "constexpr_affine_dequantize": constexpr_affine_dequantize,
        "constexpr_lut_to_dense": constexpr_lut_to_dense,
        "conv": conv,
        "dequantize": dequantize,
        "exp": _unary(np.exp),
        "expand_dims": mil_shapes.expand_dims,
        "fill": fill,
        "floor": _unary(np.floor),
        "gather": mil_shapes.gather,
        "gelu": gelu,
        "identity": lambda arguments: arguments.tensor("x"),
        "layer_norm": mil_shapes.layer_norm,
        "leaky_relu": leaky_relu,
        "linear": mil_shapes.linear,
        "matmul": mil_shapes.matmul,
        "max_pool": max_pooling,
        "maximum": _binary(np.maximum),
        "minimum": _binary(np.minimum),
        "mul": _binary(np.multiply),
        "pad": mil_shapes.pad,
        "pixel_shuffle": pixel_shuffle,
        "quantize": quantize,
        "real_div": real_div,
        "reduce_max": _reduce(np.max),
        "reduce_mean": _reduce(np.mean),
        "reduce_sum": _reduce(np.sum),
        "relu": _unary(lambda x: np.maximum(x, 0)),
        "reshape": mil_shapes.reshape,
        "resize": resize,
        "round": _unary(np.rint),
        "rsqrt": rsqrt,
        "shape": lambda arguments: np.array(arguments.tensor("x").shape, np.int32),
        "sigmoid": _unary(_sigmoid),
        "slice_by_index": mil_shapes.slice_by_index,
        "softmax": mil_shapes.softmax,
        "split": mil_shapes.split,
        "sqrt": _unary(np.sqrt),
        "square": _unary(np.square),
        "squeeze": mil_shapes.squeeze,
        "stack": mil_shapes.stack,
        "sub": _binary(np.subtract),
        "tanh": _unary(np.tanh),
        "tile": mil_shapes.tile,
        "transpose": mil_shapes.transpose,
        "upsample_bilinear": upsample_bilinear,
    }
)
