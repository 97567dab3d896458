"""Which artifacts a command asks for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgesr import targets
from edgesr.models.registry import find
from edgesr.types import Io, Precision, Request, Size


@dataclass(frozen=True, slots=True)
class Planned:
    """A request. `optional`: part of "all", so that what cannot be had is a row with the reason and not an error."""

    request: Request
    optional: bool = False


def plan(
    model: str,
    scale: int,
    names: Iterable[str],
    precisions: Sequence[Precision],
    sizes: tuple[Size, ...] = (),
    io: Io = "float32",
) -> list[Planned]:
    """A request for every target in `names` ("all": each there is) and precision, each target once.

    Without `sizes`, a network that works in windows gets the default size everywhere, others where the target needs it.
    Raises UnknownName or Unsupported for a target named by itself that does not have what is asked.
    """
    chosen: dict[str, bool] = {}
    for name in names:
        for target in targets.TARGETS if name == "all" else (targets.find(name).name,):
            chosen[target] = chosen.get(target, True) and name == "all"
    if find(model, scale).multiple_px > 1:
        sizes = sizes or targets.DEFAULT_SIZES
    planned = []
    for target, optional in chosen.items():
        info = targets.TARGETS[target]
        for precision in precisions:
            request = Request(model, scale, target, precision, info.sizes(sizes), io)
            if not optional:
                info.check(request)
            planned.append(Planned(request, optional))
    return planned
