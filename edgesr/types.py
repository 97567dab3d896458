"""Frozen values that travel between the layers. No torch here."""

from dataclasses import dataclass
from typing import Literal

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")

Size = tuple[int, int]
"""Height and width of a low-resolution input, in pixels."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of an artifact.

    `shape` holds ints for fixed sides and names ("height", "width") for free ones.
    `value_range` is what the numbers mean: [0, 1] for every artifact of this kit unless it says otherwise.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    layout: str = "NCHW"
    value_range: tuple[float, float] = (0.0, 1.0)
    colour: str = "RGB"


@dataclass(frozen=True, slots=True)
class Request:
    """What to convert. `sizes`: empty for a free height and width, one entry for a fixed size, more for enumerated."""

    model: str
    scale: int
    target: str
    precision: Precision
    sizes: tuple[Size, ...] = ()

    @property
    def slug(self) -> str:
        """Name of the artifact's folder, the same everywhere: `bsrn-s_x4_openvino_int8_dynamic`."""
        size = "+".join(f"{h}x{w}" for h, w in self.sizes[:4]) or "dynamic"
        if len(self.sizes) > 4:
            size += f"+{len(self.sizes) - 4}more"
        return f"{self.model}_x{self.scale}_{self.target}_{self.precision}_{size}"
