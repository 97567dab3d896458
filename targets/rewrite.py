"""What a target changes in a network so that its runtime runs it best; every change is exact."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rewrite:
    """`name`: the function that does it. `why`: what the runtime lacks or runs faster, in words. `targets`: whom it is
    for, where not every target of its module.
    """

    name: str
    why: str
    targets: tuple[str, ...] = ()
