"""What cutting photos into tiles changes, for networks that look at the whole image: docs/tiling.json, shown in
docs/tiling.md.

python docs/tiling.py --data DIR [--set Set14] [--model bsrn ...] [--weights FILE] [--tile 96]

Every network runs in torch on whole images and in tiles, with the halo that `edgesr upscale` takes. Those whose
official weights nobody can download have random weights, unless --weights names a file (of the one --model).
"""

import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import click
import numpy as np
import numpy.typing as npt
from random_weights import SEED, write_random_weights
from records import MODELS, RANDOM_MODELS, ROOT, SCALE

from edgesr import datasets
from edgesr.errors import DataError, EdgesrError
from edgesr.metrics import psnr_db
from edgesr.models.registry import ModelSpec, find
from edgesr.pipeline import Session
from edgesr.terminal import Terminal
from edgesr.tiling import plan_tiles, run_tiled
from edgesr.types import Size
from edgesr.verify import PROTOCOL, Network, run
from edgesr.whole_file import write_whole

RECORD = ROOT / "docs" / "tiling.json"
DEFAULT_MODELS = ("plainusr-t", "plainusr-m", "bsrn-s", "bsrn", "ditn-real", "elan-light", "hat-s")
DEFAULT_TILE_PX = 96
"""A core of 32 pixels between halos of 32, so that images as small as those of Set14 are cut at all; tiles of photos
are larger and have fewer borders."""


@dataclass(frozen=True, slots=True)
class Tiled:
    """One image. `tiles`: how many; luma PSNR against the ground truth, and RGB PSNR of tiled against whole, inf where
    both are equal."""

    name: str
    tiles: int
    whole_psnr_db: float
    tiled_psnr_db: float
    between_db: float

    @property
    def drop_db(self) -> float:
        return self.whole_psnr_db - self.tiled_psnr_db


@dataclass(frozen=True, slots=True)
class Record:
    """One network on those images of a set that come to more than one tile; `images`: how many of how many.

    What is said against the ground truth is None for random weights. `between_db`: mean of the images that differ, None
    if none does; `least_between_db`: that of the one that differs most. `tiles`: of all images together.
    """

    model: str
    weights: str
    images: str
    tile_px: int
    halo_px: int
    tiles: int
    whole_psnr_db: float | None
    tiled_psnr_db: float | None
    drop_db: float | None
    worst_image: str | None
    worst_drop_db: float | None
    between_db: float | None
    least_between_db: float | None


@click.command(help=__doc__)
@click.option("--model", "models", multiple=True, type=click.Choice((*MODELS, *RANDOM_MODELS)), default=DEFAULT_MODELS)
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--set", "name", default="Set14", show_default=True)
@click.option("--weights", type=click.Path(path_type=Path, exists=True))
@click.option("--tile", "tile_px", type=int, default=DEFAULT_TILE_PX, show_default=True)
def main(models: tuple[str, ...], data: Path, name: str, weights: Path | None, tile_px: int) -> None:
    if weights is not None and len(models) != 1:
        raise click.BadParameter(f"A file is for one network, not {len(models)}: give --model.", param_hint="--weights")
    with Terminal() as terminal, tempfile.TemporaryDirectory() as folder:
        for model in models:
            spec, file = find(model, SCALE), weights
            is_random = weights is None and model in RANDOM_MODELS
            if is_random:
                file = Path(folder) / f"{model}.safetensors"
                write_random_weights(spec, file)
            try:
                session = Session(model, SCALE, weights=file, data=data / name, listener=terminal)
                found = []
                for pair in session.sets[0]:
                    found.append(compare(session.network, pair, spec, tile_px))
                    terminal.progress(f"{model} in tiles", len(found), len(session.sets[0]))
                kind = f"random, seed {SEED}" if is_random else session.loaded.provenance.kind
                note(record(spec, kind, name, tile_px, found))
            except EdgesrError as error:
                raise click.ClickException(str(error)) from error


def compare(network: Network, pair: datasets.EvalPair, spec: ModelSpec, tile_px: int) -> Tiled:
    """One image whole and in tiles of `tile_px`, both padded as `edgesr upscale` does."""
    height, width = (min(tile_px, -(-side // spec.multiple_px) * spec.multiple_px) for side in pair.low.shape[:2])
    whole, _ = upscaled(network, pair.low, spec, None)
    tiled, count = upscaled(network, pair.low, spec, (height, width))
    high = pair.high[: whole.shape[0], : whole.shape[1]]
    against = [psnr_db(image[: high.shape[0], : high.shape[1]], high, PROTOCOL, spec.scale) for image in (whole, tiled)]
    return Tiled(pair.name, count, *against, psnr_db(tiled, whole, "rgb", spec.scale))


def upscaled(
    network: Network, low: npt.NDArray[np.uint8], spec: ModelSpec, tile: Size | None
) -> tuple[npt.NDArray[np.uint8], int]:
    """(s*h, s*w, 3) uint8 RGB, and from how many tiles; None: from one that is as large as the image."""
    plan = plan_tiles(
        *low.shape[:2],
        scale=spec.scale,
        halo_px=spec.halo_px,
        tile_hw=tile,
        min_side_px=spec.min_side_px,
        multiple=spec.multiple_px,
    )
    return run(lambda image: run_tiled(network, image, plan), low), len(plan.boxes)


def record(spec: ModelSpec, weights: str, name: str, tile_px: int, found: Sequence[Tiled]) -> Record:
    """Means over the images of the set `name` that were cut. Raises DataError if none was."""
    cut = [image for image in found if image.tiles > 1]
    if not cut:
        raise DataError(f"No image of {name} is larger than a tile of {tile_px} px. Choose a smaller one with --tile.")
    between = [image.between_db for image in cut if math.isfinite(image.between_db)]
    worst = max(cut, key=lambda image: image.drop_db)
    known = not weights.startswith("random")
    return Record(
        model=spec.name,
        weights=weights,
        images=f"{name} ({len(cut)} of {len(found)})",
        tile_px=tile_px,
        halo_px=spec.halo_px,
        tiles=sum(image.tiles for image in cut),
        whole_psnr_db=round(fmean(image.whole_psnr_db for image in cut), 4) if known else None,
        tiled_psnr_db=round(fmean(image.tiled_psnr_db for image in cut), 4) if known else None,
        drop_db=round(fmean(image.drop_db for image in cut), 4) if known else None,
        worst_image=worst.name if known else None,
        worst_drop_db=round(worst.drop_db, 4) if known else None,
        between_db=round(fmean(between), 2) if between else None,
        least_between_db=round(min(between), 2) if between else None,
    )


def note(found: Record) -> None:
    """Into docs/tiling.json, a row per network."""
    rows = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    rows[found.model] = asdict(found)
    ordered = {model: rows[model] for model in (*MODELS, *RANDOM_MODELS) if model in rows}
    text = json.dumps(ordered, indent=1, allow_nan=False) + "\n"
    write_whole(RECORD, lambda temporary: temporary.write_text(text, encoding="utf-8"), "Make room.")


if __name__ == "__main__":
    main()
