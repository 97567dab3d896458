"""What `edgesr targets` prints."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgesr.errors import MissingExtra
from edgesr.targets import TargetInfo, load

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from edgesr.targets.rewrite import Rewrite


@dataclass(frozen=True, slots=True)
class Explained:
    """A target with what its module changes in a network; `missing`: why that cannot be said here."""

    info: TargetInfo
    rewrites: "tuple[Rewrite, ...]" = ()
    missing: str | None = None


def table(rows: Sequence[TargetInfo]) -> "Table":
    """For a terminal."""
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("target", "precisions", "sizes", "takes and gives", "what it is", "install"):
        drawn.add_column(name, overflow="fold")
    for info in rows:
        sizes = "any" if info.free_sizes else "fixed"
        install = f"pip install 'edgesr[{info.extra}]'"
        drawn.add_row(info.name, " ".join(info.precisions), sizes, " ".join(info.ios), info.summary, install)
    return drawn


def explained(info: TargetInfo) -> Explained:
    """Imports the target's toolchain, since its rewrites stand in its module."""
    try:
        rewrites = load(info.name).REWRITES
    except MissingExtra as error:
        return Explained(info, missing=str(error))
    return Explained(info, tuple(each for each in rewrites if info.name in (each.targets or (info.name,))))


def explanation(rows: Sequence[Explained]) -> "Group":
    """For a terminal: a paragraph per target."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table

    parts: list[object] = []
    for row in rows:
        facts = Table(box=None, show_header=False, pad_edge=False)
        facts.add_column(no_wrap=True)
        facts.add_column(overflow="fold")
        for rewrite in row.rewrites:
            facts.add_row(rewrite.name, rewrite.why)
        for name, why in _absent(row):
            facts.add_row(name, why)
        parts += [f"{row.info.name}: {row.info.summary}", Padding(facts, (0, 0, 1, 2))]
    return Group(*parts)  # type: ignore[arg-type]


def _absent(row: Explained) -> list[tuple[str, str]]:
    withheld = [(f"no {precision}", why) for precision, why in row.info.withheld.items()]
    nothing = [] if row.rewrites or row.missing else [("", "takes the network as it is")]
    return [*nothing, *withheld, *([("not installed", row.missing)] if row.missing else [])]
