"""Photos in and out: every kind of file that users bring, and every way in which one can be broken."""

import os
import struct
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from edgesr import images
from edgesr.errors import ArtifactError, ImageError, OutputError, QualityError, Unsupported
from edgesr.images import (
    Photo,
    check_output,
    check_writable,
    read_photo,
    upscale_photo,
    write_photo,
)
from edgesr.metrics import to_uint8

Floats = NDArray[np.float32]
RNG = np.random.default_rng(7)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, (5, 7)).astype(np.uint16)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY_PROFILE = SRGB[:16] + b"GRAY" + SRGB[20:]
PILLOWS_OWN_LIMIT = Image.MAX_IMAGE_PIXELS  # before anything was read
LOSSLESS = [".png", ".tif", ".tiff", ".bmp"]


# ---- files made by hand: what Pillow cannot write


def png(path: Path, levels: NDArray, colour_type: int, bits: int = 16, transparent: tuple[int, ...] = ()) -> Path:
    """A PNG of any colour type; levels (H, W) or (H, W, C), packed for less than 8 bits."""
    height, width = levels.shape[:2]
    if bits < 8:
        spread = np.unpackbits(levels.astype(np.uint8)[..., None], axis=2)[..., -bits:]
        rows = np.packbits(spread.reshape(height, -1), axis=1)
    else:
        rows = levels.astype(">u2" if bits == 16 else ">u1").reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0))]
    if transparent:
        chunks.append((b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)))
    chunks += [(b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    body = (struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(body))
    return path


def claimed_png(path: Path, width: int, height: int) -> Path:
    """A file of less than 100 bytes that claims any size."""
    png(path, np.zeros((1, 1)), 0, 8)
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    return path


def tiff(path: Path, levels: NDArray, photometric: int, **tags: int) -> Path:
    """An uncompressed little-endian TIFF of one strip per plane; unsigned levels (H, W) or (H, W, C)."""
    planes = tags.get("planes", 1)
    channels = 1 if levels.ndim == 2 else levels.shape[2]
    height, width = levels.shape[:2]
    strips = [levels[..., c].tobytes() for c in range(channels)] if planes == 2 else [levels.tobytes()]
    extra = b"".join(strips)
    count = len(strips)
    data_at = 8
    offsets = [data_at + sum(map(len, strips[:i])) for i in range(count)]
    arrays_at = data_at + len(extra)
    bits = struct.pack(f"<{channels}H", *[levels.itemsize * 8] * channels)
    arrays = bits + struct.pack(f"<{count}I", *offsets) + struct.pack(f"<{count}I", *map(len, strips))

    def entry(tag: int, kind: int, values: int, value: int) -> bytes:
        return struct.pack("<HHII", tag, kind, values, value)

    at_offsets = arrays_at + len(bits)
    at_counts = at_offsets + 4 * count
    entries = [
        entry(256, 4, 1, width),
        entry(257, 4, 1, height),
        entry(258, 3, channels, levels.itemsize * 8 if channels == 1 else arrays_at),
        entry(259, 3, 1, 1),
        entry(262, 3, 1, photometric),
        entry(273, 4, count, offsets[0] if count == 1 else at_offsets),
        entry(277, 3, 1, channels),
        entry(278, 4, 1, height),
        entry(279, 4, count, len(strips[0]) if count == 1 else at_counts),
        entry(284, 3, 1, planes),
    ]
    ifd = struct.pack("<H", len(entries)) + b"".join(entries) + b"\0\0\0\0"
    path.write_bytes(b"II*\0" + struct.pack("<I", arrays_at + len(arrays)) + extra + arrays + ifd)
    return path


def cmyk_profile() -> bytes:
    """A CMYK profile on purpose unlike any ink: cyan prints as light grey. ICC.1:2001, lut8 tag (section 6.5.7)."""

    def lab(lightness: int) -> bytes:
        return bytes([lightness, 128, 128])

    # 16 corners, the last ink (K) fastest; only C of full strength and nothing else is light grey, the rest is black.
    corners = b"".join(lab(255 if i == 0 else 200 if i == 0b1000 else 0) for i in range(16))
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    ramp = bytes(range(256))
    a2b0 = b"mft1" + bytes([0, 0, 0, 0, 4, 3, 2, 0]) + identity + ramp * 4 + corners + ramp * 3
    a2b0 += b"\0" * (-len(a2b0) % 4)
    text = b"made for a test\0"
    desc = b"desc" + struct.pack(">II", 0, len(text)) + text + b"\0" * 78
    tags = {
        b"A2B0": a2b0,
        b"desc": desc + b"\0" * (-len(desc) % 4),
        b"cprt": b"text\0\0\0\0" + text,
        b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061),
    }
    at, table, data = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        table += name + struct.pack(">II", at + len(data), len(content))
        data += content
    header = struct.pack(">I4sI4s4s4s", at + len(data), b"\0\0\0\0", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    header += b"\0" * 12 + b"acsp" + b"\0" * 28 + struct.pack(">3i", 63190, 65536, 54061) + b"\0" * 48
    return header + struct.pack(">I", len(tags)) + table + data


def saved(path: Path, im: Image.Image, **options: object) -> Path:
    im.save(path, **options)
    return path


def exif_with(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[274], exif[315], exif[305] = orientation, "A. Author", "Camera 1.0"
    exif[0x8769] = {0x9003: "2024:05:06 07:08:09", 0xA002: 7, 0xA003: 5}
    exif[0x8825] = {1: "N", 2: (52.0, 30.0, 0.0)}
    return exif


def nearest(scale: int) -> Callable[[Floats], Floats]:
    return lambda image: image.repeat(scale, axis=2).repeat(scale, axis=3)


def smooth(scale: int) -> Callable[[Floats], Floats]:
    """Bicubic: mixes neighbours and overshoots as networks do."""

    def run(image: Floats) -> Floats:
        size = image.shape[3] * scale, image.shape[2] * scale
        planes = [Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC) for plane in image[0]]
        return np.stack([np.asarray(plane) for plane in planes])[None]

    return run


def assert_levels(actual: Floats, expected: NDArray, peak: int = 255, tolerance: int = 0) -> None:
    assert actual.dtype == np.float32
    difference = np.abs(np.floor(actual.astype(np.float64) * peak + 0.5) - expected.astype(np.float64))
    assert actual.shape == expected.shape
    assert difference.max() <= tolerance, (
        f"{np.count_nonzero(difference > tolerance)} of {difference.size} levels differ, "
        f"max {difference.max():.0f}, mean {difference.mean():.2f}"
    )


# ---- reading: formats and modes


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_eight_bit_rgb_is_read_exactly(tmp_path: Path, suffix: str) -> None:
    photo = read_photo(saved(tmp_path / f"a{suffix}", Image.fromarray(RGB)))
    assert_levels(photo.rgb, RGB)
    assert (photo.alpha, photo.is_grey, photo.bits, photo.notes) == (None, False, 8, ())


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".gif"])
def test_lossy_formats_and_gif_are_read(tmp_path: Path, suffix: str) -> None:
    flat = np.full((16, 16, 3), (200, 30, 90), np.uint8)
    photo = read_photo(saved(tmp_path / f"a{suffix}", Image.fromarray(flat)))
    assert_levels(photo.rgb, flat, tolerance=4)
    assert photo.notes == ()


def test_a_wrong_suffix_does_not_matter(tmp_path: Path) -> None:
    saved(tmp_path / "a.png", Image.fromarray(RGB)).rename(tmp_path / "a.jpg")
    assert_levels(read_photo(tmp_path / "a.jpg").rgb, RGB)


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_one_pixel_makes_the_round_trip(tmp_path: Path, suffix: str) -> None:
    one = RGB[:1, :1]
    photo = upscale_photo(read_photo(saved(tmp_path / "in.png", Image.fromarray(one))), nearest(4), 4)
    write_photo(photo, tmp_path / f"out{suffix}")
    assert_levels(read_photo(tmp_path / f"out{suffix}").rgb, np.broadcast_to(one, (4, 4, 3)))


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_grey_modes_are_grey(tmp_path: Path, mode: str) -> None:
    im = Image.fromarray(RGB).convert(mode)
    photo = read_photo(saved(tmp_path / "a.png", im))
    assert photo.is_grey
    assert_levels(photo.rgb, np.asarray(im.convert("RGB")))
    assert (photo.alpha is not None) == (mode == "LA")


@pytest.mark.parametrize("mode", ["CMYK", "LAB", "PA"])
def test_uncommon_colour_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    im = Image.new(mode, (4, 3), tuple(range(10, 10 + 40 * len(Image.new(mode, (1, 1)).getbands()), 40)))
    photo = read_photo(saved(tmp_path / "a.tif", im))
    assert photo.rgb.shape == (3, 4, 3)
    assert not photo.is_grey


def test_palette_is_resolved(tmp_path: Path) -> None:
    im = Image.fromarray(RGB).quantize(16)
    assert_levels(read_photo(saved(tmp_path / "a.png", im)).rgb, np.asarray(im.convert("RGB")))


@pytest.mark.parametrize("transparency", [3, bytes([255, 128, 0, 7])])
def test_palette_transparency_is_kept(tmp_path: Path, transparency: int | bytes) -> None:
    im = Image.new("P", (4, 1))
    im.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    im.putdata([0, 1, 2, 3])
    photo = read_photo(saved(tmp_path / "a.png", im, transparency=transparency))
    expected = list(transparency) if isinstance(transparency, bytes) else [255, 255, 255, 0]
    assert photo.alpha is not None
    assert_levels(photo.alpha, np.array([expected]))
    assert_levels(photo.rgb[0, :2], np.array([[10, 20, 30], [40, 50, 60]]))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_level_of_grey_png_is_found_at_every_depth(tmp_path: Path, bits: int) -> None:
    levels = np.array([[0, 1, 2**bits - 1, 2 ** (bits - 1)]])
    photo = read_photo(png(tmp_path / "a.png", levels, 0, bits, transparent=(2**bits - 1,)))
    assert photo.alpha is not None
    np.testing.assert_array_equal(photo.alpha, (levels != 2**bits - 1).astype(np.float32))
    np.testing.assert_allclose(photo.rgb[..., 0], levels / (2**bits - 1), atol=1e-6)


@pytest.mark.parametrize("bits", [8, 16])
def test_the_transparent_colour_of_rgb_png_is_found(tmp_path: Path, bits: int) -> None:
    spread = 257 if bits == 16 else 1
    photo = read_photo(
        png(tmp_path / "a.png", RGB.astype(int) * spread, 2, bits, tuple(RGB[2, 3].astype(int) * spread))
    )
    assert photo.alpha is not None
    assert np.argwhere(photo.alpha == 0).tolist() == [[2, 3]]
    assert_levels(photo.rgb, RGB)


def test_first_frame_of_an_animation_is_read_with_a_note(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((6, 6, 3), level, np.uint8)) for level in (10, 100, 200)]
    for suffix in (".gif", ".png", ".webp", ".tif"):
        path = saved(tmp_path / f"a{suffix}", frames[0], save_all=True, append_images=frames[1:])
        photo = read_photo(path)
        assert_levels(photo.rgb, np.full((6, 6, 3), 10), tolerance=1)
        assert len(photo.notes) == 1, photo.notes
        assert "first" in photo.notes[0], photo.notes
        assert "more than one" in photo.notes[0], photo.notes


def many_pages(path: Path, count: int) -> Path:
    """A TIFF of `count` grey pages of 8x8 which share their pixels."""
    entries = [(256, 8), (257, 8), (258, 8), (262, 1), (273, 8), (279, 64)]
    packed = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", tag, 4, 1, v) for tag, v in entries)
    nexts = [72 + (len(packed) + 4) * number for number in range(1, count)]
    pages = b"".join(packed + struct.pack("<I", at) for at in (*nexts, 0))
    path.write_bytes(b"II*\0" + struct.pack("<I", 72) + bytes(64) + pages)
    return path


@pytest.mark.timeout(60)
def test_pages_behind_the_first_are_not_counted(tmp_path: Path) -> None:
    """Counting these takes 20 s on a computer."""
    path = many_pages(tmp_path / "a.tif", 20_000)
    start = time.perf_counter()
    photo = read_photo(path)
    assert time.perf_counter() - start < 2
    assert "more than one page" in photo.notes[0]


# ---- reading: more than 8 bits


@pytest.mark.parametrize("kind", ["png", "tif", "tif-big-endian"])
def test_grey_of_16_bits_keeps_them(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind[:3]}"
    if kind == "tif-big-endian":
        Image.frombytes("I;16B", (7, 5), GREY16.astype(">u2").tobytes()).save(path)
    else:
        Image.fromarray(GREY16).save(path)
    photo = read_photo(path)
    assert (photo.bits, photo.is_grey, photo.notes) == (16, True, ())
    assert_levels(photo.rgb[..., 1], GREY16, 65535)


def test_min_is_white_tiff_is_turned_around_at_both_depths(tmp_path: Path) -> None:
    assert_levels(read_photo(tiff(tmp_path / "16.tif", GREY16, 0)).rgb[..., 0], 65535 - GREY16, 65535)
    assert_levels(read_photo(tiff(tmp_path / "8.tif", RGB[..., 0].copy(), 0)).rgb[..., 0], 255 - RGB[..., 0])
    assert_levels(read_photo(tiff(tmp_path / "b.tif", GREY16, 1)).rgb[..., 0], GREY16, 65535)


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_colour_png_of_16_bits_is_reduced_with_a_note(tmp_path: Path, colour_type: int, channels: int) -> None:
    levels = RNG.integers(0, 65536, (4, 5, channels))
    photo = read_photo(png(tmp_path / "a.png", levels, colour_type))
    assert photo.bits == 8
    assert photo.is_grey == (colour_type == 4)
    assert [note[:36] for note in photo.notes] == ["16 bits per channel were reduced to "]
    np.testing.assert_allclose(
        photo.rgb, levels[..., : 1 if colour_type == 4 else 3] / 65535 + 0 * photo.rgb, atol=1 / 255
    )
    if channels in (2, 4):
        assert photo.alpha is not None
        np.testing.assert_allclose(photo.alpha, levels[..., -1] / 65535, atol=1 / 255)


def test_colour_tiff_of_16_bits_is_reduced_with_a_note_and_refused_in_planes(tmp_path: Path) -> None:
    levels = RNG.integers(0, 65536, (4, 5, 3)).astype(np.uint16)
    photo = read_photo(tiff(tmp_path / "a.tif", levels, 2))
    np.testing.assert_allclose(photo.rgb, levels / 65535, atol=1 / 255)
    assert "reduced to 8" in photo.notes[0]
    assert_levels(read_photo(tiff(tmp_path / "c.tif", RGB, 2, planes=2)).rgb, RGB)
    with pytest.raises(ImageError, match="interleaved"):
        read_photo(tiff(tmp_path / "b.tif", levels, 2, planes=2))


@pytest.mark.parametrize(("dtype", "white"), [(np.int32, 65535), (np.float32, 1)])
def test_grey_numbers_of_32_bits_are_read_where_the_range_leaves_no_doubt(
    tmp_path: Path, dtype: type, white: int
) -> None:
    values = np.linspace(0, white, 12).reshape(3, 4).astype(dtype)
    photo = read_photo(saved(tmp_path / "a.tif", Image.fromarray(values)))
    np.testing.assert_allclose(photo.rgb[..., 2], values / white, atol=1e-6)
    assert (photo.bits, photo.is_grey, len(photo.notes)) == (16, True, 1)
    for bad in (values * 3, values - white):
        with pytest.raises(ImageError, match="nothing says which is white"):
            read_photo(saved(tmp_path / "b.tif", Image.fromarray(bad.astype(dtype))))


def test_floats_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="nan"):
        read_photo(saved(tmp_path / "a.tif", Image.fromarray(np.array([[0.5, np.nan]], np.float32))))


# ---- reading: CMYK, profiles, EXIF


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_goes_through_its_profile_to_srgb(tmp_path: Path, suffix: str) -> None:
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    photo = read_photo(saved(tmp_path / f"a{suffix}", cyan, icc_profile=cmyk_profile()))
    grey = to_uint8(photo.rgb)[4, 4].astype(int)
    assert np.ptp(grey) <= 2, f"the profile prints cyan as grey, got {grey}"
    assert 150 < grey[0] < 230
    assert photo.icc is None
    assert photo.notes == ("CMYK was converted to sRGB.",)


@pytest.mark.parametrize("profile", [None, b"\0" * 16 + b"CMYK" + b"\0" * 200])
def test_cmyk_without_a_working_profile_is_converted_plainly_with_a_note(tmp_path: Path, profile: bytes | None) -> None:
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    photo = read_photo(saved(tmp_path / "a.tif", cyan, icc_profile=profile))
    assert_levels(photo.rgb[0, 0], np.array([0, 255, 255]))
    assert photo.icc is None
    assert "approximate" in photo.notes[0]


def test_profile_of_another_colour_space_is_left_out_with_a_note(tmp_path: Path) -> None:
    photo = read_photo(saved(tmp_path / "a.png", Image.fromarray(RGB), icc_profile=GREY_PROFILE))
    assert photo.icc is None
    assert "profile" in photo.notes[0]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once_and_reset(tmp_path: Path, suffix: str, orientation: int) -> None:
    marked = np.zeros((16, 32, 3), np.uint8)
    marked[:8, :16] = 255
    im = Image.fromarray(marked)
    path = saved(tmp_path / f"a{suffix}", im, exif=exif_with(orientation).tobytes())
    im.getexif()[274] = orientation
    upright = np.asarray(ImageOps.exif_transpose(im))
    photo = read_photo(path)
    np.testing.assert_array_equal(photo.rgb > 0.5, upright > 127)
    kept = Image.Exif()
    kept.load(photo.exif)
    assert kept.get(274, 1) == 1
    assert kept[315] == "A. Author"


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("source", [".jpg", ".png", ".webp", ".tif"])
def test_profile_and_exif_travel_between_formats_with_the_new_size(tmp_path: Path, source: str, suffix: str) -> None:
    path = saved(tmp_path / f"a{source}", Image.fromarray(RGB), exif=exif_with(6).tobytes(), icc_profile=SRGB)
    photo = upscale_photo(read_photo(path), nearest(2), 2)
    assert write_photo(photo, tmp_path / f"b{suffix}") == ()
    with Image.open(tmp_path / f"b{suffix}") as out:
        exif = out.getexif()
        assert out.info["icc_profile"] == SRGB
        assert out.size == (10, 14)
        assert (exif.get(274, 1), exif[315], exif[305]) == (1, "A. Author", "Camera 1.0")
        assert exif.get_ifd(0x8769) == {0x9003: "2024:05:06 07:08:09", 0xA002: 10, 0xA003: 14}
        assert exif.get_ifd(0x8825)[2] == (52.0, 30.0, 0.0)


def test_metadata_can_be_left_out_but_the_meaning_of_the_colours_stays(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", Image.fromarray(RGB), exif=exif_with().tobytes(), icc_profile=SRGB)
    for suffix in (".jpg", ".png", ".webp", ".tif"):
        write_photo(read_photo(path), tmp_path / f"b{suffix}", keep_metadata=False)
        photo = read_photo(tmp_path / f"b{suffix}")
        assert (photo.exif, photo.icc) == (None, SRGB), suffix


def test_damaged_exif_costs_the_exif_not_the_photo(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", Image.fromarray(RGB), exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01" * 40)
    photo = read_photo(path)
    assert photo.rgb.shape == RGB.shape
    assert photo.notes, "a warning of Pillow must become a note"


# ---- reading: what is refused


def test_size_is_refused_before_decoding_and_the_option_is_named(tmp_path: Path) -> None:
    path = claimed_png(tmp_path / "a.png", 10_000, 6_000)
    assert path.stat().st_size < 100
    with pytest.raises(ImageError, match=r"10000x6000 is 60\.0 megapixels, the limit is 52\..*--max-mpx 61"):
        read_photo(path)
    with pytest.raises(ImageError, match="damaged or cut short"):
        read_photo(claimed_png(tmp_path / "b.png", 100, 60), max_mpx=61)


@pytest.mark.parametrize("size", [(12_000, 10_000), (60_000, 60_000)])
def test_the_limits_of_pillow_are_replaced_and_restored(tmp_path: Path, size: tuple[int, int]) -> None:
    filters = list(warnings.filters)
    with pytest.raises(ImageError, match="the limit is 52"):
        read_photo(claimed_png(tmp_path / "a.png", *size))
    read_photo(saved(tmp_path / "b.png", Image.fromarray(RGB)))
    assert (Image.MAX_IMAGE_PIXELS, warnings.filters) == (PILLOWS_OWN_LIMIT, filters)


def test_the_limit_is_inclusive(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(np.zeros((100, 100), np.uint8)))
    assert read_photo(path, max_mpx=0.01).height == 100
    with pytest.raises(ImageError, match="max-mpx"):
        read_photo(path, max_mpx=0.0099)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif", ".gif"])
def test_a_file_cut_anywhere_is_an_image_error_or_the_whole_image(tmp_path: Path, suffix: str) -> None:
    noise = Image.fromarray(RNG.integers(0, 256, (24, 24, 3), dtype=np.uint8))
    data = saved(tmp_path / f"whole{suffix}", noise).read_bytes()
    whole = read_photo(tmp_path / f"whole{suffix}").rgb
    cut = tmp_path / f"cut{suffix}"
    for length in np.linspace(0, len(data) - 1, 40).astype(int):
        cut.write_bytes(data[:length])
        try:
            photo = read_photo(cut)
        except ImageError:
            assert length < len(data)
        else:
            np.testing.assert_array_equal(photo.rgb, whole, err_msg=f"{length} of {len(data)} bytes")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif", ".gif"])
def test_flipped_bytes_never_give_another_error_than_image_error(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(3)
    data = saved(tmp_path / f"whole{suffix}", Image.fromarray(RGB), exif=exif_with(6).tobytes()).read_bytes()
    broken = tmp_path / f"broken{suffix}"
    for _ in range(150):
        noisy = np.frombuffer(data, np.uint8).copy()
        noisy[rng.integers(0, len(data), rng.integers(1, 6))] = rng.integers(0, 256)
        broken.write_bytes(noisy.tobytes())
        try:
            photo = read_photo(broken, max_mpx=0.1)
        except ImageError:
            continue
        assert photo.rgb.min() >= 0
        assert photo.rgb.max() <= 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"GIF", "no image"),
        (b"hello, this is text\n" * 9, "no image"),
        (b"%PDF-1.7\n", "no image"),
    ],
)
def test_what_is_no_image_is_said_to_be_none(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=f"a.png.*{message}.*Possible: PNG"):
        read_photo(path)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"nowhere\.png: there is no such file"):
        read_photo(tmp_path / "nowhere.png")
    with pytest.raises(ImageError, match="it is a folder"):
        read_photo(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes: POSIX only")
def test_a_pipe_does_not_hang_the_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="no regular file"):
        read_photo(tmp_path / "pipe.png")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="file rights: needs POSIX and not root")
def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(RGB))
    path.chmod(0)
    with pytest.raises(ImageError, match="permission denied"):
        read_photo(path)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="/proc/self/fd: Linux only")
def test_no_file_stays_open(tmp_path: Path) -> None:
    good = saved(tmp_path / "a.tif", Image.fromarray(RGB))
    bad = tmp_path / "b.tif"
    bad.write_bytes(good.read_bytes()[:60])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        photo = read_photo(good)
        with pytest.raises(ImageError):
            read_photo(bad)
        write_photo(photo, tmp_path / "c.png")
    assert len(os.listdir("/proc/self/fd")) == before


# ---- upscaling


def test_colour_is_given_to_the_network_as_nchw_in_zero_to_one() -> None:
    seen: list[Floats] = []

    def run(image: Floats) -> Floats:
        seen.append(image)
        return nearest(3)(image)

    photo = Photo(RGB.astype(np.float32) / 255)
    result = upscale_photo(photo, run, 3)
    assert len(seen) == 1
    assert (seen[0].shape, seen[0].dtype, seen[0].flags.c_contiguous) == ((1, 3, 5, 7), np.float32, True)
    np.testing.assert_array_equal(seen[0][0, 2], photo.rgb[..., 2])
    np.testing.assert_array_equal(result.rgb, photo.rgb.repeat(3, axis=0).repeat(3, axis=1))


def test_grey_stays_grey_whatever_the_network_does() -> None:
    tint = np.array([0.02, -0.01, 0.05], np.float32).reshape(1, 3, 1, 1)
    photo = Photo(np.repeat(GREY16[..., None] / np.float32(65535), 3, axis=2), is_grey=True, bits=16)
    result = upscale_photo(photo, lambda image: nearest(2)(image) + tint, 2)
    assert np.ptp(result.rgb, axis=2).max() == 0
    assert (result.is_grey, result.bits) == (True, 16)


def test_a_white_disc_on_transparent_black_gets_no_dark_halo() -> None:
    y, x = np.mgrid[:24, :24]
    alpha = (np.hypot(y - 11.5, x - 11.5) < 8).astype(np.float32)
    photo = Photo(np.repeat(alpha[..., None], 3, axis=2), alpha=alpha)
    result = upscale_photo(photo, smooth(4), 4)
    assert result.alpha is not None
    seen = result.alpha > 0.02
    assert 0 < result.alpha[seen].min() < 0.5
    darkest = result.rgb[seen].min()
    assert darkest > 0.97, f"darkest visible colour of a white disc: {darkest:.3f}"
    on_white = result.rgb * result.alpha[..., None] + (1 - result.alpha[..., None])
    assert on_white.min() > 0.98


def test_hidden_colour_neither_bleeds_nor_becomes_nan() -> None:
    alpha = np.zeros((8, 8), np.float32)
    alpha[:, 4:] = 1
    rgb = np.zeros((8, 8, 3), np.float32)
    rgb[:, :4] = (1, 0, 0)  # invisible red beside visible blue
    rgb[:, 4:] = (0, 0, 1)
    result = upscale_photo(Photo(rgb, alpha=alpha), smooth(2), 2)
    assert result.alpha is not None
    assert np.isfinite(result.rgb).all()
    visible = result.alpha >= 0.5 / 255
    assert result.rgb[visible][:, 0].max() < 0.01, "red must not reach what can be seen"
    np.testing.assert_array_equal(result.rgb[:, 0], np.tile(np.float32([1, 0, 0]), (16, 1)))


def test_wholly_transparent_and_wholly_opaque_photos_pass() -> None:
    rgb = RGB.astype(np.float32) / 255
    for level in (0, 1):
        alpha = np.full((5, 7), level, np.float32)
        result = upscale_photo(Photo(rgb, alpha=alpha), nearest(2), 2)
        assert result.alpha is not None
        assert np.unique(result.alpha).tolist() == [level]
        np.testing.assert_array_equal(result.rgb, rgb.repeat(2, axis=0).repeat(2, axis=1))


def test_overshoot_is_clipped() -> None:
    result = upscale_photo(Photo(RGB.astype(np.float32) / 255), lambda image: nearest(2)(image) * 3 - 1, 2)
    assert result.rgb.min() == 0
    assert result.rgb.max() == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_from_the_network_is_a_quality_error(bad: float) -> None:
    def run(image: Floats) -> Floats:
        output = nearest(2)(image)
        output[0, 1, 3, 3] = bad
        return output

    with pytest.raises(QualityError, match="NaN or infinity in 1 of 420 values"):
        upscale_photo(Photo(RGB.astype(np.float32) / 255), run, 2)


def test_black_from_the_network_is_a_quality_error_unless_the_photo_is_black() -> None:
    with pytest.raises(QualityError, match="black image although the input is not"):
        upscale_photo(Photo(RGB.astype(np.float32) / 255), lambda image: nearest(2)(image) * 0, 2)
    black = np.zeros((4, 4, 3), np.float32)
    check_output(np.zeros((1, 3, 8, 8), np.float32), black)
    assert upscale_photo(Photo(black), nearest(2), 2).rgb.max() == 0


def test_output_of_the_wrong_scale_is_an_artifact_error() -> None:
    with pytest.raises(ArtifactError, match=r"\(1, 3, 10, 14\), for scale 4 it must be \(1, 3, 20, 28\)"):
        upscale_photo(Photo(RGB.astype(np.float32) / 255), nearest(2), 4)


# ---- writing


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_lossless_formats_return_what_was_written(tmp_path: Path, suffix: str) -> None:
    assert write_photo(Photo(RGB.astype(np.float32) / 255), tmp_path / f"a{suffix.upper()}") == ()
    assert_levels(read_photo(tmp_path / f"a{suffix.upper()}").rgb, RGB)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_transparency_makes_the_round_trip(tmp_path: Path, suffix: str) -> None:
    alpha = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    write_photo(Photo(np.full((16, 16, 3), 0.5, np.float32), alpha=alpha), tmp_path / f"a{suffix}")
    photo = read_photo(tmp_path / f"a{suffix}")
    assert photo.alpha is not None
    assert_levels(photo.alpha, np.arange(256).reshape(16, 16))


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".bmp"])
def test_transparency_is_never_dropped_in_silence(tmp_path: Path, suffix: str) -> None:
    rgb, alpha = RGB.astype(np.float32) / 255, np.ones((5, 7), np.float32)
    write_photo(Photo(rgb, alpha=alpha), tmp_path / f"opaque{suffix}")
    alpha[0, 0] = 0.99
    with pytest.raises(Unsupported, match=r"has no transparency\. Use PNG, WebP or TIFF"):
        write_photo(Photo(rgb, alpha=alpha), tmp_path / f"a{suffix}")
    assert [p.name for p in tmp_path.iterdir()] == [f"opaque{suffix}"]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_grey_of_16_bits_is_written_with_16(tmp_path: Path, suffix: str) -> None:
    photo = Photo(np.repeat(GREY16[..., None] / np.float32(65535), 3, axis=2), is_grey=True, bits=16)
    assert write_photo(photo, tmp_path / f"a{suffix}") == ()
    with Image.open(tmp_path / f"a{suffix}") as im:
        np.testing.assert_array_equal(np.asarray(im), GREY16)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".bmp"])
def test_lost_depth_is_said(tmp_path: Path, suffix: str) -> None:
    photo = Photo(np.repeat(GREY16[..., None] / np.float32(65535), 3, axis=2), is_grey=True, bits=16)
    notes = write_photo(photo, tmp_path / f"a{suffix}")
    assert len(notes) == 1
    assert "reduced to 8" in notes[0]


@pytest.mark.parametrize(("suffix", "mode"), [(".png", "L"), (".jpg", "L"), (".bmp", "L"), (".tif", "L")])
def test_grey_is_written_as_grey(tmp_path: Path, suffix: str, mode: str) -> None:
    rgb = np.repeat(RGB[..., :1].astype(np.float32) / 255, 3, axis=2)
    write_photo(Photo(rgb, is_grey=True), tmp_path / f"a{suffix}")
    with Image.open(tmp_path / f"a{suffix}") as im:
        assert im.mode == mode
    if suffix in (".png", ".tif"):
        write_photo(Photo(rgb, alpha=rgb[..., 0], is_grey=True), tmp_path / f"b{suffix}")
        with Image.open(tmp_path / f"b{suffix}") as im:
            assert im.mode == "LA"


def test_levels_are_rounded_as_the_metrics_round(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((64, 64, 3), dtype=np.float32)
    values[0, 0] = (0.5 / 255, 1.5 / 255, 1)
    write_photo(Photo(values), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as im:
        np.testing.assert_array_equal(np.asarray(im), to_uint8(values))


def test_what_a_format_cannot_hold_is_said(tmp_path: Path) -> None:
    rgb = RGB.astype(np.float32) / 255
    long_exif = exif_with()
    long_exif[0x8769] = {0x927C: b"m" * 70_000}
    notes = write_photo(Photo(rgb, icc=SRGB, exif=exif_with().tobytes()), tmp_path / "a.bmp")
    assert [("profile" in n, "EXIF" in n) for n in notes] == [(True, False), (False, True)]
    assert "JPEG cannot hold it" in write_photo(Photo(rgb, exif=long_exif.tobytes()), tmp_path / "a.jpg")[0]
    grey = Photo(np.repeat(rgb[..., :1], 3, axis=2), is_grey=True, icc=GREY_PROFILE)
    assert "profile" in write_photo(grey, tmp_path / "a.webp")[0]
    assert write_photo(grey, tmp_path / "a.png") == ()
    assert read_photo(tmp_path / "a.png").icc == GREY_PROFILE


def test_quality_changes_the_size_of_jpeg_and_webp(tmp_path: Path) -> None:
    photo = Photo(RNG.random((40, 40, 3), dtype=np.float32))
    for suffix in (".jpg", ".webp"):
        write_photo(photo, tmp_path / f"low{suffix}", quality=30)
        write_photo(photo, tmp_path / f"high{suffix}")
        assert (tmp_path / f"low{suffix}").stat().st_size < 0.7 * (tmp_path / f"high{suffix}").stat().st_size


@pytest.mark.parametrize(("suffix", "side"), [(".webp", 16384), (".jpg", 65501)])
def test_a_side_that_the_format_cannot_hold_is_refused(tmp_path: Path, suffix: str, side: int) -> None:
    with pytest.raises(Unsupported, match=f"at most {side - 1} px. Use PNG or TIFF"):
        write_photo(Photo(np.zeros((1, side, 3), np.float32)), tmp_path / f"a{suffix}")
    write_photo(Photo(np.zeros((1, side - 1, 3), np.float32)), tmp_path / f"b{suffix}")


@pytest.mark.parametrize(
    ("name", "side", "alpha", "said"),
    [
        ("a.webp", 4096, 1, "16384x4, but a side of WEBP is at most 16383 px"),
        ("a.jpg", 16376, 1, "65504x4, but a side of JPEG is at most 65500 px"),
        ("a.jpg", 8, 0.99, "JPEG has no transparency"),
        ("a.bmp", 8, 0.99, "BMP has no transparency"),
        ("a.heic", 8, 1, "unknown suffix"),
    ],
)
def test_what_cannot_be_written_is_known_before_the_work(name: str, side: int, alpha: float, said: str) -> None:
    photo = Photo(np.zeros((1, side, 3), np.float32), alpha=np.full((1, side), alpha, np.float32))
    with pytest.raises(Unsupported, match=said):
        check_writable(photo, name, 4)


@pytest.mark.parametrize(("name", "side", "alpha"), [("a.webp", 4095, 0.5), ("a.png", 20_000, 0), ("A.JPG", 16375, 1)])
def test_what_can_be_written_passes(name: str, side: int, alpha: float) -> None:
    check_writable(Photo(np.zeros((1, side, 3), np.float32), alpha=np.full((1, side), alpha, np.float32)), name, 4)


@pytest.mark.parametrize("name", ["a.gif", "a.heic", "a"])
def test_unknown_suffix_lists_the_known_ones(tmp_path: Path, name: str) -> None:
    with pytest.raises(Unsupported, match=r"\.png, \.jpg, \.jpeg, \.webp, \.bmp, \.tif, \.tiff"):
        write_photo(Photo(RGB.astype(np.float32) / 255), tmp_path / name)


def test_missing_folders_are_made_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_photo(Photo(RGB.astype(np.float32) / 255), tmp_path / "x" / "y" / "a.png")
    assert [p.name for p in (tmp_path / "x" / "y").iterdir()] == ["a.png"]


def test_a_file_where_a_folder_should_be_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.png").mkdir()
    for target in (tmp_path / "file" / "a.png", tmp_path / "folder.png"):
        with pytest.raises(OutputError, match=f"Cannot write {target}"):
            write_photo(Photo(RGB.astype(np.float32) / 255), target)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.png"]


@contextmanager
def no_file_longer_than(limit: int) -> Iterator[None]:
    """The system refuses to write on, as a full disk does."""
    resource = pytest.importorskip("resource", reason="file size limits: POSIX only")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif"])
def test_a_full_disk_keeps_the_old_file_and_leaves_nothing_behind(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"a{suffix}"
    target.write_bytes(b"old")
    photo = Photo(RNG.random((64, 64, 3), dtype=np.float32))
    with no_file_longer_than(1000), pytest.raises(OutputError, match=f"Cannot write {target}: ."):
        write_photo(photo, target)
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


def test_a_photo_with_nan_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="NaN"):
        write_photo(Photo(np.full((2, 2, 3), np.nan, np.float32)), tmp_path / "a.png")


def test_importing_needs_nothing_but_numpy_and_pillow() -> None:
    import subprocess
    import sys

    code = "import sys, edgesr.images, edgesr.metrics, edgesr.tiling; print(*{m.split('.')[0] for m in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "scipy", "skimage", "cv2", "onnxruntime", "pydantic", "click"} & set(loaded)


def test_formats_that_are_written_can_be_read() -> None:
    assert set(images.WRITE_FORMATS) <= set(images.READ_SUFFIXES)
