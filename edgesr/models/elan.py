"""ELAN and ELAN-light: efficient long-range attention networks.

Zhang et al., "Efficient Long-Range Attention Network for Image Super-Resolution", ECCV 2022.
Tensors are float32 NCHW, RGB in [0, 1] (the checkpoints are made for 0 to 255: `forward` scales); output sides are
`scale` times the input sides. Sides that are no multiple of 16 are reflected to the right and bottom and the output is
cropped, so both must be >= 9.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.models.network import DIV2K_MEAN, Network, cropped, padded, pointwise
from edgesr.models.windows import join_windows, rolled, split_windows

WINDOWS = (4, 8, 16)
"""Sides of the windows of the three groups of channels (section 3.3)."""
MULTIPLE = WINDOWS[-1]
EXPANSION = 2
RANGE = 255
DIRECTIONS = ((1, 2), (1, 0), (2, 1), (0, 1), (1, 1))
"""The tap of a 3x3 kernel that each fifth of the channels has: from the right, left, below, above, its own place."""


@dataclass(frozen=True, slots=True)
class Config:
    """`modules`: attention modules in all; `shared`: how many after each that computes maps take those over."""

    modules: int
    channels: int
    shared: int


class MeanShift(nn.Conv2d):
    """Adds `sign` times the mean colour of DIV2K, on the 0 to 255 scale. Not trained."""

    def __init__(self, sign: int) -> None:
        super().__init__(3, 3, 1)
        assert self.bias is not None
        with torch.no_grad():
            self.weight.copy_(torch.eye(3)[:, :, None, None])
            self.bias.copy_(sign * RANGE * torch.tensor(DIV2K_MEAN))
        self.requires_grad_(False)


class Shift(nn.Module):
    """Shift-convolution (section 3.2): groups of channels move by a pixel, zeros come in; then 1x1."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        kernel = torch.zeros(inputs, 1, 3, 3)
        group = inputs // len(DIRECTIONS)
        for index, (row, column) in enumerate(DIRECTIONS):
            last = index == len(DIRECTIONS) - 1
            kernel[index * group : None if last else (index + 1) * group, 0, row, column] = 1
        self.weight = nn.Parameter(kernel, requires_grad=False)
        self.conv1x1 = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1x1(F.conv2d(x, self.weight, padding=1, groups=len(self.weight)))


class ShiftConv(nn.Module):
    """Holds one level of the official key names."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shift_conv = Shift(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.shift_conv(x)


class LocalFeatures(nn.Module):
    """LFE (section 3.2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0 = ShiftConv(channels, EXPANSION * channels)
        self.conv1 = ShiftConv(EXPANSION * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1(F.relu(self.conv0(x)))


class GroupAttention(nn.Module):
    """GMSA (section 3.3): self-attention in windows of three sizes, a third of the channels each.

    `computes`: whether it computes attention maps or takes those given. `shifted`: windows start half a window later
    and wrap around.
    """

    def __init__(self, channels: int, *, computes: bool, shifted: bool) -> None:
        super().__init__()
        inner = 2 * channels if computes else channels
        self.computes, self.shifted = computes, shifted
        self.project_inp = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.BatchNorm2d(inner))
        self.project_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, maps: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """`maps`: per window size (windows, L, L), a row for each of the L positions; the ones to take, or none."""
        parts = self.project_inp(x).chunk(3, dim=1)
        pairs = [part.chunk(2, dim=1) for part in parts] if self.computes else []
        found = [attention_map(queries, side, self.shifted) for (queries, _), side in zip(pairs, WINDOWS, strict=False)]
        values = [value for _, value in pairs] or parts
        maps = found or maps
        return self.project_out(mixed_windows(values, maps, self.shifted)), maps


def attention_map(queries: Tensor, side: int, shifted: bool) -> Tensor:
    """(N, C, H, W) -> (windows, L, L), a row for each of the L positions; the queries are the keys too."""
    windows = _windows(queries, side, shifted)
    return (windows.transpose(1, 2) @ windows).softmax(dim=-1)


def mixed_windows(values: Sequence[Tensor], maps: Sequence[Tensor], shifted: bool) -> Tensor:
    """Positions of every window mixed, for each of WINDOWS: (N, C, H, W) each -> (N, 3 * C, H, W)."""
    parts = []
    for value, attention, side in zip(values, maps, WINDOWS, strict=True):
        mixed = _windows(value, side, shifted) @ attention.transpose(1, 2)
        parts.append(rolled(join_windows(mixed, side, value.shape), side // 2 if shifted else 0))
    return torch.cat(parts, dim=1)


def _windows(x: Tensor, side: int, shifted: bool) -> Tensor:
    """(N, C, H, W) -> (windows, C, L); shifted ones start half a window later and wrap around."""
    return split_windows(rolled(x, -(side // 2)) if shifted else x, side).flatten(2)


class Block(nn.Module):
    """ELAB (section 3.1): 1 + `shared` pairs of local features and attention, each added to its input."""

    def __init__(self, channels: int, shared: int, *, shifted: bool) -> None:
        super().__init__()
        self.modules_lfe = nn.ModuleDict({f"lfe_{index}": LocalFeatures(channels) for index in range(1 + shared)})
        self.modules_gmsa = nn.ModuleDict(
            {
                f"gmsa_{index}": GroupAttention(channels, computes=index == 0, shifted=shifted)
                for index in range(1 + shared)
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        maps: list[Tensor] = []
        for local, attention in zip(self.modules_lfe.values(), self.modules_gmsa.values(), strict=True):
            x = local(x) + x
            mixed, maps = attention(x, maps)
            x = mixed + x
        return x


class ELAN(Network):
    """The form that is trained, with the state-dict keys of the official network."""

    # cutting windows undoes channels_last in every module
    layout_in_training = torch.contiguous_format

    def __init__(self, config: Config, scale: int) -> None:
        super().__init__()
        channels, blocks = config.channels, config.modules // (1 + config.shared)
        self.scale = scale
        self.sub_mean, self.add_mean = MeanShift(-1), MeanShift(1)
        self.head = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1))
        self.body = nn.Sequential(
            *(Block(channels, config.shared, shifted=index % 2 == 1) for index in range(blocks)),
        )
        self.tail = nn.Sequential(nn.Conv2d(channels, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale))

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.head(self.sub_mean(RANGE * padded(x, MULTIPLE)))
        output = self.add_mean(self.tail(self.body(shallow) + shallow)) / RANGE
        return cropped(output, x, self.scale)

    def fold(self) -> "FoldedELAN":
        """An equal network that is faster on every runtime; shares no memory with this one."""
        return FoldedELAN(self).eval()


class FoldedShift(nn.Module):
    """The shift as a depthwise convolution with one tap, and the 1x1 after it."""

    def __init__(self, source: Shift) -> None:
        super().__init__()
        channels = len(source.weight)
        self.shift = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.shift.weight = nn.Parameter(source.weight.detach().clone())
        self.mix = copy.deepcopy(source.conv1x1)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(self.shift(x))


class FoldedBlock(nn.Module):
    """BatchNorm folded into the 1x1 convolution before it, and that cut into one for each tensor that is read; the rest
    in the order of the block.
    """

    def __init__(self, source: Block) -> None:
        super().__init__()
        attentions = [module for module in source.modules_gmsa.values() if isinstance(module, GroupAttention)]
        self.shifted = attentions[0].shifted
        self.local = nn.ModuleList(_folded_local(module) for module in source.modules_lfe.values())
        first, *others = (_with_norm(module.project_inp) for module in attentions)
        parts = _cut(first, 2 * len(WINDOWS))
        self.queries = nn.ModuleList(parts[::2])
        self.values = nn.ModuleList(nn.ModuleList(each) for each in (parts[1::2], *(_cut(conv, 3) for conv in others)))
        self.after = nn.ModuleList(copy.deepcopy(module.project_out) for module in attentions)

    def forward(self, x: Tensor) -> Tensor:
        maps: list[Tensor] = []
        for local, values, after in zip(self.local, self.values, self.after, strict=True):
            assert isinstance(values, nn.ModuleList)
            x = local(x) + x
            pairs = zip(self.queries, WINDOWS, strict=True)
            maps = maps or [attention_map(queries(x), side, self.shifted) for queries, side in pairs]
            x = after(mixed_windows([value(x) for value in values], maps, self.shifted)) + x
        return x


class FoldedELAN(nn.Module):
    """Inference form. The mean is subtracted in front of the head, since the head's zero padding comes after it."""

    def __init__(self, source: ELAN) -> None:
        super().__init__()
        self.scale = source.scale
        colours, offset = source.sub_mean.weight.detach().flatten(1), source.sub_mean.bias
        assert offset is not None
        self.shift = nn.Parameter(torch.linalg.solve(colours, offset.detach())[None, :, None, None] / RANGE)
        self.head, self.tail = copy.deepcopy(source.head[0]), copy.deepcopy(source.tail)
        assert isinstance(self.head, nn.Conv2d)
        mixed = torch.einsum("ochw,ci->oihw", self.head.weight.detach(), colours)
        self.head.weight = nn.Parameter((RANGE * mixed).contiguous())
        _add_mean(self.tail[0], source.add_mean)
        self.blocks = nn.Sequential(*(FoldedBlock(block) for block in source.body if isinstance(block, Block)))

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.head(padded(x, MULTIPLE) + self.shift)
        return cropped(self.tail(self.blocks(shallow) + shallow), x, self.scale)


def forms(config: Config, scale: int) -> dict[str, Network]:
    """The forms in which a checkpoint of this family may come; each has `fold()`."""
    return {"train": ELAN(config, scale)}


def _folded_local(source: nn.Module) -> nn.Sequential:
    assert isinstance(source, LocalFeatures)
    return nn.Sequential(FoldedShift(source.conv0.shift_conv), nn.ReLU(), FoldedShift(source.conv1.shift_conv))


def _with_norm(source: nn.Sequential) -> nn.Conv2d:
    """A convolution and its BatchNorm with running statistics as one convolution."""
    conv, norm = source
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    return nn.utils.fusion.fuse_conv_bn_eval(copy.deepcopy(conv).eval(), copy.deepcopy(norm).eval())


def _cut(conv: nn.Conv2d, parts: int) -> list[nn.Conv2d]:
    """A 1x1 convolution as one for each of equal `parts` of its outputs."""
    assert conv.bias is not None
    rows = zip(conv.weight.detach().chunk(parts), conv.bias.detach().chunk(parts), strict=True)
    return [pointwise(weight.flatten(1), bias) for weight, bias in rows]


def _add_mean(tail: nn.Module, mean: MeanShift) -> None:
    """Fold the mean colour and the way back to [0, 1] into the last convolution, (3 * s**2, C, 3, 3)."""
    assert isinstance(tail, nn.Conv2d)
    assert tail.bias is not None
    assert mean.bias is not None
    colours = mean.weight.detach().flatten(1)
    by_colour = tail.weight.detach().reshape(3, -1, *tail.weight.shape[1:])
    bias = colours @ tail.bias.detach().reshape(3, -1) + mean.bias.detach()[:, None]
    mixed = torch.einsum("dc,cpihw->dpihw", colours, by_colour).flatten(0, 1)
    tail.weight = nn.Parameter((mixed / RANGE).contiguous())
    tail.bias = nn.Parameter(bias.flatten() / RANGE)
