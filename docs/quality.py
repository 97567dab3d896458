"""What INT8 loses in every runtime under the contract, beside the runtimes' own post-training quantization.

edgesr quantize MODEL -o RECIPES/MODEL.json --calib CALIB --data DATA --max-drop DB

python docs/quality.py --recipes RECIPES --calib CALIB --data DATA [--model bsrn-s ...] [--only nncf ...]

With `--own ptq` or `--own qat` the recipes are of `edgesr quantize` or `edgesr qat` for the weights in the package,
measured in ONNX Runtime and OpenVINO.

Writes docs/quality/MODEL.json, or docs/own/WAY/MODEL.json; docs/quality.md shows both. Networks without a recipe are
skipped. Goes on where it was interrupted; rows of another recipe or other photos are measured anew, and with
`--again` those that are there already.
"""

import importlib.metadata
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import flat
import peers
from quality_page import BARS, FAMILIES, OWN, SHOWN, WINDOWS_AT
from records import MODELS, ROOT, RUN_HERE, SCALE, SHIPPED, machine, read, write

from edgesr import datasets, isolation, targets
from edgesr.artifact import Proof, file_sha256, read_manifest
from edgesr.errors import EdgesrError, MissingExtra
from edgesr.models.files import shipped_file
from edgesr.models.registry import find
from edgesr.pipeline import CROPS_FOR_RECIPES, Session, convert_all
from edgesr.planned import plan
from edgesr.quantization.calibration import Calibration, from_images
from edgesr.quantization.recipe import Facts
from edgesr.report import Status
from edgesr.terminal import Terminal
from edgesr.verify import Limit, lost

RECORDS = ROOT / "docs" / "quality"
NAMES = (*RUN_HERE, *peers.PEERS)
TIMEOUT_S = 7200.0
"""For one conversion, proof or peer: the reference interpreter is slow on large networks."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row. `made_from`: sha256 of the recipe, or the fingerprint of the calibration crops that a peer got.

    proof: loss in the runtime, None where it never ran. on_flat: difference on flat inputs.
    int8_macs: part of the convolutions' multiply-accumulates on integers, 0 to 1, in this runtime and by the recipe.
    """

    name: str
    made_from: str
    machine: str
    status: Status
    seconds: float
    error: str | None = None
    tools: Mapping[str, str] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    weights: str = ""
    settings: str = ""
    int8_macs: float | None = None
    recipe_int8_macs: float | None = None
    on_flat: flat.Deviation | None = None
    proof: Proof | None = None


@dataclass(frozen=True, slots=True)
class Photos:
    """What peers calibrate on: the crops of photos that recipes are fitted to, without the synthetic patches."""

    source: str
    calibration: Calibration

    def entry(self) -> dict[str, Any]:
        found = self.calibration
        return {"source": self.source, "crops": len(found.photos), "fingerprint": found.fingerprint}


@click.command(help=__doc__)
@click.option("--recipes", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option("--calib", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option(
    "--model", "models", multiple=True, type=click.Choice([*FAMILIES]), help="Default: all with such weights."
)
@click.option("--only", multiple=True, type=click.Choice(NAMES), default=NAMES, help="Targets and peers.")
@click.option("--again", is_flag=True)
@click.option("--own", type=click.Choice([*OWN]), help="Of the weights in the package, and how the recipes were made.")
def main(
    recipes: Path, calib: Path, data: Path, models: tuple[str, ...], only: tuple[str, ...], again: bool, own: str | None
) -> None:
    records = RECORDS if own is None else OWN[own]
    if own is not None:
        only = tuple(name for name in only if name in SHOWN)
    with Terminal() as terminal:
        try:
            photos = calibration_photos(calib)
            for model in models or (MODELS if own is None else SHIPPED):
                recipe = recipes / f"{model}.json"
                if recipe.is_file():
                    missing = [name for name in only if again or not done(read(records, model), name, recipe, photos)]
                    weights = None if own is None else shipped_file(find(model, SCALE))
                    measure(model, recipe, photos, data, missing, terminal, records, weights)
                else:
                    terminal.say(f"{model}: skipped, no {recipe}. Make it with: edgesr quantize {model} -o {recipe}")
        except EdgesrError as error:
            raise click.ClickException(str(error)) from error


def calibration_photos(folder: Path) -> Photos:
    found = datasets.calibration_images(folder, SCALE)
    return Photos(found.source, from_images(found.images, count=CROPS_FOR_RECIPES))


def done(rows: dict[str, Any], name: str, recipe: Path, photos: Photos) -> bool:
    """What failed or was impossible is tried again."""
    wanted = photos.calibration.fingerprint if name in peers.PEERS else file_sha256(recipe)
    return name in rows and (rows[name]["status"], rows[name]["made_from"]) == ("done", wanted)


def measure(
    model: str,
    recipe: Path,
    photos: Photos,
    data: Path,
    names: Sequence[str],
    terminal: Terminal,
    records: Path,
    weights: Path | None,
) -> None:
    """Measure the rows `names` of one network; each is written to the folder `records` as soon as it is there.

    `weights`: None for those that a user would get."""
    if not names:
        terminal.say(f"{model}: nothing left to measure.")
        return
    session = Session(
        model, SCALE, weights=weights, data=data, int8=True, recipe=recipe, timeout_s=TIMEOUT_S, listener=terminal
    )
    for name in names:
        start = time.perf_counter()
        record = run_peer(session, name, photos) if name in peers.PEERS else run_target(session, name, recipe)
        rows = read(records, model) | {name: asdict(record)}
        write(records, model, rows, NAMES)
        terminal.say(f"{model} {name}: {said(record)} ({time.perf_counter() - start:.0f} s)")


def said(record: Record) -> str:
    if record.proof is None:
        return f"{record.status}: {record.error}"
    mean_db, worst_db = lost(record.proof)
    return f"{mean_db:+.3f} dB on the mean, {worst_db:+.3f} dB on the worst image"


def run_target(session: Session, target: str, recipe: Path) -> Record:
    """Our INT8 artifact by the recipe, proven in its own runtime; where a bar chooses how the rest is computed, within
    that of its family, or else within that on the mean alone, or else as it is."""
    made_from = file_sha256(recipe)
    spec = session.spec
    (item,) = plan(spec.name, SCALE, [target], ["int8"], (WINDOWS_AT,) if spec.multiple_px > 1 else ())
    with tempfile.TemporaryDirectory(prefix="edgesr-quality-") as name:
        bar = BARS.get(spec.family, Limit())
        limits = (bar, replace(bar, worst_db=math.inf), None) if targets.find(target).coarse_rest else (None,)
        for limit in limits:
            (row,) = convert_all(session, [item], Path(name), limit).rows
            if row.status == "done":
                break
        if row.status != "done":
            return Record(target, made_from, machine(), row.status, row.seconds, row.error)
        folder = Path(name) / row.slug
        manifest = read_manifest(folder)
        patches = flat.patches(session.network, *item.request.sizes[:1])
        deviation = isolation.run(flat.run, flat.Job(folder, patches), session.listener, TIMEOUT_S).value
    assert session.source.recipe is not None
    facts = session.source.recipe.facts
    return Record(
        target,
        made_from,
        machine(),
        "done",
        row.seconds,
        tools=manifest.toolchain,
        calibration=facts.calibration,
        weights=row.weights,
        settings=settings_of(facts),
        int8_macs=row.int8_share,
        recipe_int8_macs=round(facts.integer_share, 4),
        on_flat=deviation,
        proof=manifest.proof,
    )


def settings_of(facts: Facts) -> str:
    """How the recipe was made, in words for the page."""
    took = "" if facts.seconds is None else f" whose last effort took {facts.seconds / 60:.1f} minutes"
    split = ", ".join(facts.splits.names)
    twice = f"; two grids, for {facts.added_work:.0%} more work: {split}" if split else ""
    factors = f"; factors per channel at: {', '.join(facts.rescaled.names)}" if facts.rescaled.names else ""
    return f"recipe{took}; in float: {', '.join(facts.kept_float) or 'nothing'}{twice}{factors}"


def run_peer(session: Session, name: str, photos: Photos) -> Record:
    """The same float32 network, quantized by another tool and judged on the same images."""
    peer, start = peers.PEERS[name], time.perf_counter()
    made_from, spec = photos.calibration.fingerprint, session.spec
    network = peers.Network(session.source.float_onnx, photos.calibration.photos, SCALE, spec.min_side_px)
    job = peers.Job(name, network, session.expected(), flat.patches(session.network))
    try:
        found = isolation.run(peers.run, job, session.listener, TIMEOUT_S)
    except EdgesrError as error:
        status: Status = "impossible" if isinstance(error, MissingExtra) else "failed"
        return Record(name, made_from, machine(), status, round(time.perf_counter() - start, 2), str(error))
    return Record(
        name,
        made_from,
        machine(),
        "done",
        round(found.seconds, 2),
        tools={package: importlib.metadata.version(package) for package in peer.packages},
        calibration=photos.entry(),
        weights=session.loaded.provenance.kind,
        settings=peer.settings,
        on_flat=found.value.on_flat,
        proof=found.value.proof,
    )


if __name__ == "__main__":
    main()
