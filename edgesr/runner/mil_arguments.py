"""What the functions of MIL operations are given, and the limits they keep to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edgesr.errors import ArtifactError
from edgesr.runner.contract import Array
from edgesr.runner.mil_program import Values


@dataclass(frozen=True, slots=True)
class Arguments:
    """The values that one operation takes, by parameter. Raises ArtifactError for one that is missing or unfit."""

    values: Mapping[str, tuple[Values, ...]]
    texts: Mapping[str, str]

    def all(self, key: str) -> tuple[Values, ...]:
        if not self.values.get(key):
            raise ArtifactError(f"the parameter {key!r} is missing")
        return self.values[key]

    def tensor(self, key: str) -> Values:
        return self.all(key)[0]

    def optional(self, key: str) -> Values | None:
        return self.tensor(key) if key in self.values else None

    def integers(self, key: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """All parts of the parameter as one sequence, so that a tuple of scalars reads like a vector."""
        if default is not None and key not in self.values:
            return default
        return tuple(int(number) for part in self.all(key) for number in np.ravel(part))

    def integer(self, key: str, default: int) -> int:
        return self.integers(key, (default,))[0]

    def number(self, key: str, default: float) -> float:
        return float(np.ravel(self.tensor(key))[0]) if key in self.values else default

    def flag(self, key: str, default: bool) -> bool:
        return bool(self.integer(key, int(default)))

    def text(self, key: str, default: str) -> str:
        return self.texts.get(key, default)

    def image(self) -> Array:
        """A tensor (1, C, H, W) in float32."""
        x = self.images()
        if len(x) != 1:
            raise ArtifactError(f"takes one image (1, C, H, W); found the shape {x.shape}")
        return x

    def images(self) -> Array:
        """A tensor (N, C, H, W) in float32."""
        x = self.tensor("x")
        if x.ndim != 4 or not x.size:
            raise ArtifactError(f"takes images (N, C, H, W); found the shape {x.shape}")
        return x.astype(np.float32, copy=False)


Function = Callable[[Arguments], Values | tuple[Values, ...]]
