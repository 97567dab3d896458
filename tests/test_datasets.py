"""Image sets: official layouts, plain folders, and what is there when there is nothing."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgesr import datasets
from edgesr.datasets import built_in_set, calibration_images, eval_sets, fingerprint, generated_pictures
from edgesr.errors import DataError, ImageError
from edgesr.resize import downscale


def draw(path: Path, width: int = 16, height: int = 12, seed: int = 0) -> np.ndarray:
    """A random RGB picture, written to `path`."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


# ------------------------------------------------------------------------------------------------- evaluation sets


@pytest.mark.parametrize("low_folder", ["LRx4", "LR_bicubic/X4"])
@pytest.mark.parametrize("suffix", ["", "x4"])
def test_a_set_pairs_what_lies_in_its_folders(tmp_path: Path, low_folder: str, suffix: str) -> None:
    for index in range(3):
        draw(tmp_path / "Set" / "HR" / f"{index}.png", seed=index)
        draw(tmp_path / "Set" / low_folder / f"{index}{suffix}.png", 4, 3, seed=10 + index)
    (found,) = eval_sets(tmp_path, 4)
    assert (found.name, len(found)) == ("Set", 3)
    for index, pair in enumerate(found):
        assert pair.name == str(index)
        np.testing.assert_array_equal(pair.high, draw(tmp_path / "high.png", seed=index))
        np.testing.assert_array_equal(pair.low, draw(tmp_path / "low.png", 4, 3, seed=10 + index))


@pytest.mark.parametrize("low_folder", ["DIV2K_valid_LR_bicubic/X2", "DIV2K_valid_LR_bicubic_X2"])
def test_div2k_is_found_as_its_archives_unpack(tmp_path: Path, low_folder: str) -> None:
    draw(tmp_path / "DIV2K_valid_HR" / "0801.png")
    low = draw(tmp_path / low_folder / "0801x2.png", 8, 6)
    draw(tmp_path / "DIV2K_train_HR" / "0001.png")
    train, valid = eval_sets(tmp_path, 2)
    assert (train.name, len(train), valid.name, len(valid)) == ("DIV2K_train", 1, "DIV2K_valid", 1)
    (pair,) = valid
    np.testing.assert_array_equal(pair.low, low)


def test_every_set_of_a_folder_is_found_or_the_folder_itself_is_one(tmp_path: Path) -> None:
    for name in ("B", "A"):
        draw(tmp_path / name / "HR" / "x.png")
    (tmp_path / "notes").mkdir()
    assert [found.name for found in eval_sets(tmp_path, 4)] == ["A", "B"]
    assert [found.name for found in eval_sets(tmp_path / "B", 4)] == ["B"]


def test_missing_low_resolution_images_are_made(tmp_path: Path) -> None:
    high = draw(tmp_path / "Set" / "HR" / "x.png", 18, 13)
    draw(tmp_path / "Set" / "LRx2" / "x.png", 9, 6)
    (found,) = eval_sets(tmp_path, 4)
    (pair,) = found
    np.testing.assert_array_equal(pair.low, downscale(high, 4))


def test_a_plain_folder_is_a_set_of_ground_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "photos"
    high = draw(place / "sub" / "b.png")
    draw(place / "a.png")
    (place / "readme.txt").write_text("no image")
    draw(place / ".thumbs" / "a.png")
    monkeypatch.chdir(place)
    (found,) = eval_sets(Path(), 4)
    assert found.name == "photos"
    assert [pair.name for pair in found] == ["a", "b"]
    np.testing.assert_array_equal([pair.low for pair in found][1], downscale(high, 4))


def test_no_two_images_of_a_set_have_the_same_name(tmp_path: Path) -> None:
    for name in ("a.gif", "a.png", "B.png", "100/IMG_1.jpg", "101/IMG_1.jpg"):
        draw(tmp_path / name)
    (found,) = eval_sets(tmp_path, 4)
    assert [pair.name for pair in found] == ["100/IMG_1.jpg", "101/IMG_1.jpg", "B", "a.gif", "a.png"]


def test_partners_lie_at_the_same_place(tmp_path: Path) -> None:
    for name in ("100/a.png", "101/a.png"):
        high = draw(tmp_path / "Set" / "HR" / name)
        draw(tmp_path / "Set" / "LRx4" / name, high.shape[0] // 4, high.shape[1] // 4)
    (found,) = eval_sets(tmp_path, 4)
    assert [low and low.parent.name for low, _ in found.members] == ["100", "101"]


def test_two_sets_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("Photos/HR", "Photos_HR"):
        draw(tmp_path / folder / "a.png")
    with pytest.raises(DataError, match="several sets with the name Photos"):
        eval_sets(tmp_path, 4)


def test_the_official_sets_are_found(shared: Path) -> None:
    sizes = {found.name: len(found) for found in eval_sets(shared / "data" / "eval", 4)}
    assert sizes == {"Set5": 5, "Set14": 14, "DIV2K_valid_crops": 100}
    assert all(low is not None for found in eval_sets(shared / "data" / "eval", 2) for low, _ in found.members)
    for pair in eval_sets(shared / "data" / "eval" / "Set5", 4)[0]:
        assert pair.high.shape[0] // 4 == pair.low.shape[0], pair.name


def test_a_missing_partner_is_named(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        draw(tmp_path / "Set" / "HR" / f"{name}.png")
    draw(tmp_path / "Set" / "LRx4" / "ax4.png", 4, 3)
    with pytest.raises(DataError, match=r"LRx4 lacks the partner of b.png \(2 missing"):
        eval_sets(tmp_path, 4)


def test_a_partner_of_another_scale_is_named(tmp_path: Path) -> None:
    draw(tmp_path / "Set" / "HR" / "a.png")
    draw(tmp_path / "Set" / "LRx4" / "a.png", 8, 6)
    (found,) = eval_sets(tmp_path, 4)
    with pytest.raises(DataError, match=r"LRx4.a.png is 8x6: not a x4 partner of 16x12"):
        list(found)


def test_ground_truth_need_not_be_a_multiple_of_the_scale(tmp_path: Path) -> None:
    draw(tmp_path / "Set" / "HR" / "a.png", 19, 13)
    draw(tmp_path / "Set" / "LRx4" / "a.png", 5, 3)  # one side rounded up, one down
    (found,) = eval_sets(tmp_path, 4)
    (pair,) = found
    assert (pair.low.shape, pair.high.shape) == ((3, 5, 3), (13, 19, 3))


def test_an_image_that_cannot_be_shrunk_is_named(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 16, 3)
    with pytest.raises(DataError, match=r"a.png is 16x3: too small"):
        list(eval_sets(tmp_path, 4)[0])


def test_a_damaged_image_is_named_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    with pytest.raises(ImageError, match=r"a\.png"):
        list(eval_sets(tmp_path, 4)[0])


@pytest.mark.parametrize("make", [lambda place: None, lambda place: (place / "Set" / "HR").mkdir(parents=True)])
def test_a_folder_without_images_is_an_error_that_names_it(tmp_path: Path, make) -> None:
    make(tmp_path)
    for read in (eval_sets, calibration_images):
        with pytest.raises(DataError, match=rf"{tmp_path}.* holds no images.*\.png"):
            read(tmp_path, 4)


@pytest.mark.parametrize("read", [eval_sets, calibration_images])
def test_what_is_not_a_folder_is_an_error(tmp_path: Path, read) -> None:
    draw(tmp_path / "a.png")
    for place in (tmp_path / "a.png", tmp_path / "none"):
        with pytest.raises(DataError, match=f"{place} is not a folder"):
            read(place, 4)


# ------------------------------------------------------------------------------------------- what is always there


def test_generated_pictures_are_the_same_every_time_and_not_dull() -> None:
    first, second = (generated_pictures(3, 64) for _ in range(2))
    assert fingerprint(tuple(first)) == fingerprint(tuple(second))
    assert len({picture.tobytes() for picture in first}) == 3
    for picture in first:
        assert (picture.shape, picture.dtype) == ((64, 64, 3), np.uint8)
        assert picture.std() > 20


def test_a_picture_does_not_depend_on_how_many_are_asked_for() -> None:
    np.testing.assert_array_equal(generated_pictures(2, 48)[1], generated_pictures(4, 48)[1])


@pytest.mark.parametrize("scale", [2, 4])
def test_sample_photos_are_used_where_they_are_installed(scale: int) -> None:
    pytest.importorskip("skimage", reason="scikit-image (its sample photos) is missing")
    found = built_in_set(scale)
    assert (found.name, len(found)) == ("scikit-image", 4)
    assert [pair.name for pair in found] == list(datasets.SAMPLE_PHOTOS)
    for pair in found:
        assert pair.high.shape == (256, 256, 3)
        np.testing.assert_array_equal(pair.low, downscale(pair.high, scale))


def test_generated_pictures_take_their_place_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "skimage"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "skimage", None)  # what Python sees where it is not installed
    found = built_in_set(4)
    assert (found.name, len(found)) == ("generated", 4)
    assert {pair.low.shape for pair in found} == {(64, 64, 3)}


# -------------------------------------------------------------------------------------------------------- calibration


def test_without_a_folder_calibration_says_that_its_images_are_generated() -> None:
    found = calibration_images(None, 4)
    assert found.generated
    assert "generated" in found.source
    assert {image.shape for image in found.images} == {(128, 128, 3)}


@pytest.mark.parametrize("place", ["DIV2K_train_LR_bicubic/X4", "DIV2K_train_LR_bicubic_X4", "X4", "."])
def test_calibration_takes_the_low_resolution_images_of_the_scale(tmp_path: Path, place: str) -> None:
    expected = [draw(tmp_path / place / f"000{index}x4.png", seed=index) for index in range(3)]
    if place != ".":
        draw(tmp_path / "DIV2K_train_HR" / "0000.png", seed=99)
        draw(tmp_path / place.replace("X4", "X2") / "0000x2.png", seed=98)
    found = calibration_images(tmp_path, 4)
    assert not found.generated
    assert fingerprint(found.images) == fingerprint(tuple(expected))
    assert "3 images of" in found.source


def test_div2k_at_another_scale_is_not_taken_for_this_one(tmp_path: Path) -> None:
    draw(tmp_path / "DIV2K_train_LR_bicubic" / "X2" / "0001x2.png")
    with pytest.raises(DataError, match="no DIV2K_train_LR_bicubic/X4, only DIV2K_train_LR_bicubic/X2"):
        calibration_images(tmp_path, 4)


@pytest.mark.parametrize(
    ("most", "chosen"), [(1, [0]), (2, [0, 9]), (4, [0, 3, 6, 9]), (10, range(10)), (64, range(10))]
)
def test_a_choice_of_images_is_spread_evenly(tmp_path: Path, most: int, chosen) -> None:
    images = [draw(tmp_path / f"{index}.png", seed=index) for index in range(10)]
    found = calibration_images(tmp_path, 4, most)
    assert fingerprint(found.images) == fingerprint(tuple(images[index] for index in chosen))
    assert found.source.startswith(f"{len(list(chosen))} images")


def test_the_official_calibration_images_are_found(shared: Path) -> None:
    found = calibration_images(shared / "data" / "calib", 4)
    assert (len(found.images), found.generated) == (10, False)


def test_a_fingerprint_tells_pixels_order_and_shape_apart() -> None:
    a, b = np.arange(24, dtype=np.uint8).reshape(2, 4, 3), np.zeros((2, 4, 3), np.uint8)
    prints = {fingerprint(images) for images in ((a,), (b,), (a, b), (b, a), (a.reshape(4, 2, 3),), ())}
    assert len(prints) == 6
    assert fingerprint((a,)) == fingerprint((np.asfortranarray(a),))
