"""Converts the networks whose official weights nobody can download, at full size with random weights, to every target.

python docs/full_sizes.py --data DIR [--set Set5] [--size 64x64] [--model hat-l ...] [--target coreml ...]

Notes seconds, memory, bytes and parity in docs/full_sizes/MODEL.json, a row as soon as it is measured; docs/targets.md
shows them. Goes on where it was interrupted; `--again` measures rows anew that are there already.
"""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from measure import done
from random_weights import SEED, write_random_weights
from records import RANDOM_MODELS, ROOT, SCALE, machine, read, write

from edgesr import datasets
from edgesr.errors import EdgesrError
from edgesr.models.registry import find
from edgesr.pipeline import Session, convert_all
from edgesr.planned import Planned, plan
from edgesr.targets import TARGETS
from edgesr.terminal import Terminal
from edgesr.types import Precision, Size

RECORDS = ROOT / "docs" / "full_sizes"
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")
"""What INT8 loses says nothing about random weights."""
SIZES: dict[str, Size] = {"64x64": (64, 64), "256x256": (256, 256)}
TIMEOUT_S = 3600.0
"""A proof of the largest network takes long on one core."""


@click.command(help=__doc__)
@click.option("--model", "models", multiple=True, type=click.Choice(RANDOM_MODELS), default=RANDOM_MODELS)
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--set", "name", default="Set5", show_default=True, help="its first image is the one that is compared")
@click.option("--size", type=click.Choice(list(SIZES)), default="64x64", show_default=True)
@click.option("--target", "only", multiple=True, type=click.Choice(list(TARGETS)), default=tuple(TARGETS))
@click.option("--precision", "precisions", multiple=True, type=click.Choice(PRECISIONS), default=PRECISIONS)
@click.option("--again", is_flag=True)
def main(
    models: tuple[str, ...],
    data: Path,
    name: str,
    size: str,
    only: tuple[str, ...],
    precisions: tuple[Precision, ...],
    again: bool,
) -> None:
    with Terminal() as terminal, tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        images = _first_image(data, name, place / "data")
        for model in models:
            rows = read(RECORDS, model)
            wanted = [
                item
                for item in planned(model, SIZES[size])
                if item.request.target in only and item.request.precision in precisions
            ]
            missing = [item for item in wanted if again or not done(rows, item)]
            if not missing:
                continue
            weights = place / f"{model}.safetensors"
            write_random_weights(find(model, SCALE), weights)
            try:
                session = Session(model, SCALE, weights=weights, data=images, timeout_s=TIMEOUT_S, listener=terminal)
            except EdgesrError as error:
                raise click.ClickException(str(error)) from error
            for item in missing:
                _measure(session, item, place / "artifacts")


def _measure(session: Session, item: Planned, out: Path) -> None:
    """Convert, prove and note; the rows are read again, since another process may measure another size."""
    (row,) = convert_all(session, [item], out).rows
    model = row.model
    noted = asdict(row) | {"weights": f"random, seed {SEED}", "machine": machine()}
    write(RECORDS, model, read(RECORDS, model) | {row.slug: noted}, order(model))


def planned(model: str, size: Size) -> list[Planned]:
    """Every target in fp32, then in fp16."""
    return [item for precision in PRECISIONS for item in plan(model, SCALE, ["all"], [precision], (size,))]


def order(model: str) -> list[str]:
    """Of the rows of a network: one size after the other."""
    return [item.request.slug for size in SIZES.values() for item in planned(model, size)]


def _first_image(data: Path, name: str, place: Path) -> Path:
    """A folder with the first image of the set `name` of `data` alone."""
    sets: dict[str, Any] = {found.name: found for found in datasets.eval_sets(data, SCALE)}
    if name not in sets:
        raise click.BadParameter(f"{data} has no image set {name}. It has: {', '.join(sets)}.", param_hint="--set")
    high = sets[name].members[0][1].resolve()
    (place / name / "HR").mkdir(parents=True)
    (place / name / "HR" / high.name).symlink_to(high)
    return place


if __name__ == "__main__":
    main()
