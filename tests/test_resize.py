"""MATLAB-style bicubic: against the official low-resolution images, against Keys' formula, and by its properties."""

import math
from pathlib import Path

import numpy as np
import pytest

from edgesr.datasets import read_rgb
from edgesr.resize import downscale, resize_matlab


def keys_kernel(x: float) -> float:
    """Keys 1981, equation 15 (a = -1/2)."""
    x = abs(x)
    if x < 1:
        return (3 * x**3 - 5 * x**2 + 2) / 2
    return (-(x**3) + 5 * x**2 - 8 * x + 4) / 2 if x < 2 else 0.0


def resized_by_definition(line: list[float], scale: float) -> list[float]:
    """One dimension, straight from the definition: mirrored samples under a kernel that is stretched to shrink."""
    stretch = min(scale, 1.0)
    result = []
    for position in range(math.ceil(len(line) * scale)):
        centre = (position + 0.5) / scale - 0.5
        reach = math.ceil(2 / stretch) + 1
        total = weights = 0.0
        for index in range(math.floor(centre) - reach, math.floor(centre) + reach + 1):
            weight = keys_kernel(stretch * (centre - index))
            mirrored = index % (2 * len(line))
            total += weight * line[min(mirrored, 2 * len(line) - 1 - mirrored)]
            weights += weight
        result.append(total / weights)
    return result


@pytest.mark.parametrize("scale", [2, 4])
def test_downscale_makes_the_official_low_resolution_images(shared: Path, scale: int) -> None:
    folder = shared / "data" / "eval" / "DIV2K_valid_crops"
    files = sorted((folder / "HR").iterdir())[:: 1 if scale == 4 else 10]
    assert files
    for file in files:
        found = downscale(read_rgb(file), scale).astype(int)
        expected = read_rgb(folder / f"LRx{scale}" / file.name).astype(int)
        difference = np.abs(found - expected)
        # x4 is exact; a few values of the official x2 files are rounded the other way
        assert difference.max() <= (0 if scale == 4 else 1), f"{file.name}: {np.bincount(difference.ravel())}"


@pytest.mark.parametrize("scale", [1 / 4, 1 / 3, 1 / 2, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0])
@pytest.mark.parametrize("length", [1, 2, 5, 12, 31])
def test_resize_equals_the_definition(length: int, scale: float) -> None:
    line = np.random.default_rng(length).uniform(0, 255, length)
    found = resize_matlab(np.tile(line, (4, 1)), scale)
    np.testing.assert_allclose(found, [resized_by_definition(line.tolist(), scale)] * len(found), atol=1e-9)


def test_both_directions_are_resized_independently() -> None:
    image = np.random.default_rng(1).uniform(0, 1, (13, 8))
    by_rows = [resized_by_definition(row, 0.5) for row in image.tolist()]
    expected = np.array([resized_by_definition(column, 0.5) for column in np.array(by_rows).T.tolist()]).T
    np.testing.assert_allclose(resize_matlab(image, 0.5), expected, atol=1e-12)


def test_a_known_edge_shrinks_to_known_values() -> None:
    # By hand: the kernel of x1/2 has the weights (-3, -9, 29, 111, 111, 29, -9, -3) / 256 around each centre.
    edge = np.array([0, 0, 0, 0, 0, 0, 0, 0, 256, 256, 256, 256, 256, 256, 256, 256.0])
    expected = [0, 0, -3, 17, 239, 259, 256, 256]
    np.testing.assert_allclose(resize_matlab(np.tile(edge, (4, 1)), 0.5)[0], expected, atol=1e-12)


@pytest.mark.parametrize("scale", [1 / 4, 1 / 3, 1 / 2, 2, 3, 4])
def test_a_constant_stays_constant_up_to_the_border(scale: float) -> None:
    found = resize_matlab(np.full((9, 14, 3), 77.0), scale)
    assert found.shape == (math.ceil(9 * scale), math.ceil(14 * scale), 3)
    np.testing.assert_allclose(found, 77.0, atol=1e-10)


@pytest.mark.parametrize("scale", [1 / 4, 1 / 3, 1 / 2, 2, 3, 4])
def test_a_ramp_stays_a_ramp_inside(scale: float) -> None:
    ramp = np.tile(np.arange(48.0), (4, 1))
    found = resize_matlab(ramp, scale)[0]
    expected = (np.arange(len(found)) + 0.5) / scale - 0.5
    margin = math.ceil(2 * max(1, scale)) + 1
    np.testing.assert_allclose(found[margin:-margin], expected[margin:-margin], atol=1e-9)


@pytest.mark.parametrize("scale", [1 / 4, 1 / 3, 1 / 2, 2, 3, 4])
def test_resizing_and_flipping_may_change_places(scale: float) -> None:
    sides = (24, 36)
    image = np.random.default_rng(2).uniform(0, 255, (*sides, 3))
    for axis in (0, 1):
        np.testing.assert_allclose(
            resize_matlab(np.flip(image, axis), scale), np.flip(resize_matlab(image, scale), axis), atol=1e-9
        )


def test_channels_do_not_mix_and_integers_are_taken() -> None:
    image = np.random.default_rng(3).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    found = resize_matlab(image, 0.5)
    for channel in range(3):
        np.testing.assert_array_equal(found[..., channel], resize_matlab(image[..., channel], 0.5))


def test_without_antialiasing_the_kernel_is_not_stretched() -> None:
    line = np.zeros((1, 16))
    line[0, 4] = 1.0
    expected = [keys_kernel((position + 0.5) * 2 - 0.5 - 4) for position in range(8)]
    np.testing.assert_allclose(resize_matlab(line, 0.5, antialias=False)[0], expected, atol=1e-12)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_downscale_cuts_to_multiples_and_nothing_else(factor: int) -> None:
    image = np.random.default_rng(4).integers(0, 256, (5 * factor + 1, 7 * factor + factor - 1, 3), dtype=np.uint8)
    found = downscale(image, factor)
    assert found.shape == (5, 7, 3)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, downscale(image[: 5 * factor, : 7 * factor], factor))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_downscale_has_one_pixel_for_each_block_at_every_length(factor: int) -> None:
    for blocks in [*range(1, 200), 511, 512, 1020]:
        assert downscale(np.zeros((factor, blocks * factor, 3), np.uint8), factor).shape[1] == blocks


def test_downscale_clips_what_overshoots() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 16:] = 255
    exact = resize_matlab(image, 0.25)
    assert exact.min() < 0
    assert exact.max() > 255, "the kernel no longer overshoots: this test tests nothing"
    found = downscale(image, 4)
    np.testing.assert_array_equal(found, np.clip(np.floor(exact + 0.5), 0, 255))


@pytest.mark.parametrize("shape", [(0, 4), (4, 0, 3), (4,), (1, 2, 3, 4)])
def test_what_is_not_an_image_is_refused_with_its_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=str(shape[0])):
        resize_matlab(np.zeros(shape), 0.5)
