"""Image sets: found in their official layouts, or the small ones that are always there."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from edgesr.errors import DataError, MissingExtra
from edgesr.extras import require
from edgesr.resize import downscale

Pixels = npt.NDArray[np.uint8]
T = TypeVar("T")
GENERATED_SEED = 20220510
SAMPLE_PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")
"""Photos that come with scikit-image."""


@dataclass(frozen=True, slots=True)
class EvalPair:
    """uint8 RGB: `low` (h, w, 3) and its ground truth `high`, at least (s*h - s, s*w - s, 3)."""

    name: str
    low: Pixels
    high: Pixels


@dataclass(frozen=True, slots=True)
class EvalSet:
    """Files are read when iterated, so a large set needs little memory. No two images have the same name: what shares
    its stem with another is named by its path below the folder that holds all."""

    name: str
    members: tuple[tuple[Path | None, Path], ...]
    scale: int

    def __iter__(self) -> Iterator[EvalPair]:
        names = _names([high for _, high in self.members])
        for name, (low, high) in zip(names, self.members, strict=True):
            pixels = read_rgb(high)
            yield EvalPair(name, _partner(pixels, high, low, self.scale), pixels)

    def __len__(self) -> int:
        return len(self.members)


@dataclass(frozen=True, slots=True)
class PhotoSet:
    """Pictures that need no folder: the samples of scikit-image, or generated ones."""

    name: str
    pairs: tuple[EvalPair, ...]

    def __iter__(self) -> Iterator[EvalPair]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)


@dataclass(frozen=True, slots=True)
class CalibrationImages:
    """Low-resolution uint8 RGB images to choose INT8 ranges on; `source` says in words where they came from."""

    images: tuple[Pixels, ...]
    source: str
    generated: bool


def eval_sets(folder: Path, scale: int) -> list[EvalSet]:
    """Every set in `folder`: `SET/HR/*` with `SET/LRxN/*` or `SET/LR_bicubic/XN/*`, DIV2K as unpacked from the
    official archives (`DIV2K_valid_HR`, `DIV2K_valid_LR_bicubic/XN`), or else a plain folder of HR images.

    Without low-resolution files they are made by MATLAB-style bicubic. Raises DataError if there is nothing.
    """
    _check_folder(folder)
    candidates = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    highs = [high for path in candidates for high in (path / "HR", *sorted(path.glob("?*_HR"))) if high.is_dir()]
    if highs:
        sets = [_set_of(high, scale) for high in highs]
        twice = [name for name, count in Counter(found.name for found in sets).items() if count > 1]
        if twice:
            raise DataError(f"{folder} holds several sets with the name {twice[0]}. Rename their folders.")
        return sets
    return [EvalSet(folder.resolve().name, tuple((None, file) for file in images_in(folder)), scale)]


def built_in_set(scale: int) -> PhotoSet:
    """Four sample photos of scikit-image where it is installed, else four generated pictures."""
    try:
        data = require("skimage.data", "demo")
        pictures = {name: _crop(np.asarray(getattr(data, name)()), 256) for name in SAMPLE_PHOTOS}
        name = "scikit-image"
    except MissingExtra:
        pictures = {f"generated-{index}": picture for index, picture in enumerate(generated_pictures(4, 256))}
        name = "generated"
    return PhotoSet(name, tuple(EvalPair(key, downscale(high, scale), high) for key, high in pictures.items()))


def calibration_images(folder: Path | None, scale: int, most: int = 64) -> CalibrationImages:
    """Low-resolution images for INT8 ranges.

    `folder`: DIV2K in its official layout (DIV2K_train_LR_bicubic/X4, at this scale), or any folder of
    low-resolution images; None: generated pictures, which are a poor substitute. At most `most`, evenly spread.
    """
    if folder is None:
        pictures = [downscale(picture, 2) for picture in generated_pictures(8, 256)]
        return CalibrationImages(tuple(pictures), "generated pictures", generated=True)
    place = low_resolution_folder(folder, scale)
    chosen = spread(images_in(place), most)
    return CalibrationImages(
        tuple(read_rgb(file) for file in chosen), f"{len(chosen)} images of {place.name}", generated=False
    )


def spread(sequence: Sequence[T], most: int) -> list[T]:
    """At most `most` of them, evenly."""
    return [sequence[index] for index in np.linspace(0, len(sequence) - 1, min(most, len(sequence))).astype(int)]


def low_resolution_folder(folder: Path, scale: int) -> Path:
    """DIV2K's low-resolution images at `scale` under `folder`, or `folder` itself. Raises DataError."""
    _check_folder(folder)
    return _official_low_resolution(folder, scale) or folder


def images_in(folder: Path) -> list[Path]:
    """Image files below `folder`, sorted; hidden ones are skipped. Raises DataError if there is none."""
    from edgesr.images import READ_SUFFIXES

    _check_folder(folder)
    found = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in READ_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not found:
        raise DataError(f"{folder} holds no images. Looked for: {', '.join(READ_SUFFIXES)} (hidden files are skipped).")
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def read_rgb(file: Path) -> Pixels:
    """(H, W, 3) uint8 RGB; alpha is dropped."""
    from edgesr.images import read_photo
    from edgesr.metrics import to_uint8

    return to_uint8(read_photo(file).rgb)


def fingerprint(images: tuple[Pixels, ...]) -> str:
    """sha256 over the pixels of all images and their shapes, in order."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(repr(image.shape).encode())
        digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()


def generated_pictures(count: int, side_px: int) -> list[Pixels]:
    """Dead leaves with texture and shading: the statistics of natural images, from a fixed seed and no file.

    Occluding discs with a power-law radius give the 1/f spectrum and the sharp edges of photographs (Lee, Mumford and
    Huang, "Occlusion models for natural images", 2001). uint8 RGB, (side_px, side_px, 3).
    """
    return [_dead_leaves(np.random.default_rng((GENERATED_SEED, index)), side_px) for index in range(count)]


def _dead_leaves(random: np.random.Generator, side: int, leaves: int = 1500) -> Pixels:
    canvas = np.full((side, side, 3), 0.5)
    smallest, largest = 3.0, side / 3
    for _ in range(leaves):
        # inverse of the cumulative distribution of a radius density ~ r^-3
        radius = (smallest**-2 - random.uniform() * (smallest**-2 - largest**-2)) ** -0.5
        _paint_leaf(canvas, radius, random)
    canvas += random.normal(0, 0.01, canvas.shape)
    return np.clip(np.floor(canvas * 255 + 0.5), 0, 255).astype(np.uint8)


def _paint_leaf(canvas: npt.NDArray[np.float64], radius: float, random: np.random.Generator) -> None:
    """A disc with a grey level, a little colour, a sine texture and a linear shade."""
    side = canvas.shape[0]
    centre = random.uniform(0, side, 2)
    colour = random.uniform(0, 1) + random.normal(0, 0.12, 3)
    angle, period = random.uniform(0, np.pi), random.uniform(3, 40)
    texture, shade = random.uniform(0, 0.12), random.uniform(-0.2, 0.2)
    (top, left), (bottom, right) = (np.clip(centre + sign * radius, 0, side).astype(int) for sign in (-1, 1))
    rows, columns = np.mgrid[top:bottom, left:right] - centre[:, None, None]
    wave = np.sin((np.cos(angle) * rows + np.sin(angle) * columns) * 2 * np.pi / period)
    leaf = colour + (texture * wave + shade * rows / radius)[..., None]
    inside = rows**2 + columns**2 < radius**2
    canvas[top:bottom, left:right][inside] = leaf[inside]


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder.")


def _names(files: Sequence[Path]) -> list[str]:
    """A name for each: its stem, or where another file has that stem too its path below their common folder."""
    stems = Counter(file.stem for file in files)
    common = Path(os.path.commonpath([file.parent for file in files])) if files else Path()
    return [file.stem if stems[file.stem] == 1 else file.relative_to(common).as_posix() for file in files]


def _set_of(high_folder: Path, scale: int) -> EvalSet:
    """`SET/HR` or `SET_HR` with its low-resolution partners, if there are any."""
    place, prefix = high_folder.parent, high_folder.name.removesuffix("HR")
    name = prefix.removesuffix("_") or place.resolve().name
    highs = images_in(high_folder)
    lows = [place / f"{prefix}{low}" for low in (f"LRx{scale}", f"LR_bicubic/X{scale}", f"LR_bicubic_X{scale}")]
    low_folder = next((path for path in lows if path.is_dir()), None)
    if low_folder is None:
        return EvalSet(name, tuple((None, high) for high in highs), scale)
    by_place = {_place(path, low_folder): path for path in images_in(low_folder)}
    places = [_place(high, high_folder) for high in highs]
    members = [(by_place.get(f"{at}x{scale}", by_place.get(at)), high) for at, high in zip(places, highs, strict=True)]
    missing = [high.name for low, high in members if low is None]
    if missing:
        raise DataError(f"{low_folder} lacks the partner of {missing[0]} ({len(missing)} missing in all).")
    return EvalSet(name, tuple(members), scale)


def _place(file: Path, folder: Path) -> str:
    """Below `folder`, without the suffix, which a partner may have another of."""
    return file.relative_to(folder).with_suffix("").as_posix()


def _partner(high: Pixels, high_file: Path, low_file: Path | None, scale: int) -> Pixels:
    """The low-resolution image of `high`: read and checked, or made."""
    if low_file is None:
        if min(high.shape[:2]) < scale:
            raise DataError(f"{high_file} is {high.shape[1]}x{high.shape[0]}: too small to shrink it by {scale}.")
        return downscale(high, scale)
    low = read_rgb(low_file)
    # HR sides are often cut further than x2 needs: to multiples of 4 or 12, so that one file serves every scale
    if any(abs(big - scale * small) > scale for big, small in zip(high.shape[:2], low.shape[:2], strict=True)):
        raise DataError(
            f"{low_file} is {low.shape[1]}x{low.shape[0]}: not a x{scale} partner of {high.shape[1]}x{high.shape[0]}."
        )
    return low


def _official_low_resolution(folder: Path, scale: int) -> Path | None:
    """DIV2K_train_LR_bicubic/X4 as unpacked from the official archives, under `folder` or `folder` itself."""
    names = ("DIV2K_train_LR_bicubic/X{}", "DIV2K_train_LR_bicubic_X{}", "X{}")
    for name in names:
        if (folder / name.format(scale)).is_dir():
            return folder / name.format(scale)
    found = [path for name in names for path in sorted(folder.glob(name.format("[0-9]"))) if path.is_dir()]
    if found:
        others = [path.relative_to(folder).as_posix() for path in found]
        raise DataError(f"{folder} holds no {names[0].format(scale)}, only {', '.join(others)}. Add it for x{scale}.")
    return None


def _crop(image: npt.NDArray[np.uint8], side: int) -> Pixels:
    """The centre of (H, W, 3), at most `side` pixels each way."""
    top, left = ((length - min(length, side)) // 2 for length in image.shape[:2])
    return np.ascontiguousarray(image[top : top + side, left : left + side])
