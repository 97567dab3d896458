"""Options that several commands share, and how rows are printed."""

import functools
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from edgesr.errors import UnknownName, UsageError
from edgesr.types import PRECISIONS, Precision, Size

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
DEFAULT_OUT = Path("artifacts")


def as_json(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "json_", is_flag=True, help="Print JSON on stdout instead of a table.")(command)


def size_of(context: click.Context, parameter: click.Parameter, value: str | None) -> Size | None:
    return None if value is None else _size(value)


def sizes_of(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[Size, ...]:
    return tuple(_size(value) for value in values)


MOST_SIDE_PX = 8192
"""Of a fixed input. Larger photos are cut into tiles; a graph for more than this no runtime here has memory for."""


def _size(text: str) -> Size:
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(
        side.isascii() and side.isdigit() and 0 < len(side) < 18 and int(side) for side in sides
    ):
        raise UsageError(
            f"--size {text!r} is not HEIGHTxWIDTH in pixels of the low-resolution input, for example 180x320."
        )
    if max(map(int, sides)) > MOST_SIDE_PX:
        raise UsageError(f"--size {text!r} is too large: at most {MOST_SIDE_PX} px a side. Photos are cut into tiles.")
    return int(sides[0]), int(sides[1])


def precisions_of(names: tuple[str, ...]) -> list[Precision]:
    for name in names:
        if name not in PRECISIONS:
            raise UnknownName("precision", name, PRECISIONS)
    return [precision for precision in PRECISIONS if precision in (names or ("fp32",))]


def print_rows(rows: Sequence[Any], json_: bool, table: Callable[[Any], Any]) -> None:
    if json_:
        click.echo(json.dumps([row if isinstance(row, dict) else asdict(row) for row in rows], indent=1))
    else:
        stdout(table(rows))


def stdout(renderable: Any) -> None:
    _console().print(renderable)


@functools.cache
def _console() -> Any:
    from rich.console import Console

    # A pipe has no width: rich would cut columns at 80.
    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160)


def is_given(name: str) -> bool:
    """Whether the option of the parameter `name` stands on the command line, and is no default."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE
