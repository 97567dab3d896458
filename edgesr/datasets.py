"""Image sets: found in their official layouts, or the small ones that are always there."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgesr.errors import DataError, MissingExtra
from edgesr.extras import require
from edgesr.resize import downscale

Pixels = npt.NDArray[np.uint8]
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
    """Files are read when iterated, so a large set needs little memory."""

    name: str
    members: tuple[tuple[Path | None, Path], ...]
    scale: int

    def __iter__(self) -> Iterator[EvalPair]:
        for low, high in self.members:
            pixels = read_rgb(high)
            yield EvalPair(high.stem, downscale(pixels, self.scale) if low is None else read_rgb(low), pixels)

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
    """Every set in `folder`: `SET/HR/*` with `SET/LRxN/*` or `SET/LR_bicubic/XN/*`, or a plain folder of HR images.

    Without low-resolution files they are made by MATLAB-style bicubic. Raises DataError if there is nothing.
    """
    _check_folder(folder)
    candidates = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    sets = [_set_in(path, scale) for path in candidates if (path / "HR").is_dir()]
    if not sets:
        files = _images_in(folder)
        sets = [EvalSet(folder.name, tuple((None, file) for file in files), scale)]
    sets = [found for found in sets if len(found)]
    if not sets:
        raise DataError(
            f"{folder} holds no images. Expected SET/HR/*.png (and SET/LRx{scale}/*), or a folder of images."
        )
    return sets


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
    low-resolution images; None: generated pictures, which are a poor substitute.
    """
    if folder is None:
        pictures = [downscale(picture, 2) for picture in generated_pictures(8, 256)]
        return CalibrationImages(tuple(pictures), "generated pictures", generated=True)
    _check_folder(folder)
    place = _official_low_resolution(folder, scale) or folder
    files = _images_in(place)
    if not files:
        raise DataError(f"{place} holds no images to calibrate on. Point --calib at low-resolution photos.")
    chosen = [files[index] for index in np.linspace(0, len(files) - 1, min(most, len(files))).astype(int)]
    return CalibrationImages(
        tuple(read_rgb(file) for file in chosen), f"{len(chosen)} images of {place.name}", generated=False
    )


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


def _images_in(folder: Path) -> list[Path]:
    from edgesr.images import expand_inputs

    return [file for file, _ in expand_inputs([folder])]


def _set_in(folder: Path, scale: int) -> EvalSet:
    highs = _images_in(folder / "HR")
    low_folders = (folder / f"LRx{scale}", folder / "LR_bicubic" / f"X{scale}")
    low_folder = next((path for path in low_folders if path.is_dir()), None)
    if low_folder is None:
        return EvalSet(folder.name, tuple((None, high) for high in highs), scale)
    lows = {path.stem.removesuffix(f"x{scale}"): path for path in _images_in(low_folder)}
    missing = [high.name for high in highs if high.stem not in lows]
    if missing:
        raise DataError(f"{low_folder} lacks the partner of {missing[0]} ({len(missing)} missing in all).")
    return EvalSet(folder.name, tuple((lows[high.stem], high) for high in highs), scale)


def _official_low_resolution(folder: Path, scale: int) -> Path | None:
    """DIV2K_train_LR_bicubic/X4 as unpacked from the official archives, under `folder` or `folder` itself."""
    names: Mapping[str, None] = dict.fromkeys(
        (f"DIV2K_train_LR_bicubic/X{scale}", f"DIV2K_train_LR_bicubic_X{scale}", f"X{scale}")
    )
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _crop(image: npt.NDArray[np.uint8], side: int) -> Pixels:
    """The centre of (H, W, 3), at most `side` pixels each way."""
    top, left = ((length - min(length, side)) // 2 for length in image.shape[:2])
    return np.ascontiguousarray(image[top : top + side, left : left + side])
