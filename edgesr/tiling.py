"""Cut an image into tiles of one size, run a network on each, put the results together without seams.

A tile's input is its core plus a halo of real image around it. When the halo is at least the network's receptive
radius, the tiled result equals the untiled one; a fixed "tile pad" of 10 pixels, as is common, does not
(Real-ESRGAN issue 207).

Geometry, along each side, in pixels of the input: the image is padded on the right to a length that the network takes;
every tile has the same length and starts at a multiple of `multiple` (so that windows and pixel-unshuffle keep their
phase); tiles at the border shift inward instead of being padded; the starts are spread evenly, so there is no sliver.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesr.errors import ArtifactError, Unsupported
from edgesr.types import Size

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""A network: float32 (1, 3, h, w) RGB in [0, 1] to float32 (1, 3, scale*h, scale*w)."""

_BYTES_PER_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Box:
    """One tile: where its input starts in the padded image, and the core (end exclusive) that it answers for."""

    top: int
    left: int
    core_top: int
    core_left: int
    core_bottom: int
    core_right: int


@dataclass(frozen=True, slots=True)
class TilePlan:
    """How an image of `height` x `width` is cut; every tile is `tile_hw` at the network's input.

    The cores partition the image. `padded_hw` is the image after reflection to the right and bottom: the image itself
    unless it is smaller than the tile or no multiple of what the network needs.
    """

    height: int
    width: int
    scale: int
    halo_px: int
    tile_hw: Size
    padded_hw: Size
    boxes: tuple[Box, ...]

    @property
    def waste(self) -> float:
        """Computed pixels per needed pixel; 1.0 is perfect."""
        return len(self.boxes) * self.tile_hw[0] * self.tile_hw[1] / (self.height * self.width)


def plan_tiles(
    height: int,
    width: int,
    *,
    scale: int,
    halo_px: int,
    tile_hw: Size | None,
    min_side_px: int = 1,
    multiple: int = 1,
) -> TilePlan:
    """Plan for an image of `height` x `width`; `tile_hw` is the exact size of every tile, None is one tile for all.

    Sides of the network's input are at least `min_side_px` and multiples of `multiple`.
    A tile that is not smaller than the image gives a single tile (the image is padded up to it).
    Raises Unsupported when the tile does not suit the network or its halo leaves no core.
    """
    rule = _Rule(halo_px, min_side_px, multiple)
    if min(height, width, scale) < 1:
        raise ValueError(f"image {height}x{width} and scale {scale} must be positive")
    wanted = tile_hw if tile_hw is not None else (rule.padded(height), rule.padded(width))
    rows, cols = rule.spans(height, wanted[0]), rule.spans(width, wanted[1])
    boxes = tuple(
        Box(row.start, col.start, row.core_start, col.core_start, row.core_end, col.core_end)
        for row in rows
        for col in cols
    )
    padded_hw = (max(rule.padded(height), wanted[0]), max(rule.padded(width), wanted[1]))
    return TilePlan(height, width, scale, halo_px, wanted, padded_hw, boxes)


def tile_for_budget(
    height: int,
    width: int,
    *,
    bytes_per_pixel: float,
    budget_mb: float,
    halo_px: int,
    min_side_px: int = 1,
    multiple: int = 1,
) -> Size | None:
    """The tile (height, width) that computes the fewest pixels within a memory budget; None: the whole image fits.

    `bytes_per_pixel` is the peak memory of the network per input pixel; a MB is 10^6 bytes.
    Raises Unsupported when not even the smallest tile fits.
    """
    if min(height, width) < 1 or bytes_per_pixel <= 0:
        raise ValueError(f"image {height}x{width} and {bytes_per_pixel} bytes per pixel must be positive")
    rule = _Rule(halo_px, min_side_px, multiple)
    whole = rule.padded(height), rule.padded(width)
    area_px = int(max(budget_mb, 0) * _BYTES_PER_MB / bytes_per_pixel)
    if whole[0] * whole[1] <= area_px:
        return None
    tiles = [tile for tile in _even_tiles(rule, height, width, area_px) if tile[0] * tile[1] <= area_px]
    if not tiles:
        smallest = min(rule.smallest_tile(), whole[0]), min(rule.smallest_tile(), whole[1])
        needed_mb = smallest[0] * smallest[1] * bytes_per_pixel / _BYTES_PER_MB
        raise Unsupported(
            f"A memory budget of {budget_mb:g} MB is too small: the smallest tile, {smallest[0]}x{smallest[1]} "
            f"with a halo of {halo_px} px, needs {needed_mb:.3g} MB. Raise the budget or choose a smaller model."
        )

    def cost(tile: Size) -> tuple[int, int, int]:
        count = len(rule.spans(height, tile[0])) * len(rule.spans(width, tile[1]))
        return count * tile[0] * tile[1], count, max(tile)

    return min(tiles, key=cost)


def run_tiled(
    run: Run, image: NDArray[np.float32], plan: TilePlan, on_tile: Callable[[int, int], None] | None = None
) -> NDArray[np.float32]:
    """(1, 3, H, W) float32 RGB in [0, 1] to (1, 3, scale*H, scale*W), one tile at a time.

    `on_tile(done, total)` is called after every tile. Raises ArtifactError when an output has the wrong shape and
    ValueError when the image is not the one of the plan.
    """
    if image.shape != (1, 3, plan.height, plan.width):
        raise ValueError(f"the plan is for (1, 3, {plan.height}, {plan.width}), the image is {image.shape}")
    s, (tile_h, tile_w) = plan.scale, plan.tile_hw
    padded = _pad_to(image, plan.padded_hw)
    result = np.empty((1, 3, plan.height * s, plan.width * s), np.float32)
    for done, box in enumerate(plan.boxes, start=1):
        tile = padded[:, :, box.top : box.top + tile_h, box.left : box.left + tile_w]
        output = run(np.ascontiguousarray(tile))
        if output.shape != (1, 3, tile_h * s, tile_w * s):
            raise ArtifactError(
                f"The network answered a tile of {tile_h}x{tile_w} with the shape {output.shape}; for scale {s} it "
                f"must be (1, 3, {tile_h * s}, {tile_w * s}). Check the scale and the input size in the manifest."
            )
        result[:, :, box.core_top * s : box.core_bottom * s, box.core_left * s : box.core_right * s] = output[
            :,
            :,
            (box.core_top - box.top) * s : (box.core_bottom - box.top) * s,
            (box.core_left - box.left) * s : (box.core_right - box.left) * s,
        ]
        if on_tile is not None:
            on_tile(done, len(plan.boxes))
    return result


@dataclass(frozen=True, slots=True)
class _Span:
    """A tile along one side: start of the input, and the core."""

    start: int
    core_start: int
    core_end: int


@dataclass(frozen=True, slots=True)
class _Rule:
    """What the network asks of a side, and the arithmetic of cutting one."""

    halo_px: int
    min_side_px: int
    multiple: int

    def __post_init__(self) -> None:
        if self.halo_px < 0 or self.min_side_px < 1 or self.multiple < 1:
            raise ValueError(f"halo must be >= 0, minimum side and multiple >= 1: {self}")

    def _up(self, px: int) -> int:
        return math.ceil(px / self.multiple) * self.multiple

    def padded(self, side: int) -> int:
        """The shortest length that the network takes and that holds `side`."""
        return self._up(max(side, self.min_side_px))

    def smallest_tile(self) -> int:
        """One step of core between two halos."""
        return max(self.padded(1), self._up(2 * self.halo_px) + self.multiple)

    def tile_for_count(self, side: int, count: int) -> int:
        """The shortest tile with which at most `count` tiles cover a side."""
        if count == 1:
            return self.padded(side)
        steps, halo_steps = self.padded(side) // self.multiple, self._up(2 * self.halo_px) // self.multiple
        tile = math.ceil((steps + (count - 1) * halo_steps) / count) * self.multiple
        return min(max(tile, self.smallest_tile()), self.padded(side))

    def spans(self, side: int, tile: int) -> list[_Span]:
        """Tiles of length `tile` whose cores partition [0, side); raises Unsupported when there is no such cut."""
        if tile < self.min_side_px or tile % self.multiple:
            raise Unsupported(
                f"A tile side of {tile} px does not suit the network: it must be at least {self.min_side_px} px and a "
                f"multiple of {self.multiple}. The nearest that fits is {self.padded(tile)} px."
            )
        length = self.padded(side)
        if tile >= length:
            return [_Span(0, 0, side)]
        stride = (tile - 2 * self.halo_px) // self.multiple
        if stride < 1:
            raise Unsupported(
                f"A tile side of {tile} px leaves nothing between two halos of {self.halo_px} px. "
                f"The smallest tile side for this network is {min(self.smallest_tile(), length)} px."
            )
        free = (length - tile) // self.multiple
        gaps = math.ceil(free / stride)
        starts = [i * free // gaps * self.multiple for i in range(gaps + 1)]
        # The border between two tiles lies in the middle of their overlap: both then have at least the halo.
        cuts = [0, *((a + b + tile) // 2 for a, b in itertools.pairwise(starts)), side]
        return [_Span(start, cuts[i], cuts[i + 1]) for i, start in enumerate(starts)]


def _even_tiles(rule: _Rule, height: int, width: int, area_px: int) -> list[Size]:
    """For every number of rows: the tile that needs the fewest columns within `area_px`."""
    tiles: dict[Size, None] = {}
    for rows in range(1, rule.padded(height) // rule.multiple + 1):
        tile_h = rule.tile_for_count(height, rows)
        widest = min(area_px // tile_h // rule.multiple * rule.multiple, rule.padded(width))
        if widest < min(rule.smallest_tile(), rule.padded(width)):
            continue
        columns = len(rule.spans(width, widest))
        tiles[tile_h, rule.tile_for_count(width, columns)] = None
        if tile_h <= rule.smallest_tile():
            break  # more rows would all have this height
    return list(tiles)


def _pad_to(image: NDArray[np.float32], hw: Size) -> NDArray[np.float32]:
    """Reflected to the right and bottom; a side of one pixel has nothing to reflect and is repeated."""
    for axis, length in ((2, hw[0]), (3, hw[1])):
        have = image.shape[axis]
        if have < length:
            widths = [(0, 0)] * 4
            widths[axis] = (0, length - have)
            image = np.pad(image, widths, mode="reflect" if have > 1 else "edge")
    return image
