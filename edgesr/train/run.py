"""From `edgesr train` to a weights file with its model card."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from edgesr import datasets
from edgesr.errors import WeightsError
from edgesr.extras import require
from edgesr.listener import Listener
from edgesr.models.files import sha256_of
from edgesr.models.registry import ModelSpec
from edgesr.train.loop import Progress, train
from edgesr.train.photos import Photos, load_photos
from edgesr.train.recipe import Recipe
from edgesr.train.run_folder import ADVICE, read_log
from edgesr.verify import references
from edgesr.whole_file import write_whole

WEIGHTS, CARD = "weights.safetensors", "card.json"


def train_model(
    spec: ModelSpec,
    recipe: Recipe,
    data: Path,
    folder: Path,
    *,
    start: Path | None,
    threads: int | None,
    evaluate_on: Path | None,
    listener: Listener,
) -> dict[str, Any]:
    """Train (or go on training) and write weights.safetensors and card.json into `folder`; returns the card.

    `start`: weights that a new run begins with, in the training form.
    Raises UsageError, WeightsError, DataError, TrainingError, OutputError.
    """
    to_bytes = require("safetensors.torch", "train").save
    sets = datasets.eval_sets(evaluate_on, spec.scale) if evaluate_on else []
    begin = _beginning(spec, start, listener)
    if start is not None:
        recipe = replace(recipe, start_sha256=sha256_of(start))
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

    state = train(spec, recipe, photos, folder, show, begin)
    write_whole(folder / WEIGHTS, lambda temporary: temporary.write_bytes(to_bytes(state)), ADVICE)
    card = _card(spec, recipe, photos, folder, sets, listener) | _card_of_start(start)
    write_whole(folder / CARD, lambda temporary: temporary.write_text(json.dumps(card, indent=1) + "\n"), ADVICE)
    return card


def _beginning(spec: ModelSpec, start: Path | None, listener: Listener) -> dict[str, torch.Tensor] | None:
    from edgesr.models.weights import load

    if start is None:
        return None
    network = load(spec.name, spec.scale, start, listener.say).network
    if network.state_dict().keys() != spec.forms()["train"].state_dict().keys():
        raise WeightsError(
            f"{start} holds {spec.name} in its folded form, which cannot be trained. Give its training form."
        )
    return network.state_dict()


def _card_of_start(start: Path | None) -> dict[str, Any]:
    """What the weights that the run began with are, where their card lies beside them."""
    file = start.with_name(CARD) if start is not None else None
    return {"start": json.loads(file.read_text(encoding="utf-8"))} if file is not None and file.is_file() else {}


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
