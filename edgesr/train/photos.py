"""Photos -> low/high-resolution patch pairs."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgesr.datasets import Pixels
from edgesr.errors import DataError, UsageError
from edgesr.train.degradation import real_world
from edgesr.train.pack import Pack, cropped_to, made_from_of, open_pack, write_pack
from edgesr.train.pairs import OnPhoto, Pair, pairs_of, photo_files

HELD_OUT_EVERY = 20
"""One photo in twenty is kept out of training, to validate on."""
ROOM = "Decoded photos take 3 bytes a pixel: make room there, or point --cache at another folder."


@dataclass(frozen=True, slots=True)
class Photos:
    """`fingerprint` is the sha256 over all decoded pixels, in name order. `skipped`: a sentence for each file that is
    no readable image."""

    train: tuple[Pair, ...]
    held_out: tuple[Pair, ...]
    fingerprint: str
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """uint8 NCHW RGB: `low` (n, 3, h, w) and `high` (n, 3, s*h, s*w)."""

    low: Tensor
    high: Tensor

    def both(self) -> tuple[Tensor, Tensor]:
        return self.low, self.high


def load_photos(
    source: Path,
    scale: int,
    patch_px: int,
    on_photo: OnPhoto = lambda done, total: None,
    cache: Path | None = None,
) -> Photos:
    """The photos in `source`: a folder, or a file of packed photos.

    `cache`: a folder in which those of a folder are kept decoded and mapped into memory, and made again when a file
    changed; in memory if None. Raises DataError if there are fewer than two photos that are large enough for a patch,
    OutputError if the cache cannot be written.
    """
    if source.is_file():
        return _split(source, open_pack(source, scale, on_photo), patch_px)
    files = photo_files(source)
    if cache is None:
        skipped: list[str] = []
        pairs = tuple(pairs_of(files, scale, patch_px, skipped.append, on_photo))
        return _split(source, Pack(scale, "", pairs, tuple(skipped)), patch_px, len(files))
    key = _key(source, files, scale, patch_px)
    file = cache / f"{hashlib.sha256(f'{source.resolve()} {scale} {patch_px}'.encode()).hexdigest()[:32]}.pack"
    if made_from_of(file) != key:
        skipped = []
        write_pack(file, pairs_of(files, scale, patch_px, skipped.append, on_photo), scale, key, skipped, ROOM)
    return _split(source, open_pack(file, scale), patch_px, len(files))


def pack_photos(
    source: Path, file: Path, scale: int, patch_px: int, limit_bytes: int | None, on_photo: OnPhoto
) -> tuple[str, ...]:
    """Write the photos in the folder `source` to `file`; return a sentence for each that was left out.

    `limit_bytes`: each photo is cut to a centre, so that the pixels take no more. Raises DataError, OutputError.
    """
    if source.is_file():
        raise UsageError(f"{source} is a file; give a folder of photos.")
    files, skipped = photo_files(source), list[str]()
    crop = None if limit_bytes is None else cropped_to(limit_bytes, scale, patch_px, len(files))
    pairs = (crop(pair) if crop else pair for pair in pairs_of(files, scale, patch_px, skipped.append, on_photo))
    made_from = _key(source, files, scale, patch_px)
    kept = _at_least_two(pairs, source, patch_px * scale)
    write_pack(file, kept, scale, made_from, skipped, "Make room, or choose another file.")
    return tuple(skipped)


def _at_least_two(pairs: Iterator[Pair], source: Path, least_px: int) -> Iterator[Pair]:
    count = 0
    for pair in pairs:
        count += 1
        yield pair
    if count < 2:
        raise _too_few(source, f"{count} photos", count, least_px)


def _key(source: Path, files: Sequence[Path], scale: int, patch_px: int) -> str:
    """Changes when a photo is added, removed, renamed or written again."""
    digest = hashlib.sha256(f"{scale} {patch_px}".encode())
    for file in files:
        facts = file.stat()
        digest.update(f"{file.relative_to(source).as_posix()} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _split(source: Path, pack: Pack, patch_px: int, files: int | None = None) -> Photos:
    """`files`: how many there were, of which the pack holds the readable ones that were large enough."""
    pairs = [pair for pair in pack.pairs if min(pair.low.shape[:2]) >= patch_px]
    if len(pairs) < 2:
        lost = f" ({len(pack.skipped)} unreadable, the first: {pack.skipped[0]})" if pack.skipped else ""
        total = len(pack.pairs) + len(pack.skipped) if files is None else files
        raise _too_few(source, f"{total} photos{lost}", len(pairs), patch_px * pack.scale)
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(np.ascontiguousarray(pair.high).data)
    held_out = pairs[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY] or pairs[-1:]
    train = [pair for pair in pairs if all(pair is not other for other in held_out)]
    return Photos(tuple(train), tuple(held_out), digest.hexdigest(), pack.skipped)


def _too_few(source: Path, photos: str, large: int, least_px: int) -> DataError:
    return DataError(
        f"{source} holds {photos}, of which {large} are at least {least_px} px on both sides; training needs two or "
        "more. Point --data at a folder of high-resolution photos."
    )


# ------------------------------------------------------------------------------------------------------------ patches


@dataclass(frozen=True, slots=True)
class _Crop:
    """Photo, upper left corner in its low-resolution pixels, quarter turns, mirrored or not."""

    photo: int
    top: int
    left: int
    turns: int
    flip: bool


def draw_batch(
    pairs: tuple[Pair, ...],
    patch_px: int,
    count: int,
    seed: tuple[int, int],
    degradation: str = "bicubic",
    share: slice = slice(None),
) -> Batch:
    """`count` random patches, flipped and rotated, of which those of `share` are cut.

    Photos are drawn in proportion to their area. The result depends on `seed` alone, so step n of a resumed run sees
    what step n of an uninterrupted one would, whoever draws it. `degradation` "real-world" makes `low` from `high`.
    """
    crops = list(enumerate(_crops(pairs, patch_px, count, seed)))[share]
    patches = [_cut(pairs[crop.photo], crop, patch_px) for _, crop in crops]
    if degradation == "real-world":
        randoms = [np.random.default_rng((*seed, index)) for index, _ in crops]
        scale = pairs[0].high.shape[0] // pairs[0].low.shape[0]
        patches = [(real_world(high, scale, random), high) for (_, high), random in zip(patches, randoms, strict=True)]
    low, high = zip(*patches, strict=True)
    return Batch(_to_tensor(low), _to_tensor(high))


def random_batch(
    pairs: tuple[Pair, ...], patch_px: int, count: int, seed: tuple[int, int], degradation: str = "bicubic"
) -> tuple[Tensor, Tensor]:
    """What `draw_batch` draws as float32 in [0, 1]: (low, high)."""
    batch = draw_batch(pairs, patch_px, count, seed, degradation)
    return batch.low.float() / 255, batch.high.float() / 255


def degraded(pairs: tuple[Pair, ...], seed: int) -> tuple[Pair, ...]:
    """The same photos with low-resolution partners of the "real-world" kind, by number and `seed` alone."""
    made = []
    for index, pair in enumerate(pairs):
        scale = pair.high.shape[0] // pair.low.shape[0]
        low = real_world(np.asarray(pair.high), scale, np.random.default_rng((seed, index)))
        made.append(Pair(pair.name, low, pair.high))
    return tuple(made)


def _crops(pairs: tuple[Pair, ...], patch_px: int, count: int, seed: tuple[int, int]) -> Iterator[_Crop]:
    random = np.random.default_rng(seed)
    areas = np.array([pair.low.shape[0] * pair.low.shape[1] for pair in pairs], dtype=np.float64)
    for photo in random.choice(len(pairs), size=count, p=areas / areas.sum()):
        top, left = (int(random.integers(side - patch_px + 1)) for side in pairs[photo].low.shape[:2])
        yield _Crop(int(photo), top, left, int(random.integers(4)), bool(random.integers(2)))


def _cut(pair: Pair, crop: _Crop, patch_px: int) -> tuple[Pixels, Pixels]:
    scale, top, left = pair.high.shape[0] // pair.low.shape[0], crop.top, crop.left
    low = pair.low[top : top + patch_px, left : left + patch_px]
    high = pair.high[top * scale : (top + patch_px) * scale, left * scale : (left + patch_px) * scale]
    low, high = np.rot90(low, crop.turns), np.rot90(high, crop.turns)
    return (low[:, ::-1], high[:, ::-1]) if crop.flip else (low, high)


def _to_tensor(images: tuple[Pixels, ...]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)))
