"""What a runtime does wrong while it runs, as an error of ours."""

from dataclasses import dataclass

import numpy as np

from edgesr.errors import ArtifactError, EdgesrError
from edgesr.runner.contract import Array, InputRule, Runner


@dataclass(frozen=True, slots=True)
class Guarded:
    """A runner that raises ArtifactError for whatever its runtime raises, and for an output of a wrong shape.

    MemoryError stays what it is: less at once may still do.
    """

    runner: Runner

    @property
    def scale(self) -> int:
        return self.runner.scale

    @property
    def accepts(self) -> InputRule:
        return self.runner.accepts

    def __call__(self, x: Array) -> Array:
        try:
            upscaled = self.runner(x)
        except (EdgesrError, MemoryError):
            raise
        except Exception as error:  # an open set: every runtime has its own
            runtime, size = self.describe()["runtime"], f"{x.shape[2]}x{x.shape[3]}"
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ArtifactError(f"{runtime} failed on a {size} input: {reason}") from error
        expected = (1, 3, self.scale * x.shape[2], self.scale * x.shape[3])
        if not isinstance(upscaled, np.ndarray) or upscaled.shape != expected or upscaled.dtype != np.float32:
            found = f"{upscaled.dtype} {upscaled.shape}" if isinstance(upscaled, np.ndarray) else type(upscaled)
            raise ArtifactError(
                f"The artifact made {found} of a {x.shape[2]}x{x.shape[3]} input where its manifest promises float32 "
                f"{expected}. Convert again."
            )
        return upscaled

    def describe(self) -> dict[str, str]:
        return self.runner.describe()
