"""DITN, DITN-Tiny and DITN-Real: deployment-friendly inner-patch transformers.

Liu et al., "Unfolding Once is Enough: A Deployment-Friendly Transformer Unit for Super-Resolution", ACM MM 2023.
Tensors are float32 NCHW, RGB in [0, 1]; output sides are `scale` times the input sides. Sides that are no multiple of
8 are reflected to the right and bottom and the output is cropped, so both must be >= 5.
"""

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.models.eager import InPieces, faster
from edgesr.models.network import Network, cropped, padded, pointwise, swapped
from edgesr.models.windows import join_windows, split_windows

WINDOW = 8
EXPANSION = 2
WINDOWS_AT_ONCE = 64
"""In torch: a megabyte in a layer, as much as lies near a core."""
LAYER_NORM_EPS = 1e-5
NORMALIZE_EPS = 1e-12
"""Smallest length that a vector is divided by, as in torch.nn.functional.normalize."""

Norm = Literal["layer", "tanh"]

Linear = tuple[Tensor, Tensor]
"""(weight (C, C), bias (C,)) of a linear map between channels."""


@dataclass(frozen=True, slots=True)
class Config:
    """`units`: UFONEs. `norm`: "layer" (LayerNorm; DITN, DITN-Tiny) or "tanh" (1x1 after tanh, section 3.4; Real).

    `layers`: inner-patch transformer layers, and as many spatial-aware ones, in a unit.
    """

    units: int
    norm: Norm
    channels: int = 60
    layers: int = 4


class LayerNorm(nn.Module):
    """Over the channels of every pixel. The parameters lie in `body`, as in the official checkpoints."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.LayerNorm(channels, eps=LAYER_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.movedim(1, -1)).movedim(-1, 1)


class FeedForward(nn.Module):
    """1x1, depthwise 3x3, one half gated by GELU of the other, 1x1; no biases."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels * EXPANSION
        self.project_in = nn.Conv2d(channels, 2 * inner, 1, bias=False)
        self.dwconv = nn.Conv2d(2 * inner, 2 * inner, 3, padding=1, groups=2 * inner, bias=False)
        self.project_out = nn.Conv2d(inner, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.project_out(gated(self.dwconv(self.project_in(x))))


class InnerPatchAttention(nn.Module):
    """ISA (section 3.2): attention between the channels of one window, (N, C, 8, 8)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(1, 1, 1))
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project_out = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.qkv.weight[:, :, None, None]
        q, k, v = F.conv2d(x, kernel, self.qkv.bias).flatten(2).chunk(3, dim=1)
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(1, 2)
        attended = (scores * self.temperature).softmax(dim=-1) @ v
        return self.project_out(attended.view(x.shape))


class LargeDepthwise(nn.Conv2d):
    """Each channel by itself, in float32 where training on a CPU is under autocast.

    In bfloat16 and channels_last, oneDNN (torch 2.13) takes three to four times as long for the gradient, and gives the
    weights of a dilated one a wrong gradient on maps 32 px wide or more: some twice too large, and NaN or 1e35 now and
    then.
    """

    def __init__(self, channels: int, side: int, dilation: int) -> None:
        super().__init__(channels, channels, side, padding=side // 2 * dilation, dilation=dilation, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and x.device.type == "cpu" and torch.is_autocast_enabled("cpu")):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float())


class SpatialAwareAttention(nn.Module):
    """SDA (section 3.3): one half of the channels, seen through large depthwise kernels, weighs the other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.DConvs = nn.Sequential(
            LargeDepthwise(channels, 5, dilation=1),
            LargeDepthwise(channels, 7, dilation=3),
            nn.Conv2d(channels, channels, 1),
        )
        self.proj_first = nn.Sequential(nn.Conv2d(channels, 2 * channels, 1))
        self.proj_last = nn.Sequential(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        weights, values = self.proj_first(x).chunk(2, dim=1)
        return self.proj_last(self.DConvs(weights) * values) * self.scale


class Layer(nn.Module):
    """Attention, then feed-forward, each on a normalized input and added to it. `name`: the attention's in the keys."""

    def __init__(self, config: Config, name: str, attention: nn.Module) -> None:
        super().__init__()
        channels, norm = config.channels, config.norm
        if norm == "layer":
            self.norm1, self.norm2 = LayerNorm(channels), LayerNorm(channels)
        else:
            self.conv1, self.conv2 = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 1)
        self.norm, self.name = norm, name
        self.add_module(name, attention)
        self.ffn = FeedForward(channels)

    def attention(self) -> nn.Module:
        return self.get_submodule(self.name)

    def forward(self, x: Tensor) -> Tensor:
        if self.norm == "layer":
            x = x + self.attention()(self.norm1(x))
            return x + self.ffn(self.norm2(x))
        x = x + self.attention()(self.conv1(torch.tanh(x)))
        return x + self.ffn(self.conv2(torch.tanh(x)))


class Unit(nn.Module):
    """UFONE (section 3.1): unfolds into windows once, for all inner-patch layers; then layers on the whole map."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        channels, layers = config.channels, range(config.layers)
        self.ITLs = nn.Sequential(*(Layer(config, "attn", InnerPatchAttention(channels)) for _ in layers))
        self.SALs = nn.Sequential(*(Layer(config, "SDA", SpatialAwareAttention(channels)) for _ in layers))

    def forward(self, x: Tensor) -> Tensor:
        return self.SALs(join_windows(self.ITLs(split_windows(x, WINDOW)), WINDOW, x.shape))


class DITN(Network):
    """The form that is trained, with the state-dict keys of the official DITN-Real."""

    def __init__(self, config: Config, scale: int) -> None:
        super().__init__()
        self.scale, channels = scale, config.channels
        self.sft = nn.Conv2d(3, channels, 3, padding=1)
        self.UFONE = nn.Sequential(*(Unit(config) for _ in range(config.units)))
        self.conv_after_body = nn.Conv2d(channels, channels, 3, padding=1)
        self.upsample = nn.Sequential(nn.Conv2d(channels, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale))

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.sft(padded(x, WINDOW))
        deep = self.conv_after_body(self.UFONE(shallow))
        return cropped(self.upsample(deep + shallow), x, self.scale)

    def fold(self) -> "FoldedDITN":
        """An equal network that is faster on every runtime; shares no memory with this one."""
        return FoldedDITN(self).eval()


class Standardize(nn.Module):
    """LayerNorm over the channels without its weight and bias, (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        return centred * (centred.square().mean(1, keepdim=True) + LAYER_NORM_EPS).rsqrt()


class FoldedAttention(nn.Module):
    """ISA with 1x1 convolutions before and after; scores are divided by the lengths of queries and keys afterwards,
    which touches fewer values than dividing those first. The temperature is in the lengths of the queries.
    """

    def __init__(self, source: InnerPatchAttention, before: Linear) -> None:
        """`before`: the linear map in front of it."""
        super().__init__()
        self.queries, self.keys, self.values = _after(before, source.qkv.weight, source.qkv.bias, parts=3)
        self.out = copy.deepcopy(source.project_out)
        self.temperature = nn.Parameter(source.temperature.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part(x).flatten(2) for part in (self.queries, self.keys, self.values))
        return self.out(attended(q, k, v, self.temperature).view(x.shape))


class FoldedSpatialAttention(nn.Module):
    """SDA with the linear map in front of it and the scale behind it folded into its 1x1 convolutions."""

    def __init__(self, source: SpatialAwareAttention, before: Linear) -> None:
        super().__init__()
        first, last = source.proj_first[0], source.proj_last[0]
        assert isinstance(first, nn.Conv2d)
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        to_weights, self.values = _after(before, first.weight.flatten(1), first.bias, parts=2)
        self.weights = nn.Sequential(to_weights, *copy.deepcopy(source.DConvs))
        scale = source.scale.detach().flatten()
        self.last = pointwise(scale[:, None] * last.weight.detach().flatten(1), scale * last.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.weights(x) * self.values(x))


class FoldedFeedForward(nn.Module):
    """Its two halves as convolutions of their own."""

    def __init__(self, source: FeedForward, before: Linear) -> None:
        super().__init__()
        gate, values = _after(before, source.project_in.weight.flatten(1), None, parts=2)
        depthwise = _halves(source.dwconv)
        self.gate = nn.Sequential(gate, depthwise[0], nn.GELU())
        self.values = nn.Sequential(values, depthwise[1])
        self.project_out = copy.deepcopy(source.project_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.project_out(self.values(x) * self.gate(x))


class FoldedLayer(nn.Module):
    def __init__(self, source: Layer) -> None:
        super().__init__()
        self.normalize = nn.Tanh() if source.norm == "tanh" else Standardize()
        first, second = (_linear(getattr(source, name)) for name in _normalizers(source))
        attention = source.attention()
        self.attention: nn.Module
        if isinstance(attention, InnerPatchAttention):
            self.attention = FoldedAttention(attention, first)
        else:
            assert isinstance(attention, SpatialAwareAttention)
            self.attention = FoldedSpatialAttention(attention, first)
        self.ffn = FoldedFeedForward(source.ffn, second)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.normalize(x))
        return x + self.ffn(self.normalize(x))


class FoldedDITN(nn.Module):
    """Inference form: every linear map between two others is folded into one of them, and no convolution writes what
    is cut in parts afterwards (`make bench` compares)."""

    def __init__(self, source: DITN) -> None:
        super().__init__()
        self.scale = source.scale
        self.head, self.upsample = copy.deepcopy(source.sft), copy.deepcopy(source.upsample)
        units = [unit for unit in source.UFONE if isinstance(unit, Unit)]
        self.inner = nn.ModuleList(_folded(unit.ITLs) for unit in units)
        self.outer = nn.ModuleList(_folded(unit.SALs) for unit in units)
        self.tail = copy.deepcopy(source.conv_after_body)

    def forward(self, x: Tensor) -> Tensor:
        deep = shallow = self.head(padded(x, WINDOW))
        for inner, outer in zip(self.inner, self.outer, strict=True):
            deep = outer(join_windows(inner(split_windows(deep, WINDOW)), WINDOW, shallow.shape))
        return cropped(self.upsample(self.tail(deep) + shallow), x, self.scale)

    def for_torch(self) -> "FoldedDITN":
        """An equal network that torch itself runs faster; shares no memory with this one."""
        made = swapped(self, nn.Conv2d, faster)
        assert isinstance(made, FoldedDITN)
        for layers in (made.inner, made.outer):
            for index, unit in enumerate(layers):
                layers[index] = InPieces(unit, WINDOWS_AT_ONCE)
        return made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def forms(config: Config, scale: int) -> dict[str, Network]:
    """The forms in which a checkpoint of this family may come; each has `fold()`."""
    return {"train": DITN(config, scale)}


def begun_with(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights that a network with tanh begins with, from those of the same network with LayerNorm (section 3.4).

    The 1x1 behind tanh gets LayerNorm's own linear map: its weight on the diagonal, its bias. Everything else is taken
    as it is. This is where training begins, not an equal network: tanh neither centres a pixel nor scales it.
    """
    begun = {}
    for name, tensor in state.items():
        place, is_norm, kind = name.partition(".body.")
        if is_norm:
            conv = place.replace(".norm", ".conv")
            begun[f"{conv}.{kind}"] = torch.diag(tensor)[:, :, None, None] if kind == "weight" else tensor.clone()
        else:
            begun[name] = tensor.clone()
    return begun


def gated(x: Tensor) -> Tensor:
    """(N, 2C, H, W) -> (N, C, H, W)"""
    gate, values = x.chunk(2, dim=1)
    return F.gelu(gate) * values


def attended(q: Tensor, k: Tensor, v: Tensor, temperature: Tensor) -> Tensor:
    """Attention between channels by the angle of queries and keys, each (N, C, L) -> (N, C, L)."""
    scores = (q @ k.transpose(1, 2)) * (_inverse_length(q) * temperature) * _inverse_length(k).transpose(1, 2)
    return scores.softmax(dim=-1) @ v


def _inverse_length(x: Tensor) -> Tensor:
    """(N, C, L) -> (N, C, 1)"""
    return x.square().sum(-1, keepdim=True).clamp(min=NORMALIZE_EPS**2).rsqrt()


def _folded(layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*(FoldedLayer(layer) for layer in layers.children() if isinstance(layer, Layer)))


def _normalizers(layer: Layer) -> tuple[str, str]:
    return ("norm1", "norm2") if layer.norm == "layer" else ("conv1", "conv2")


def _linear(source: nn.Module) -> Linear:
    """What follows the normalisation itself."""
    if isinstance(source, LayerNorm):
        return torch.diag(source.body.weight.detach()), source.body.bias.detach()
    assert isinstance(source, nn.Conv2d)
    assert source.bias is not None
    return source.weight.detach().flatten(1), source.bias.detach()


def _after(before: Linear, weight: Tensor, bias: Tensor | None, parts: int) -> list[nn.Conv2d]:
    """weight @ before(x) + bias as 1x1 convolutions of x, one for each of equal `parts` of its rows; in float64."""
    inner, offset = (tensor.double() for tensor in before)
    outer = weight.detach().double()
    shifted = outer @ offset + (0 if bias is None else bias.detach().double())
    rows = zip((outer @ inner).float().chunk(parts), shifted.float().chunk(parts), strict=True)
    return [pointwise(*each) for each in rows]


def _halves(conv: nn.Conv2d) -> list[nn.Conv2d]:
    """A depthwise convolution without bias as one for each half of the channels."""
    halves = []
    for weight in conv.weight.detach().chunk(2):
        channels, side = len(weight), weight.shape[2]
        half = nn.Conv2d(channels, channels, side, padding=side // 2, groups=channels, bias=False)
        half.weight = nn.Parameter(weight.clone())
        halves.append(half)
    return halves
