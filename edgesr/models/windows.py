"""Square windows of a feature map, and back."""

from collections.abc import Sequence

import torch
from torch import Tensor


def split_windows(x: Tensor, side: int) -> Tensor:
    """(N, C, H, W) -> (N * windows, C, side, side), row by row; H and W are multiples of `side`.

    For one image through five axes, more than which CoreML does not have.
    """
    images, channels, height, width = x.shape
    rows, columns = height // side, width // side
    if images == 1:
        parts = x.reshape(channels, rows, side, columns, side).permute(1, 3, 0, 2, 4)
    else:
        parts = x.reshape(images, channels, rows, side, columns, side).permute(0, 2, 4, 1, 3, 5)
    return parts.reshape(images * rows * columns, channels, side, side)


def join_windows(x: Tensor, side: int, shape: Sequence[int]) -> Tensor:
    """The inverse of `split_windows`; `shape`: that of the map, (N, C, H, W)."""
    images, channels, height, width = shape
    rows, columns = height // side, width // side
    if images == 1:
        parts = x.reshape(rows, columns, channels, side, side).permute(2, 0, 3, 1, 4)
    else:
        parts = x.reshape(images, rows, columns, channels, side, side).permute(0, 3, 1, 4, 2, 5)
    return parts.reshape(images, channels, height, width)


def rolled(x: Tensor, by: int, axes: tuple[int, int] = (2, 3)) -> Tensor:
    """`x` moved down and right by `by` pixels along `axes` (negative: up and left), wrapping around.

    Slices and concatenations, which every runtime has.
    """
    for axis in axes if by else ():
        first = -by if by < 0 else x.shape[axis] - by
        x = torch.cat([x.narrow(axis, first, x.shape[axis] - first), x.narrow(axis, 0, first)], dim=axis)
    return x
