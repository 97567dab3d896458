"""Observers: from the values of a tensor to its scale and zero point."""

from collections.abc import Callable

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


def _affine(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and zero point (as float, a whole number in 0..255) of ranges that contain zero."""
    scale = ((high - low) / LEVELS).clamp(min=SMALLEST_SCALE)
    return scale, (-low / scale).round().clamp(0, LEVELS)
