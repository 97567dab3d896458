"""Low-resolution images as cameras and messengers make them: blurred, shrunk, noisy, compressed.

A first-order chain after BSRGAN (Zhang et al., "Designing a Practical Degradation Model for Deep Blind Image
Super-Resolution", ICCV 2021, section 3) with the ranges of Real-ESRGAN's first order (Wang et al., ICCV workshops 2021,
section 3.1): blur, shrinking, noise, JPEG. Left out: the second round, the shuffled order, sinc filters and models of
camera sensors.
"""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgesr.datasets import Pixels
from edgesr.resize import resize_matlab

Floats = npt.NDArray[np.float64]
BLUR_SIGMA_PX = (0.2, 3.0)
"""In high-resolution pixels."""
BLUR_RADIUS_PX = 10
_FAST_MULTIPLE = 24
NOISE_LEVELS = (1.0, 25.0)
"""Standard deviation of Gaussian noise, of 255."""
POISSON_SCALE = (0.05, 2.5)
GREY_NOISE = 0.4
"""Share of images whose noise is the same in all channels."""
JPEG_QUALITY = (30, 95)


def real_world(high: Pixels, scale: int, random: np.random.Generator) -> Pixels:
    """uint8 RGB (s*h, s*w, 3) -> (h, w, 3). Depends on `high` and the state of `random` alone."""
    blurred = _blurred(high.astype(np.float64), random)
    noisy = _noisy(_shrunk(blurred, scale, random), random)
    levels = np.clip(np.round(noisy), 0, 255).astype(np.uint8)
    return _through_jpeg(levels, int(random.integers(JPEG_QUALITY[0], JPEG_QUALITY[1] + 1)))


def _blurred(image: Floats, random: np.random.Generator) -> Floats:
    """Convolved with a Gaussian of two widths, turned by any angle; borders are mirrored."""
    first, second = random.uniform(*BLUR_SIGMA_PX, size=2)
    angle = random.uniform(0, np.pi)
    rows, columns = np.mgrid[-BLUR_RADIUS_PX : BLUR_RADIUS_PX + 1, -BLUR_RADIUS_PX : BLUR_RADIUS_PX + 1]
    along = (np.cos(angle) * columns + np.sin(angle) * rows) / first
    across = (np.cos(angle) * rows - np.sin(angle) * columns) / second
    kernel = np.exp(-0.5 * (along**2 + across**2))
    # planes one after another in float32, with lengths of small factors: much faster than (H, W, 3) in float64
    lengths = [side + 2 * BLUR_RADIUS_PX + -(side + 2 * BLUR_RADIUS_PX) % _FAST_MULTIPLE for side in image.shape[:2]]
    margins = [
        (BLUR_RADIUS_PX, length - side - BLUR_RADIUS_PX) for length, side in zip(lengths, image.shape, strict=False)
    ]
    planes = np.pad(image.transpose(2, 0, 1).astype(np.float32), [(0, 0), *margins], "symmetric")
    transfer = np.fft.rfft2((kernel / kernel.sum()).astype(np.float32), lengths)
    whole = np.fft.irfft2(np.fft.rfft2(planes) * transfer, lengths)
    height, width = image.shape[:2]
    begin = 2 * BLUR_RADIUS_PX
    blurred: Floats = whole[:, begin : begin + height, begin : begin + width].transpose(1, 2, 0).astype(np.float64)
    return blurred


def _shrunk(image: Floats, scale: int, random: np.random.Generator) -> Floats:
    """By bicubic interpolation or by the mean of an area."""
    if random.integers(2):
        return resize_matlab(image, 1 / scale)
    height, width, channels = image.shape
    areas = image.reshape(height // scale, scale, width // scale, scale, channels)
    means: Floats = areas.mean(axis=(1, 3))
    return means


def _noisy(image: Floats, random: np.random.Generator) -> Floats:
    """With Gaussian or Poisson noise, in colour or in grey."""
    image = np.clip(image, 0, 255)
    channels = 1 if random.uniform() < GREY_NOISE else 3
    if random.integers(2):
        return image + random.normal(0, random.uniform(*NOISE_LEVELS), (*image.shape[:2], channels))
    light = image.mean(axis=2, keepdims=True) if channels == 1 else image
    return image + random.uniform(*POISSON_SCALE) * (random.poisson(light) - light)


def _through_jpeg(image: Pixels, quality: int) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))
