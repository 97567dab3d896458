"""Crops for the eye: the same place of one image before and after, as files that a report shows side by side."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgesr.bench.names import file_name
from edgesr.bench.quality import Shot
from edgesr.metrics import common_part

SIDE_PX = 48
"""Of the low-resolution crop."""
KINDS = ("low", "high", "reference", "artifact")

Pixels = npt.NDArray[np.uint8]


def folder_of(runs: Path, sha256: str) -> Path:
    return runs / "crops" / sha256[:12]


def write(folder: Path, shot: Shot, output: Pixels, scale: int) -> None:
    """`{set}_{image}_{kind}.png` for every kind that there is, all of the place where `output` is worst."""
    from PIL import Image

    top, left, height, width = _place(shot, output, scale)
    low = np.s_[top : top + height, left : left + width]
    high = np.s_[top * scale : (top + height) * scale, left * scale : (left + width) * scale]
    crops = {"low": shot.low[low], "high": shot.high[high], "artifact": output[high]}
    if shot.reference is not None:
        crops["reference"] = shot.reference[high]
    folder.mkdir(parents=True, exist_ok=True)
    for kind, pixels in crops.items():
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f"{_name(shot.set_name, shot.name)}_{kind}.png")


def remove(folder: Path, set_name: str, name: str) -> None:
    for kind in KINDS:
        (folder / f"{_name(set_name, name)}_{kind}.png").unlink(missing_ok=True)


def _name(set_name: str, name: str) -> str:
    return file_name(f"{set_name}-{name}", "image")


def _place(shot: Shot, output: Pixels, scale: int) -> tuple[int, int, int, int]:
    """Top, left, height, width of the low-resolution crop that `output` differs most in from what it should be."""
    wanted = shot.high if shot.reference is None else shot.reference
    made, wanted = common_part(output, wanted)
    rows, cols = min(made.shape[0], shot.high.shape[0]) // scale, min(made.shape[1], shot.high.shape[1]) // scale
    height, width = min(SIDE_PX, rows), min(SIDE_PX, cols)
    error = np.square(made.astype(np.float64) - wanted).mean(axis=2)[: rows * scale, : cols * scale]
    sums = np.zeros((rows + 1, cols + 1))
    sums[1:, 1:] = error.reshape(rows, scale, cols, scale).sum(axis=(1, 3)).cumsum(axis=0).cumsum(axis=1)
    boxes = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(int(np.argmax(boxes)), boxes.shape)
    return int(top), int(left), height, width
