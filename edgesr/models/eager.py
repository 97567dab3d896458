"""What torch itself runs faster than a folded network as it is written: one operator after another, on a CPU.

Equal up to the order of sums. Converters get the folded network; they lay tensors out as their runtime likes.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PointwiseProduct(nn.Module):
    """A 1x1 convolution as one product of matrices over channels_last pixels, (N, C, H, W)."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(conv.weight.detach().flatten(1).clone()), conv.bias

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.permute(0, 2, 3, 1), self.weight, self.bias).permute(0, 3, 1, 2)


class PhasedDepthwise(nn.Module):
    """A dilated depthwise convolution as one without dilation on every `dilation`-th row and column, (N, C, H, W).

    Rows and columns are sorted by their remainder, so that what a kernel reads lies side by side (the "space to batch"
    of atrous convolution: Chen et al., DeepLab, TPAMI 2018, section 3.1).
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.dilation, side = conv.dilation[0], conv.kernel_size[0]
        self.conv = nn.Conv2d(conv.in_channels, conv.out_channels, side, padding=side // 2, groups=conv.groups)
        self.conv.weight, self.conv.bias = conv.weight, conv.bias

    def forward(self, x: Tensor) -> Tensor:
        images, channels, height, width = x.shape
        step = self.dilation
        rows, columns = -(-height // step), -(-width // step)
        pixels = F.pad(x, (0, step * columns - width, 0, step * rows - height)).permute(0, 2, 3, 1)
        phases = pixels.reshape(images, rows, step, columns, step, channels).permute(2, 4, 0, 1, 3, 5)
        batch = phases.reshape(step * step * images, rows, columns, channels).permute(0, 3, 1, 2)
        written = self.conv(batch).permute(0, 2, 3, 1).reshape(step, step, images, rows, columns, channels)
        whole: Tensor = written.permute(2, 3, 0, 4, 1, 5).reshape(images, step * rows, step * columns, channels)
        return whole.permute(0, 3, 1, 2)[:, :, :height, :width]


class InPieces(nn.Module):
    """Layers that treat every image of a batch alike, run on `count` at a time, channels_last: what one layer writes
    is in the cache still when the next reads it."""

    def __init__(self, layers: nn.Module, count: int) -> None:
        super().__init__()
        self.layers, self.count = layers, count

    def forward(self, x: Tensor) -> Tensor:
        pieces = torch.split(x.contiguous(memory_format=torch.channels_last), self.count)
        return torch.cat([self.layers(piece) for piece in pieces])


def faster(conv: nn.Conv2d) -> nn.Module:
    """An equal module for a convolution that keeps the sides of its input."""
    if conv.kernel_size == (1, 1) and conv.groups == 1 and conv.stride == (1, 1):
        return PointwiseProduct(conv)
    if conv.groups == conv.in_channels and conv.dilation[0] > 1 and conv.dilation[0] == conv.dilation[1]:
        return PhasedDepthwise(conv)
    return conv


def for_torch(folded: nn.Module) -> nn.Module:
    """The equal form that a folded network names as its fastest in torch with a method of this name; else itself."""
    make = getattr(folded, "for_torch", None)
    return folded if make is None else cast(nn.Module, make())
