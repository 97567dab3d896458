"""Files <-> arrays: what a photo is made of (colour, transparency, depth, profile, EXIF) survives the upscaling.

What cannot survive is never lost in silence: reading puts a sentence into `Photo.notes`, writing returns sentences
or refuses.
"""

import io
import os
import secrets
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from edgesr.decoding import EXIF_IFD, HEAD_BYTES, Bits, Floats, decode
from edgesr.errors import ArtifactError, EdgesrError, ImageError, OutputError, QualityError, Unsupported, UsageError
from edgesr.transparency import colour_carried_on

Upscale = Callable[[Floats], Floats]
"""float32 (1, 3, H, W) RGB in [0, 1] to float32 (1, 3, scale*H, scale*W)."""

DEFAULT_MAX_MPX = 52.0
"""Largest input that is decoded. Photos of "50 megapixel" phones and cameras fit (8256x6192 is 51.1). More is seldom
meant: as float32 it is 12 bytes a pixel, and x4 makes 16 pixels of each (52 Mpx become 832 Mpx, 10 GB)."""

UNREAD_SUFFIXES = (".heic", ".heif", ".avif", ".jxl", ".jp2", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf")
"""Of photos that cameras and phones make and that this kit does not read."""
READ_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
WRITE_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
_READ_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
_READABLE = "PNG, JPEG, WebP, BMP, TIFF or GIF"

_MAX_SIDE_PX = {"JPEG": 65500, "WEBP": 16383}  # limits of libjpeg and of the WebP container
_MAX_JPEG_EXIF_BYTES = 65533  # one APP1 marker
_NO_ALPHA = ("JPEG", "BMP")
_OPAQUE = 254.5 / 255  # from here on, alpha is rounded to 255
_VISIBLE = 0.5 / 255  # below, alpha is rounded to 0
_HAS_ICC = ("PNG", "JPEG", "WEBP", "TIFF")
_HAS_EXIF = _HAS_ICC
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    # Full colour resolution: subsampling would throw away part of what the network made.
    "JPEG": {"subsampling": 0},
    "WEBP": {"method": 4},
    # TIFF stays uncompressed: through libtiff, Pillow 13 cannot write the EXIF directories.
}

_EXIF_WIDTH, _EXIF_HEIGHT = 0xA002, 0xA003

_JUNK_FOLDERS = {"__MACOSX", "@eaDir", "$RECYCLE.BIN"}

# Pillow's own limit on pixels and Python's warning filters are global: one reader at a time may change them.
_reading = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A decoded image, upright.

    `rgb`: float32 (H, W, 3) in [0, 1], straight (not multiplied by alpha); three equal channels when `is_grey`.
    `alpha`: float32 (H, W) in [0, 1], or None when the file has no transparency.
    `bits`: depth per channel that it was read with and is written with where the format can.
    `icc`: profile of `rgb`, None is sRGB. `exif`: with its "Exif" prefix and without an orientation.
    `notes`: what the user must be told.
    """

    rgb: Floats
    alpha: Floats | None = None
    is_grey: bool = False
    bits: Bits = 8
    icc: bytes | None = None
    exif: bytes | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rgb.ndim != 3 or self.rgb.shape[2] != 3 or self.rgb.size == 0:
            raise ValueError(f"rgb must be (H, W, 3), got {self.rgb.shape}")
        if self.alpha is not None and self.alpha.shape != self.rgb.shape[:2]:
            raise ValueError(f"alpha {self.alpha.shape} is not that of rgb {self.rgb.shape}")

    @property
    def height(self) -> int:
        return int(self.rgb.shape[0])

    @property
    def width(self) -> int:
        return int(self.rgb.shape[1])


# ---------------------------------------------------------------------------------------------------- reading


def read_photo(path: str | Path, max_mpx: float = DEFAULT_MAX_MPX) -> Photo:
    """Read PNG, JPEG, WebP, BMP, TIFF or GIF (first frame), whatever the suffix says; orientation is applied.

    Raises ImageError when the file is missing, unreadable, broken, no image, or larger than `max_mpx` megapixels;
    the size is checked before anything is decoded.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "no regular file"
            raise ImageError(f"Cannot read {path}: it is {kind}. Give an image file ({_READABLE}).")
        with path.open("rb") as file, _reading, _pillow_on_our_terms() as said:
            photo = _decode(path, file, max_mpx)
    except EdgesrError:
        raise
    except FileNotFoundError as e:
        raise ImageError(f"Cannot read {path}: there is no such file. Check the path.") from e
    except PermissionError as e:
        raise ImageError(f"Cannot read {path}: permission denied. Check the rights of the file.") from e
    except UnidentifiedImageError as e:
        what = "it is empty" if path.stat().st_size == 0 else "it is no image, a damaged one, or of an unknown kind"
        raise ImageError(f"Cannot read {path}: {what}. Possible: {_READABLE}.") from e
    except MemoryError as e:
        raise ImageError(f"Cannot read {path}: not enough memory to decode it. Use a smaller image.") from e
    # Pillow promises no closed set of errors for hostile files: OSError, SyntaxError, ValueError, struct.error ...
    except Exception as e:
        raise ImageError(
            f"Cannot read {path}: it is damaged or cut short ({type(e).__name__}: {e}). Copy or download it again."
        ) from e
    complaints = dict.fromkeys(" ".join(str(warning.message).split()) for warning in said)
    return replace(photo, notes=(*photo.notes, *(f"While reading: {text}" for text in complaints)))


@contextmanager
def _pillow_on_our_terms() -> Iterator[list[warnings.WarningMessage]]:
    """Collects warnings instead of printing them; sets Pillow's pixel limit aside in favour of `max_mpx`."""
    limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield said
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _decode(path: Path, file: BinaryIO, max_mpx: float) -> Photo:
    head = file.read(HEAD_BYTES)
    file.seek(0)
    with Image.open(file, formats=_READ_FORMATS) as im:
        mpx = im.width * im.height / 1e6
        if mpx > max_mpx:
            raise ImageError(
                f"Cannot read {path}: {im.width}x{im.height} is {mpx:.1f} megapixels, the limit is {max_mpx:g}. "
                f"Raise it with --max-mpx {int(mpx) + 1} if the memory suffices, or make the image smaller."
            )
        found = decode(path, im, head)
    is_grey = found.colour.ndim == 2
    rgb = np.repeat(found.colour[..., None], 3, axis=2) if is_grey else found.colour
    return Photo(rgb, found.alpha, is_grey, found.bits, found.icc, found.exif, found.notes)


# ---------------------------------------------------------------------------------------------------- upscaling


def upscale_photo(photo: Photo, upscale_rgb: Upscale, scale: int) -> Photo:
    """`photo` through a network; grey stays grey, transparency is upscaled by the same network.

    The colour of what is visible is carried on into invisible pixels first, so that theirs does not bleed into the
    edge; what ends with an alpha of 0 in 8 bits is invisible and keeps the source's colour. Output is clipped to
    [0, 1].
    Raises QualityError for NaN, infinity or black, ArtifactError for an output of the wrong shape.
    """
    alpha = photo.alpha
    if alpha is None or alpha.min() == 1:
        rgb = _upscale(photo.rgb, upscale_rgb, scale)
        big_alpha = None if alpha is None else np.ones(rgb.shape[:2], np.float32)
    else:
        rgb = _upscale(colour_carried_on(photo.rgb, alpha), upscale_rgb, scale)
        big_alpha = _upscale(np.repeat(alpha[..., None], 3, axis=2), upscale_rgb, scale).mean(axis=2)
        is_hidden = big_alpha < _VISIBLE
        rgb[is_hidden] = photo.rgb.repeat(scale, axis=0).repeat(scale, axis=1)[is_hidden]
    if photo.is_grey:
        rgb = np.repeat(rgb.mean(axis=2, keepdims=True), 3, axis=2)
    return replace(photo, rgb=rgb, alpha=big_alpha)


def check_output(output: Floats, source: Floats) -> None:
    """Refuse what must never reach a file; `output` and `source` are RGB in [0, 1], any layout.

    Raises QualityError for NaN or infinity, and for black although the source is not (ncnn-vulkan issue 80).
    """
    bad = output.size - np.count_nonzero(np.isfinite(output))
    if bad:
        raise QualityError(
            f"The network returned NaN or infinity in {bad} of {output.size} values. "
            "This artifact does not work on this device; use another precision (fp32) or another target."
        )
    level = 1 / 255
    if output.max() < level / 2 and source.mean() > 2 * level:
        raise QualityError(
            f"The network returned a black image although the input is not (its mean is {source.mean():.3f}). "
            "This artifact does not work on this device; use another precision (fp32) or another target."
        )


def _upscale(rgb: Floats, upscale_rgb: Upscale, scale: int) -> Floats:
    """(H, W, 3) to (scale*H, scale*W, 3), checked and clipped."""
    height, width = rgb.shape[:2]
    output = upscale_rgb(np.ascontiguousarray(rgb.transpose(2, 0, 1)[None]))
    expected = (1, 3, height * scale, width * scale)
    if output.shape != expected:
        raise ArtifactError(f"The network returned the shape {output.shape}, for scale {scale} it must be {expected}.")
    check_output(output, rgb)
    return np.ascontiguousarray(np.clip(output[0], 0, 1, dtype=np.float32).transpose(1, 2, 0))


# ---------------------------------------------------------------------------------------------------- writing


def write_photo(photo: Photo, path: str | Path, *, quality: int = 95, keep_metadata: bool = True) -> tuple[str, ...]:
    """Write `photo` in the format of the suffix of `path`; returns what the user must be told (what did not fit).

    The file appears whole or not at all; missing folders are made. `quality` (1..100) is for JPEG and WebP.
    `keep_metadata=False` leaves EXIF out; the colour profile stays, it is part of what the colours mean.
    Raises Unsupported for another suffix, transparency in JPEG or BMP, or a side that the format cannot hold, and
    OutputError when the file cannot be written.
    """
    path = Path(path)
    file_format = check_writable(photo, path)
    im, notes = _to_pillow(photo, file_format)
    metadata, metadata_notes = _metadata(photo, file_format, keep_metadata)
    options = dict(_SAVE_OPTIONS.get(file_format, {}), **metadata)
    if file_format in ("JPEG", "WEBP"):
        options["quality"] = quality
    _save(im, path, file_format, options)
    return (*notes, *metadata_notes)


def check_writable(photo: Photo, path: str | Path, scale: int = 1) -> str:
    """The format of the suffix of `path`, if it can hold `photo` when that is `scale` times as large; before the work.

    Raises Unsupported as write_photo does.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITE_FORMATS:
        raise Unsupported(f"Cannot write {path}: unknown suffix {path.suffix!r}. Known: {', '.join(WRITE_FORMATS)}.")
    file_format = WRITE_FORMATS[path.suffix.lower()]
    height, width, limit = photo.height * scale, photo.width * scale, _MAX_SIDE_PX.get(file_format)
    if limit is not None and max(height, width) > limit:
        raise Unsupported(
            f"Cannot write {path}: {width}x{height}, but a side of {file_format} is at most {limit} px. "
            "Use PNG or TIFF."
        )
    if photo.alpha is not None and file_format in _NO_ALPHA and photo.alpha.min() < _OPAQUE:
        raise Unsupported(f"Cannot write {path}: {file_format} has no transparency. Use PNG, WebP or TIFF.")
    return file_format


def _levels(unit: Floats, bits: Bits) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """[0, 1] to levels: clipped, a half is rounded up (as metrics.to_uint8)."""
    if not np.isfinite(unit).all():
        raise ValueError("the photo holds NaN or infinity")
    peak = 2**bits - 1
    scaled = np.floor(unit * np.float32(peak) + np.float32(0.5))
    levels: NDArray[Any] = np.clip(scaled, 0, peak)
    return levels.astype(np.uint8) if bits == 8 else levels.astype(np.uint16)


def _to_pillow(photo: Photo, file_format: str) -> tuple[Image.Image, tuple[str, ...]]:
    alpha = None if photo.alpha is None or file_format in _NO_ALPHA else _levels(photo.alpha, 8)
    colour = photo.rgb[..., 0] if photo.is_grey else photo.rgb
    if photo.bits == 16 and photo.is_grey and alpha is None and file_format in ("PNG", "TIFF"):
        return Image.fromarray(_levels(colour, 16)), ()
    notes = ("16 bits were reduced to 8: only grey PNG and TIFF without transparency are written with 16.",)
    im = Image.fromarray(_levels(colour, 8))
    if alpha is not None:
        im.putalpha(Image.fromarray(alpha))
    return im, notes if photo.bits == 16 else ()


def _metadata(photo: Photo, file_format: str, keep_exif: bool) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Options for Pillow's save, and what had to be left out."""
    options: dict[str, bytes] = {}
    notes: list[str] = []
    if photo.icc is not None:
        # WebP has no grey: a grey photo becomes RGB there, and its profile would be of the wrong kind.
        if file_format in _HAS_ICC and not (file_format == "WEBP" and photo.is_grey):
            options["icc_profile"] = photo.icc
        else:
            notes.append(f"The colour profile was left out: {file_format} cannot hold it.")
    if photo.exif is not None and keep_exif:
        exif = _exif_of_size(photo.exif, photo.height, photo.width)
        if file_format not in _HAS_EXIF or (file_format == "JPEG" and len(exif) > _MAX_JPEG_EXIF_BYTES):
            notes.append(f"The EXIF data ({len(exif)} bytes) was left out: {file_format} cannot hold it.")
        else:
            options["exif"] = exif
    return options, tuple(notes)


def _exif_of_size(exif: bytes, height: int, width: int) -> bytes:
    """`exif` with the pixel dimensions of the file that it goes into, where it gives any."""
    data = Image.Exif()
    data.load(exif)
    entries = data.get_ifd(EXIF_IFD)
    for tag, side in ((_EXIF_WIDTH, width), (_EXIF_HEIGHT, height)):
        if tag in entries:
            entries[tag] = side
    return data.tobytes()


class _CheckedWriter(io.BufferedWriter):
    """Hides the descriptor: writing to it, Pillow 13 ignores short writes, and a full disk gives half an image."""

    def fileno(self) -> int:
        raise io.UnsupportedOperation("fileno")


def _save(im: Image.Image, path: Path, file_format: str, options: dict[str, Any]) -> None:
    # A short name of its own: appending to a long name could pass the limit of the file system.
    partial = path.parent / f".edgesr-{secrets.token_hex(8)}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not tempfile: its files are private to the user, whatever the umask says.
        with _CheckedWriter(io.FileIO(partial, "xb")) as file:
            im.save(file, file_format, **options)
        os.replace(partial, path)
    except Exception as e:  # Pillow raises ValueError, RuntimeError or struct.error for what an encoder cannot do
        reason = (e.strerror if isinstance(e, OSError) else None) or str(e) or type(e).__name__
        raise OutputError(f"Cannot write {path}: {reason}. Check that the folder is writable and not full.") from e
    finally:
        # A parent that is no folder has no partial file either; Windows and Linux name that error differently.
        if partial.is_file():
            partial.unlink()


# ---------------------------------------------------------------------------------------------------- folders


def expand_inputs(
    paths: Iterable[str | Path], suffix: str | None = None, place: Callable[[Path, Path], Path] = lambda _, path: path
) -> list[tuple[Path, Path]]:
    """Files and folders (with all below them) to sorted pairs (file, output).

    `place` says where an output goes, of the file and a relative path: its name, or its place below the folder that
    was named. `suffix` (".png") replaces the suffix of that path; None keeps it, with ".png" where the kind of the
    input cannot be written (GIF).
    In folders, hidden files and folders, thumbnails of other programs, what has no image suffix, and the outputs of
    others (of a run before) are skipped.
    Raises ImageError when a path does not exist or nothing is found, UsageError when two inputs want one output.
    """
    if suffix is not None and suffix.lower() not in WRITE_FORMATS:
        raise Unsupported(f"Cannot write files with suffix {suffix!r}. Known: {', '.join(WRITE_FORMATS)}.")
    roots = [Path(path) for path in paths]
    found = [(file, relative) for path in roots for file, relative in _files_of(path)]
    outputs = [place(file, relative.with_suffix(suffix or _output_suffix(relative))) for file, relative in found]
    named, made = {path.resolve() for path in roots}, {output.resolve() for output in outputs}
    chosen: dict[str, tuple[Path, Path]] = {}
    for (file, _), output in zip(found, outputs, strict=True):
        if file.resolve() in made - named and output.resolve() != file.resolve():
            continue
        key = output.as_posix().casefold()  # macOS and Windows take A.png and a.png for one file
        other = chosen.get(key, (file, output))[0]
        if other.resolve() != file.resolve():
            raise UsageError(
                f"{other} and {file} would both be written to {output}. "
                "Rename one of them, or run them one after the other into different folders."
            )
        chosen[key] = (file, output)
    if not chosen:
        raise ImageError(
            f"No image in {', '.join(map(str, roots)) or 'an empty list of inputs'}. "
            f"Looked for: {', '.join(READ_SUFFIXES)} (hidden files are skipped). {left_out(roots)}".rstrip()
        )
    return sorted(chosen.values(), key=lambda pair: (pair[1].as_posix(), str(pair[0])))


def left_out(paths: Iterable[Path]) -> str:
    """A sentence on the image files in folders among `paths` that are of kinds that are not read; empty if none."""
    found = Counter(
        Path(name).suffix.lower()
        for path in paths
        if path.is_dir()
        for _, names in _visible_files(path)
        for name in names
        if Path(name).suffix.lower() in UNREAD_SUFFIXES
    )
    if not found:
        return ""
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(found.items()))
    return f"Left out, since such files are not read: {kinds}. Export them as JPEG or PNG."


def _output_suffix(path: Path) -> str:
    return path.suffix if path.suffix.lower() in WRITE_FORMATS else ".png"


def _files_of(path: Path) -> Iterator[tuple[Path, Path]]:
    """(file, its path relative to `path`); a file given by name is taken as it is, reading will judge it."""
    if not path.is_dir():
        if not path.exists():
            raise ImageError(f"There is no file or folder {path}. Check the path.")
        yield path, Path(path.name)
        return
    for folder, names in _visible_files(path):
        for name in names:
            if Path(name).suffix.lower() in READ_SUFFIXES:
                file = Path(folder, name)
                yield file, file.relative_to(path)


def _visible_files(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Folders at and below `path` with the names of their files, without what is hidden or thumbnails of others."""
    for folder, folders, files in os.walk(path, onerror=_refuse_folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in _JUNK_FOLDERS]
        yield folder, [name for name in files if not name.startswith(".")]


def _refuse_folder(error: OSError) -> None:
    raise ImageError(f"Cannot list {error.filename}: {error.strerror}. Check the rights of the folder.") from error
