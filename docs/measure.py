"""Converts every network to every target and notes what came out in docs/targets.json (docs/targets.md shows it).

python docs/measure.py --calib DIR --data DIR --set Set5 [--model bsrn-s ...]

Goes on where it was interrupted; `--again` measures rows anew that are there already.
"""

import json
import platform
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from edgesr.doctor import diagnose
from edgesr.errors import EdgesrError
from edgesr.models.registry import SPECS
from edgesr.pipeline import Planned, Session, convert_all, plan
from edgesr.targets import BASIC
from edgesr.terminal import Terminal

ROOT = Path(__file__).parent.parent
RECORD = ROOT / "docs" / "targets.json"
SCALE = 4
MODELS = tuple(spec.name for spec in SPECS if spec.scale == SCALE)


@click.command(help=__doc__)
@click.option("--model", "models", multiple=True, type=click.Choice(MODELS), default=MODELS)
@click.option("--calib", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--set", "sets", multiple=True, default=("Set5",), show_default=True)
@click.option("--again", is_flag=True)
def main(models: tuple[str, ...], calib: Path, data: Path, sets: tuple[str, ...], again: bool) -> None:
    record = read()
    with Terminal() as terminal, tempfile.TemporaryDirectory() as name:
        chosen = _only(data, sets, Path(name) / "data")
        for model in models:
            missing = list(_missing(record, model, again))
            if not missing:
                continue
            try:
                session = Session(model, SCALE, calib=calib, data=chosen, int8=True, listener=terminal)
            except EdgesrError as error:
                raise click.ClickException(str(error)) from error
            for item in missing:
                (row,) = convert_all(session, [item], Path(name) / "artifacts").rows
                record["rows"][row.slug] = asdict(row)
                record |= {"machine": machine(), "sets": " and ".join(sets)}
                write(record)


def read() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RECORD.read_text()) if RECORD.exists() else {"rows": {}}
    return found


def write(record: dict[str, Any]) -> None:
    unfinished = RECORD.with_suffix(".tmp")
    unfinished.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(RECORD)


def machine() -> str:
    found = diagnose()
    return f"{found.cpu}, {platform.system()} {found.machine}, Python {found.python}"


def planned(model: str) -> list[Planned]:
    return plan(model, SCALE, ["all"], BASIC)


def _missing(record: dict[str, Any], model: str, again: bool) -> Iterable[Planned]:
    return (item for item in planned(model) if again or item.request.slug not in record["rows"])


def _only(data: Path, sets: tuple[str, ...], place: Path) -> Path:
    """A folder with these image sets of `data` alone."""
    place.mkdir()
    for name in sets:
        if not (data / name).is_dir():
            raise click.BadParameter(f"{data} has no folder {name}.", param_hint="--set")
        (place / name).symlink_to((data / name).resolve(), target_is_directory=True)
    return place


if __name__ == "__main__":
    main()
