"""PlainUSR: a plain U-Net over channel prefixes, trained with reparameterizable blocks.

Wang et al., "PlainUSR: Chasing Faster ConvNet for Efficient Super-Resolution", ACCV 2024.
Tensors are float32 NCHW, RGB in [0, 1]; output sides are `scale` times the input sides. Both sides must be >= 7 where
local importance attention is used (it pools a 7x7 window).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.models.network import Network

SLOPE = 0.05


@dataclass(frozen=True, slots=True)
class Config:
    """`widths`: channels of the outer, middle and (if three) inner level. `attention`: width inside LIA, or None for
    the cheap attention of the two smallest networks. `convs`: 3x3 convolutions per block.
    """

    widths: tuple[int, ...]
    attention: int | None
    convs: int = 2


class RepMBConv(nn.Module):
    """Inverted residual that folds into one 3x3 convolution (section 3.2).

    expand 1x1 (x2); 3x3 over a border padded with the expand bias; adaptive channel rescaling; + skip; reduce 1x1;
    + skip. With `collapsed` it computes the folded kernel on the fly, differentiably: the same function at a
    quarter of the multiplications (Bhardwaj et al., "Collapsible Linear Blocks", 2022).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.expand_conv = nn.Conv2d(channels, 2 * channels, 1)
        self.fea_conv = nn.Conv2d(2 * channels, 2 * channels, 3)
        self.reduce_conv = nn.Conv2d(2 * channels, channels, 1)
        self.se = ChannelRescale(2 * channels)
        self.collapsed = False

    def forward(self, x: Tensor) -> Tensor:
        if self.collapsed:
            return F.conv2d(x, *self.collapse(), padding=1)
        wide = self.expand_conv(x)
        inner = F.pad(wide, (1, 1, 1, 1))
        border = F.pad(x.new_zeros(1, 1, *x.shape[2:]), (1, 1, 1, 1), value=1.0)
        inner = inner + border * _bias(self.expand_conv)[None, :, None, None]
        wide = self.se.factor() * self.fea_conv(inner) + wide
        return self.reduce_conv(wide) + x

    def collapse(self) -> tuple[Tensor, Tensor]:
        """Kernel (C, C, 3, 3) and bias (C,) of the equal 3x3 convolution with zero padding."""
        expand, reduce = self.expand_conv.weight[:, :, 0, 0], self.reduce_conv.weight[:, :, 0, 0]
        expand_bias, bias, reduce_bias = (_bias(conv) for conv in (self.expand_conv, self.fea_conv, self.reduce_conv))
        factor = self.se.factor().flatten()
        middle = self.fea_conv.weight * factor[:, None, None, None] + _identity(self.fea_conv.weight)
        kernel = torch.einsum("om,mnhw,ni->oihw", reduce, middle, expand)
        bias = middle.sum((2, 3)) @ expand_bias + bias * factor
        return kernel + _identity(kernel), reduce @ bias + reduce_bias


class ChannelRescale(nn.Module):
    """Adaptive channel rescaling: a factor per channel from a learned vector, independent of the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.tensor = nn.Parameter(torch.full((1, channels, 1, 1), 0.1))
        squeeze = nn.Linear(channels, channels // 4, bias=False)
        excite = nn.Linear(channels // 4, channels, bias=False)
        nn.init.ones_(squeeze.weight)
        nn.init.ones_(excite.weight)
        # Positions 1 and 3: the official checkpoints have reshaping layers at 0 and 5.
        self.se = nn.Sequential(nn.Flatten(), squeeze, nn.SiLU(), excite, nn.Sigmoid())

    def factor(self) -> Tensor:
        """(1, C, 1, 1), in (0, 1)."""
        return self.se(self.tensor)[:, :, None, None]


class PConv(nn.Module):
    """Rewrites channel 0 as a 1x1 convolution of all channels: the gate that the attention after it reads."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, 1)
        nn.init.constant_(self.conv.weight, 1 / channels)
        nn.init.zeros_(_bias(self.conv))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.conv(x), x[:, 1:]], dim=1)


class SoftPool(nn.Module):
    """Average of a 7x7 window weighted by exp of its own values, stride 3 (Stergiou et al., 2021)."""

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.exp(x)
        return _window_mean(weight * x) / _window_mean(weight)


class LocalImportanceAttention(nn.Module):
    """LIA (section 3.3): x * importance at low resolution, upsampled * gate from channel 0."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, inner, 1),
            SoftPool(),
            nn.Conv2d(inner, inner, 3, 2, 1),
            nn.Conv2d(inner, channels, 3, 1, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        importance = F.interpolate(self.body(x), x.shape[2:], mode="bilinear", align_corners=False)
        return x * importance * torch.sigmoid(x[:, :1])


class PlainAttention(nn.Module):
    """The cheap attention of PlainUSR-U and -T: full resolution, one 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x[:, :1]) * self.body(x)


class Block(nn.Module):
    """3x3 convolutions with LeakyReLU between them, then an attention (or none)."""

    def __init__(self, channels: int, convs: int, attention: nn.Module | None, *, train_form: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(convs):
            layers.append(RepMBConv(channels) if train_form else nn.Conv2d(channels, channels, 3, 1, 1))
            if index < convs - 1:
                layers.append(nn.LeakyReLU(SLOPE))
        if attention is not None:
            layers += [PConv(channels), attention] if train_form else [attention]
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)

    def load_folded(self, source: "Block") -> None:
        """Take the weights of the equal block in its training form."""
        folded = [layer for layer in source.body if not isinstance(layer, PConv)]
        for target, layer in zip(self.body, folded, strict=True):
            if isinstance(layer, RepMBConv):
                kernel, bias = layer.collapse()
                target.load_state_dict({"weight": kernel, "bias": bias})
            else:
                target.load_state_dict(layer.state_dict())
        for index, layer in enumerate(source.body):
            if isinstance(layer, PConv):
                _absorb_gate(self.body[index - 1], layer)


class PlainUSR(Network):
    """Both forms, with the state-dict keys of the official checkpoints.

    Level k rewrites the first `widths[k]` channels only; the last three channels of the head carry the image.
    """

    def __init__(self, config: Config, scale: int, *, train_form: bool) -> None:
        super().__init__()
        self.config, self.scale, self.train_form = config, scale, train_form
        outer, *inner = config.widths
        self.head = nn.Conv2d(3, outer + 3, 3, 1, 1)
        names = (
            ("block1", "block2", "blockm", "block3", "block4") if len(inner) == 2 else ("block1", "blockm", "block2")
        )
        self.down, self.middle, self.up = names[: len(inner)], names[len(inner)], names[len(inner) + 1 :]
        levels = (*config.widths, *reversed(config.widths[:-1]))
        for name, width in zip(names, levels, strict=True):
            self.add_module(name, Block(width, config.convs, self._attention(name, width), train_form=train_form))
        last = nn.Conv2d(outer + 3, 3 * scale**2, 3, 1, 1)
        self.tail = nn.Sequential(last, nn.PixelShuffle(scale))
        _start_as_identity(self.head, last, scale)

    def _attention(self, name: str, width: int) -> nn.Module | None:
        if self.config.attention is not None:
            return LocalImportanceAttention(width, self.config.attention)
        return PlainAttention(width) if name == "blockm" else None

    def forward(self, x: Tensor) -> Tensor:
        widths = self.config.widths
        active, image = self.head(x).split([widths[0], 3], dim=1)
        kept: list[Tensor] = []
        for name, width, narrower in zip(self.down, widths, widths[1:], strict=False):
            active, rest = self.get_submodule(name)(active).split([narrower, width - narrower], dim=1)
            kept.append(rest)
        active = self.get_submodule(self.middle)(active)
        for name in self.up:
            active = self.get_submodule(name)(torch.cat([active, kept.pop()], dim=1))
        return self.tail(torch.cat([active, image], dim=1))

    def collapse_in_training(self) -> None:
        """Train every RepMBConv through its folded kernel: same function, about a quarter of the work."""
        for module in self.modules():
            if isinstance(module, RepMBConv):
                module.collapsed = True

    @torch.no_grad()
    def fold(self) -> "PlainUSR":
        """The equal network with one 3x3 convolution per RepMBConv; shares no memory with this one."""
        folded = PlainUSR(self.config, self.scale, train_form=False)
        folded.head.load_state_dict(self.head.state_dict())
        folded.tail.load_state_dict(self.tail.state_dict())
        for name in (*self.down, self.middle, *self.up):
            target, source = folded.get_submodule(name), self.get_submodule(name)
            if self.train_form and isinstance(target, Block) and isinstance(source, Block):
                target.load_folded(source)
            else:
                target.load_state_dict(source.state_dict())
        return folded.eval()


def forms(config: Config, scale: int) -> dict[str, Network]:
    """The forms in which a checkpoint of this family may come; each has `fold()`."""
    return {
        "train": PlainUSR(config, scale, train_form=True),
        "deploy": PlainUSR(config, scale, train_form=False),
    }


def _window_mean(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 7, 3, count_include_pad=False)


@torch.no_grad()
def _start_as_identity(head: nn.Conv2d, tail: nn.Conv2d, scale: int) -> None:
    """An untrained network begins as nearest-neighbour upscaling plus noise."""
    area = scale**2
    for colour in range(3):
        head.weight[colour - 3, colour, 1, 1] += 1
        tail.weight[colour * area : (colour + 1) * area, colour - 3, 1, 1] += 1


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias


def _identity(kernel: Tensor) -> Tensor:
    """3x3 kernel (C, C, 3, 3) that passes its input through."""
    eye = torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device)
    return F.pad(eye[:, :, None, None], (1, 1, 1, 1))


def _absorb_gate(conv: nn.Module, gate: PConv) -> None:
    """Fold `gate` (1x1 to channel 0) into the 3x3 convolution before it."""
    assert isinstance(conv, nn.Conv2d)
    row, bias = gate.conv.weight[0, :, 0, 0], _bias(conv)
    gate_bias = row @ bias + _bias(gate.conv)
    conv.weight[0] = torch.einsum("o,oihw->ihw", row, conv.weight)
    bias[0] = gate_bias[0]
