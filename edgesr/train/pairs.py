"""High-resolution photos of a folder, each with its low-resolution partner."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesr.datasets import Pixels, images_in, read_rgb
from edgesr.errors import DataError, ImageError
from edgesr.resize import downscale

OnPhoto = Callable[[int, int], None]
"""Told after each photo: how many are done, of how many."""

OFFICIAL_FOLDERS = ("DIV2K_train_HR", "Flickr2K/Flickr2K_HR", "Flickr2K_HR")
"""Where the archives of DIV2K (Agustsson and Timofte, CVPRW 2017) and Flickr2K (Lim et al., CVPRW 2017) unpack to."""


@dataclass(frozen=True, slots=True)
class Pair:
    """uint8 RGB: `low` (h, w, 3) and `high` (s*h, s*w, 3)."""

    name: str
    low: Pixels
    high: Pixels


def photo_files(folder: Path) -> list[Path]:
    """The files to train on, in order: those of DIV2K and Flickr2K in their official layout (never their
    low-resolution or validation images), or else every image below `folder`. Raises DataError if there is none."""
    official = [folder / name for name in OFFICIAL_FOLDERS if (folder / name).is_dir()]
    return [file for place in official or [folder] for file in images_in(place)]


def pairs_of(
    files: list[Path], scale: int, patch_px: int, skip: Callable[[str], None], done: OnPhoto
) -> Iterator[Pair]:
    """Each photo that is large enough for a patch, with its MATLAB-bicubic partner.

    A file that is no readable image is left out; `skip` is told why. Raises DataError if that is so of every file.
    """
    broken: list[str] = []
    for index, file in enumerate(files):
        try:
            pair = _read_pair(file, scale)
        except ImageError as error:
            broken.append(str(error))
            skip(str(error))
            pair = None
        if pair is not None and min(pair.low.shape[:2]) >= patch_px:
            yield pair
        done(index + 1, len(files))
    if len(broken) == len(files):
        raise DataError(f"None of {len(files)} photos can be read. The first: {broken[0]}")


def _read_pair(file: Path, scale: int) -> Pair:
    high = read_rgb(file)
    height, width = (side // scale * scale for side in high.shape[:2])
    high = np.ascontiguousarray(high[:height, :width])
    return Pair(file.name, downscale(high, scale) if height and width else high, high)
