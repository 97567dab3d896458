"""What every ncnn layer makes of its inputs' shapes, for the layers and options that this kit writes.

ncnn trusts its files: a kernel made for other channels reads past the end of a buffer. So a network is walked once per
image size before ncnn runs it, and a layer or option that is not in `RULES` is refused.
Option numbers: ncnn, docs/developer-guide/operators.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgesr.errors import ArtifactError
from edgesr.runner.ncnn_file import CONSTANT, LIST_KEY, Layer

Shape = tuple[int, int, int]
"""Channels, height, width."""

LIST = -LIST_KEY
IMAGE_CHANNELS = 3
CHANNEL_LIMIT = 4096
ELEMENT_LIMIT = 1 << 29
"""Of a blob: 2 GiB in float32, more than any tile needs and what 32-bit sizes hold."""
SIDE_LIMIT = 64
"""Of kernels, strides and paddings."""

CONVOLUTION_KEYS = frozenset({0, 1, 2, 3, 4, 5, 6, 8, 9, LIST - 10, 11, 12, 13, 14, 15, 16, 18, 31})
ACTIVATION_NUMBERS: Mapping[int, int] = {0: 0, 1: 0, 2: 1, 3: 2, 4: 0}
"""none, ReLU, LeakyReLU (with its slope), clip (with both ends), sigmoid -> how many numbers belong to it."""

ADD_SUB_MUL_DIV_RSUB = (0, 1, 2, 3, 7)
FLOOR_SQUARE_SQRT_EXP = (2, 4, 5, 7)
RESIZE_TO_SECOND = {0: "2", 5: "1", 6: "0", 9: '"1w,1h"'}
"""Bilinear, half-pixel centres, to the height and width of the second input."""

MEAN_OF_IMAGE = {0: "3", 1: "0", LIST - 3: "2,1,2", 4: "1", 5: "1"}


@dataclass(frozen=True, slots=True)
class Rule:
    """`keys`: options that may be present. `shapes`: the shapes of the outputs. `inputs`: how many, None for any."""

    keys: frozenset[int]
    shapes: Callable[[Layer, tuple[Shape, ...]], tuple[Shape, ...]]
    inputs: int | None = 1


def blob_shapes(layers: tuple[Layer, ...], image: str, height: int, width: int) -> dict[str, Shape]:
    """Shape of every blob for an image (3, height, width). Raises ArtifactError for what cannot be run."""
    shapes: dict[str, Shape] = {}
    for layer in layers:
        if layer.kind == "Input":
            if layer.outputs != (image,) or layer.inputs or layer.params:
                raise ArtifactError(f"The ncnn network must have the one input {image}; found {layer.outputs}.")
            shapes[image] = (IMAGE_CHANNELS, height, width)
            continue
        if layer.kind == CONSTANT:
            shapes.update(_constant(layer))
            continue
        made = _shapes(layer, tuple(shapes[name] for name in layer.inputs))
        _require(len(made) == len(layer.outputs), layer, f"it makes {len(made)} blobs")
        fits = (0 < c <= CHANNEL_LIMIT and min(h, w) > 0 and c * h * w <= ELEMENT_LIMIT for c, h, w in made)
        _require(all(fits), layer, f"its output is {made}")
        shapes.update(zip(layer.outputs, made, strict=True))
    return shapes


def _constant(layer: Layer) -> dict[str, Shape]:
    """One value per channel."""
    channels = layer.integer(2)
    plain = not layer.inputs and len(layer.outputs) == 1 and layer.params.keys() == {0, 1, 2}
    usual = layer.integer(0) == layer.integer(1) == 1 and 0 < channels <= CHANNEL_LIMIT
    _require(plain and usual, layer, f"it holds {dict(layer.params)}")
    return {layer.outputs[0]: (channels, 1, 1)}


def _shapes(layer: Layer, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
    if layer.kind not in RULES:
        raise ArtifactError(
            f"ncnn layer {layer.name:.40} is a {layer.kind:.40}; this version runs {', '.join((*RULES, CONSTANT))}."
        )
    rule = RULES[layer.kind]
    unknown = layer.params.keys() - rule.keys
    _require(not unknown, layer, f"it has the unknown options {sorted(unknown)}")
    _require(rule.inputs in (None, len(inputs)) and bool(inputs), layer, f"it has {len(inputs)} inputs")
    return rule.shapes(layer, inputs)


def _require(good: bool, layer: Layer, found: str) -> None:
    if not good:
        raise ArtifactError(f"ncnn layer {layer.name:.40} ({layer.kind}) cannot be run: {found[:80]}.")


def _convolution(layer: Layer, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
    channels, height, width = inputs[0]
    outputs, kernel = layer.integer(0), (layer.integer(11, layer.integer(1)), layer.integer(1))
    if layer.kind == "ConvolutionDepthWise":
        _require(layer.integer(7) == channels == outputs, layer, f"it reads {channels} channels")
        channels = 1
    _require(outputs > 0 and layer.integer(5) in (0, 1), layer, f"{outputs} outputs")
    expected = outputs * channels * kernel[0] * kernel[1]
    _require(layer.integer(6) == expected, layer, f"{layer.integer(6)} weights, {expected} expected")
    _check_activation(layer)
    return ((outputs, *_windows(layer, (height, width))),)


def _check_activation(layer: Layer) -> None:
    kind = layer.integer(9)
    length, *numbers = layer.params.get(LIST - 10, "0").split(",")
    expected = ACTIVATION_NUMBERS.get(kind)
    _require(length == str(expected) == str(len(numbers)), layer, f"activation {kind} with {numbers}")


def _windows(layer: Layer, sides: tuple[int, int]) -> tuple[int, int]:
    """Positions of a convolution's window, down and across. All four borders are given by left (4) and top (14)."""
    left, top = layer.integer(4), layer.integer(14, layer.integer(4))
    _require(layer.integer(15, left) == left and layer.integer(16, top) == top, layer, "its borders are unlike")
    _require(layer.integer(2, 1) == layer.integer(12, 1) == 1, layer, "its kernel is dilated")
    kernel, stride = (layer.integer(11, layer.integer(1)), layer.integer(1)), layer.integer(3, 1)
    steps = (layer.integer(13, stride), stride)
    return (
        _positions(layer, sides[0] + 2 * top, kernel[0], steps[0], top),
        _positions(layer, sides[1] + 2 * left, kernel[1], steps[1], left),
    )


def _positions(layer: Layer, side: int, kernel: int, stride: int, border: int) -> int:
    usual = 0 < kernel <= SIDE_LIMIT and 0 < stride <= SIDE_LIMIT and 0 <= border <= SIDE_LIMIT
    _require(usual and side >= kernel, layer, f"kernel {kernel}, stride {stride}, border {border} on a side of {side}")
    return (side - kernel) // stride + 1


def _pooling(layer: Layer, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
    """Maximum (0) or average (1) of windows inside the image."""
    channels, height, width = inputs[0]
    plain = layer.integer(3) == layer.integer(13) == layer.integer(6) == 0 and layer.integer(5) == 1
    _require(plain and layer.integer(0) in (0, 1), layer, "it pools over a border")
    kernel, stride = layer.integer(1), layer.integer(2, 1)
    down = _positions(layer, height, layer.integer(11, kernel), layer.integer(12, stride), 0)
    return ((channels, down, _positions(layer, width, kernel, stride, 0)),)


def _same(layer: Layer, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
    return inputs


def _gelu(layer: Layer, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
    _require(layer.integer(0) in (0, 1), layer, "it is neither exact nor fast")
    return inputs


def _unary(layer: Layer, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
    _require(layer.integer(0) in FLOOR_SQUARE_SQRT_EXP, layer, f"function {layer.integer(0)}")
    return inputs


def _binary(layer: Layer, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
    """Two images, an image and one value per channel, an image and one channel, or an image and a number."""
    _require(layer.integer(0) in ADD_SUB_MUL_DIV_RSUB, layer, f"function {layer.integer(0)}")
    if layer.integer(1):
        _require(len(inputs) == 1 and 2 in layer.params, layer, f"{len(inputs)} inputs and a number")
        return inputs
    _require(len(inputs) == 2, layer, f"{len(inputs)} inputs")
    small, large = sorted(inputs)
    fits = small in (large, (large[0], 1, 1), (1, *large[1:]))
    _require(fits, layer, f"inputs {small} and {large}")
    return (large,)


def _split(layer: Layer, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
    return inputs * len(layer.outputs)


def _slice(layer: Layer, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
    channels, height, width = inputs[0]
    parts = layer.integers(0)
    whole = layer.integer(1) == 0 and all(part > 0 for part in parts) and sum(parts) == channels
    _require(whole, layer, f"parts {parts} of {channels} channels")
    return tuple((part, height, width) for part in parts)


def _crop(layer: Layer, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
    """Channels from `starts` (9) to `ends` (10) of axis 0 (11)."""
    channels, height, width = inputs[0]
    starts, ends, axes = layer.integers(9), layer.integers(10), layer.integers(11)
    _require(len(starts) == len(ends) == 1 and axes == (0,), layer, f"axes {axes}")
    _require(0 <= starts[0] < ends[0] <= channels, layer, f"{starts[0]} to {ends[0]} of {channels} channels")
    return ((ends[0] - starts[0], height, width),)


def _concat(layer: Layer, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
    _require(layer.integer(0) == 0 and len({shape[1:] for shape in inputs}) == 1, layer, f"inputs {inputs}")
    return ((sum(shape[0] for shape in inputs), *inputs[0][1:]),)


def _resize(layer: Layer, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
    _require(dict(layer.params) == RESIZE_TO_SECOND, layer, f"options {dict(layer.params)}")
    return ((inputs[0][0], *inputs[1][1:]),)


def _mean(layer: Layer, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
    _require(dict(layer.params) == MEAN_OF_IMAGE, layer, f"options {dict(layer.params)}")
    return ((inputs[0][0], 1, 1),)


def _pixel_shuffle(layer: Layer, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
    (channels, height, width), factor = inputs[0], layer.integer(0)
    fits = 0 < factor <= SIDE_LIMIT and channels % factor**2 == 0 and layer.integer(1) == 0
    _require(fits, layer, f"factor {factor} of {channels} channels")
    return ((channels // factor**2, factor * height, factor * width),)


RULES: Mapping[str, Rule] = {
    "Convolution": Rule(CONVOLUTION_KEYS, _convolution),
    "ConvolutionDepthWise": Rule(CONVOLUTION_KEYS | {7}, _convolution),
    "Pooling": Rule(frozenset({0, 1, 2, 3, 5, 6, 11, 12, 13}), _pooling),
    "Interp": Rule(frozenset(RESIZE_TO_SECOND), _resize, inputs=2),
    "PixelShuffle": Rule(frozenset({0, 1}), _pixel_shuffle),
    "Slice": Rule(frozenset({LIST, 1}), _slice),
    "Crop": Rule(frozenset({LIST - 9, LIST - 10, LIST - 11}), _crop),
    "Concat": Rule(frozenset({0}), _concat, inputs=None),
    "Split": Rule(frozenset(), _split),
    "BinaryOp": Rule(frozenset({0, 1, 2}), _binary, inputs=None),
    "UnaryOp": Rule(frozenset({0}), _unary),
    "Clip": Rule(frozenset({0, 1}), _same),
    "ReLU": Rule(frozenset({0}), _same),
    "Sigmoid": Rule(frozenset(), _same),
    "GELU": Rule(frozenset({0}), _gelu),
    "Reduction": Rule(frozenset(MEAN_OF_IMAGE), _mean),
}
