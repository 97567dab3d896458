"""HAT-S, HAT and HAT-L: hybrid attention transformers.

Chen et al., "Activating More Pixels in Image Super-Resolution Transformer", CVPR 2023.
Tensors are float32 NCHW, RGB in [0, 1]; output sides are `scale` times the input sides. Sides that are no multiple of
16 are reflected to the right and bottom and the output is cropped, so both must be >= 9.

Inside, maps are (N, H, W, C) and windows (N * windows, positions, C).
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.models.network import DIV2K_MEAN, Network, cropped, padded
from edgesr.models.windows import rolled

WINDOW = 16
SHIFT = WINDOW // 2
OVERLAP = WINDOW // 2
"""A window of the overlapping attention is so much longer than its queries' window, half of it on each side."""
RECONSTRUCTION = 64
"""Channels between the trunk and the pixels."""
CONV_SCALE = 0.01
MASK = -100.0
"""Added to the score of positions that only the cyclic shift made neighbours."""


@dataclass(frozen=True, slots=True)
class Config:
    """`depths`: attention blocks in each group. `compress`: how much narrower the inner maps of the channel attention
    block are; `squeeze`: how much narrower its attention is."""

    channels: int
    depths: tuple[int, ...]
    heads: int = 6
    expansion: int = 2
    compress: int = 3
    squeeze: int = 30


def window_index() -> Tensor:
    """Row of the bias table for every pair of positions in a window, int64 (256, 256)."""
    return _pair_index(WINDOW, 1 - WINDOW, -1)


def overlap_index() -> Tensor:
    """The same for positions of a window and of the overlapping one around it, (256, 576).

    Some are negative and count from the table's end, as in the official network.
    """
    return _pair_index(WINDOW + OVERLAP, OVERLAP - 1, 1)


def _pair_index(side: int, offset: int, sign: int) -> Tensor:
    """sign * (position in the larger window - position in the window) - offset, rows before columns."""
    inner, outer = torch.arange(WINDOW), torch.arange(side)
    apart = sign * (outer[None, :] - inner[:, None]) - offset
    rows, columns = apart[:, None, :, None], apart[None, :, None, :]
    return (rows * (WINDOW + side - 1) + columns).reshape(WINDOW**2, side**2)


class Attention(nn.Module):
    """Scores between windows' positions, with a bias by distance: what both kinds of attention share."""

    def __init__(self, config: Config, side: int) -> None:
        super().__init__()
        self.heads = config.heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((WINDOW + side - 1) ** 2, config.heads))
        self.qkv = nn.Linear(config.channels, 3 * config.channels)
        self.proj = nn.Linear(config.channels, config.channels)

    def bias(self, index: Tensor) -> Tensor:
        """(heads, positions of the queries, positions of the keys)"""
        return self.relative_position_bias_table[index].permute(2, 0, 1)


class WindowAttention(Attention):
    """W-MSA (section 3.2)."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, WINDOW)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """`x`: (N * windows, L, C); `mask`: (windows, L, L)."""
        q, k, v = (_by_head(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5 + self.bias(window_index().to(x.device))
        if mask is not None:
            scores = scores + mask[:, None].repeat(len(x) // len(mask), 1, 1, 1)
        return self.proj(_merge_heads(scores.softmax(dim=-1) @ v))


class ChannelAttention(nn.Module):
    """Weighs the channels by their means over the image."""

    def __init__(self, channels: int, squeeze: int) -> None:
        super().__init__()
        inner = channels // squeeze
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, inner, 1),
            nn.ReLU(),
            nn.Conv2d(inner, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.attention(x)


class ChannelAttentionBlock(nn.Module):
    """CAB (section 3.2)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        inner = config.channels // config.compress
        self.cab = nn.Sequential(
            nn.Conv2d(config.channels, inner, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(inner, config.channels, 3, padding=1),
            ChannelAttention(config.channels, config.squeeze),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.cab(x.movedim(-1, 1)).movedim(1, -1)


class Mlp(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        inner = config.expansion * config.channels
        self.fc1, self.fc2 = nn.Linear(config.channels, inner), nn.Linear(inner, config.channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class HybridBlock(nn.Module):
    """HAB (section 3.2): window attention and channel attention side by side, then a feed-forward."""

    def __init__(self, config: Config, *, shifted: bool) -> None:
        super().__init__()
        self.shift = SHIFT if shifted else 0
        self.norm1, self.norm2 = nn.LayerNorm(config.channels), nn.LayerNorm(config.channels)
        self.attn = WindowAttention(config)
        self.conv_block = ChannelAttentionBlock(config)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm1(x)
        mask = shift_mask(*x.shape[1:3]).to(x.device) if self.shift else None
        windows = self.attn(windows_of(rolled(normed, -self.shift, (1, 2)), WINDOW), mask)
        attended = rolled(map_of(windows, x), self.shift, (1, 2))
        x = x + attended + self.conv_block(normed) * CONV_SCALE
        return x + self.mlp(self.norm2(x))


class OverlapBlock(Attention):
    """OCAB (section 3.3): keys and values come from windows that reach into the neighbouring ones."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, WINDOW + OVERLAP)
        self.norm1, self.norm2 = nn.LayerNorm(config.channels), nn.LayerNorm(config.channels)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).chunk(3, dim=-1)
        q, k, v = (_by_head(part, self.heads) for part in (windows_of(q, WINDOW), overlapping(k), overlapping(v)))
        scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5 + self.bias(overlap_index().to(x.device))
        x = self.proj(map_of(_merge_heads(scores.softmax(dim=-1) @ v), x)) + x
        return x + self.mlp(self.norm2(x))


class Group(nn.Module):
    """The inside of RHAG."""

    def __init__(self, config: Config, depth: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(HybridBlock(config, shifted=index % 2 == 1) for index in range(depth)))
        self.overlap_attn = OverlapBlock(config)

    def forward(self, x: Tensor) -> Tensor:
        return self.overlap_attn(self.blocks(x))


class ResidualGroup(nn.Module):
    """RHAG (section 3.2)."""

    def __init__(self, config: Config, depth: int) -> None:
        super().__init__()
        self.residual_group = Group(config, depth)
        self.conv = nn.Conv2d(config.channels, config.channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.residual_group(x).movedim(-1, 1)).movedim(1, -1) + x


class PatchEmbed(nn.Module):
    """Holds the norm of the official key names."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)


class HAT(Network):
    """The form that is trained, with the state-dict keys of the official checkpoints."""

    def __init__(self, config: Config, scale: int) -> None:
        super().__init__()
        channels = config.channels
        self.scale = scale
        # In the checkpoints; computed here all the same, so that a file cannot change what they say.
        self.register_buffer("relative_position_index_SA", window_index())
        self.register_buffer("relative_position_index_OCA", overlap_index())
        self.conv_first = nn.Conv2d(3, channels, 3, padding=1)
        self.patch_embed = PatchEmbed(channels)
        self.layers = nn.Sequential(*(ResidualGroup(config, depth) for depth in config.depths))
        self.norm = nn.LayerNorm(channels)
        self.conv_after_body = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_before_upsample = nn.Sequential(nn.Conv2d(channels, RECONSTRUCTION, 3, padding=1), nn.LeakyReLU())
        self.upsample = nn.Sequential(*(layer for factor in _factors(scale) for layer in _upsampling(factor)))
        self.conv_last = nn.Conv2d(RECONSTRUCTION, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        mean = torch.tensor(DIV2K_MEAN, device=x.device, dtype=x.dtype)[:, None, None]
        shallow = self.conv_first(padded(x, WINDOW) - mean)
        deep = self.norm(self.layers(self.patch_embed.norm(shallow.movedim(1, -1)))).movedim(-1, 1)
        output = self.conv_last(self.upsample(self.conv_before_upsample(self.conv_after_body(deep) + shallow)))
        return cropped(output + mean, x, self.scale)

    def fold(self) -> "FoldedHAT":
        """An equal network that is faster on every runtime; shares no memory with this one."""
        return FoldedHAT(self).eval()


class FoldedAttention(nn.Module):
    """Attention with the scaling in the queries' weights and the bias by distance as a constant.

    The mask of shifted windows is four more channels of queries and keys: which quarter of the window each position
    belongs to. That is a thousandth of the mask's size, and no pass over the scores.
    """

    bias: Tensor

    def __init__(self, source: Attention, index: Tensor) -> None:
        super().__init__()
        self.heads = source.heads
        self.qkv, self.proj = copy.deepcopy(source.qkv), copy.deepcopy(source.proj)
        channels = self.qkv.in_features
        with torch.no_grad():
            for parameter in (self.qkv.weight, self.qkv.bias):
                parameter[:channels] *= (channels / self.heads) ** -0.5
        self.register_buffer("bias", source.bias(index).detach().contiguous())

    def attend(self, q: Tensor, k: Tensor, v: Tensor, marks: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Windows (N * windows, L, C) in and out; `marks`: of queries and keys, as `shift_marks` makes them."""
        q, k, v = (_by_head(part, self.heads) for part in (q, k, v))
        if marks is not None:
            q, k = (
                torch.cat([part, mark.expand(-1, self.heads, -1, -1)], dim=-1)
                for part, mark in zip((q, k), marks, strict=True)
            )
        scores = q @ k.transpose(-2, -1) + self.bias
        return self.proj(_merge_heads(scores.softmax(dim=-1) @ v))


class FoldedHybridBlock(nn.Module):
    """The weight of the channel attention's branch is folded into its second convolution."""

    def __init__(self, source: HybridBlock) -> None:
        super().__init__()
        self.shift = source.shift
        self.norm1, self.norm2, self.mlp = (copy.deepcopy(each) for each in (source.norm1, source.norm2, source.mlp))
        self.attention = FoldedAttention(source.attn, window_index())
        self.branch = copy.deepcopy(source.conv_block)
        last, weigh = self.branch.cab[2], self.branch.cab[3]
        assert isinstance(last, nn.Conv2d)
        assert isinstance(weigh, ChannelAttention)
        _scale(last, CONV_SCALE)
        squeeze = weigh.attention[1]
        assert isinstance(squeeze, nn.Conv2d)
        squeeze.weight = nn.Parameter(squeeze.weight.detach() / CONV_SCALE)

    def forward(self, x: Tensor, marks: tuple[Tensor, Tensor]) -> Tensor:
        normed = self.norm1(x)
        q, k, v = self.attention.qkv(windows_of(rolled(normed, -self.shift, (1, 2)), WINDOW)).chunk(3, dim=-1)
        windows = self.attention.attend(q, k, v, marks if self.shift else None)
        x = x + rolled(map_of(windows, x), self.shift, (1, 2)) + self.branch(normed)
        return x + self.mlp(self.norm2(x))


class FoldedOverlapBlock(nn.Module):
    def __init__(self, source: OverlapBlock) -> None:
        super().__init__()
        self.norm1, self.norm2, self.mlp = (copy.deepcopy(each) for each in (source.norm1, source.norm2, source.mlp))
        self.attention = FoldedAttention(source, overlap_index())

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.attention.qkv(self.norm1(x)).chunk(3, dim=-1)
        x = map_of(self.attention.attend(windows_of(q, WINDOW), overlapping(k), overlapping(v)), x) + x
        return x + self.mlp(self.norm2(x))


class FoldedGroup(nn.Module):
    def __init__(self, source: ResidualGroup) -> None:
        super().__init__()
        blocks = source.residual_group.blocks
        self.blocks = nn.ModuleList(FoldedHybridBlock(block) for block in blocks if isinstance(block, HybridBlock))
        self.overlap = FoldedOverlapBlock(source.residual_group.overlap_attn)
        self.conv = copy.deepcopy(source.conv)

    def forward(self, x: Tensor, marks: tuple[Tensor, Tensor]) -> Tensor:
        deep = x
        for block in self.blocks:
            deep = block(deep, marks)
        return self.conv(self.overlap(deep).movedim(-1, 1)).movedim(1, -1) + x


class FoldedHAT(nn.Module):
    """Inference form. What depends on the size alone is made for one size by `at`, or in every call."""

    mean: Tensor

    def __init__(self, source: HAT) -> None:
        super().__init__()
        self.scale = source.scale
        self.register_buffer("mean", torch.tensor(DIV2K_MEAN)[:, None, None])
        self.head, self.patch_norm = copy.deepcopy(source.conv_first), copy.deepcopy(source.patch_embed.norm)
        self.groups = nn.ModuleList(FoldedGroup(group) for group in source.layers if isinstance(group, ResidualGroup))
        self.norm, self.tail = copy.deepcopy(source.norm), copy.deepcopy(source.conv_after_body)
        self.reconstruct = nn.Sequential(
            *(copy.deepcopy(each) for each in (source.conv_before_upsample, source.upsample, source.conv_last))
        )
        last = self.reconstruct[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        last.bias = nn.Parameter(last.bias.detach() + torch.tensor(DIV2K_MEAN))

    def forward(self, x: Tensor) -> Tensor:
        full = padded(x, WINDOW)
        queries, keys = (mark.to(x).repeat(len(x), 1, 1, 1) for mark in shift_marks(*full.shape[2:]))
        return cropped(self.run(full, (queries, keys)), x, self.scale)

    def run(self, x: Tensor, marks: tuple[Tensor, Tensor]) -> Tensor:
        """`x`: sides are multiples of 16; `marks`: as `shift_marks` makes them for its size, for every image."""
        shallow = self.head(x - self.mean)
        deep = self.patch_norm(shallow.movedim(1, -1))
        for group in self.groups:
            deep = group(deep, marks)
        return self.reconstruct(self.tail(self.norm(deep).movedim(-1, 1)) + shallow)

    def at(self, height: int, width: int) -> nn.Module:
        """This network for inputs of exactly this size, multiples of 16."""
        return HATOfSize(self, height, width)


class HATOfSize(nn.Module):
    """Shares the weights of `network`."""

    queries: Tensor
    keys: Tensor

    def __init__(self, network: FoldedHAT, height: int, width: int) -> None:
        super().__init__()
        self.network = network
        queries, keys = shift_marks(height, width)
        self.register_buffer("queries", queries)
        self.register_buffer("keys", keys)

    def forward(self, x: Tensor) -> Tensor:
        return self.network.run(x, (self.queries, self.keys))


def forms(config: Config, scale: int) -> dict[str, Network]:
    """The forms in which a checkpoint of this family may come; each has `fold()`."""
    return {"train": HAT(config, scale)}


def windows_of(x: Tensor, side: int) -> Tensor:
    """(N, H, W, C) -> (N * windows, side**2, C), row by row; H and W are multiples of `side`."""
    images, height, width, channels = x.shape
    return _by_window(x.reshape(-1, width, channels), images * height // side, width // side, side)


def _by_window(x: Tensor, rows: int, columns: int, side: int) -> Tensor:
    """What lies in `rows` x `columns` windows side by side, window by window; through at most four axes."""
    channels = x.shape[-1]
    x = x.reshape(rows, side, columns, side * channels).transpose(1, 2)
    return x.reshape(rows * columns, side**2, channels)


def map_of(windows: Tensor, like: Tensor) -> Tensor:
    """The inverse of `windows_of` with WINDOW; the map is as large as `like`, (N, H, W, C)."""
    images, height, width, channels = like.shape
    x = windows.reshape(images * height // WINDOW, width // WINDOW, WINDOW, WINDOW * channels).transpose(1, 2)
    return x.reshape(images, height, width, channels)


def overlapping(x: Tensor) -> Tensor:
    """Windows of 24 pixels around those of `windows_of`, zeros outside: (N, H, W, C) -> (N * windows, 576, C).

    Every one is its first 16 pixels and the first 8 of the next 16: slices and concatenations instead of im2col.
    """
    images, height, width, channels = x.shape
    side, margin = WINDOW + OVERLAP, OVERLAP // 2
    rows, columns = images * height // WINDOW, width // WINDOW
    x = F.pad(x, (0, 0, margin, WINDOW - margin, margin, WINDOW - margin))
    x = _overlapping_blocks(x, 1, height).reshape(rows * side, width + WINDOW, channels)
    return _by_window(_overlapping_blocks(x, 1, width), rows, columns, side)


def _overlapping_blocks(x: Tensor, axis: int, length: int) -> Tensor:
    """(windows, 24, rest) of `axis`, which is `length` and WINDOW pixels long; axes before it are more windows."""
    count, rest = x.shape[:axis].numel() * length // WINDOW, x.shape[axis + 1 :].numel()
    first, following = (x.narrow(axis, start, length).reshape(count, WINDOW, rest) for start in (0, WINDOW))
    return torch.cat([first, following.narrow(1, 0, OVERLAP)], dim=1)


def shift_quarters(height: int, width: int) -> Tensor:
    """Which of four parts every position of a shifted window belongs to, (windows, 256, 4) of 0 and 1.

    In the last row and column of windows, the cyclic shift brings pixels together that are no neighbours; inside all
    others everything is one part.
    """
    below, right = (_is_wrapped(side) for side in (height, width))
    part = 2 * below[:, None].long() + right[None, :].long()
    return windows_of(F.one_hot(part, 4)[None].float(), WINDOW)


def shift_marks(height: int, width: int) -> tuple[Tensor, Tensor]:
    """More channels for queries and keys whose product is the mask of shifted windows, each (windows, 1, 256, 4)."""
    quarters = shift_quarters(height, width)[:, None]
    return MASK * (1 - quarters), quarters


def shift_mask(height: int, width: int) -> Tensor:
    """0 within a part of a shifted window, MASK between parts, (windows, 256, 256)."""
    queries, keys = shift_marks(height, width)
    return (queries @ keys.transpose(2, 3))[:, 0]


def _is_wrapped(length: int) -> Tensor:
    """Which positions of a side came from its other end."""
    return torch.arange(length) >= length - SHIFT


def _by_head(x: Tensor, heads: int) -> Tensor:
    """(windows, L, C) -> (windows, heads, L, C / heads)"""
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads).transpose(1, 2)


def _merge_heads(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def _scale(conv: nn.Conv2d, factor: float) -> None:
    """Multiply what `conv` writes."""
    assert conv.bias is not None
    conv.weight = nn.Parameter(factor * conv.weight.detach())
    conv.bias = nn.Parameter(factor * conv.bias.detach())


def _factors(scale: int) -> tuple[int, ...]:
    """Of the pixel shuffles, one after the other."""
    return {2: (2,), 3: (3,), 4: (2, 2)}[scale]


def _upsampling(factor: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(RECONSTRUCTION, RECONSTRUCTION * factor**2, 3, padding=1), nn.PixelShuffle(factor)
