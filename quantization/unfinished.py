"""A fit that was interrupted goes on where it was: its state, kept in a file every few steps."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgesr.errors import OutputError
from edgesr.whole_file import write_whole

KEPT = ("exp_avg", "exp_avg_sq", "step")
"""What Adam remembers of a parameter."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """`path`: a file of this fit alone (its name says of which). `every`: steps between two writes."""

    path: Path
    every: int = 25

    def restore(self, optimizer: torch.optim.Adam) -> int:
        """Take up parameters and moments where they were kept; returns the steps done, 0 if nothing useful is there."""
        try:
            state: Any = torch.load(self.path, map_location="cpu", weights_only=True)
            values, steps = list(state["values"]), int(state["steps"])
        except Exception:  # torch.load raises a dozen kinds for a damaged file, which is as good as none
            return 0
        parameters = list(_parameters(optimizer))
        wanted = [
            shape for parameter in parameters for shape in (parameter.shape, parameter.shape, parameter.shape, ())
        ]
        if [getattr(value, "shape", None) for value in values] != [torch.Size(shape) for shape in wanted]:
            return 0
        if not all(torch.isfinite(value).all() for value in values):
            return 0
        with torch.no_grad():
            for index, parameter in enumerate(parameters):
                value, *moments = values[4 * index : 4 * index + 4]
                parameter.copy_(value)
                optimizer.state[parameter] = dict(zip(KEPT, moments, strict=True))
        return steps

    def keep(self, optimizer: torch.optim.Adam, steps: int) -> None:
        """Write now and then. A disk that is full costs the chance to go on later, not the fit."""
        if steps % self.every != 0:
            return
        values = [
            value.detach()
            for parameter in _parameters(optimizer)
            for value in (parameter, *(optimizer.state[parameter][name] for name in KEPT))
        ]
        state = {"values": values, "steps": steps}
        with suppress(OutputError):
            write_whole(self.path, lambda temporary: torch.save(state, temporary), "")

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def _parameters(optimizer: torch.optim.Adam) -> Iterator[Tensor]:
    for group in optimizer.param_groups:
        yield from group["params"]
