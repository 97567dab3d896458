"""MATLAB-style bicubic resize: the one that makes the low-resolution images of every SR paper."""

import functools
import math

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float64]


def resize_matlab(image: npt.ArrayLike, scale: float, *, antialias: bool = True) -> Image:
    """Resize like MATLAB's `imresize(image, scale, "bicubic")`.

    `image`: (H, W) or (H, W, C), any range. Returns float64 (ceil(H * scale), ceil(W * scale)[, C]), not clipped and
    not rounded. Shrinking stretches the kernel by 1 / scale ("antialiasing"); borders are mirrored.
    Kernel: Keys 1981, a = -0.5.
    """
    result = np.asarray(image, dtype=np.float64)
    if result.ndim not in (2, 3) or 0 in result.shape:
        raise ValueError(f"expected an image of shape (H, W) or (H, W, C), got {result.shape}")
    for axis in (0, 1):
        indices, weights = _taps(result.shape[axis], scale, antialias)
        rows = np.moveaxis(result, axis, 0)
        resized = np.zeros((len(indices), *rows.shape[1:]))
        for tap in range(indices.shape[1]):
            weight = weights[:, tap].reshape(-1, *[1] * (rows.ndim - 1))
            resized += weight * rows[indices[:, tap]]
        result = np.moveaxis(resized, 0, axis)
    return result


def downscale(image: npt.NDArray[np.uint8], factor: int) -> npt.NDArray[np.uint8]:
    """The SR papers' LR image: uint8 (H, W, C) -> uint8 (H // factor, W // factor, C).

    H and W are cropped to multiples of `factor` first (the papers' "modcrop").
    """
    height, width = (side // factor * factor for side in image.shape[:2])
    return np.clip(np.floor(resize_matlab(image[:height, :width], 1 / factor) + 0.5), 0, 255).astype(np.uint8)


@functools.lru_cache(maxsize=64)
def _taps(length: int, scale: float, antialias: bool) -> tuple[npt.NDArray[np.intp], Image]:
    """For each output position: source indices (mirrored at the border) and weights, both (out_length, taps)."""
    stretch = min(scale, 1.0) if antialias else 1.0
    support = 4.0 / stretch
    out_length = math.ceil(length * scale)
    centre = (np.arange(out_length) + 0.5) / scale - 0.5
    first = np.floor(centre - support / 2).astype(np.intp) + 1
    source = first[:, None] + np.arange(math.ceil(support) + 1)
    weights = stretch * _cubic(stretch * (centre[:, None] - source))
    weights /= weights.sum(axis=1, keepdims=True)
    mirror = np.concatenate([np.arange(length), np.arange(length)[::-1]])
    keep = np.any(weights != 0, axis=0)
    return mirror[source[:, keep] % (2 * length)], weights[:, keep]


def _cubic(x: Image) -> Image:
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
