"""Frozen values that travel between the layers. No torch here."""

from dataclasses import dataclass
from typing import Literal

Precision = Literal["fp32", "fp16", "int8", "int16x8", "palettized"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8", "int16x8", "palettized")
"""int8: weights and activations (W8A8). int16x8: int16 activations, int8 weights. palettized: weights from a small
table of floats, float16 activations."""

Io = Literal["float32", "uint8", "int8", "image"]
IOS: tuple[Io, ...] = ("float32", "uint8", "int8", "image")
"""What an artifact takes and gives: float32 in [0, 1]; 8-bit pixels (0 to 255, or shifted by -128); or the platform's
own image type. A runner of this kit takes and gives float32 whatever the artifact has."""

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
    """What to convert. `sizes`: empty for a free height and width, one entry for a fixed size, more for enumerated.

    `io`: what the artifact itself takes and gives.
    """

    model: str
    scale: int
    target: str
    precision: Precision
    sizes: tuple[Size, ...] = ()
    io: Io = "float32"

    @property
    def slug(self) -> str:
        """Name of the artifact's folder, the same everywhere: `bsrn-s_x4_openvino_int8_dynamic`."""
        size = "+".join(f"{h}x{w}" for h, w in self.sizes[:4]) or "dynamic"
        if len(self.sizes) > 4:
            size += f"+{len(self.sizes) - 4}more"
        io = "" if self.io == "float32" else f"_{self.io}"
        return f"{self.model}_x{self.scale}_{self.target}_{self.precision}_{size}{io}"
