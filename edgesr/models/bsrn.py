"""BSRN and BSRN-S: blueprint separable residual networks.

Li et al., "Blueprint Separable Residual Network for Efficient Image Super-Resolution", CVPR Workshops 2022.
Tensors are float32 NCHW, RGB in [0, 1]; output sides are `scale` times the input sides. Both sides must be >= 15
(ESA pools a 7x7 window of a stride-2 map).
"""

import copy
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.models.network import Network

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Config:
    """`slim` is BSRN-S: linear layers (biased pointwise, dense stride convolution) and a learned channel weight."""

    channels: int
    blocks: int
    slim: bool


class Pointwise(nn.Module):
    """1x1 convolution with the weight shape of the official checkpoint: (out, in) of nn.Linear or (out, in, 1, 1)."""

    def __init__(self, inputs: int, outputs: int, *, linear: bool, bias: bool = True) -> None:
        super().__init__()
        layer = nn.Linear(inputs, outputs, bias=bias) if linear else nn.Conv2d(inputs, outputs, 1, bias=bias)
        self.weight = layer.weight
        self.bias = layer.bias if bias else None

    def kernel(self) -> Tensor:
        """Weight as a convolution kernel, (out, in, 1, 1)."""
        return self.weight.reshape(*self.weight.shape[:2], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel(), self.bias)


class BSConvU(nn.Module):
    """Blueprint separable convolution: 1x1, then depthwise 3x3 whose zero padding comes after the pointwise bias."""

    def __init__(self, inputs: int, outputs: int, *, linear: bool, stride: int = 1, padding: int = 1) -> None:
        super().__init__()
        self.pw = Pointwise(inputs, outputs, linear=linear, bias=linear)
        self.dw = nn.Conv2d(outputs, outputs, 3, stride, padding, groups=outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.dw(self.pw(x))


class ESA(nn.Module):
    """Enhanced spatial attention (section 3.3), without the multiplication by its input."""

    def __init__(self, channels: int, *, slim: bool) -> None:
        super().__init__()
        inner = channels // 4
        self.conv1 = Pointwise(channels, inner, linear=slim)
        self.conv2 = nn.Conv2d(inner, inner, 3, 2) if slim else BSConvU(inner, inner, linear=False, stride=2, padding=0)
        self.conv_max = BSConvU(inner, inner, linear=slim)
        self.conv3 = BSConvU(inner, inner, linear=slim)
        self.conv3_ = BSConvU(inner, inner, linear=slim)
        self.conv_f = Pointwise(inner, inner, linear=slim)
        self.conv4 = Pointwise(inner, channels, linear=slim)
        self.gelu = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        full = self.conv1(x)
        small = F.max_pool2d(self.conv2(full), kernel_size=7, stride=3)
        small = self.gelu(self.conv_max(small))
        small = self.conv3_(self.gelu(self.conv3(small)))
        small = F.interpolate(small, x.shape[2:], mode="bilinear", align_corners=False)
        return torch.sigmoid(self.conv4(small + self.conv_f(full)))


class ContrastAttention(nn.Module):
    """Channel attention from standard deviation + mean (CCA, section 3.3): it sees the whole image."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        inner = channels // reduction
        self.conv_du = nn.Sequential(
            nn.Conv2d(channels, inner, 1), nn.ReLU(), nn.Conv2d(inner, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        std = (x - mean).square().mean((2, 3), keepdim=True).sqrt()
        return x * self.conv_du(std + mean)


class ESDB(nn.Module):
    """Efficient separable distillation block (section 3.2)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        channels, slim = config.channels, config.slim
        half = channels // 2
        self.c1_d = Pointwise(channels, half, linear=slim)
        self.c1_r = BSConvU(channels, channels, linear=slim)
        self.c2_d = Pointwise(channels, half, linear=slim)
        self.c2_r = BSConvU(channels, channels, linear=slim)
        self.c3_d = Pointwise(channels, half, linear=slim)
        self.c3_r = BSConvU(channels, channels, linear=slim)
        self.c4 = BSConvU(channels, half, linear=slim)
        self.c5 = Pointwise(4 * half, channels, linear=slim)
        self.esa = ESA(channels, slim=slim)
        if slim:
            self.cw = nn.Parameter(torch.ones(1, channels))
            self.conv_out = Pointwise(channels, channels, linear=True)
        else:
            self.cca = ContrastAttention(channels)

    def forward(self, x: Tensor) -> Tensor:
        refined, distilled = x, []
        for distil, refine in ((self.c1_d, self.c1_r), (self.c2_d, self.c2_r), (self.c3_d, self.c3_r)):
            distilled.append(F.gelu(distil(refined)))
            refined = F.gelu(refine(refined) + refined)
        fused = self.c5(torch.cat([*distilled, F.gelu(self.c4(refined))], dim=1))
        fused = fused * self.esa(fused)
        if hasattr(self, "cw"):
            return self.conv_out(fused * self.cw[:, :, None, None]) + x
        return self.cca(fused) + x


class Upsampler(nn.Module):
    def __init__(self, channels: int, scale: int) -> None:
        super().__init__()
        self.upsampleOneStep = nn.Sequential(nn.Conv2d(channels, 3 * scale**2, 3, 1, 1), nn.PixelShuffle(scale))

    def forward(self, x: Tensor) -> Tensor:
        return self.upsampleOneStep(x)


class BSRN(Network):
    """The form that is trained, with the state-dict keys of the official checkpoints."""

    def __init__(self, config: Config, scale: int) -> None:
        super().__init__()
        channels, slim = config.channels, config.slim
        self.config, self.scale = config, scale
        self.fea_conv = BSConvU(4 * 3, channels, linear=slim)
        for index in range(config.blocks):
            self.add_module(f"B{index + 1}", ESDB(config))
        self.c1 = Pointwise(channels * config.blocks, channels, linear=slim)
        self.c2 = BSConvU(channels, channels, linear=slim)
        self.upsampler = Upsampler(channels, scale)

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.fea_conv(x.repeat(1, 4, 1, 1))
        deep, trunk = shallow, []
        for index in range(self.config.blocks):
            deep = self.get_submodule(f"B{index + 1}")(deep)
            trunk.append(deep)
        deep = F.gelu(self.c1(torch.cat(trunk, dim=1)))
        return self.upsampler(self.c2(deep) + shallow)

    def fold(self) -> "FoldedBSRN":
        """An equal network that is faster on every runtime; shares no memory with this one."""
        return FoldedBSRN(self).eval()


class SplitPointwise(nn.Module):
    """1x1 convolution over a concatenation, written as a sum of 1x1 convolutions of its parts: no concat is stored."""

    def __init__(self, kernel: Tensor, bias: Tensor | None, parts: int) -> None:
        """`kernel`: (out, in, 1, 1) over the concatenation of `parts` tensors of equal width."""
        super().__init__()
        kernels = kernel.detach().chunk(parts, dim=1)
        biases = [bias, *[None] * (parts - 1)]
        self.parts = nn.ModuleList(_conv(kernel, bias) for kernel, bias in zip(kernels, biases, strict=True))

    def forward(self, parts: list[Tensor]) -> Tensor:
        total = self.parts[0](parts[0])
        for conv, part in zip(self.parts[1:], parts[1:], strict=True):
            total = total + conv(part)
        return total


class ConcatPointwise(nn.Module):
    """1x1 convolution of a concatenation of equally wide tensors, as the paper draws it."""

    def __init__(self, split: SplitPointwise) -> None:
        super().__init__()
        convs = [part for part in split.parts if isinstance(part, nn.Conv2d)]
        self.count = len(convs)
        self.conv = _conv(torch.cat([conv.weight.detach() for conv in convs], dim=1), convs[0].bias)

    def forward(self, parts: list[Tensor]) -> Tensor:
        """Each float32 (1, C, H, W) -> (1, out, H, W)."""
        joined: Tensor = self.conv(torch.cat(parts, dim=1) if self.count > 1 else parts[0])
        return joined


class DenseConvolution(nn.Module):
    """A separable convolution of an image as one dense 3x3 convolution.

    The zero padding of the depthwise one comes after the pointwise bias, so the bias becomes a fourth channel of ones.
    """

    def __init__(self, pointwise: nn.Conv2d, depthwise: nn.Conv2d) -> None:
        super().__init__()
        kernel = depthwise.weight * pointwise.weight
        self.biased = pointwise.bias is not None
        if pointwise.bias is not None:
            kernel = torch.cat([kernel, depthwise.weight * pointwise.bias[:, None, None, None]], dim=1)
        self.conv = _conv(kernel, depthwise.bias)
        self.conv.padding = (1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """float32 (1, 3, H, W) -> (1, C, H, W)"""
        if self.biased:
            x = torch.cat([x, x[:, :1].clamp(1.0, 1.0)], dim=1)
        convolved: Tensor = self.conv(x)
        return convolved


class FoldedESDB(nn.Module):
    def __init__(self, block: ESDB) -> None:
        super().__init__()
        self.distil = nn.ModuleList(_fold_pointwise(c) for c in (block.c1_d, block.c2_d, block.c3_d))
        self.refine = nn.ModuleList(_fold_separable(c) for c in (block.c1_r, block.c2_r, block.c3_r))
        self.last = _fold_separable(block.c4)
        self.fuse: nn.Module = SplitPointwise(block.c5.kernel(), block.c5.bias, 4)
        self.esa = _fold_esa(block.esa)
        self.out: nn.Module
        if hasattr(block, "cw"):
            kernel = block.conv_out.kernel() * block.cw[:, :, None, None]
            self.out = _conv(kernel, block.conv_out.bias)
        else:
            self.out = _copy(block.cca)
        self.gelu = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        refined, distilled = x, []
        for distil, refine in zip(self.distil, self.refine, strict=True):
            distilled.append(self.gelu(distil(refined)))
            refined = self.gelu(refine(refined) + refined)
        fused = self.fuse([*distilled, self.gelu(self.last(refined))])
        return self.out(fused * self.esa(fused)) + x


class FoldedBSRN(nn.Module):
    """Inference form: plain convolutions only, the repeated input folded into one 3-channel pointwise."""

    def __init__(self, source: BSRN) -> None:
        super().__init__()
        kernel = source.fea_conv.pw.kernel()
        kernel = kernel.reshape(len(kernel), 4, 3, 1, 1).sum(dim=1)
        self.head: nn.Module = nn.Sequential(_conv(kernel, source.fea_conv.pw.bias), _copy(source.fea_conv.dw))
        blocks = [source.get_submodule(f"B{index + 1}") for index in range(source.config.blocks)]
        self.blocks = nn.ModuleList(FoldedESDB(block) for block in blocks if isinstance(block, ESDB))
        self.fuse: nn.Module = SplitPointwise(source.c1.kernel(), source.c1.bias, len(blocks))
        self.refine = _fold_separable(source.c2)
        self.upsample = _copy(source.upsampler.upsampleOneStep)
        self.gelu = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.head(x)
        deep, trunk = shallow, []
        for block in self.blocks:
            deep = block(deep)
            trunk.append(deep)
        return self.upsample(self.refine(self.gelu(self.fuse(trunk))) + shallow)

    def for_integers(self) -> "FoldedBSRN":
        """An equal network that loses less in INT8.

        Tensors that are fused are joined, rounded once. In float a sum of convolutions is faster, because runtimes fuse
        the additions; in INT8 each part would be written as integers, and the additions stay. The head is dense: what
        its pointwise part writes would need more than the 8 bits that the image has.
        """
        joined = _copy(self)
        pointwise, depthwise = self.head.children()
        assert isinstance(pointwise, nn.Conv2d)
        assert isinstance(depthwise, nn.Conv2d)
        joined.head = DenseConvolution(pointwise, depthwise)
        for owner in (joined, *joined.blocks):
            if isinstance(owner.fuse, SplitPointwise):
                owner.fuse = ConcatPointwise(owner.fuse)
        return joined


def forms(config: Config, scale: int) -> dict[str, Network]:
    """The forms in which a checkpoint of this family may come; each has `fold()`."""
    return {"train": BSRN(config, scale)}


def _conv(kernel: Tensor, bias: Tensor | None) -> nn.Conv2d:
    outputs, inputs, *size = kernel.shape
    conv = nn.Conv2d(inputs, outputs, (size[0], size[1]), bias=bias is not None)
    conv.weight = nn.Parameter(kernel.detach().clone())
    if bias is not None:
        conv.bias = nn.Parameter(bias.detach().clone())
    return conv


def _copy(module: M) -> M:
    return copy.deepcopy(module)


def _fold_pointwise(source: Pointwise) -> nn.Conv2d:
    return _conv(source.kernel(), source.bias)


def _fold_separable(source: BSConvU) -> nn.Sequential:
    return nn.Sequential(_fold_pointwise(source.pw), _copy(source.dw))


def _fold_esa(source: ESA) -> ESA:
    folded = _copy(source)
    for name, child in source.named_children():
        if isinstance(child, Pointwise):
            setattr(folded, name, _fold_pointwise(child))
        elif isinstance(child, BSConvU):
            setattr(folded, name, _fold_separable(child))
    return folded
