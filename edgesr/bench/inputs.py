"""The images that are run while time is taken: crops of real ones, all different, never noise or zeros."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesr.bench.records import Inputs
from edgesr.types import Size

COUNT = 16
"""LoadGen rotates over a set of samples so that no cache holds them all."""

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Crops:
    """`pixels`: uint8 (count, H, W, 3)."""

    pixels: Pixels
    facts: Inputs


def crops(images: Sequence[Pixels], size: Size, source: str) -> Crops:
    """`COUNT` crops of exactly `size` from uint8 RGB (h, w, 3) images, at random places; seeded.

    Images smaller than `size` are mirrored at their right and lower borders until they are large enough.
    """
    if not images:
        raise ValueError("there is no image to cut from")
    random = np.random.default_rng(0)
    pixels = np.stack([_crop(images[index % len(images)], size, random) for index in range(COUNT)])
    digest = hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
    return Crops(pixels, Inputs(COUNT, source, digest))


def _crop(image: Pixels, size: Size, random: np.random.Generator) -> Pixels:
    missing = [max(0, wanted - length) for wanted, length in zip(size, image.shape[:2], strict=True)]
    image = np.pad(image, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric")
    top, left = (
        int(random.integers(length - wanted + 1)) for wanted, length in zip(size, image.shape[:2], strict=True)
    )
    return image[top : top + size[0], left : left + size[1]]
