"""PSNR and SSIM: the one definition used everywhere, with the protocol named.

Protocols (a number of one is never comparable with a number of another):

- "paper-y":    luma of BT.601, `scale` pixels cut from each side; the tables of the SR papers since SRCNN and EDSR.
- "ntire-rgb4": RGB, 4 pixels cut from each side; the NTIRE Efficient SR challenge on DIV2K.
- "rgb":        RGB, nothing cut; how close an artifact is to the network that it was made from.
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Protocol = Literal["paper-y", "ntire-rgb4", "rgb"]
PROTOCOLS: tuple[Protocol, ...] = ("paper-y", "ntire-rgb4", "rgb")

PEAK = 255.0
_NTIRE_BORDER_PX = 4

# Z. Wang, A. Bovik, H. Sheikh, E. Simoncelli, "Image quality assessment: from error visibility to structural
# similarity", IEEE TIP 2004, section III.C: 11x11 Gaussian window of sigma 1.5, K1 = 0.01, K2 = 0.03.
_SSIM_WINDOW_PX = 11
_SSIM_SIGMA = 1.5
_SSIM_K1, _SSIM_K2 = 0.01, 0.03


def to_input(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 3) uint8 RGB as networks take it: (1, 3, H, W) float32 in [0, 1]."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None]).astype(np.float32) / np.float32(PEAK)


def to_uint8(rgb: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Floats in [0, 1], any shape and layout, to 8-bit levels: clipped, a half is rounded up.

    Raises ValueError for NaN and infinity: both would turn into some colour without anyone noticing.
    """
    if not np.isfinite(rgb).all():
        bad = int(np.size(rgb) - np.count_nonzero(np.isfinite(rgb)))
        raise ValueError(f"{bad} of {np.size(rgb)} values are NaN or infinite; they have no 8-bit level")
    levels: NDArray[np.uint8] = np.clip(np.floor(rgb * PEAK + 0.5), 0, PEAK).astype(np.uint8)
    return levels


def luma(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(H, W, 3) uint8 RGB to (H, W) float64 luma in [16, 235], not rounded.

    ITU-R BT.601 with studio swing, the first row of MATLAB's rgb2ycbcr.
    """
    _check_image("rgb", rgb)
    weights = np.array([65.481, 128.553, 24.966]) / PEAK
    y: NDArray[np.float64] = 16.0 + rgb.astype(np.float64) @ weights
    return y


def psnr_db(test: NDArray[np.uint8], reference: NDArray[np.uint8], protocol: Protocol, scale: int) -> float:
    """Peak signal-to-noise ratio in dB of two (H, W, 3) uint8 RGB images; `math.inf` when they are equal.

    `scale` is the upscaling factor; only "paper-y" uses it (as the border).
    Raises ValueError for unlike shapes, an unknown protocol, or images that the border leaves nothing of.
    """
    a, b = _planes(test, reference, protocol, scale)
    mse = float(np.mean(np.square(a - b)))
    return math.inf if mse == 0 else 10 * math.log10(PEAK**2 / mse)


def ssim(test: NDArray[np.uint8], reference: NDArray[np.uint8], protocol: Protocol, scale: int) -> float:
    """Structural similarity (at most 1) of two (H, W, 3) uint8 RGB images: mean over pixels, then over channels.

    Wang et al. 2004 as the SR papers compute it: only windows that lie wholly inside, population covariance.
    Raises ValueError as `psnr_db` does, and for images that are smaller than the 11x11 window after the border is cut.
    """
    a, b = _planes(test, reference, protocol, scale)
    if min(a.shape[:2]) < _SSIM_WINDOW_PX:
        raise ValueError(f"SSIM needs {_SSIM_WINDOW_PX}x{_SSIM_WINDOW_PX} pixels after the border, got {a.shape[:2]}")
    return float(np.mean([_ssim_plane(a[..., c], b[..., c]) for c in range(a.shape[2])]))


def max_abs_255(test: NDArray[np.uint8], reference: NDArray[np.uint8]) -> int:
    """Largest difference of two (H, W, 3) uint8 RGB images in 8-bit levels; raises ValueError for unlike shapes."""
    _check_pair(test, reference)
    return int(np.max(np.abs(test.astype(np.int16) - reference.astype(np.int16))))


def colour_shift_255(test: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    """By how much the mean over all pixels differs, in 8-bit levels without sign, of the channel that differs most.

    Both (H, W, 3) uint8 RGB; raises ValueError for unlike shapes.
    """
    _check_pair(test, reference)
    means = test.mean(axis=(0, 1)) - reference.mean(axis=(0, 1))
    return float(np.max(np.abs(means)))


def common_part(output: NDArray[np.uint8], high: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Both (H, W, 3) cut to their common size, from the top left.

    The sides of a ground truth may be no multiples of the scale; inputs may be mirrored beyond it.
    """
    height, width = (min(a, b) for a, b in zip(output.shape[:2], high.shape[:2], strict=True))
    return output[:height, :width], high[:height, :width]


def _check_image(name: str, image: NDArray[np.uint8]) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"{name} must be a (H, W, 3) uint8 RGB image, got {image.shape} {image.dtype}")


def _check_pair(test: NDArray[np.uint8], reference: NDArray[np.uint8]) -> None:
    _check_image("test", test)
    _check_image("reference", reference)
    if test.shape != reference.shape:
        raise ValueError(f"shapes differ: test {test.shape}, reference {reference.shape}")


def _planes(
    test: NDArray[np.uint8], reference: NDArray[np.uint8], protocol: Protocol, scale: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What the protocol compares: two (H, W, C) float64 arrays, border cut, C = 1 for luma and 3 for RGB."""
    _check_pair(test, reference)
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; known: {', '.join(PROTOCOLS)}")
    border = {"paper-y": scale, "ntire-rgb4": _NTIRE_BORDER_PX, "rgb": 0}[protocol]
    height, width = test.shape[:2]
    if border < 0 or min(height, width) <= 2 * border:
        raise ValueError(f"a border of {border} px ({protocol}) leaves nothing of an image of {height}x{width}")
    inner = np.s_[border : height - border, border : width - border]
    if protocol == "paper-y":
        return luma(test[inner])[..., None], luma(reference[inner])[..., None]
    return test[inner].astype(np.float64), reference[inner].astype(np.float64)


def _ssim_plane(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Mean SSIM of two (H, W) planes in [0, 255]; equation 13 of Wang et al. 2004."""
    c1, c2 = (_SSIM_K1 * PEAK) ** 2, (_SSIM_K2 * PEAK) ** 2
    mean_a, mean_b = _window_mean(a), _window_mean(b)
    var_a = _window_mean(a * a) - mean_a**2
    var_b = _window_mean(b * b) - mean_b**2
    cov = _window_mean(a * b) - mean_a * mean_b
    top = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
    return float(np.mean(top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))))


def _window_mean(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian-weighted mean around each pixel whose window lies inside: (H, W) to (H-10, W-10)."""
    offsets = np.arange(_SSIM_WINDOW_PX) - _SSIM_WINDOW_PX // 2
    kernel = np.exp(-(offsets**2) / (2 * _SSIM_SIGMA**2))
    kernel /= kernel.sum()
    rows, cols = (side - _SSIM_WINDOW_PX + 1 for side in plane.shape)
    blurred = sum((w * plane[i : i + rows] for i, w in enumerate(kernel)), np.zeros((rows, plane.shape[1])))
    return sum((w * blurred[:, i : i + cols] for i, w in enumerate(kernel)), np.zeros((rows, cols)))
