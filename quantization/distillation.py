"""What a quantized network learns from: crops, the float network's output on them, and what of a difference counts.

No ground truth is needed. What is drawn at random depends on the seed and the number of the step alone.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgesr.quantization.calibration import Pixels
from edgesr.quantization.pixels import to_tensor
from edgesr.quantization.settings import Fit

SLACK = 0.05
"""Outputs are compared within [-0.05, 1.05]: what is beyond cannot be seen."""
GAINS = (1.5, 8.0)
"""Of contrast where it is stretched: from harsh light to line art."""
COLOUR_GAINS = (1.0, 8.0)
"""Of the difference of a channel from grey."""
MOST_TINT = 160.0
"""In 8-bit levels, added to a channel of a colourful crop."""
LEAST_CONTRAST = 0.2
"""Of what a crop has, where it is faded."""
SMALLEST_DETAIL = 5e-5
"""Mean square of what is added to a crop, about 2 in 8-bit levels: smoother crops count no more than that."""


def weighted_error(output: Tensor, wanted: Tensor, low: Tensor) -> Tensor:
    """Mean squared error, each crop by the contrast of what the network adds to bicubic: dB are lost on smooth images
    first. Not by its square, as dB are: a smooth image may have a hard edge, and most of its error there.

    output, wanted: (N, 3, sH, sW); low: (N, 3, H, W).
    """
    with torch.no_grad():
        smooth = F.interpolate(low, wanted.shape[2:], mode="bicubic")
        weight = ((wanted - smooth).square().mean((1, 2, 3)) + SMALLEST_DETAIL).rsqrt()
        weight /= weight.mean()
        wanted = wanted.clamp(-SLACK, 1 + SLACK)
    error = (output.clamp(-SLACK, 1 + SLACK) - wanted).square().mean((1, 2, 3))
    return 100 * (error * weight).mean()


def batch(photos: Sequence[Pixels], fit: Fit, step: int, colourful_part: float = 0.0) -> Tensor:
    """The crops of one step: random, turned and mirrored, float32 (batch, 3, side, side) in [0, 1].

    `colourful_part`: of them that get colours stronger than most photos have.
    """
    random = np.random.default_rng((fit.seed, step))
    side_px = min(fit.side_px, *(min(photo.shape[:2]) for photo in photos))
    chosen = [photos[index] for index in random.integers(len(photos), size=fit.batch)]
    crops = [_crop(photo, side_px, fit, random) for photo in chosen]
    if colourful_part:
        crops = [colourful(crop, random) if random.random() < colourful_part else crop for crop in crops]
    return torch.cat([to_tensor(crop) for crop in crops])


def _crop(photo: Pixels, side_px: int, fit: Fit, random: np.random.Generator) -> Pixels:
    top, left = (int(random.integers(side - side_px + 1)) for side in photo.shape[:2])
    crop = np.rot90(photo[top : top + side_px, left : left + side_px], int(random.integers(4)))
    crop = crop[:, ::-1] if random.random() < 0.5 else crop
    chance = random.random()
    if chance < fit.extremes:
        return stretched(crop, random)
    if chance < fit.extremes + fit.faded:
        return faded(crop, random)
    return flat(crop, random) if chance < fit.extremes + fit.faded + fit.flat else crop


def stretched(crop: Pixels, random: np.random.Generator) -> Pixels:
    """More contrast about a random level, partly saturated, sometimes negative."""
    level, shift = random.uniform(64, 192), random.uniform(-64, 64)
    gain = math.exp(random.uniform(math.log(GAINS[0]), math.log(GAINS[1])))
    values = np.clip((crop.astype(np.float32) - level) * gain + level + shift, 0, 255)
    pixels: Pixels = (255 - values if random.random() < 0.3 else values).round().astype(np.uint8)
    return pixels


def colourful(crop: Pixels, random: np.random.Generator) -> Pixels:
    """Purer colours than most photos have, often beyond what a channel holds, the channels in random order: what leaves
    a network's first convolutions for pure cyan or magenta is far outside of what other photos show."""
    gain = math.exp(random.uniform(math.log(COLOUR_GAINS[0]), math.log(COLOUR_GAINS[1])))
    values = crop.astype(np.float32)
    grey = values.mean(2, keepdims=True)
    tint = random.uniform(-MOST_TINT, MOST_TINT, size=3)
    values = grey + (values - grey) * gain + tint - tint.mean()
    pixels: Pixels = values.clip(0, 255).round().astype(np.uint8)[:, :, random.permutation(3)]
    return pixels


def faded(crop: Pixels, random: np.random.Generator) -> Pixels:
    """Less contrast, anywhere between black and white: smooth and bright or dark, where little error costs many dB."""
    gain = math.exp(random.uniform(math.log(LEAST_CONTRAST), 0))
    values = (crop - crop.mean()) * gain
    values += random.uniform(-values.min(), 255 - values.max())
    pixels: Pixels = values.round().clip(0, 255).astype(np.uint8)
    return pixels


def flat(crop: Pixels, random: np.random.Generator) -> Pixels:
    """One colour, often saturated: what lies beside the zero padding of a convolution is nowhere further from it."""
    colour = random.choice((0, 255), size=3) if random.random() < 0.5 else np.repeat(random.integers(256), 3)
    return np.broadcast_to(colour.astype(np.uint8), crop.shape)


def stretched_all(crops: Sequence[Pixels], seed: int = 0) -> list[Pixels]:
    random = np.random.default_rng(seed)
    return [stretched(crop, random) for crop in crops]


def colourful_all(crops: Sequence[Pixels], seed: int = 0) -> list[Pixels]:
    random = np.random.default_rng(seed)
    return [colourful(crop, random) for crop in crops]
