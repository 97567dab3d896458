"""Does the saved artifact, in its own runtime, compute what the network computes in torch, and at what loss?"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from edgesr.artifact import Proof, SetQuality
from edgesr.errors import DataError, ParityError, QualityError
from edgesr.listener import Listener
from edgesr.metrics import colour_shift_255, common_part, max_abs_255, psnr_db, to_input, to_uint8
from edgesr.runner import Runner
from edgesr.types import Precision, Size

PROTOCOL: Final = "paper-y"
Pixels = npt.NDArray[np.uint8]
Network = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""float32 (1, 3, H, W) RGB in [0, 1] -> (1, 3, s*H, s*W)."""

FP32_PARITY_255 = 1
"""Another order of summation moves a value across a rounding border, never by more than one level."""
FIDELITY_FLOOR_DB: dict[Precision, float] = {
    "fp32": 60.0,
    "fp16": 40.0,
    "int8": 20.0,
    "int16x8": 25.0,
    "palettized": 35.0,
}
"""RGB PSNR against torch that the worst image must reach. fp32: at most one level in a few pixels. fp16: bfloat16
execution, with 8 bits of mantissa, stays above 40. int8: the worst known photo has 25; below 20 it is a defect."""
FP16_FIDELITY_DB = 50.0
"""RGB PSNR against torch, mean over images, that fp16 should reach: where bfloat16 does not, float32 computes."""
DROP_LIMIT_DB: dict[Precision, float] = {
    "fp32": 0.02,
    "fp16": 0.1,
    "int8": 3.0,
    "int16x8": 1.0,
    "palettized": 0.3,
}
"""Largest mean loss of PSNR. int8: the converters' defaults lose 1.1 to 1.6 dB on these networks; more is a defect."""

EQUAL_DB = 100.0
"""The PSNR of two equal images counts as this: infinite values have no mean and no difference. One level in one value
of a megapixel is 108 dB."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The INT8 contract: what an artifact may lose against float32, in dB of luma PSNR against the ground truth.

    mean_db: on the mean of all sets. worst_db: on the worst image of any set.
    """

    mean_db: float = 0.10
    worst_db: float = 0.50

    def holds(self, proof: Proof) -> bool:
        mean_db, worst_db = lost(proof)
        return mean_db <= self.mean_db and worst_db <= self.worst_db


def lost(proof: Proof) -> tuple[float, float]:
    """(mean over the sets, worst image) of the loss, in dB."""
    return fmean(found.psnr_drop_db for found in proof.sets), max(found.worst_drop_db for found in proof.sets)


class Pair(Protocol):
    """An image and its ground truth: uint8 RGB (h, w, 3) and about (s*h, s*w, 3)."""

    @property
    def name(self) -> str: ...
    @property
    def low(self) -> Pixels: ...
    @property
    def high(self) -> Pixels: ...


class ImageSet(Protocol):
    @property
    def name(self) -> str: ...
    def __iter__(self) -> Iterator[Pair]: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Reference:
    """What the float32 network makes of one image: all uint8 RGB; `psnr_db` against the ground truth."""

    set_name: str
    name: str
    low: Pixels
    high: Pixels
    output: Pixels
    psnr_db: float


def references(
    network: Network,
    sets: Sequence[ImageSet],
    scale: int,
    listener: Listener,
    *,
    sizes: tuple[Size, ...] = (),
    min_side_px: int = 1,
) -> list[Reference]:
    """Run the float32 network once over all images; with `sizes`, on pieces of exactly those sizes in turn.

    Raises DataError for an image with a side below `min_side_px`.
    """
    total = sum(len(images) for images in sets)
    found: list[Reference] = []
    for images in sets:
        for pair in images:
            low, high = (
                fit(pair.low, pair.high, scale, sizes[len(found) % len(sizes)]) if sizes else (pair.low, pair.high)
            )
            if min(low.shape[:2]) < min_side_px:
                raise DataError(
                    f"{images.name}/{pair.name} is {low.shape[1]}x{low.shape[0]} at low resolution; this network needs "
                    f"at least {min_side_px} px on both sides. Take it out of the folder."
                )
            output, high = common_part(run(network, low), high)
            quality = psnr_db(output, high, PROTOCOL, scale)
            found.append(Reference(images.name, pair.name, low, high, output, quality))
            listener.progress("float32 reference", len(found), total)
    return found


def prove(runner: Runner, expected: Sequence[Reference], listener: Listener) -> Proof:
    """Run the artifact over the same images and compare."""
    parity, fidelity, shifts, drops = 0, [], [], []
    for index, reference in enumerate(expected):
        output, high = common_part(run(runner, reference.low), reference.high)
        parity = max(parity, max_abs_255(output, reference.output))
        fidelity.append(psnr_db(output, reference.output, "rgb", runner.scale))
        shifts.append(colour_shift_255(output, reference.output))
        drops.append((reference, psnr_db(output, high, PROTOCOL, runner.scale)))
        listener.progress("verify in the runtime", index + 1, len(expected))
    worst = min(fidelity)
    finite = [value for value in fidelity if np.isfinite(value)]
    return Proof(
        parity_max_abs=parity,
        fidelity_db=round(fmean(finite), 3) if finite else None,
        worst_fidelity_db=round(worst, 3) if np.isfinite(worst) else None,
        sets=tuple(_set_quality(name, drops) for name in dict.fromkeys(found.set_name for found in expected)),
        runtime=runner.describe(),
        colour_shift_255=round(fmean(shifts), 3),
    )


def check(proof: Proof, precision: Precision, slug: str) -> None:
    """Raise ParityError or QualityError if `proof` is below the floor of its precision."""
    if precision == "fp32" and proof.parity_max_abs > FP32_PARITY_255:
        raise ParityError(
            f"{slug} differs from the network in torch by {proof.parity_max_abs}/255 (allowed {FP32_PARITY_255}/255): "
            "the conversion is wrong, nothing was kept. Please report it with the output of: edgesr doctor"
        )
    floor = FIDELITY_FLOOR_DB[precision]
    if proof.worst_fidelity_db is not None and proof.worst_fidelity_db < floor:
        raise QualityError(
            f"{slug} reaches only {proof.worst_fidelity_db:.2f} dB against the float32 network on its worst image "
            f"(floor for {precision}: {floor} dB); nothing was kept. Use a higher precision{_advice(precision)}."
        )
    limit = DROP_LIMIT_DB[precision]
    for quality in proof.sets:
        if quality.psnr_drop_db > limit:
            raise QualityError(
                f"{slug} loses {quality.psnr_drop_db:.3f} dB on {quality.name} (allowed for {precision}: {limit} dB); "
                f"worst image: {quality.worst_image}. Nothing was kept. Use a higher precision{_advice(precision)}."
            )


def check_fp16(proof: Proof, slug: str) -> None:
    """Raise QualityError if `proof` is further from float32 than float16 needs to be."""
    if proof.fidelity_db is not None and proof.fidelity_db < FP16_FIDELITY_DB:
        raise QualityError(
            f"{slug} reaches {proof.fidelity_db:.2f} dB against the float32 network on the mean of the images (wanted: "
            f"{FP16_FIDELITY_DB:.0f} dB)."
        )


def check_limit(proof: Proof, limit: Limit, slug: str) -> None:
    """Raise QualityError if `proof` loses more than `limit` allows."""
    if limit.holds(proof):
        return
    mean_db, worst_db = lost(proof)
    worst = max(proof.sets, key=lambda found: found.worst_drop_db)
    raise QualityError(
        f"{slug} loses {mean_db:.3f} dB on the mean (allowed {limit.mean_db:g}) and {worst_db:.3f} dB on the worst "
        f"image, {worst.name}/{worst.worst_image} (allowed {limit.worst_db:g})."
    )


def run(network: Network, low: Pixels) -> Pixels:
    """uint8 RGB (h, w, 3) through a network or runner, rounded to uint8. Raises QualityError for NaN."""
    output = network(to_input(low))
    if not np.isfinite(output).all():
        raise QualityError("The output holds NaN or infinity: the artifact does not work in this precision. Use fp32.")
    return to_uint8(output[0].transpose(1, 2, 0))


def fit(low: Pixels, high: Pixels, scale: int, size: Size) -> tuple[Pixels, Pixels]:
    """The centre of an image at exactly `size`, mirrored at the right and below where the image is smaller, and the
    ground truth of what is not mirrored.
    """
    top, left = (max(0, length - wanted) // 2 for length, wanted in zip(low.shape[:2], size, strict=True))
    low = low[top : top + size[0], left : left + size[1]]
    height, width = low.shape[:2]
    high = high[top * scale : (top + height) * scale, left * scale : (left + width) * scale]
    return np.pad(low, ((0, size[0] - height), (0, size[1] - width), (0, 0)), mode="symmetric"), high


def _set_quality(name: str, drops: Iterable[tuple[Reference, float]]) -> SetQuality:
    members = [(reference, quality) for reference, quality in drops if reference.set_name == name]
    losses = {reference.name: _loss_db(reference.psnr_db, quality) for reference, quality in members}
    worst = max(losses, key=lambda image: losses[image])
    return SetQuality(
        name=name,
        images=len(members),
        protocol=PROTOCOL,
        psnr_db=round(fmean(min(quality, EQUAL_DB) for _, quality in members), 4),
        psnr_fp32_db=round(fmean(min(reference.psnr_db, EQUAL_DB) for reference, _ in members), 4),
        psnr_drop_db=round(fmean(losses.values()), 4),
        worst_image=worst,
        worst_drop_db=round(losses[worst], 4),
        drops_db={image: round(loss, 4) for image, loss in losses.items()},
    )


def _loss_db(reference_db: float, found_db: float) -> float:
    return min(reference_db, EQUAL_DB) - min(found_db, EQUAL_DB)


def _advice(precision: Precision) -> str:
    return ": --precision fp16" if precision == "int8" else ": --precision fp32"
