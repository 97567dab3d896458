"""What a device's outputs are worth: against the ground truth, and against the float32 network's."""

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesr.bench.records import Image
from edgesr.metrics import Protocol, common_part, psnr_db, ssim

Pixels = npt.NDArray[np.uint8]
Y: Protocol = "paper-y"
RGB: Protocol = "ntire-rgb4"
OFF_BY = 1
"""8-bit levels; the next level is what rounding alone may change."""
LEAST_SIDE_PX = 24
"""Of an output that SSIM and the border of "ntire-rgb4" leave anything of."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One image to run: uint8 RGB `low` (h, w, 3) and `high`, its ground truth; `reference`: what the float32 network
    makes of it, None where there is none."""

    set_name: str
    name: str
    low: Pixels
    high: Pixels
    reference: Pixels | None

    @property
    def pair(self) -> str:
        """sha256 of what is compared: an image of the same name may be another one, or get a reference later."""
        digest = hashlib.sha256()
        for pixels in (self.low, self.high, self.reference):
            digest.update(b"-" if pixels is None else repr(pixels.shape).encode() + np.ascontiguousarray(pixels).data)
        return digest.hexdigest()


def judge(shot: Shot, output: Pixels, scale: int) -> Image:
    """`output`: uint8 RGB (scale * h, scale * w, 3). Raises ValueError if it is of another size."""
    expected = (scale * shot.low.shape[0], scale * shot.low.shape[1], 3)
    if output.shape != expected or output.dtype != np.uint8:
        raise ValueError(f"the output of {shot.name} is {output.dtype} {output.shape}, not uint8 {expected}")
    own, high = common_part(output, shot.high)
    found = _psnr(own, high, Y, scale), _psnr(own, high, RGB, scale), _ssim(own, high, scale)
    if shot.reference is None:
        return Image(shot.set_name, shot.name, *found, pair=shot.pair)
    reference, _ = common_part(shot.reference, high)
    difference = own.astype(np.int16) - reference
    red, green, blue = (round(float(mean), 4) for mean in difference.mean(axis=(0, 1)))
    return Image(
        shot.set_name,
        shot.name,
        *found,
        reference_y_db=_psnr(reference, high, Y, scale),
        reference_rgb_db=_psnr(reference, high, RGB, scale),
        colour_shift_255=(red, green, blue),
        off_share=round(float(np.mean(np.abs(difference) > OFF_BY)), 6),
        pair=shot.pair,
    )


def _psnr(test: Pixels, high: Pixels, protocol: Protocol, scale: int) -> float | None:
    if min(high.shape[:2]) < LEAST_SIDE_PX:
        return None
    value = psnr_db(test, high, protocol, scale)
    return round(value, 4) if math.isfinite(value) else None


def _ssim(test: Pixels, high: Pixels, scale: int) -> float | None:
    return None if min(high.shape[:2]) < LEAST_SIDE_PX else round(ssim(test, high, Y, scale), 5)
