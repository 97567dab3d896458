"""Photos for training: read, paired, held out, and drawn as patches."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgesr.datasets import generated_pictures
from edgesr.errors import DataError
from edgesr.resize import downscale
from edgesr.train.photos import HELD_OUT_EVERY, Pair, Photos, load_photos, random_batch


def write_photos(folder: Path, count: int = 3, side: int = 48) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (picture,) = generated_pictures(1, side)
    for index in range(count):
        Image.fromarray(np.roll(picture, 7 * index, axis=index % 2)).save(folder / f"{index:02}.png")
    return folder


@pytest.fixture
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    return load_photos(write_photos(tmp_path_factory.mktemp("photos")), 4, 8)


def pairs_of(scale: int, *sides: tuple[int, int]) -> tuple[Pair, ...]:
    """Smooth pictures: what lies between pixels can be guessed, so that low and high can be compared."""
    made = []
    for index, (height, width) in enumerate(sides):
        rows, columns = np.mgrid[: height * scale, : width * scale] / (3 * scale)
        waves = [np.sin(rows + index + shift) + np.cos(columns * (1 + shift / 5)) for shift in range(3)]
        high = (np.stack(waves, axis=-1) * 60 + 128).astype(np.uint8)
        made.append(Pair(str(index), downscale(high, scale), high))
    return tuple(made)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_low_and_high_patches_show_the_same_place(scale: int) -> None:
    low, high = random_batch(pairs_of(scale, (20, 31), (14, 40)), 12, 16, (0, 0))
    assert low.shape == (16, 3, 12, 12)
    assert high.shape == (16, 3, 12 * scale, 12 * scale)
    assert low.dtype == high.dtype == torch.float32
    for one, other in zip(low, high, strict=True):
        levels = (other.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        made = downscale(levels, scale)[3:-3, 3:-3].astype(int)
        difference = np.abs(made - (one.permute(1, 2, 0) * 255).round().int().numpy()[3:-3, 3:-3])
        assert difference.max() <= 1, np.bincount(difference.ravel())


def test_a_batch_depends_on_its_seed_alone() -> None:
    pairs = pairs_of(4, (20, 31), (14, 40))
    first, again = (random_batch(pairs, 8, 4, (7, 3)) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    for seed in ((7, 4), (8, 3)):
        assert not torch.equal(first[0], random_batch(pairs, 8, 4, seed)[0])


def test_every_turn_flip_corner_and_photo_is_drawn() -> None:
    # Each pixel tells its photo and place, so a patch tells how it was taken.
    rows, columns = np.mgrid[:3, :3]
    lows = [np.stack([rows, columns, np.full((3, 3), index)], axis=-1).astype(np.uint8) for index in range(2)]
    pairs = tuple(Pair("", low, low.repeat(2, axis=0).repeat(2, axis=1)) for low in lows)
    low, _ = random_batch(pairs, 2, 600, (0, 0))
    seen = {tuple((patch * 255).round().int().flatten().tolist()) for patch in low}
    assert len(seen) == 8 * 4 * 2, "8 symmetries, 4 places, 2 photos"


def test_large_photos_are_drawn_more_often() -> None:
    small, large = (
        Pair("", np.full((8, side, 3), side, np.uint8), np.zeros((8, side, 3), np.uint8)) for side in (8, 24)
    )
    low, _ = random_batch((small, large), 8, 800, (1, 0))
    share = float((low[:, 0, 0, 0] * 255).round().eq(24).float().mean())
    assert abs(share - 0.75) < 0.06


def test_photos_become_pairs_and_some_are_held_out(tmp_path: Path) -> None:
    write_photos(tmp_path, HELD_OUT_EVERY + 1, 32)
    seen: list[tuple[int, int]] = []
    found = load_photos(tmp_path, 4, 8, lambda done, total: seen.append((done, total)))
    assert [pair.name for pair in found.held_out] == [f"{HELD_OUT_EVERY - 1:02}.png"]
    assert len(found.train) == HELD_OUT_EVERY
    assert seen[-1] == (HELD_OUT_EVERY + 1, HELD_OUT_EVERY + 1)
    for pair in found.train:
        np.testing.assert_array_equal(pair.low, downscale(pair.high, 4))


def test_with_few_photos_the_last_is_held_out(photos: Photos) -> None:
    assert ([pair.name for pair in photos.train], [pair.name for pair in photos.held_out]) == (
        ["00.png", "01.png"],
        ["02.png"],
    )


def test_sides_are_cut_to_the_scale_and_small_photos_are_left_out(tmp_path: Path) -> None:
    write_photos(tmp_path, 2, 50)
    for name, size in (("small", (200, 31)), ("tiny", (2, 2))):
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
    found = load_photos(tmp_path, 4, 8)
    assert [pair.high.shape for pair in (*found.train, *found.held_out)] == [(48, 48, 3)] * 2


def test_the_fingerprint_of_photos_tells_pixels_apart(photos: Photos, tmp_path: Path) -> None:
    write_photos(tmp_path)
    assert load_photos(tmp_path, 4, 8).fingerprint == photos.fingerprint
    Image.fromarray(generated_pictures(1, 48)[0]).save(tmp_path / "01.png")
    assert load_photos(tmp_path, 4, 8).fingerprint != photos.fingerprint


@pytest.mark.parametrize(("count", "side"), [(1, 48), (3, 31)])
def test_too_few_large_photos_are_an_error_with_the_numbers(tmp_path: Path, count: int, side: int) -> None:
    write_photos(tmp_path, count, side)
    large = count if side >= 32 else 0
    with pytest.raises(DataError, match=rf"holds {count} photos, of which {large} are at least 32 px"):
        load_photos(tmp_path, 4, 8)


def test_a_folder_without_photos_or_with_a_damaged_one_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no images"):
        load_photos(tmp_path, 4, 8)
    with pytest.raises(DataError, match="not a folder"):
        load_photos(tmp_path / "none", 4, 8)
    write_photos(tmp_path)
    (tmp_path / "01.png").write_bytes(b"\x89PNG")
    found = load_photos(tmp_path, 4, 8)
    assert [pair.name for pair in (*found.train, *found.held_out)] == ["00.png", "02.png"]
    assert len(found.skipped) == 1
    assert "01.png" in found.skipped[0]
    (tmp_path / "02.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"holds 3 photos \(2 unreadable, the first: .*01\.png.*\), of which 1 are"):
        load_photos(tmp_path, 4, 8)
    (tmp_path / "00.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"None of 3 photos can be read. The first: .*00\.png"):
        load_photos(tmp_path, 4, 8)
