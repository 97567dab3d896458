"""Converts every network to every target and notes what came out in docs/targets/MODEL.json (docs/targets.md shows it).

python docs/measure.py --calib DIR --data DIR --set Set5 [--model bsrn-s ...] [--target coreml ...]

Goes on where it was interrupted; `--again` measures rows anew that are there already.
"""

import json
import platform
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from edgesr.doctor import diagnose
from edgesr.errors import EdgesrError
from edgesr.models.registry import SPECS
from edgesr.pipeline import Planned, Session, convert_all, plan
from edgesr.targets import BASIC, TARGETS
from edgesr.terminal import Terminal

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "docs" / "targets"
SCALE = 4
MODELS = tuple(spec.name for spec in SPECS if spec.scale == SCALE)


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
            rows = read(model)
            wanted = [item for item in planned(model) if item.request.target in only]
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
                write(model, rows)


def done(rows: dict[str, Any], item: Planned) -> bool:
    """What failed or was impossible is tried again: it costs nothing, and a newer version may say something else."""
    slug = item.request.slug
    return slug in rows and rows[slug]["status"] == "done"


def read(model: str) -> dict[str, Any]:
    """Rows by slug."""
    path = RECORDS / f"{model}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def write(model: str, rows: dict[str, Any]) -> None:
    """In the order of the table of targets, whatever was measured first."""
    RECORDS.mkdir(exist_ok=True)
    ordered = {slug: rows[slug] for item in planned(model) if (slug := item.request.slug) in rows}
    unfinished = RECORDS / f"{model}.tmp"
    unfinished.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(RECORDS / f"{model}.json")


def machine() -> str:
    found = diagnose()
    return f"{found.cpu}, {platform.system()} {found.machine}, Python {found.python}"


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
