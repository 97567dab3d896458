"""Converts every network to every target and notes what came out in docs/targets/MODEL.json (docs/targets.md shows it).

python docs/measure.py --calib DIR --data DIR --set Set5 [--model bsrn-s ...] [--target coreml ...]

Goes on where it was interrupted; `--again` measures rows anew that are there already.
"""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from records import MODELS, ROOT, SCALE, machine, read, write

from edgesr.errors import EdgesrError
from edgesr.pipeline import Session, convert_all
from edgesr.planned import Planned, plan
from edgesr.targets import BASIC, TARGETS
from edgesr.terminal import Terminal

RECORDS = ROOT / "docs" / "targets"


@click.command(help=__doc__)
@click.option("--model", "models", multiple=True, type=click.Choice(MODELS), default=MODELS)
@click.option("--calib", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--set", "sets", multiple=True, default=("Set5",), show_default=True)
@click.option("--target", "only", multiple=True, type=click.Choice(list(TARGETS)), default=tuple(TARGETS))
@click.option("--again", is_flag=True)
def main(
    models: tuple[str, ...], calib: Path, data: Path, sets: tuple[str, ...], only: tuple[str, ...], again: bool
) -> None:
    with Terminal() as terminal, tempfile.TemporaryDirectory() as name:
        chosen = _only(data, sets, Path(name) / "data")
        for model in models:
            rows, everything = read(RECORDS, model), planned(model)
            wanted = [item for item in everything if item.request.target in only]
            missing = [item for item in wanted if again or not done(rows, item)]
            if not missing:
                continue
            try:
                session = Session(model, SCALE, calib=calib, data=chosen, int8=True, listener=terminal)
            except EdgesrError as error:
                raise click.ClickException(str(error)) from error
            for item in missing:
                (row,) = convert_all(session, [item], Path(name) / "artifacts").rows
                rows[row.slug] = asdict(row) | {"machine": machine()}
                write(RECORDS, model, rows, (item.request.slug for item in everything))


def done(rows: dict[str, Any], item: Planned) -> bool:
    """What failed or was impossible is tried again: it costs nothing, and a newer version may say something else."""
    slug = item.request.slug
    return slug in rows and rows[slug]["status"] == "done"


def planned(model: str) -> list[Planned]:
    return plan(model, SCALE, ["all"], BASIC)


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
