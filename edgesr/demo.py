"""`make demo`: bsrn-s to two targets in fp32 and INT8, checked, timed, and run on a photo of scikit-image."""

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
from edgesr.pipeline import Session, convert_all
from edgesr.planned import plan
from edgesr.report import Row, decibels
from edgesr.resize import resize_matlab
from edgesr.runner import Runner, open_artifact
from edgesr.terminal import Terminal
from edgesr.upscale import Options, upscale_files
from edgesr.verify import Limit

MODEL = "bsrn-s"
TARGETS = ("onnxruntime", "openvino")
ROUNDS = 5
DETAIL = (slice(60, 160), slice(110, 260))
"""Rows and columns of the sample photo that the before/after picture shows."""


@click.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("demo"), show_default=True)
def main(out: Path) -> None:
    """Convert, check, time and show bsrn-s on this machine."""
    with Terminal() as terminal:
        try:
            rows, milliseconds, size, pictures = run(out, terminal)
        except EdgesrError as error:
            raise click.ClickException(str(error)) from error
    _write_report(out, rows, milliseconds, size)
    console = Console(highlight=False, width=None if Console().is_terminal else 120)
    console.print(table(rows, milliseconds, size))
    for name, path in pictures.items():
        console.print(f"{name + ':':<25}{path}", soft_wrap=True)


def run(out: Path, listener: Listener) -> tuple[Sequence[Row], dict[str, float], tuple[int, int], dict[str, Path]]:
    """Rows, median milliseconds by slug, the size of the photo, and where the pictures are."""
    photo = require("skimage.data", "demo").chelsea()
    session = Session(MODEL, int8=True, listener=listener)
    outcome = convert_all(session, plan(MODEL, 4, TARGETS, ("fp32", "int8")), out / "artifacts", Limit())
    if outcome.first_error is not None:
        raise outcome.first_error
    folders = {row.slug: out / "artifacts" / row.slug for row in outcome.rows}
    milliseconds = interleaved_ms({slug: open_artifact(folder) for slug, folder in folders.items()}, photo, listener)
    return outcome.rows, milliseconds, photo.shape[:2], _pictures(out, photo, folders, listener)


def interleaved_ms(runners: dict[str, Runner], photo: npt.NDArray[np.uint8], listener: Listener) -> dict[str, float]:
    """Median time of one run over the whole photo."""
    image = to_input(photo)
    calls = {slug: functools.partial(runner, image) for slug, runner in runners.items()}
    plan = Plan(ROUNDS, warmup_rounds=1)
    samples = interleave(calls, plan, lambda done, total: listener.progress("time the artifacts", done, total))
    return {slug: each.median_ms for slug, each in samples.items()}


def table(rows: Sequence[Row], milliseconds: dict[str, float], size: tuple[int, int]) -> Table:
    drawn = Table(box=None, pad_edge=False, header_style="bold", caption_justify="left")
    height, width = size
    drawn.caption = (
        f"{MODEL} x4, weights: {rows[0].weights}. PSNR: RGB against the float32 network in torch. "
        f"ms: median of {ROUNDS} interleaved runs, {width}x{height} -> {4 * width}x{4 * height}."
    )
    for name in ("target", "precision"):
        drawn.add_column(name)
    for name in ("size KB", "max diff", "PSNR vs fp32", "drop dB", "ms"):
        drawn.add_column(name, justify="right")
    for row in rows:
        drawn.add_row(
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
    before, bicubic = out / "photo.png", out / "photo_x4_bicubic.png"
    write_photo(Photo(photo.astype(np.float32) / np.float32(255)), before)
    enlarged = np.clip(resize_matlab(photo, 4) / 255, 0, 1).astype(np.float32)
    write_photo(Photo(enlarged), bicubic)
    pictures = {"before": before, "before, bicubic x4": bicubic}
    for slug, folder in folders.items():
        after = out / f"photo_x4_{slug}.png"
        planned = [(before, after)]
        for done in upscale_files(planned, open_artifact(folder), read_manifest(folder), Options(), listener):
            if done.error is not None:
                raise EdgesrError(done.error)
        pictures[f"after, {slug.split('_')[2]} {slug.split('_')[3]}"] = after
    pictures["before | after"] = _side_by_side(bicubic, after, out / "before-after.png")
    return pictures


def _side_by_side(left: Path, right: Path, out: Path) -> Path:
    rows, columns = (slice(4 * part.start, 4 * part.stop) for part in DETAIL)
    details = []
    for path in (left, right):
        with Image.open(path) as image:
            details.append(np.asarray(image.convert("RGB"))[rows, columns])
    joined = np.concatenate([details[0], np.full((details[0].shape[0], 8, 3), 255, np.uint8), details[1]], axis=1)
    write_photo(Photo(joined.astype(np.float32) / np.float32(255)), out)
    return out


if __name__ == "__main__":
    main()
