"""The forms that a float graph can take: equal functions of which one runtime runs one faster than another.

A form is a function from a folded network to a copy of it in that form; it changes only what it knows and is safe on
any network. They commute. FORMS says which a target takes; `make bench` measures them all (docs/bench.json) and a test
holds the table against what was measured.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.models.bsrn import ConcatPointwise, SplitPointwise
from edgesr.models.network import swapped
from edgesr.models.plainusr import PlainUSR

Form = Callable[[nn.Module], nn.Module]


class DecomposedGelu(nn.Module):
    """GELU from erf, in five nodes: x / sqrt 2, erf, + 1, * x, * 0.5 (Hendrycks and Gimpel, 2016)."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * (x * (torch.erf(x / 2**0.5) + 1))


class SlicesAssigned(nn.Module):
    """PlainUSR where each level writes its result into the first channels of the one tensor that all share."""

    def __init__(self, network: PlainUSR) -> None:
        super().__init__()
        self.network = network
        self.names = (*network.down, network.middle, *network.up)
        self.widths = (*network.config.widths, *reversed(network.config.widths[:-1]))

    def forward(self, x: Tensor) -> Tensor:
        """float32 (1, 3, H, W), RGB in [0, 1] -> the same at `scale` times the sides."""
        x = self.network.head(x)
        for name, width in zip(self.names, self.widths, strict=True):
            x[:, :width] = self.network.get_submodule(name)(x[:, :width])
        upscaled: Tensor = self.network.tail(x)
        return upscaled


class PixelShuffleUint8(nn.Module):
    """Colours as 8-bit pixels, rounded (half to even) before they are moved: a quarter of the bytes to move."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """float32 (1, 3 * s * s, H, W) in [0, 1] -> uint8 (1, 3, s * H, s * W)."""
        return F.pixel_shuffle((x * 255).clamp(0, 255).round().to(torch.uint8), self.scale)


def sum_of_pointwise(network: nn.Module) -> nn.Module:
    """A 1x1 convolution over a concatenation as a sum of 1x1 convolutions: the wide tensor is never written.

    Exact up to the order of a sum: the kernel is cut along its input channels, W [a; b] = W1 a + W2 b.
    """
    return swapped(network, ConcatPointwise, lambda join: SplitPointwise(join.conv.weight, join.conv.bias, join.count))


def concat_pointwise(network: nn.Module) -> nn.Module:
    """The inverse of `sum_of_pointwise`: one large product instead of several small ones and their additions."""
    return swapped(network, SplitPointwise, ConcatPointwise)


def one_gelu(network: nn.Module) -> nn.Module:
    """GELU as one operator of the graph (ONNX has it from opset 20 on): a runtime can use its own kernel. Exact."""
    return swapped(network, DecomposedGelu, lambda _: nn.GELU())


def decomposed_gelu(network: nn.Module) -> nn.Module:
    """GELU as erf and arithmetic, which is what an export at ONNX opset 18 makes of it.

    Exact: its definition, x * (1 + erf(x / sqrt 2)) / 2.
    """
    return swapped(network, nn.GELU, lambda _: DecomposedGelu())


def slices(network: nn.Module) -> nn.Module:
    """PlainUSR that keeps the channels a level does not touch and joins them where they are read: fewer copies.

    Exact: the same numbers, moved less often.
    """
    return swapped(network, SlicesAssigned, lambda assigned: assigned.network)


def slice_assignment(network: nn.Module) -> nn.Module:
    """PlainUSR as its authors write it, `x[:, :k] = block(x[:, :k])`: every level copies all channels. Exact."""
    return swapped(network, PlainUSR, SlicesAssigned)


def uint8_output(network: nn.Module) -> nn.Module:
    """Pixels 0 to 255 as uint8 instead of float32 in [0, 1], rounded before the pixel shuffle.

    Exact: rounding each number and moving it commute, so this is round(255 * clamp(network(x))). It changes what an
    artifact gives, so only artifacts that were asked for uint8 can take it.
    """
    return swapped(network, nn.PixelShuffle, lambda shuffle: PixelShuffleUint8(shuffle.upscale_factor))


@dataclass(frozen=True, slots=True)
class Choice:
    """Forms of networks of `family` that compute the same: a graph takes one of them, the first by default."""

    family: str
    forms: tuple[Form, ...]


CHOICES: tuple[Choice, ...] = (
    Choice("bsrn", (sum_of_pointwise, concat_pointwise)),
    Choice("bsrn", (one_gelu, decomposed_gelu)),
    Choice("plainusr", (slices, slice_assignment)),
)

FOLDED: tuple[str, ...] = tuple(choice.forms[0].__name__ for choice in CHOICES)
"""What `Network.fold()` gives, and so `Source.network` and `Source.float_onnx`. The one INT8 graph of all targets is
made of what the folded network's `for_integers()` gives, if it has that."""

FORMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "onnxruntime": FOLDED,
        "openvino": FOLDED,
        "executorch": FOLDED,
        "tflite": FOLDED,
        "ncnn": FOLDED,
    }
)
"""Target -> the forms of its float graph. The same for all, so no target rewrites anything. A target whose runtime
does not run here (CoreML) cannot be measured here; it takes the same."""
