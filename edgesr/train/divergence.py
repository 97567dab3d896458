"""When a run has diverged: a number that is not finite, or a loss that rises and stays up."""

from dataclasses import dataclass
from typing import Any

MEMORY = 0.98
"""Share of the old mean that a step keeps: the mean is over about fifty steps, so one odd batch does not count."""
LEAST_STEPS = 100
RISE = 4.0
"""How many times its best value the mean loss may reach."""


class Diverged(Exception):
    """`what` is the number that is wrong, as a clause."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


@dataclass(frozen=True, slots=True)
class Trend:
    """The running mean of the loss `kind`, and the lowest it was. Part of the saved state."""

    kind: str = "l1"
    steps: int = 0
    mean: float = 0.0
    best: float = 0.0

    def after(self, kind: str, loss: float) -> "Trend":
        """With one more step. Another kind of loss begins anew. Raises Diverged."""
        if kind != self.kind:
            return Trend(kind).after(kind, loss)
        steps = self.steps + 1
        # the weights of the first steps sum to less than one; dividing by their sum makes it a mean
        mean = MEMORY * self.mean + (1 - MEMORY) * loss
        level = mean / (1 - MEMORY**steps)
        if steps < LEAST_STEPS:
            return Trend(kind, steps, mean, level)
        if level > RISE * self.best:
            raise Diverged(f"The loss rose to {level:.3g} from {self.best:.3g}")
        return Trend(kind, steps, mean, min(self.best, level))

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "steps": self.steps, "mean": self.mean, "best": self.best}
