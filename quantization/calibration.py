"""The pixels from which activation ranges are taken."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgesr.errors import DataError

Pixels = npt.NDArray[np.uint8]

FEWEST_IMAGES = 4
"""Fewer photos do not show the range of what a network meets: some tensor overflows on the next photo."""

SMALLEST_SIDE_PX = 32


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Low-resolution pixels, each uint8 (H, W, 3) RGB. `fingerprint`: SHA-256 over them and how they were chosen.

    photos: crops of photos. patches: synthetic extremes (black, white, primaries, gradients, stripes), which photos
    rarely reach.
    """

    photos: tuple[Pixels, ...]
    patches: tuple[Pixels, ...]
    fingerprint: str

    def at(self, height: int, width: int) -> "Calibration":
        """The same crops at exactly this size: cut, or mirrored at the right and below."""
        photos, patches = (
            tuple(_sized(crop, height, width) for crop in crops) for crops in (self.photos, self.patches)
        )
        return replace(self, photos=photos, patches=patches)


def from_images(images: Sequence[Pixels], *, count: int = 32, side_px: int = 96, seed: int = 0) -> Calibration:
    """Choose `count` crops of `side_px` squared from low-resolution photos, each uint8 (H, W, 3) RGB.

    Every image is used at least once. A side shorter than `side_px` is taken whole.
    Raises DataError for too few, too small or constant images.
    """
    _check(images)
    random = np.random.default_rng(seed)
    chosen = (images[index % len(images)] for index in range(max(count, len(images))))
    photos = tuple(_crop(image, side_px, random) for image in chosen)
    patches = tuple(_patches(side_px))
    digest = hashlib.sha256(json.dumps({"count": count, "side_px": side_px, "seed": seed}, sort_keys=True).encode())
    for crop in (*photos, *patches):
        digest.update(repr(crop.shape).encode() + crop.tobytes())
    return Calibration(photos, patches, digest.hexdigest())


def _check(images: Sequence[Pixels]) -> None:
    for image in images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise DataError(f"Calibration images must be uint8 (height, width, 3); found {image.dtype} {image.shape}.")
        if min(image.shape[:2]) < SMALLEST_SIDE_PX:
            raise DataError(
                f"Calibration images must be at least {SMALLEST_SIDE_PX} px on each side; found "
                f"{image.shape[0]}x{image.shape[1]}. Give low-resolution photos, not thumbnails."
            )
    useful = sum(1 for image in images if image.min() != image.max())
    if useful < FEWEST_IMAGES:
        raise DataError(
            f"Calibration needs at least {FEWEST_IMAGES} different photos; found {len(images)}, of which "
            f"{len(images) - useful} show a single value. Give low-resolution photos like those to be upscaled."
        )


def _crop(image: Pixels, side_px: int, random: np.random.Generator) -> Pixels:
    height, width = (min(side, side_px) for side in image.shape[:2])
    top = int(random.integers(image.shape[0] - height + 1))
    left = int(random.integers(image.shape[1] - width + 1))
    return np.ascontiguousarray(image[top : top + height, left : left + width])


def _sized(crop: Pixels, height: int, width: int) -> Pixels:
    missing = [(0, max(0, wanted - side)) for wanted, side in zip((height, width), crop.shape[:2], strict=True)]
    return np.ascontiguousarray(np.pad(crop, (*missing, (0, 0)), mode="symmetric")[:height, :width])


def _patches(side_px: int) -> list[Pixels]:
    colours = ((0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255))
    flat = [np.full((side_px, side_px, 3), colour, dtype=np.uint8) for colour in colours]
    ramp = np.linspace(0, 255, side_px).round().astype(np.uint8)
    grey = np.repeat(np.broadcast_to(ramp[None, :, None], (side_px, side_px, 1)), 3, axis=2)
    colour_wheel = np.stack(np.broadcast_arrays(ramp[None, :], ramp[:, None], ramp[None, ::-1]), axis=2)
    stripes = np.zeros((side_px, side_px, 3), dtype=np.uint8)
    stripes[:, np.arange(side_px) // 4 % 2 == 1] = 255
    return [*flat, np.ascontiguousarray(grey), colour_wheel, stripes]
