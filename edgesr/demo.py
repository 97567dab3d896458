"""`make demo`: two networks to two targets in fp32 and INT8, checked, timed, and run on a photo of scikit-image."""

import functools
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.console import Console
from rich.table import Table

from edgesr.artifact import read_manifest
from edgesr.doctor import diagnose
from edgesr.errors import EdgesrError
from edgesr.extras import require
from edgesr.images import Photo, write_photo
from edgesr.interleave import Plan, interleave
from edgesr.listener import Listener
from edgesr.metrics import to_input
from edgesr.models.registry import find
from edgesr.pipeline import Session, convert_all
from edgesr.planned import plan
from edgesr.report import Row, decibels
from edgesr.resize import resize_matlab
from edgesr.runner import open_artifact
from edgesr.terminal import Terminal
from edgesr.tiling import run_tiled
from edgesr.types import Size
from edgesr.upscale import Options, upscale_files
from edgesr.upscale import plan as tiles_of
from edgesr.verify import Limit

MODELS = ("bsrn-s", "ditn-real")
SCALE = 4
TARGETS = ("onnxruntime", "openvino")
ROUNDS = 5
DETAIL = (slice(60, 160), slice(135, 235))
"""Rows and columns of the sample photo that the before/after picture shows."""


@click.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("demo"), show_default=True)
def main(out: Path) -> None:
    """Convert, check, time and show networks on this machine."""
    with Terminal() as terminal:
        try:
            rows, milliseconds, size, pictures = run(out, terminal)
        except EdgesrError as error:
            raise click.ClickException(str(error)) from error
    _write_report(out, rows, milliseconds, size)
    console = Console(highlight=False, width=None if Console().is_terminal else 120)
    console.print(table(rows, milliseconds, size))
    for name, path in pictures.items():
        console.print(f"{name + ':':<36}{path}", soft_wrap=True)


def run(out: Path, listener: Listener) -> tuple[Sequence[Row], dict[str, float], tuple[int, int], dict[str, Path]]:
    """Rows, median milliseconds by slug, the size of the photo, and where the pictures are."""
    photo = require("skimage.data", "demo").chelsea()
    rows = [row for model in MODELS for row in converted(model, photo.shape[:2], out / "artifacts", listener)]
    folders = {row.slug: out / "artifacts" / row.slug for row in rows}
    return rows, interleaved_ms(folders, photo, listener), photo.shape[:2], _pictures(out, photo, folders, listener)


def converted(model: str, photo_hw: Size, out: Path, listener: Listener) -> Sequence[Row]:
    """A network that works in windows gets one size: that of the photo, filled up to whole windows."""
    multiple = find(model, SCALE).multiple_px
    whole = (-(-photo_hw[0] // multiple) * multiple, -(-photo_hw[1] // multiple) * multiple)
    planned = plan(model, SCALE, TARGETS, ("fp32", "int8"), () if multiple == 1 else (whole,))
    outcome = convert_all(Session(model, int8=True, listener=listener), planned, out, Limit())
    if outcome.first_error is not None:
        raise outcome.first_error
    return outcome.rows


def interleaved_ms(folders: dict[str, Path], photo: npt.NDArray[np.uint8], listener: Listener) -> dict[str, float]:
    """Median time of one run over the whole photo."""
    height, width = photo.shape[:2]
    image, calls = to_input(photo), {}
    for slug, folder in folders.items():
        tiles = tiles_of(height, width, read_manifest(folder), Options())
        calls[slug] = functools.partial(run_tiled, open_artifact(folder), image, tiles)
    samples = interleave(
        calls, Plan(ROUNDS, warmup_rounds=1), lambda done, total: listener.progress("time the artifacts", done, total)
    )
    return {slug: each.median_ms for slug, each in samples.items()}


def table(rows: Sequence[Row], milliseconds: dict[str, float], size: tuple[int, int]) -> Table:
    drawn = Table(box=None, pad_edge=False, header_style="bold", caption_justify="left")
    height, width = size
    drawn.caption = (
        f"x{SCALE}, weights: {rows[0].weights}. PSNR: RGB against the float32 network in torch. "
        f"ms: median of {ROUNDS} interleaved runs, {width}x{height} -> {SCALE * width}x{SCALE * height}."
    )
    for name in ("network", "target", "precision"):
        drawn.add_column(name)
    for name in ("size KB", "max diff", "PSNR vs fp32", "drop dB", "ms"):
        drawn.add_column(name, justify="right")
    for row in rows:
        drawn.add_row(
            row.model,
            row.target,
            row.precision,
            f"{(row.bytes or 0) / 1000:.0f}",
            f"{row.parity_max_abs}/255",
            f"{decibels(row.fidelity_db)} dB",
            f"{row.psnr_drop_db:+.3f}",
            f"{milliseconds[row.slug]:.0f}",
        )
    return drawn


def _write_report(out: Path, rows: Sequence[Row], milliseconds: dict[str, float], size: tuple[int, int]) -> None:
    machine = diagnose()
    report = {
        "rows": [asdict(row) for row in rows],
        "milliseconds": milliseconds,
        "photo_hw": size,
        "threads": os.cpu_count(),
        "machine": f"{machine.cpu} ({machine.machine}, {' '.join(machine.cpu_features) or 'unknown features'})",
    }
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n")


def _pictures(out: Path, photo: npt.NDArray[np.uint8], folders: dict[str, Path], listener: Listener) -> dict[str, Path]:
    """The photo, its bicubic enlargement, what each INT8 artifact makes of it, and a detail side by side."""
    before, bicubic = out / "photo.png", out / f"photo_x{SCALE}_bicubic.png"
    write_photo(Photo(photo.astype(np.float32) / np.float32(255)), before)
    enlarged = np.clip(resize_matlab(photo, SCALE) / 255, 0, 1).astype(np.float32)
    write_photo(Photo(enlarged), bicubic)
    pictures = {"before": before, "before, bicubic x4": bicubic}
    for slug, folder in folders.items():
        after = out / f"photo_x{SCALE}_{slug}.png"
        planned = [(before, after)]
        for done in upscale_files(planned, open_artifact(folder), read_manifest(folder), Options(), listener):
            if done.error is not None:
                raise EdgesrError(done.error)
        model, _, target, precision = slug.split("_")[:4]
        pictures[f"after, {model} {target} {precision}"] = after
    shown = [bicubic, *(pictures[f"after, {model} {TARGETS[-1]} int8"] for model in MODELS)]
    pictures["before | after"] = _side_by_side(shown, out / "before-after.png")
    return pictures


def _side_by_side(files: Sequence[Path], out: Path) -> Path:
    rows, columns = (slice(SCALE * part.start, SCALE * part.stop) for part in DETAIL)
    details: list[npt.NDArray[np.uint8]] = []
    for path in files:
        with Image.open(path) as image:
            detail = np.asarray(image.convert("RGB"))[rows, columns]
        gap = np.full((detail.shape[0], 8, 3), 255, np.uint8)
        details += [gap, detail] if details else [detail]
    joined = np.concatenate(details, axis=1)
    write_photo(Photo(joined.astype(np.float32) / np.float32(255)), out)
    return out


if __name__ == "__main__":
    main()
