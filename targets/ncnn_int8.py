"""ncnn's integer convolutions, with scales and zero points of the quantized graph.

ncnn computes round(factor * x), clips to -127..127, convolves, and scales back to float32 (src/layer/convolution.cpp).
The graph's affine rounding q = round(x / s) + z, q in 0..255, becomes one of these by shifting x before it.
"""

import operator
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import fx, nn

from edgesr.errors import ConversionError
from edgesr.quantization.prepared import is_image
from edgesr.runner.ncnn_file import CONVOLUTIONS, Layer, Weights
from edgesr.runner.ncnn_shapes import blob_shapes
from edgesr.targets.base import INPUT_NAME

Floats = npt.NDArray[np.float64]

CONVOLUTION = torch.ops.aten.conv2d.default
SIGNED_MAX = 127
NO_WINOGRAD = "64"
"""Bit 6 of option 31. ncnn's Winograd kernels compute in int16 what others do in int8: 1 to 2 times slower (x86)."""

SHARE_SIDES = (256, 256)
ADD, SUBTRACT_FROM = "0", "7"


@dataclass(frozen=True, slots=True)
class Rounding:
    """One convolution of the quantized graph: x = scale * (q - zero_point), kernel = steps * integers.

    integers: int8 (out, in, kh, kw); steps: (out,); bias: (out,) or None; of_image: whether it reads the image itself.
    """

    scale: float
    zero_point: int
    integers: npt.NDArray[np.int8]
    steps: Floats
    bias: Floats | None
    of_image: bool

    @property
    def shift(self) -> int:
        """Added to x / scale so that its levels become -127..127; one of 256 is clipped, the topmost if z < 128."""
        return self.zero_point - (SIGNED_MAX if self.zero_point <= SIGNED_MAX else SIGNED_MAX + 1)

    @property
    def sign(self) -> int:
        """-1 where the input is negated too: ncnn on x86 writes negative border values wrongly (padding_x86.cpp)."""
        return -1 if self.shift < 0 else 1

    def kernel(self) -> npt.NDArray[np.float32]:
        """Flat float32 values of the integers."""
        values = self.integers * self.steps.reshape(-1, 1, 1, 1)
        return values.astype(np.float32).ravel()


def to_int8(
    layers: tuple[Layer, ...], weights: Mapping[str, Weights], graph: nn.Module
) -> tuple[tuple[Layer, ...], dict[str, Weights]]:
    """The network with int8 convolutions; weights of the others take the values of the graph's int8 ones.

    Raises ConversionError if `graph` is not the quantized form of this network.
    """
    pairs = match(layers, weights, roundings(graph))
    written: list[Layer] = []
    changed = dict(weights)
    for layer in layers:
        if layer.name not in pairs:
            written.append(layer)
        elif _stays_float(layer, pairs[layer.name]):
            written.append(layer)
            changed[layer.name] = replace(weights[layer.name], kernel=pairs[layer.name].kernel())
        else:
            written += shift_input(layer, pairs[layer.name])
            changed[layer.name] = integer_weights(pairs[layer.name])
    return tuple(written), changed


def _stays_float(layer: Layer, rounding: Rounding) -> bool:
    return rounding.of_image or layer.kind == "ConvolutionDepthWise"


def shift_input(layer: Layer, rounding: Rounding) -> tuple[Layer, ...]:
    """The integer form of a convolution, after an addition that moves the input's zero point to 0, if it is not there.

    With t = shift and g = sign, ncnn rounds g * (x + t s) / s; a border of zeros becomes one of |t|.
    """
    params = {**layer.params, 5: "1", 8: "1", 31: NO_WINOGRAD}
    if rounding.shift == 0:
        return (replace(layer, params=params),)
    if layer.integer(4) or layer.integer(14):
        params[18] = f"{float(abs(rounding.shift)):.1f}"
    operation = ADD if rounding.sign > 0 else SUBTRACT_FROM
    constant = f"{abs(rounding.shift) * rounding.scale:.8e}"
    shifted = f"{layer.name}_shifted"
    move = Layer("BinaryOp", f"{layer.name}_shift", layer.inputs, (shifted,), {0: operation, 1: "1", 2: constant})
    return move, replace(layer, inputs=(shifted,), params=params)


def integer_weights(rounding: Rounding) -> Weights:
    """Kernel g w, and bias - t s * sum(kernel), which takes the shift back."""
    sums = rounding.integers.reshape(len(rounding.integers), -1).sum(axis=1, dtype=np.int64)
    bias = np.zeros(len(sums)) if rounding.bias is None else rounding.bias
    bias = bias - rounding.shift * rounding.scale * rounding.steps * sums
    factors = (1 / rounding.steps).astype(np.float32), np.array([1 / rounding.scale], np.float32)
    return Weights((rounding.sign * rounding.integers).astype(np.int8).ravel(), bias.astype(np.float32), factors)


def match(
    layers: tuple[Layer, ...], weights: Mapping[str, Weights], found: list[Rounding | None]
) -> dict[str, Rounding]:
    """The rounding of each rounded convolution, by name: the first that is left with its weights.

    pnnx may swap convolutions that do not read each other. Equal ones keep the order of execution, as in both lists.
    """
    left = [layer.name for layer in layers if layer.kind in CONVOLUTIONS]
    if len(left) != len(found):
        raise ConversionError("int8", f"the quantized graph has {len(found)} convolutions, pnnx wrote {len(left)}")
    pairs = {}
    for number, rounding in enumerate(found, start=1):
        if rounding is None:
            continue
        name = next((name for name in left if _rounds(rounding, weights[name])), None)
        if name is None:
            raise ConversionError("int8", f"pnnx wrote no weights of convolution {number} of the quantized graph")
        pairs[name] = rounding
        left.remove(name)
    return pairs


def _rounds(rounding: Rounding, exact: Weights) -> bool:
    if exact.kernel.size != rounding.integers.size or (exact.bias is None) != (rounding.bias is None):
        return False
    off = np.abs(rounding.kernel() - exact.kernel).reshape(len(rounding.steps), -1)
    return bool((off <= 0.51 * rounding.steps[:, None]).all())


def roundings(graph: nn.Module) -> list[Rounding | None]:
    """The convolutions of a converted PT2E graph with uint8 activations, in the order of execution; None: in float."""
    assert isinstance(graph, fx.GraphModule)
    return [_rounding(graph, node) for node in graph.graph.nodes if node.target is CONVOLUTION]


def _rounding(graph: fx.GraphModule, conv: Any) -> Rounding | None:
    source, weight, bias = (*conv.args[:3], None)[:3]
    if weight.op == "get_attr":
        return None
    _, scale, zero_point, low, high, _ = source.args
    assert (low, high) == (0, 255), "the quantizer's activations are uint8"
    return Rounding(
        scale,
        zero_point,
        _constant(graph, weight.args[0]).numpy(),
        _constant(graph, weight.args[1]).double().numpy(),
        None if bias is None else _constant(graph, bias).double().numpy(),
        is_image(source.args[0].args[0]),
    )


@torch.no_grad()
def _constant(graph: fx.GraphModule, node: fx.Node) -> torch.Tensor:
    """The value of a parameter, or of a function of parameters."""
    if node.op == "get_attr":
        value: torch.Tensor = operator.attrgetter(str(node.target))(graph)
        return value.detach()
    assert callable(node.target)
    computed: torch.Tensor = node.target(*(_constant(graph, a) if isinstance(a, fx.Node) else a for a in node.args))
    return computed


def integer_share(layers: tuple[Layer, ...]) -> float:
    """Part of the convolutions' multiply-accumulates that is computed on integers, 0 to 1."""
    shapes = blob_shapes(layers, INPUT_NAME, *SHARE_SIDES)
    done, whole = 0, 0
    for layer in layers:
        if layer.kind in CONVOLUTIONS:
            _, height, width = shapes[layer.outputs[0]]
            macs = layer.integer(6) * height * width
            whole += macs
            done += macs * layer.integer(8)
    return done / whole
