"""What every runner promises, and which inputs it takes."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgesr.errors import Unsupported
from edgesr.types import Size

Array = npt.NDArray[np.float32]


class Runner(Protocol):
    """One opened artifact. A protocol because each runtime is another package, and tests need a fake.

    Calling it takes float32 (1, 3, H, W), RGB in [0, 1], and returns float32 (1, 3, scale * H, scale * W), not
    clipped. A new array every time: the caller may keep it.
    """

    @property
    def scale(self) -> int: ...

    @property
    def accepts(self) -> "InputRule": ...

    def __call__(self, x: Array) -> Array: ...

    def describe(self) -> dict[str, str]:
        """`runtime` with its version, `precision` really used, `threads`."""
        ...


@dataclass(frozen=True, slots=True)
class InputRule:
    """Sizes an artifact runs at: any side from `min_side_px` on if `sizes` is empty, else exactly those."""

    sizes: tuple[Size, ...] = ()
    min_side_px: int = 1

    def allows(self, size: Size) -> bool:
        return size in self.sizes if self.sizes else min(size) >= self.min_side_px

    def check(self, x: Array) -> None:
        """Raise Unsupported, saying what is accepted, unless `x` is float32 (1, 3, H, W) of an accepted size."""
        if not isinstance(x, np.ndarray) or x.dtype != np.float32:
            found = x.dtype if isinstance(x, np.ndarray) else type(x).__name__
            raise Unsupported(f"The input must be a float32 array, RGB in [0, 1]; found {found}.")
        if x.ndim != 4 or x.shape[:2] != (1, 3):
            raise Unsupported(f"The input must have the shape (1, 3, height, width); found {x.shape}.")
        if not self.allows((x.shape[2], x.shape[3])):
            raise Unsupported(f"This artifact does not take {x.shape[2]}x{x.shape[3]} inputs. It takes {self}.")

    def __str__(self) -> str:
        if self.sizes:
            return " or ".join(f"{height}x{width}" for height, width in self.sizes) + " (height x width)"
        return f"any height and width of at least {self.min_side_px} px"
