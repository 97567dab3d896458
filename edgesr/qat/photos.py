"""The low-resolution photos of a run: no ground truth is needed, the float network is the teacher."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesr.datasets import Pixels, fingerprint, images_in, low_resolution_folder, read_rgb
from edgesr.errors import DataError, ImageError
from edgesr.resize import downscale
from edgesr.train.photos import HELD_OUT_EVERY

OnPhoto = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class LowPhotos:
    """uint8 RGB (H, W, 3), both sides at least a patch. `held_out`: not learned from; none of a single photo.
    `fingerprint`: sha256 over all pixels. `skipped`: a sentence for each file that is no readable image."""

    train: tuple[Pixels, ...]
    held_out: tuple[Pixels, ...]
    fingerprint: str
    source: str
    skipped: tuple[str, ...] = ()


def low_photos(folder: Path, scale: int, patch_px: int, on_photo: OnPhoto) -> LowPhotos:
    """Those in `folder`: low-resolution photos, or DIV2K's at `scale`. Raises DataError if there is none."""
    place = low_resolution_folder(folder, scale)
    return _photos(place, images_in(place), lambda pixels: pixels, patch_px, on_photo)


def made_from_high(folder: Path, scale: int, patch_px: int, on_photo: OnPhoto) -> LowPhotos:
    """MATLAB-bicubic reductions of the high-resolution photos in `folder`. Raises DataError if there is none."""

    def reduced(pixels: Pixels) -> Pixels:
        height, width = (side // scale * scale for side in pixels.shape[:2])
        return downscale(np.ascontiguousarray(pixels[:height, :width]), scale)

    return _photos(folder, images_in(folder), reduced, patch_px, on_photo)


def _photos(
    place: Path, files: Sequence[Path], reduced: Callable[[Pixels], Pixels], patch_px: int, on_photo: OnPhoto
) -> LowPhotos:
    skipped: list[str] = []

    def readable() -> Iterator[Pixels]:
        for done, file in enumerate(files, start=1):
            try:
                pixels = read_rgb(file)
                yield _at_least(reduced(pixels), patch_px)
            except ImageError as error:
                skipped.append(str(error))
            on_photo(done, len(files))

    found = tuple(readable())
    if not found:
        raise DataError(f"None of {len(files)} photos in {place} can be read. The first: {skipped[0]}")
    held_out = found[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY] or found[1:][-1:]
    train = tuple(pixels for pixels in found if all(pixels is not other for other in held_out))
    return LowPhotos(train, held_out, fingerprint(found), f"{len(found)} photos of {place.name}", tuple(skipped))


def _at_least(pixels: Pixels, side_px: int) -> Pixels:
    """Mirrored at the right and below where a side is shorter."""
    missing = [(0, max(0, side_px - side)) for side in pixels.shape[:2]]
    return np.ascontiguousarray(np.pad(pixels, (*missing, (0, 0)), mode="symmetric"))
