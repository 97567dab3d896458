"""Convolution, pooling and bilinear resizing of one image, as MIL defines them, in float32 numpy.

Tensors are (1, C, H, W). Work goes in bands that stay in the cache, so memory beyond the result is a few megabytes.
"""

import math
from dataclasses import dataclass

import numpy as np

from edgesr.errors import ArtifactError
from edgesr.runner.contract import Array
from edgesr.runner.mil_program import check_size

Pair = tuple[int, int]
Sides = tuple[Pair, Pair]

BAND_ELEMENTS = 1 << 18
"""Columns that are multiplied at a time: 1 MiB, which fits into the second-level cache."""

LIMIT_SIDE = 1 << 20


@dataclass(frozen=True, slots=True)
class Window:
    """Geometry of a convolution or pooling. `pads`: (before, after) of height and of width."""

    kernel: Pair
    strides: Pair = (1, 1)
    pads: Sides = ((0, 0), (0, 0))
    dilations: Pair = (1, 1)

    def __post_init__(self) -> None:
        numbers = (*self.kernel, *self.strides, *self.dilations)
        pads = (*self.pads[0], *self.pads[1])
        if min(numbers) < 1 or min(pads) < 0 or max(*numbers, *pads) > LIMIT_SIDE:
            raise ArtifactError(f"model.mlmodel: {self} is not a window.")

    def output(self, height: int, width: int) -> Pair:
        """Height and width of the result. Raises ArtifactError if the window does not fit into the padded input."""
        sides = tuple(
            (side + sum(pads) - self.dilations[axis] * (self.kernel[axis] - 1) - 1) // self.strides[axis] + 1
            for axis, (side, pads) in enumerate(zip((height, width), self.pads, strict=True))
        )
        if min(sides) < 1:
            raise ArtifactError(f"A window of {self.kernel} does not fit into {height}x{width}.")
        return sides[0], sides[1]


def same_pads(size: Pair, kernel: Pair, strides: Pair, dilations: Pair, *, lower: bool) -> Sides:
    """Padding with which the result has ceil(side / stride) rows and columns; `lower`: the odd one goes before."""
    pads = []
    for side, taps, stride, dilation in zip(size, kernel, strides, dilations, strict=True):
        total = max(0, (math.ceil(side / stride) - 1) * stride + dilation * (taps - 1) + 1 - side)
        less, more = total // 2, total - total // 2
        pads.append((more, less) if lower else (less, more))
    return pads[0], pads[1]


def convolve(x: Array, weight: Array, bias: Array | None, window: Window, groups: int) -> Array:
    """`x`: (N, C, H, W); `weight`: (outputs, inputs / groups, kernel height, kernel width)."""
    channels, outputs = x.shape[1], weight.shape[0]
    if groups < 1 or channels % groups or outputs % groups or weight.shape[1] * groups != channels:
        raise ArtifactError(f"A convolution of {weight.shape} in {groups} groups does not fit {channels} channels.")
    rows, columns = window.output(x.shape[2], x.shape[3])
    check_size((len(x), outputs, rows, columns))
    result = np.empty((len(x), outputs, rows, columns), np.float32)
    for image, output in zip(x, result, strict=True):
        padded = _pad(image, window.pads)
        if groups == channels == outputs:
            _depthwise(padded, weight[:, 0], window, output)
        else:
            for part, kernels, into in zip(
                np.split(padded, groups), np.split(weight, groups), np.split(output, groups), strict=True
            ):
                _dense(part, kernels, window, into)
    if bias is not None:
        result += bias.reshape(-1, 1, 1)
    return result


def max_pool(x: Array, window: Window) -> Array:
    """Padding never wins."""
    return _separable(_pad(x[0], window.pads, -np.inf), window, np.maximum)[None]


def average_pool(x: Array, window: Window, *, exclude_padding: bool) -> Array:
    total = _separable(_pad(x[0], window.pads), window, np.add)
    if not exclude_padding:
        return (total / np.float32(math.prod(window.kernel)))[None]
    ones = np.ones((1, *x.shape[2:]), np.float32)
    return (total / _separable(_pad(ones, window.pads), window, np.add))[None]


def resize_bilinear(x: Array, height: int, width: int, *, align_corners: bool) -> Array:
    """Grid points outside of the image take its border."""
    rows = _interpolation(x.shape[2], height, align_corners)
    columns = _interpolation(x.shape[3], width, align_corners)
    result: Array = np.matmul(rows, x[0] @ columns.T)
    return result[None]


def _pad(x: Array, pads: Sides, value: float = 0.0) -> Array:
    if not any((*pads[0], *pads[1])):
        return x
    (top, bottom), (left, right) = pads
    channels, height, width = x.shape
    check_size((channels, height + top + bottom, width + left + right))
    padded = np.full((channels, height + top + bottom, width + left + right), value, np.float32)
    padded[:, top : top + height, left : left + width] = x
    return padded


def _taps(window: Window) -> list[Pair]:
    """Offsets of the kernel's elements in the input, in row-major order."""
    down, right = window.dilations
    return [(y * down, x * right) for y in range(window.kernel[0]) for x in range(window.kernel[1])]


def _span(start: int, count: int, stride: int) -> slice:
    return slice(start, start + (count - 1) * stride + 1, stride)


def _dense(padded: Array, weight: Array, window: Window, result: Array) -> None:
    """Matrix products of the kernels with bands of columns that hold the taps of every output pixel."""
    outputs, rows, columns = result.shape
    matrix = np.ascontiguousarray(weight.reshape(outputs, -1))
    if window.kernel == window.strides == (1, 1):
        np.matmul(matrix, padded.reshape(len(padded), -1), out=result.reshape(outputs, -1))
        return
    taps = _taps(window)
    band = min(rows, max(1, BAND_ELEMENTS // (matrix.shape[1] * columns)))
    gathered = np.empty((len(padded), len(taps), band, columns), np.float32)
    for top in range(0, rows, band):
        count = min(band, rows - top)
        for index, (y, x) in enumerate(taps):
            row = _span(top * window.strides[0] + y, count, window.strides[0])
            gathered[:, index, :count] = padded[:, row, _span(x, columns, window.strides[1])]
        product = matrix @ gathered[:, :, :count].reshape(matrix.shape[1], -1)
        result[:, top : top + count] = product.reshape(outputs, count, columns)


def _depthwise(padded: Array, weight: Array, window: Window, result: Array) -> None:
    """One channel after another, as a sum of the shifted channel: with stride 1 shifts of one contiguous line."""
    channels, rows, columns = result.shape
    taps, kernels = _taps(window), weight.reshape(channels, -1)
    if window.strides == (1, 1):
        width = padded.shape[2]
        length = (rows - 1) * width + columns
        total, part = np.zeros(rows * width, np.float32), np.empty(length, np.float32)
        for line, kernel, into in zip(padded.reshape(channels, -1), kernels, result, strict=True):
            total[:] = 0
            for (y, x), factor in zip(taps, kernel, strict=True):
                np.multiply(line[y * width + x :][:length], factor, out=part)
                total[:length] += part
            into[:] = total.reshape(rows, width)[:, :columns]
        return
    result[:] = 0
    for index, (y, x) in enumerate(taps):
        shifted = padded[:, _span(y, rows, window.strides[0]), _span(x, columns, window.strides[1])]
        result += shifted * kernels[:, index, None, None]


def _separable(padded: Array, window: Window, combine: "np.ufunc") -> Array:
    """Combine each window's columns, then its rows: for maximum and sum the order is free."""
    rows, columns = Window(window.kernel, window.strides).output(padded.shape[1], padded.shape[2])
    across = padded[:, :, _span(0, columns, window.strides[1])].copy()
    for x in range(1, window.kernel[1]):
        combine(across, padded[:, :, _span(x, columns, window.strides[1])], out=across)
    result = across[:, _span(0, rows, window.strides[0])].copy()
    for y in range(1, window.kernel[0]):
        combine(result, across[:, _span(y, rows, window.strides[0])], out=result)
    return result


def _interpolation(side: int, wanted: int, align_corners: bool) -> Array:
    """Matrix (wanted, side) of linear interpolation, with the grid points of MIL's upsample_bilinear."""
    if not 1 <= wanted <= LIMIT_SIDE or wanted * side > BAND_ELEMENTS * 64:
        raise ArtifactError(f"model.mlmodel: cannot resize a side of {side} to {wanted}.")
    points = np.arange(wanted, dtype=np.float64)
    if align_corners:
        points *= (side - 1) / max(1, wanted - 1)
    else:
        points = (points + 0.5) * (side / wanted) - 0.5
    points = np.clip(points, 0, side - 1)
    low = np.minimum(points.astype(np.int64), side - 1)
    high = np.minimum(low + 1, side - 1)
    matrix = np.zeros((wanted, side), np.float64)
    index = np.arange(wanted)
    np.add.at(matrix, (index, low), 1 - (points - low))
    np.add.at(matrix, (index, high), points - low)
    return matrix.astype(np.float32)
