"""Observers: from the values of a tensor to its scale and zero point."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchao.quantization.pt2e.observer import ObserverBase

LEVELS = 255
SAMPLES = 8192
"""Values kept of one tensor that counts fully, evenly spaced."""
BINS = 2048
FRACTIONS = torch.linspace(0.1, 1.0, 19)
SMALLEST_SCALE = 1e-9

Activation = Callable[[Tensor], Tensor]


class ActivationObserver(ObserverBase):  # type: ignore[misc]
    """uint8 affine, one scale per tensor. Zero is always a level, because convolutions pad with it.

    search: clip the range where that lowers the mean squared error of `activation(rounded)` against
    `activation(value)` over a fixed subset of what was seen; else keep the whole range.
    """

    # The names that torchao reads.
    qscheme = torch.per_tensor_affine
    quant_min, quant_max = 0, LEVELS
    eps = torch.tensor([SMALLEST_SCALE])

    def __init__(
        self,
        dtype: torch.dtype = torch.uint8,
        *,
        search: bool = True,
        activation: Activation | None = None,
        **_: object,
    ) -> None:
        super().__init__(dtype=dtype)
        self.search, self.activation = search, activation
        self.lowest, self.highest = 0.0, 0.0
        self.seen: list[Tensor] = []
        self.weight = 1.0
        """How much the next tensors count in the search."""

    def forward(self, x: Tensor) -> Tensor:
        values = x.detach().flatten()
        low, high = torch.aminmax(values)
        self.lowest, self.highest = min(self.lowest, float(low)), max(self.highest, float(high))
        if self.search:
            step = max(1, int(len(values) / (SAMPLES * self.weight)))
            self.seen.append(values[::step].clone())
        return x

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """(scale (1,) float32, zero point (1,) int64)."""
        low, high = torch.tensor([self.lowest]), torch.tensor([self.highest])
        if self.search and self.highest > self.lowest:
            low, high = self._search(low, high)
        scale, zero_point = _affine(low, high)
        return scale, zero_point.to(torch.int64)

    def _search(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        counts = torch.histc(torch.cat(self.seen), BINS, self.lowest, self.highest)
        width = (self.highest - self.lowest) / BINS
        centres = self.lowest + width * (torch.arange(BINS) + 0.5)
        lows, highs = (grid.flatten() for grid in torch.meshgrid(low * FRACTIONS, high * FRACTIONS, indexing="ij"))
        scale, zero_point = _affine(lows, highs)
        levels = (centres / scale[:, None] + zero_point[:, None]).round().clamp(0, LEVELS)
        rounded = (levels - zero_point[:, None]) * scale[:, None]
        apply = self.activation or torch.nn.Identity()
        error = (counts * (apply(rounded) - apply(centres)).square()).sum(dim=1)
        best = int(error.argmin())
        return lows[best : best + 1], highs[best : best + 1]


COVERED = torch.cat([torch.linspace(0.1, 1.0, 19), torch.tensor([1.15, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0])])
"""Ends of a range that are tried, as parts of what photos reach."""
TOLERANCE, CHEAP = 0.1, 0.001
"""A range may add this part of the least error, and this much (in squared 8-bit levels), to hold more extremes."""


class SensitiveObserver(ObserverBase):  # type: ignore[misc]
    """uint8 affine, one scale per tensor: the range with the least error of the network's output, predicted.

    Seen in a forward and backward pass of (output . v), v random: the squared gradient of a value says how much an
    error there shows (edgesr.quantization.sensitivity). Photos decide; among ranges that are as good as the best for
    them, within TOLERANCE and CHEAP, the one wins that clips least of the extremes, which photos rarely reach.
    """

    qscheme = torch.per_tensor_affine
    quant_min, quant_max = 0, LEVELS
    eps = torch.tensor([SMALLEST_SCALE])

    def __init__(self, dtype: torch.dtype = torch.uint8, **_: object) -> None:
        super().__init__(dtype=dtype)
        self.photos: list[tuple[Tensor, Tensor]] = []
        self.extremes: list[tuple[Tensor, Tensor]] = []
        self.extreme = False
        """Whether the next tensors are of an extreme."""

    def forward(self, x: Tensor) -> Tensor:
        if not x.requires_grad:
            return x
        values, kept = x.detach(), self.extremes if self.extreme else self.photos
        # A view: what reads the tensor unrounded must not count.
        seen = x.view_as(x)
        hook: Any = seen.register_hook
        hook(lambda gradient: kept.append(_sampled(values, gradient)))
        return seen

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """(scale (1,) float32, zero point (1,) int64)."""
        values, weights = (torch.cat(parts) for parts in zip(*self.photos, strict=True))
        low, high = float(values.min().clamp(max=0)), float(values.max().clamp(min=0))
        lows, highs = (grid.flatten() for grid in torch.meshgrid(low * COVERED, high * COVERED, indexing="ij"))
        scale, zero_point = _affine(lows, highs)
        error = _clipped(values, weights, scale, zero_point) + weights.sum() * scale.double().square() / 12
        extremes = torch.zeros_like(error)
        if self.extremes:
            rare, rare_weights = (torch.cat(parts) for parts in zip(*self.extremes, strict=True))
            extremes = _clipped(rare, rare_weights, scale, zero_point)
        good = error <= error.min() * (1 + TOLERANCE) + CHEAP
        best = int(torch.where(good, error + extremes, torch.inf).argmin())
        return scale[best : best + 1], zero_point[best : best + 1].to(torch.int64)


def _sampled(values: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Some values, and the energy that an error of each stands for, in squared 8-bit levels at the output."""
    values, energy = values.flatten(), gradient.flatten().double().square() * 255**2
    step = max(1, len(values) // (4 * SAMPLES))
    kept = energy[::step]
    return values[::step].clone(), kept * (energy.sum() / kept.sum().clamp(min=1e-30))


def _clipped(values: Tensor, weights: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    """Error from values outside of each range, (ranges,) float64, over a histogram of BINS."""
    low, high = float(values.min()), float(values.max())
    width = max((high - low) / BINS, SMALLEST_SCALE)
    counts = torch.zeros(BINS, dtype=torch.float64)
    counts.index_add_(0, ((values - low) / width).long().clamp(0, BINS - 1), weights)
    centres = low + width * (torch.arange(BINS, dtype=torch.float64) + 0.5)
    bottom, top = (-zero_point * scale).double()[:, None], ((LEVELS - zero_point) * scale).double()[:, None]
    return (counts * ((centres - top).clamp(min=0) + (bottom - centres).clamp(min=0)).square()).sum(dim=1)


def _affine(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and zero point (as float, a whole number in 0..255) of ranges that contain zero."""
    scale = ((high - low) / LEVELS).clamp(min=SMALLEST_SCALE)
    return scale, (-low / scale).round().clamp(0, LEVELS)
