"""From an open Pillow image to arrays, for every mode and depth that a file can bring; used by `edgesr.images` only.

Each oddity of Pillow 13 that is corrected here is named where it is, and has a test that fails when Pillow changes.
"""

from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin

from edgesr.errors import ImageError

Floats = NDArray[np.float32]
Bits = Literal[8, 16]

HEAD_BYTES = 26
"""How much of the file's beginning `decode` wants to see: a PNG up to its bit depth and colour type."""

# EXIF tags that describe the photo; the others in a TIFF's first directory describe how its pixels are stored.
_EXIF_KEPT = {
    *(270, 271, 272),  # description, make, model
    *(282, 283, 296),  # resolution
    *(305, 306, 315, 316, 33432),  # software, time, artist, computer, copyright
    *(18246, 18249, *range(40091, 40096)),  # rating, and title, comment, author, keywords, subject of Windows
}
EXIF_IFD = 0x8769
_GPS_IFD, _INTEROP_TAG = 0x8825, 0xA005
_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_PLANAR = 258, 262, 284


@dataclass(frozen=True, slots=True)
class Decoded:
    """An upright image: `colour` is float32 (H, W) for grey or (H, W, 3) RGB, `alpha` (H, W) or None, in [0, 1].

    `icc` is the profile of `colour` (None: sRGB), `exif` has its prefix and no orientation.
    """

    colour: Floats
    alpha: Floats | None
    bits: Bits
    icc: bytes | None
    exif: bytes | None
    notes: tuple[str, ...]


def decode(path: Path, im: ImageFile.ImageFile, head: bytes) -> Decoded:
    """Decode an image that was opened but not loaded; `head` is the file's first HEAD_BYTES, `path` is for messages.

    Raises ImageError for what Pillow would return wrongly, and whatever Pillow raises for damaged files.
    """
    stored = _stored(path, im, head)
    frame_notes = _frame_notes(im)
    im.load()
    exif, exif_notes = _take_exif(im)
    pixels = _pixels(path, im, stored)
    icc, icc_notes = _fitting_icc(pixels.icc, is_grey=pixels.colour.ndim == 2)
    notes = (*frame_notes, *exif_notes, *pixels.notes, *icc_notes)
    return Decoded(pixels.colour, pixels.alpha, pixels.bits, icc, exif, notes)


@dataclass(frozen=True, slots=True)
class _Stored:
    """How the file holds its pixels, where Pillow's mode does not tell."""

    bits: int
    grey: bool
    min_is_white: bool


@dataclass(frozen=True, slots=True)
class _Pixels:
    """(H, W) or (H, W, 3) colour and (H, W) alpha, float32 in [0, 1]. `icc` belongs to the colour."""

    colour: Floats
    alpha: Floats | None
    bits: Bits
    icc: bytes | None
    notes: tuple[str, ...] = ()


def _stored(path: Path, im: ImageFile.ImageFile, head: bytes) -> _Stored:
    if im.format == "PNG":
        return _Stored(bits=head[24], grey=head[25] in (0, 4), min_is_white=False)
    if not isinstance(im, TiffImagePlugin.TiffImageFile):
        return _Stored(bits=8, grey=False, min_is_white=False)
    tags = im.tag_v2
    bits = max(tags.get(_TIFF_BITS, (1,)))
    if bits > 8 and tags.get(_TIFF_PLANAR) == 2 and len(im.getbands()) > 1:
        # Pillow 13 takes each plane for 8 bits and returns noise.
        raise ImageError(
            f"Cannot read {path}: a TIFF of {bits} bits with one plane per channel. Save it with interleaved channels."
        )
    # Pillow 13 turns min-is-white around for 8 bits, not for 16 (raw mode without the ";I" or "I" of inverted).
    raw_mode = str(im.tile[0].args[0]) if im.tile and isinstance(im.tile[0].args, tuple) else ""
    as_stored = raw_mode in ("I;16", "I;16B", "I;16L", "I;16N")
    return _Stored(bits, grey=False, min_is_white=as_stored and tags.get(_TIFF_PHOTOMETRIC) == 0)


def _frame_notes(im: Image.Image) -> tuple[str, ...]:
    # Not n_frames: Pillow 13 reads every frame to count, in a TIFF each against all before it (minutes for megabytes).
    # MPO is a JPEG with a preview or a depth map behind the photo: nothing that the user would miss.
    if not getattr(im, "is_animated", False) or im.format == "MPO":
        return ()
    if im.format == "TIFF":
        return ("The file has more than one page; only the first was read.",)
    return ("The file is an animation of more than one frame; only the first was read.",)


def _take_exif(im: Image.Image) -> tuple[bytes | None, tuple[str, ...]]:
    """Turns `im` upright in place and returns the EXIF that is worth keeping."""
    try:
        ImageOps.exif_transpose(im, in_place=True)
        found = im.getexif()
        kept = Image.Exif()
        for tag, value in found.items():
            if tag in _EXIF_KEPT:
                kept[tag] = value
        for ifd in (EXIF_IFD, _GPS_IFD):
            # The interoperability directory is an offset into the old file.
            entries = {tag: value for tag, value in found.get_ifd(ifd).items() if tag != _INTEROP_TAG}
            if entries:
                kept[ifd] = entries
        return (kept.tobytes() if len(kept) else None), ()
    except Exception as e:  # an open set of errors again; a photo is worth more than its EXIF
        return None, (f"The EXIF data is damaged and was left out ({type(e).__name__}: {e}).",)


def _fitting_icc(icc: bytes | None, is_grey: bool) -> tuple[bytes | None, tuple[str, ...]]:
    """The profile if it is one of the colour space that we hold; ICC.1 section 7.2: space at byte 16, 'acsp' at 36."""
    if icc is None:
        return None, ()
    if icc[36:40] == b"acsp" and icc[16:20] == (b"GRAY" if is_grey else b"RGB "):
        return icc, ()
    return None, ("The embedded colour profile does not belong to this kind of image and was left out.",)


def _pixels(path: Path, im: Image.Image, stored: _Stored) -> _Pixels:
    icc: bytes | None = im.info.get("icc_profile")
    if im.mode.startswith("I;16"):
        return _grey_16(im, stored, icc)
    if im.mode in ("I", "F"):
        return _grey_numbers(path, im, icc)
    if im.mode == "CMYK":
        return _reduced(_cmyk(im, icc), stored)
    if im.mode in ("1", "L", "LA", "La"):
        return _grey_8(im, stored, icc)
    return _reduced(_colour(im, stored, icc), stored)


def _unit(levels: NDArray[Any], peak: float) -> Floats:
    unit = levels.astype(np.float32)
    unit /= np.float32(peak)
    return unit


def _alpha_from_key(levels: NDArray[Any], key: Any) -> Floats:
    """PNG's tRNS chunk: exactly one level or colour is transparent."""
    equal: NDArray[np.bool_] = np.equal(levels, np.asarray(key))
    transparent = equal.all(axis=2) if equal.ndim == 3 else equal
    return np.where(transparent, np.float32(0), np.float32(1))


def _grey_16(im: Image.Image, stored: _Stored, icc: bytes | None) -> _Pixels:
    levels = np.asarray(im)
    key = im.info.get("transparency")
    alpha = None if key is None else _alpha_from_key(levels, key)
    colour = _unit(levels, 65535)
    return _Pixels(1 - colour if stored.min_is_white else colour, alpha, 16, icc)


def _grey_numbers(path: Path, im: Image.Image, icc: bytes | None) -> _Pixels:
    """32-bit integers and floats have no white of their own: only ranges that leave no doubt are taken."""
    values = np.asarray(im)
    low, high = values.min(), values.max()
    kind, white = ("integers", 65535) if im.mode == "I" else ("floats", 1)
    if not (low >= 0 and high <= white):
        raise ImageError(
            f"Cannot read {path}: grey {kind} from {low:g} to {high:g}, and nothing says which is white. "
            f"Scale them to 0..{white}, or save the image with 8 or 16 bits."
        )
    note = f"Grey {kind} of 32 bits were read with 0 as black and {white} as white, to be written with 16 bits."
    return _Pixels(_unit(values, white), None, 16, icc, (note,))


def _grey_8(im: Image.Image, stored: _Stored, icc: bytes | None) -> _Pixels:
    if im.mode in ("LA", "La"):
        both = np.asarray(im.convert("LA"))
        return _Pixels(_unit(both[..., 0], 255), _unit(both[..., 1], 255), 8, icc)
    levels = np.asarray(im.convert("L"))
    key = im.info.get("transparency")
    if isinstance(key, int) and stored.bits < 8:
        # Pillow spreads 1, 2 and 4 bits to 0..255, but not the key (that of 1 bit it does since a version after 11.0).
        key = min(key * 255 // (2**stored.bits - 1), 255)
    alpha = None if key is None else _alpha_from_key(levels, key)
    return _Pixels(_unit(levels, 255), alpha, 8, icc)


def _colour(im: Image.Image, stored: _Stored, icc: bytes | None) -> _Pixels:
    key = im.info.get("transparency")
    if im.mode == "RGB":
        levels = np.asarray(im)
        if not isinstance(key, tuple):
            return _Pixels(_unit(levels, 255), None, 8, icc)
        key = tuple(k >> 8 for k in key) if stored.bits == 16 else key
        return _Pixels(_unit(levels, 255), _alpha_from_key(levels, key), 8, icc)
    if key is None and im.mode not in ("RGBA", "RGBa", "PA"):
        return _Pixels(_unit(np.asarray(im.convert("RGB")), 255), None, 8, icc)
    # Pillow opens grey PNG of 16 bits with alpha as RGBA: hence the look at what is stored.
    levels = np.asarray(im.convert("RGBA"))
    colour = levels[..., 0] if stored.grey else levels[..., :3]
    return _Pixels(_unit(colour, 255), _unit(levels[..., 3], 255), 8, icc)


def _cmyk(im: Image.Image, icc: bytes | None) -> _Pixels:
    """To sRGB through the embedded profile, else by the plain formula (which looks more saturated than print)."""
    why = "without a colour profile, so colours are approximate"
    if icc is not None and icc[16:20] == b"CMYK":
        try:
            return _Pixels(_unit(_cmyk_by_profile(im, icc), 255), None, 8, None, ("CMYK was converted to sRGB.",))
        except Exception as e:  # PyCMSError, or a Pillow that was built without LittleCMS
            why = f"without its colour profile ({e}), so colours are approximate"
    return _Pixels(_unit(np.asarray(im.convert("RGB")), 255), None, 8, None, (f"CMYK was converted to RGB {why}.",))


def _cmyk_by_profile(im: Image.Image, icc: bytes) -> NDArray[np.uint8]:
    from PIL import ImageCms

    converted = ImageCms.profileToProfile(
        im,
        BytesIO(icc),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert converted is not None  # only with inPlace=True
    return np.asarray(converted)


def _reduced(pixels: _Pixels, stored: _Stored) -> _Pixels:
    """Says it when the file holds more than the 8 bits that Pillow gives for colour (Pillow issue 1888)."""
    if stored.bits <= 8:
        return pixels
    note = (
        f"{stored.bits} bits per channel were reduced to 8: Pillow reads more than 8 only for grey without transparency"
    )
    return replace(pixels, notes=(*pixels.notes, f"{note}."))
