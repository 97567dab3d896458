"""High-resolution photos -> low/high-resolution patch pairs."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgesr.datasets import Pixels, images_in, read_rgb
from edgesr.errors import DataError
from edgesr.resize import downscale

HELD_OUT_EVERY = 20
"""One photo in twenty is kept out of training, to validate on."""


@dataclass(frozen=True, slots=True)
class Pair:
    """uint8 RGB: `low` (h, w, 3) and `high` (s*h, s*w, 3)."""

    name: str
    low: Pixels
    high: Pixels


@dataclass(frozen=True, slots=True)
class Photos:
    """`fingerprint` is the sha256 over all decoded pixels, in name order."""

    train: tuple[Pair, ...]
    held_out: tuple[Pair, ...]
    fingerprint: str


def load_photos(
    folder: Path, scale: int, patch_px: int, on_photo: Callable[[int, int], None] = lambda done, total: None
) -> Photos:
    """Decode every photo below `folder` and make its MATLAB-bicubic low-resolution partner.

    Raises DataError if the folder holds fewer than two photos that are large enough for a patch.
    """
    files = images_in(folder)
    digest, pairs = hashlib.sha256(), []
    for index, file in enumerate(files):
        pair = _read_pair(file, scale)
        if min(pair.low.shape[:2]) >= patch_px:
            digest.update(pair.high.tobytes())
            pairs.append(pair)
        on_photo(index + 1, len(files))
    if len(pairs) < 2:
        raise DataError(
            f"{folder} holds {len(files)} photos, of which {len(pairs)} are at least {patch_px * scale} px on "
            "both sides; training needs two or more. Point --data at a folder of high-resolution photos."
        )
    held_out = pairs[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY] or pairs[-1:]
    train = [pair for pair in pairs if all(pair is not other for other in held_out)]
    return Photos(tuple(train), tuple(held_out), digest.hexdigest())


def _read_pair(file: Path, scale: int) -> Pair:
    high = read_rgb(file)
    height, width = (side // scale * scale for side in high.shape[:2])
    high = np.ascontiguousarray(high[:height, :width])
    return Pair(file.name, downscale(high, scale) if height and width else high, high)


def random_batch(pairs: tuple[Pair, ...], patch_px: int, count: int, seed: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """`count` random patches, flipped and rotated: float32 NCHW in [0, 1], (low, high).

    Photos are drawn in proportion to their area. The result depends on `seed` alone, so step n of a resumed run sees
    what step n of an uninterrupted one would.
    """
    random = np.random.default_rng(seed)
    areas = np.array([pair.low.shape[0] * pair.low.shape[1] for pair in pairs], dtype=np.float64)
    lows, highs = [], []
    for index in random.choice(len(pairs), size=count, p=areas / areas.sum()):
        low, high = _random_crop(pairs[index], patch_px, random)
        lows.append(low)
        highs.append(high)
    return _to_tensor(lows), _to_tensor(highs)


def _random_crop(pair: Pair, patch_px: int, random: np.random.Generator) -> tuple[Pixels, Pixels]:
    scale = pair.high.shape[0] // pair.low.shape[0]
    top, left = (int(random.integers(side - patch_px + 1)) for side in pair.low.shape[:2])
    low = pair.low[top : top + patch_px, left : left + patch_px]
    high = pair.high[top * scale : (top + patch_px) * scale, left * scale : (left + patch_px) * scale]
    turns, flip = int(random.integers(4)), bool(random.integers(2))
    low, high = np.rot90(low, turns), np.rot90(high, turns)
    return (low[:, ::-1], high[:, ::-1]) if flip else (low, high)


def _to_tensor(images: list[Pixels]) -> Tensor:
    stacked = np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))
    return torch.from_numpy(stacked).float() / 255
