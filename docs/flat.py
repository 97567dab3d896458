"""How far an artifact is from the float32 network on flat black, grey and white, where an eye sees every level."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesr import verify
from edgesr.listener import Listener
from edgesr.metrics import max_abs_255
from edgesr.runner import Runner, open_artifact
from edgesr.types import Size

LEVELS = (0, 128, 255)
SIDES_PX: Size = (96, 96)
"""For artifacts of any size: leaves something inside the border."""
BORDER_PX = 32
"""Of the input. So far do the zeros that convolutions pad with reach in the deepest networks; beside white they are a
contrast as no photo has."""


@dataclass(frozen=True, slots=True)
class Patch:
    """A flat input and what the float32 network makes of it, both uint8 RGB."""

    low: verify.Pixels
    output: verify.Pixels


@dataclass(frozen=True, slots=True)
class Deviation:
    """Largest difference over all patches in 8-bit levels: further than BORDER_PX from every side, and anywhere."""

    inside_255: int
    anywhere_255: int


@dataclass(frozen=True, slots=True)
class Job:
    """What the process that opens an artifact gets."""

    folder: Path
    patches: Sequence[Patch]


def patches(network: verify.Network, size: Size = SIDES_PX) -> tuple[Patch, ...]:
    lows = (np.full((*size, 3), level, dtype=np.uint8) for level in LEVELS)
    return tuple(Patch(low, verify.run(network, low)) for low in lows)


def deviation(runner: Runner, expected: Sequence[Patch]) -> Deviation:
    pairs = [(verify.run(runner, patch.low), patch.output) for patch in expected]
    cut = BORDER_PX * runner.scale
    inner = np.s_[cut:-cut, cut:-cut]
    return Deviation(
        max(max_abs_255(output[inner], wanted[inner]) for output, wanted in pairs),
        max(max_abs_255(output, wanted) for output, wanted in pairs),
    )


def run(job: Job, _: Listener) -> Deviation:
    return deviation(open_artifact(job.folder), job.patches)
