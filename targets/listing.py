"""The table of `edgesr targets`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgesr.targets import TargetInfo

if TYPE_CHECKING:
    from rich.table import Table


def table(rows: Sequence[TargetInfo]) -> "Table":
    """For a terminal."""
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("target", "precisions", "what it is", "install"):
        drawn.add_column(name, overflow="fold")
    for info in rows:
        drawn.add_row(info.name, " ".join(info.precisions), info.summary, f"pip install 'edgesr[{info.extra}]'")
    return drawn
