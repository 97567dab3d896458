"""PSNR and SSIM against values worked out by hand and against scikit-image."""

import math

import numpy as np
import pytest

from edgesr import metrics
from edgesr.metrics import Protocol, colour_shift_255, luma, max_abs_255, psnr_db, ssim, to_uint8


def pair(height: int = 40, width: int = 37, noise: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    reference = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    test = np.clip(reference + rng.integers(-noise, noise + 1, reference.shape), 0, 255).astype(np.uint8)
    return test, reference


def test_to_uint8_returns_every_level_of_an_eight_bit_image() -> None:
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_uint8(levels.astype(np.float32) / 255), levels)


def test_to_uint8_clips_and_rounds_a_half_up() -> None:
    values = np.array([-3.0, 0.5 / 255, 1.5 / 255, 2.5 / 255, 7.0], np.float64)
    np.testing.assert_array_equal(to_uint8(values), [0, 1, 2, 3, 255])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_to_uint8_refuses_what_is_not_a_number(bad: float) -> None:
    with pytest.raises(ValueError, match="1 of 2 values are NaN or infinite"):
        to_uint8(np.array([0.5, bad], np.float32))


def test_luma_of_primaries_is_that_of_bt601() -> None:
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    np.testing.assert_allclose(luma(colours)[0], [16, 235, 16 + 65.481, 16 + 128.553, 16 + 24.966], atol=1e-9)


def test_luma_equals_scikit_image() -> None:
    from skimage.color import rgb2ycbcr

    test, _ = pair()
    np.testing.assert_allclose(luma(test), rgb2ycbcr(test)[..., 0], atol=1e-9)


def test_psnr_of_one_level_everywhere_is_48_db() -> None:
    black = np.zeros((12, 12, 3), np.uint8)
    assert psnr_db(black + np.uint8(1), black, "rgb", 4) == pytest.approx(20 * math.log10(255))


@pytest.mark.parametrize("protocol", metrics.PROTOCOLS)
def test_equal_images_have_infinite_psnr_and_ssim_one(protocol: Protocol) -> None:
    _, reference = pair()
    assert psnr_db(reference, reference.copy(), protocol, 4) == math.inf
    assert ssim(reference, reference.copy(), protocol, 4) == pytest.approx(1.0, abs=1e-12)
    assert max_abs_255(reference, reference.copy()) == 0


@pytest.mark.parametrize(("protocol", "scale", "border"), [("paper-y", 3, 3), ("paper-y", 2, 2), ("ntire-rgb4", 2, 4)])
def test_exactly_the_border_is_ignored(protocol: Protocol, scale: int, border: int) -> None:
    _, reference = pair()
    outside = reference.copy()
    outside[:border] ^= 255
    outside[:, :border] ^= 255
    outside[-border:] ^= 255
    outside[:, -border:] ^= 255
    assert psnr_db(outside, reference, protocol, scale) == math.inf
    for row, col in [(border, border), (-border - 1, -border - 1)]:
        inside = reference.copy()
        inside[row, col] ^= 255
        assert psnr_db(inside, reference, protocol, scale) < math.inf, (row, col)


def test_rgb_protocol_counts_the_corner_pixel() -> None:
    _, reference = pair()
    changed = reference.copy()
    changed[0, 0, 0] ^= 1
    assert psnr_db(changed, reference, "rgb", 4) < math.inf


@pytest.mark.parametrize(("protocol", "border"), [("paper-y", 2), ("ntire-rgb4", 4), ("rgb", 0)])
def test_psnr_and_ssim_equal_scikit_image(protocol: Protocol, border: int) -> None:
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    test, reference = pair()
    a, b = (x[border : x.shape[0] - border, border : x.shape[1] - border] for x in (test, reference))
    if protocol == "paper-y":
        a, b = luma(a)[..., None], luma(b)[..., None]
    expected_psnr = peak_signal_noise_ratio(b.astype(float), a.astype(float), data_range=255)
    expected_ssim = structural_similarity(
        a.astype(float),
        b.astype(float),
        data_range=255,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert psnr_db(test, reference, protocol, 2) == pytest.approx(expected_psnr, abs=1e-9)
    assert ssim(test, reference, protocol, 2) == pytest.approx(expected_ssim, abs=1e-9)


def test_ssim_is_symmetric_and_falls_with_noise() -> None:
    values = [ssim(*pair(noise=noise), "paper-y", 4) for noise in (2, 20, 100)]
    assert values == sorted(values, reverse=True)
    test, reference = pair()
    assert ssim(test, reference, "rgb", 4) == pytest.approx(ssim(reference, test, "rgb", 4), abs=1e-12)


def test_max_abs_sees_both_signs_without_wrapping() -> None:
    black, white = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)
    assert max_abs_255(black, white) == max_abs_255(white, black) == 255


def test_unlike_shapes_are_named() -> None:
    a, b = np.zeros((8, 9, 3), np.uint8), np.zeros((9, 8, 3), np.uint8)
    for metric in (lambda: psnr_db(a, b, "rgb", 4), lambda: ssim(a, b, "rgb", 4), lambda: max_abs_255(a, b)):
        with pytest.raises(ValueError, match=r"\(8, 9, 3\).*\(9, 8, 3\)"):
            metric()


@pytest.mark.parametrize("image", [np.zeros((8, 8, 3), np.float32), np.zeros((3, 8, 8), np.uint8), np.zeros((8, 8))])
def test_only_hwc_uint8_is_compared(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"must be a \(H, W, 3\) uint8"):
        psnr_db(image, image, "rgb", 4)


def test_images_that_the_border_or_the_window_swallows_are_refused() -> None:
    small = np.zeros((8, 30, 3), np.uint8)
    with pytest.raises(ValueError, match="border of 4 px"):
        psnr_db(small, small, "ntire-rgb4", 4)
    with pytest.raises(ValueError, match="SSIM needs 11x11"):
        ssim(small, small, "rgb", 4)


def test_unknown_protocol_lists_the_known_ones() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="paper-y, ntire-rgb4, rgb"):
        psnr_db(image, image, "y", 4)  # type: ignore[arg-type]


def test_the_colour_shift_is_that_of_the_channel_whose_mean_moves_most() -> None:
    reference = np.full((10, 10, 3), 100, np.uint8)
    moved = reference.copy()
    moved[:5, :, 1] -= np.uint8(4)
    moved[..., 2] += np.uint8(1)
    assert colour_shift_255(moved, reference) == colour_shift_255(reference, moved) == pytest.approx(2.0)
    moved[5:, :, 1] += np.uint8(4)  # as much up as down: noise, no shift
    assert colour_shift_255(moved, reference) == pytest.approx(1.0)


def test_the_colour_shift_of_unlike_shapes_is_refused() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        colour_shift_255(np.zeros((10, 10, 3), np.uint8), np.zeros((10, 11, 3), np.uint8))
