"""From `edgesr train` to a weights file with its model card."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from edgesr import datasets
from edgesr.extras import require
from edgesr.listener import Listener, Silent
from edgesr.models.files import cache_folder
from edgesr.models.registry import ModelSpec
from edgesr.train.curves import Events, draw_curve
from edgesr.train.div2k import photo_source
from edgesr.train.loop import Progress, train
from edgesr.train.machine import Machine
from edgesr.train.photos import Photos, load_photos
from edgesr.train.recipe import Recipe
from edgesr.train.run_folder import ADVICE, read_log
from edgesr.train.start import CARD, read_start
from edgesr.train.teacher import read_teacher
from edgesr.verify import references
from edgesr.whole_file import write_whole

WEIGHTS = "weights.safetensors"
SKIPPED_SHOWN = 3
LOADER_LIMITS = 0.2
"""Share of waiting for patches from which it is said."""


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
    machine: Machine | None = None,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Train (or go on training) and write weights.safetensors and card.json into `folder`; returns the card.

    `data`: a folder of photos or a file of packed ones; `cache`: where a folder's are kept decoded, the user's cache if
    None. `start`: weights that a new run begins with, in the training form. `teacher_weights`: of the teacher that
    `recipe` names; those found in the usual order if None. `machine`: this process and its CPU if None; of several
    ranks, the first alone writes and reports, and the others return an empty card.
    Raises UsageError, WeightsError, DataError, TrainingError, OutputError.
    """
    machine = machine or Machine()
    listener = listener if machine.leads else Silent()
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
    photos = _photos(data, recipe, cache or cache_folder().parent / "photos", machine, listener)
    listener.say(f"Recipe: {recipe.in_words()}")
    listener.say(
        f"Training {spec.key} on {len(photos.train)} photos, {len(photos.held_out)} held out; {machine.in_words()}; "
        f"run: {folder}"
    )
    with Events(folder) as events:
        show = _reporter(spec, recipe, events, listener)
        state = train(spec, recipe, photos, folder, show, None if begin is None else begin.state, teacher, machine)
    if not machine.leads:
        return {}
    write_whole(folder / WEIGHTS, lambda temporary: temporary.write_bytes(to_bytes(state)), ADVICE)
    card = _card(spec, recipe, photos, folder, sets, listener)
    card["device"] = machine.device.type
    card |= ({} if begin is None else begin.facts()) | ({} if teacher is None else teacher.facts())
    write_whole(folder / CARD, lambda temporary: temporary.write_text(json.dumps(card, indent=1) + "\n"), ADVICE)
    missing = draw_curve(folder, spec.key)
    if missing is not None:
        listener.say(missing)
    return card


def _reporter(spec: ModelSpec, recipe: Recipe, events: Events, listener: Listener) -> Callable[[Progress], None]:
    """Bars, sentences and TensorBoard."""

    def show(progress: Progress) -> None:
        events.add(progress)
        if progress.rolled_back is not None:
            listener.say(f"{progress.rolled_back}.")
            return
        note = f"{_speed(progress, recipe.batch)}, loss {progress.loss:.4f}"
        listener.progress(f"train {spec.key}", progress.step, progress.steps, note)
        if progress.psnr_db is not None:
            left = _duration((progress.steps - progress.step) / max(progress.steps_per_second, 1e-9))
            listener.say(
                f"step {progress.step}: {progress.psnr_db:.3f} dB on the held-out photos ({note}, {left} left)"
            )
            if progress.loader.waited > LOADER_LIMITS:
                listener.say(
                    f"{progress.loader.waited:.0%} of the time is spent waiting for patches: try more --workers."
                )

    return show


def _speed(progress: Progress, batch: int) -> str:
    steps, loader = progress.steps_per_second, progress.loader.samples_per_second
    return f"{steps:.1f} steps/s = {steps * batch:.0f} samples/s (the loader could draw {loader:.0f})"


def _duration(seconds: float) -> str:
    minutes, hours = round(seconds / 60), round(seconds / 60) // 60
    return f"{hours} h {minutes - 60 * hours} min" if hours else f"{minutes} min"


def _photos(data: Path, recipe: Recipe, cache: Path, machine: Machine, listener: Listener) -> Photos:
    """The first rank decodes, the others find what it left."""

    def read() -> Photos:
        source = photo_source(data, listener)
        return load_photos(
            source,
            recipe.scale,
            recipe.patch_px,
            lambda done, total: listener.progress("read photos", done, total),
            cache,
        )

    if machine.leads:
        photos = read()
    machine.wait()
    if not machine.leads:
        photos = read()
    say_skipped(photos.skipped, listener)
    return photos


def say_skipped(skipped: Sequence[str], listener: Listener) -> None:
    """How many files were left out, and why the first ones were."""
    if skipped:
        more = " ..." if len(skipped) > SKIPPED_SHOWN else ""
        listener.say(f"Skipped {len(skipped)} unreadable photos: {' '.join(skipped[:SKIPPED_SHOWN])}{more}")


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
    log = read_log(folder)
    validations = [entry["psnr_db"] for entry in log if entry.get("psnr_db") is not None]

    def network(image: Any) -> Any:
        with torch.inference_mode():
            return loaded.in_torch(torch.from_numpy(image)).numpy()

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
        "photos_skipped": len(photos.skipped),
        "photos_sha256": photos.fingerprint,
        "recipe": recipe.to_json(),
        "rollbacks": [{"to_step": entry["step"], "why": entry["why"]} for entry in log if "rollback" in entry],
        "held_out_psnr_db": round(validations[-1], 3) if validations else None,
        "psnr_db": {
            name: round(fmean(entry.psnr_db for entry in found if entry.set_name == name), 3) for name in names
        },
        "protocol": "paper-y",
    }
