"""Artifacts of models x targets x precisions x sizes, made where they are not there yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesr.artifact import read_manifest
from edgesr.errors import EdgesrError
from edgesr.listener import Listener
from edgesr.models.files import here, sha256_of
from edgesr.models.registry import ModelSpec, find
from edgesr.pipeline import Session, convert_all
from edgesr.planned import Planned, plan
from edgesr.targets import INTEGER
from edgesr.types import Precision, Size
from edgesr.verify import Limit


@dataclass(frozen=True, slots=True)
class Grid:
    """What is combined with what. `limit`: the INT8 contract; None: ranges alone. `weights`: of the user, for the one
    network that is named; None: as for `convert`."""

    models: tuple[str, ...]
    scale: int | None
    targets: tuple[str, ...]
    precisions: tuple[Precision, ...]
    sizes: tuple[Size, ...]
    calib: Path | None
    data: Path | None
    limit: Limit | None
    weights: Path | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """`artifacts`: folders that are there now; `missing`: slug and reason of what could not be made."""

    artifacts: tuple[Path, ...]
    missing: tuple[tuple[str, str], ...]


def make(grid: Grid, out: Path, listener: Listener) -> Made:
    """Convert what `out` lacks; what fails is listed, and the rest goes on.

    Raises UsageError for an unknown name, WeightsError if the weights that are given cannot be read.
    """
    found: list[Path] = []
    missing: list[tuple[str, str]] = []
    for model in grid.models:
        requests, weights = planned(grid, model), _weights_here(find(model, grid.scale), grid.weights)
        wanted = [item for item in requests if not is_there(out / item.request.slug, weights, grid.limit)]
        kept = [out / item.request.slug for item in requests if item not in wanted]
        if kept:
            listener.say(f"{model}: {len(kept)} of {len(requests)} artifacts are in {out} already.")
        found += kept
        if wanted:
            done, failed = _convert(grid, model, wanted, out, listener)
            found += done
            missing += failed
    return Made(tuple(found), tuple(missing))


def planned(grid: Grid, model: str) -> list[Planned]:
    """One request for each target, precision and size; "all" targets leave out what they do not have."""
    spec = find(model, grid.scale)
    spec.check_sizes(grid.sizes)
    each: Sequence[tuple[Size, ...]] = [(size,) for size in grid.sizes] or [()]
    items = [item for sizes in each for item in plan(spec.name, spec.scale, grid.targets, grid.precisions, sizes)]
    return list({item.request: item for item in items}.values())


def _convert(
    grid: Grid, model: str, wanted: list[Planned], out: Path, listener: Listener
) -> tuple[list[Path], list[tuple[str, str]]]:
    int8 = any(item.request.precision in INTEGER for item in wanted)
    try:
        session = Session(
            model, grid.scale, weights=grid.weights, calib=grid.calib, data=grid.data, int8=int8, listener=listener
        )
        rows = convert_all(session, wanted, out, grid.limit).rows
    except EdgesrError as error:
        return [], [(item.request.slug, str(error)) for item in wanted]
    done = [out / row.slug for row in rows if row.status == "done"]
    return done, [(row.slug, row.error or "") for row in rows if row.status != "done"]


def is_there(folder: Path, weights: str | None, limit: Limit | None) -> bool:
    """Whether the artifact is there, of these weights (None: any), and INT8 within the contract that is asked for."""
    try:
        manifest = read_manifest(folder)
    except EdgesrError:
        return False
    if manifest.slug != folder.name or weights not in (None, manifest.weights.sha256):
        return False
    integer = manifest.request.precision in INTEGER
    return not integer or limit is None or (manifest.proof is not None and limit.holds(manifest.proof))


def _weights_here(spec: ModelSpec, given: Path | None) -> str | None:
    """sha256 of what a conversion would load, None if it had to be downloaded first."""
    file = given or here(spec)
    return None if file is None else sha256_of(file)
