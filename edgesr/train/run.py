"""From `edgesr train` to a weights file with its model card."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from edgesr import datasets
from edgesr.extras import require
from edgesr.listener import Listener
from edgesr.models.registry import ModelSpec
from edgesr.train.loop import Progress, train
from edgesr.train.photos import Photos, load_photos
from edgesr.train.recipe import Recipe
from edgesr.train.run_folder import ADVICE, read_log
from edgesr.train.start import CARD, read_start
from edgesr.train.teacher import read_teacher
from edgesr.verify import references
from edgesr.whole_file import write_whole

WEIGHTS = "weights.safetensors"


def train_model(
    spec: ModelSpec,
    recipe: Recipe,
    data: Path,
    folder: Path,
    *,
    start: Path | None,
    teacher_weights: Path | None,
    threads: int | None,
    evaluate_on: Path | None,
    listener: Listener,
) -> dict[str, Any]:
    """Train (or go on training) and write weights.safetensors and card.json into `folder`; returns the card.

    `start`: weights that a new run begins with, in the training form. `teacher_weights`: of the teacher that `recipe`
    names; those found in the usual order if None.
    Raises UsageError, WeightsError, DataError, TrainingError, OutputError.
    """
    to_bytes = require("safetensors.torch", "train").save
    sets = datasets.eval_sets(evaluate_on, spec.scale) if evaluate_on else []
    teacher = read_teacher(recipe, teacher_weights, listener)
    begin = None if start is None else read_start(spec, start, listener)
    recipe = replace(
        recipe,
        start_sha256=None if begin is None else begin.sha256,
        teacher_sha256=None if teacher is None else teacher.provenance.sha256,
    )
    if threads is not None:
        torch.set_num_threads(threads)
    photos = load_photos(
        data, spec.scale, recipe.patch_px, lambda done, total: listener.progress("read photos", done, total)
    )
    listener.say(f"Training {spec.key} on {len(photos.train)} photos, {len(photos.held_out)} held out; run: {folder}")

    def show(progress: Progress) -> None:
        note = f"{progress.steps_per_second:.1f} steps/s, loss {progress.loss:.4f}"
        listener.progress(f"train {spec.key}", progress.step, progress.steps, note)
        if progress.psnr_db is not None:
            listener.say(f"step {progress.step}: {progress.psnr_db:.3f} dB on the held-out photos ({note})")

    state = train(spec, recipe, photos, folder, show, None if begin is None else begin.state, teacher)
    write_whole(folder / WEIGHTS, lambda temporary: temporary.write_bytes(to_bytes(state)), ADVICE)
    card = _card(spec, recipe, photos, folder, sets, listener)
    card |= ({} if begin is None else begin.facts()) | ({} if teacher is None else teacher.facts())
    write_whole(folder / CARD, lambda temporary: temporary.write_text(json.dumps(card, indent=1) + "\n"), ADVICE)
    return card


def _card(
    spec: ModelSpec,
    recipe: Recipe,
    photos: Photos,
    folder: Path,
    sets: Sequence[datasets.EvalSet],
    listener: Listener,
) -> dict[str, Any]:
    """What these weights are: data, recipe, seed, PSNR."""
    from edgesr.models.weights import load

    loaded = load(spec.name, spec.scale, folder / WEIGHTS, listener.say)
    validations = [entry["psnr_db"] for entry in read_log(folder) if entry.get("psnr_db") is not None]

    def network(image: Any) -> Any:
        with torch.inference_mode():
            return loaded.folded(torch.from_numpy(image)).numpy()

    found = references(network, sets, spec.scale, listener, min_side_px=spec.min_side_px)
    names = dict.fromkeys(reference.set_name for reference in found)
    return {
        "model": spec.name,
        "scale": spec.scale,
        "weights_sha256": loaded.provenance.sha256,
        "trained_by": "edgesr train",
        "torch": torch.__version__.partition("+")[0],
        "photos": len(photos.train),
        "photos_held_out": len(photos.held_out),
        "photos_sha256": photos.fingerprint,
        "recipe": recipe.to_json(),
        "held_out_psnr_db": round(validations[-1], 3) if validations else None,
        "psnr_db": {
            name: round(fmean(entry.psnr_db for entry in found if entry.set_name == name), 3) for name in names
        },
        "protocol": "paper-y",
    }
