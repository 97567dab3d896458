"""A runner without a network: bicubic interpolation, the stand-in for tests and the baseline to beat."""

from dataclasses import dataclass, field

import numpy as np

from edgesr.resize import resize_matlab
from edgesr.runner.contract import Array, InputRule


@dataclass(frozen=True, slots=True)
class BicubicRunner:
    scale: int
    accepts: InputRule = field(default_factory=InputRule)

    def __call__(self, x: Array) -> Array:
        """float32 (1, 3, H, W) -> float32 (1, 3, scale * H, scale * W), not clipped."""
        self.accepts.check(x)
        upscaled = resize_matlab(x[0].transpose(1, 2, 0), self.scale)
        return np.ascontiguousarray(upscaled.transpose(2, 0, 1)[None], dtype=np.float32)

    def describe(self) -> dict[str, str]:
        return {"runtime": f"numpy {np.__version__}", "precision": "float64", "threads": "1"}
