"""Decoded photos in one file that is mapped into memory: read without decoding, shared between processes, and small to
carry along.

Layout: for each photo the uint8 RGB pixels of `high`, then of `low`; a JSON table; the table's place (8 bytes, little
endian); 8 bytes of signature. The table comes last so that writing needs the memory of one photo.
"""

import hashlib
import json
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgesr.datasets import Pixels
from edgesr.errors import DataError
from edgesr.train.pairs import OnPhoto, Pair
from edgesr.whole_file import write_whole

SIGNATURE = b"edgesrP1"
TRAILER = struct.Struct("<Q8s")
MAX_TABLE_BYTES = 64 * 2**20
"""Of a hundred thousand photos and more; a larger table is a mistake or an attack."""
_HASHED_AT_ONCE = 2**24
_AGAIN = "Make it again with `edgesr pack`, or delete it if it lies in the cache."

Side = Annotated[int, Field(strict=True, ge=1, le=2**16)]


class _Photo(BaseModel):
    """Sides of `high` in pixels, multiples of the scale."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    height: Side
    width: Side


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    scale: Annotated[int, Field(strict=True, ge=1, le=16)]
    made_from: str
    sha256: str
    skipped: tuple[str, ...]
    photos: tuple[_Photo, ...]


@dataclass(frozen=True, slots=True)
class Pack:
    """`made_from` tells what it was made of; `skipped`: why files were left out, a sentence each."""

    scale: int
    made_from: str
    pairs: tuple[Pair, ...]
    skipped: tuple[str, ...]


def write_pack(file: Path, pairs: Iterable[Pair], scale: int, made_from: str, skipped: list[str], advice: str) -> None:
    """Write `pairs` as they come; `skipped` is read after the last. Raises OutputError, and what `pairs` raises."""
    write_whole(file, lambda temporary: _write(temporary, pairs, scale, made_from, skipped), advice)


def _write(file: Path, pairs: Iterable[Pair], scale: int, made_from: str, skipped: list[str]) -> None:
    digest, photos = hashlib.sha256(), []
    with file.open("wb") as stream:
        for pair in pairs:
            for pixels in (pair.high, pair.low):
                content = np.ascontiguousarray(pixels).tobytes()
                digest.update(content)
                stream.write(content)
            photos.append(_Photo(name=pair.name, height=pair.high.shape[0], width=pair.high.shape[1]))
        place = stream.tell()
        table = _Table(
            scale=scale, made_from=made_from, sha256=digest.hexdigest(), skipped=tuple(skipped), photos=tuple(photos)
        )
        stream.write(table.model_dump_json().encode())
        stream.write(TRAILER.pack(place, SIGNATURE))


def made_from_of(file: Path) -> str | None:
    """What a pack says it was made from; None where there is no whole pack."""
    try:
        return _read_table(file)[0].made_from
    except DataError:
        return None


def open_pack(file: Path, scale: int, done: OnPhoto = lambda count, total: None) -> Pack:
    """Map `file` and check every byte against its sha256. Raises DataError for a damaged, cut or foreign file."""
    table, place = _read_table(file)
    if table.scale != scale:
        raise DataError(f"{file} holds photos for x{table.scale}, not x{scale}. Pack them again with --scale {scale}.")
    mapped = np.memmap(file, np.uint8, "r", shape=(place,)) if place else np.empty(0, np.uint8)
    digest = hashlib.sha256()
    for begin in range(0, place, _HASHED_AT_ONCE):
        digest.update(mapped[begin : begin + _HASHED_AT_ONCE].data)
        done(min(begin + _HASHED_AT_ONCE, place), place)
    if digest.hexdigest() != table.sha256:
        raise _damaged(file, "its pixels do not have the sha256 that it names")
    return Pack(scale, table.made_from, tuple(_views(table, mapped)), table.skipped)


def _views(table: _Table, mapped: Pixels) -> Iterator[Pair]:
    offset = 0
    for photo in table.photos:
        views = []
        for divisor in (1, table.scale):
            height, width = photo.height // divisor, photo.width // divisor
            views.append(mapped[offset : offset + height * width * 3].reshape(height, width, 3))
            offset += height * width * 3
        yield Pair(photo.name, low=views[1], high=views[0])


def _read_table(file: Path) -> tuple[_Table, int]:
    """The table, and how many bytes of pixels lie before it."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            place = _place(file, stream, size)
            stream.seek(place)
            content = stream.read(size - TRAILER.size - place)
    except OSError as error:
        raise DataError(f"Cannot read {file}: {error.strerror}. Check the path and its rights.") from error
    try:
        table = _Table.model_validate(json.loads(content))
    except (ValueError, RecursionError) as error:
        what = "its table is not valid" if isinstance(error, ValidationError) else "its table is no JSON"
        raise _damaged(file, what) from error
    if any(side % table.scale for photo in table.photos for side in (photo.height, photo.width)):
        raise _damaged(file, "sides are no multiples of its scale")
    if sum(_bytes_of(photo, table.scale) for photo in table.photos) != place:
        raise _damaged(file, "its table does not describe its pixels")
    return table, place


def _place(file: Path, stream: BinaryIO, size: int) -> int:
    if size < TRAILER.size:
        raise _damaged(file, f"it has {size} bytes")
    stream.seek(size - TRAILER.size)
    place, signature = TRAILER.unpack(stream.read(TRAILER.size))
    if signature != SIGNATURE:
        raise DataError(f"{file} is no file of packed photos. Give a folder of photos, or what `edgesr pack` wrote.")
    if not 0 <= size - TRAILER.size - place <= MAX_TABLE_BYTES:
        raise _damaged(file, "its table lies outside")
    return int(place)


def _bytes_of(photo: _Photo, scale: int) -> int:
    return 3 * (photo.height * photo.width + (photo.height // scale) * (photo.width // scale))


def _damaged(file: Path, why: str) -> DataError:
    return DataError(f"{file} is damaged: {why}. {_AGAIN}")


def cropped_to(limit_bytes: int, scale: int, patch_px: int, count: int) -> Callable[[Pair], Pair]:
    """Cut each of `count` pairs to a centre of equal size, so that all together have at most `limit_bytes`.

    Raises DataError where not one patch of each would be left.
    """
    low_px = int((limit_bytes / count / (3 * (1 + scale**2))) ** 0.5)
    if low_px < patch_px:
        least = count * patch_px**2 * 3 * (1 + scale**2) / 1e6
        raise DataError(
            f"{count} photos do not fit into {limit_bytes / 1e6:.1f} MB with a patch of {patch_px} px from each: that "
            f"takes {least:.1f} MB. Give a larger --limit-mb, fewer photos or a smaller --patch."
        )

    def crop(pair: Pair) -> Pair:
        starts = [max(0, side - low_px) // 2 for side in pair.low.shape[:2]]
        rows, columns = (slice(start, start + low_px) for start in starts)
        high = pair.high[rows.start * scale : rows.stop * scale, columns.start * scale : columns.stop * scale]
        return Pair(pair.name, pair.low[rows, columns], high)

    return crop
