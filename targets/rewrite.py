"""What a target changes in a network so that its runtime runs it best; every change is exact."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rewrite:
    """`name`: the function that does it. `why`: what the runtime lacks or runs faster, in words."""

    name: str
    why: str
