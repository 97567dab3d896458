"""The training loop: resumable at any step, one folder per run.

A run folder holds recipe.json, log.jsonl (one line per logged step), state.pt (network, EMA, optimizer, step; replaced
atomically) and, at the end, weights.safetensors + card.json.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgesr.errors import TrainingError
from edgesr.metrics import psnr_db, to_uint8
from edgesr.models.network import Network
from edgesr.models.registry import ModelSpec
from edgesr.train.photos import Pair, Photos, random_batch
from edgesr.train.recipe import Recipe

LOG_EVERY = 50
VALIDATION_SIDE_PX = 128


@dataclass(frozen=True, slots=True)
class Progress:
    """`loss` is the mean L1 since the last report, on the [0, 1] scale; `psnr_db` is set after a validation."""

    step: int
    steps: int
    loss: float
    steps_per_second: float
    psnr_db: float | None


@dataclass
class _State:
    network: Network
    average: Network
    optimizer: torch.optim.Optimizer
    step: int = 0
    best_psnr_db: float = -math.inf


def train(
    spec: ModelSpec, recipe: Recipe, photos: Photos, folder: Path, on_progress: Callable[[Progress], None]
) -> dict[str, Tensor]:
    """Train `spec` from scratch or go on with the run in `folder`; return the averaged weights (official keys).

    Raises TrainingError if `folder` holds a run with another recipe or other photos, or if the loss stops being finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, recipe, photos.fingerprint)
    torch.manual_seed(recipe.seed)
    state = _start(spec, recipe)
    _resume(state, folder / "state.pt")
    with _saved_on_exit(state, folder / "state.pt"):
        for progress in _steps(state, recipe, photos):
            with (folder / "log.jsonl").open("a") as log:
                log.write(
                    json.dumps({"step": progress.step, "loss": progress.loss, "psnr_db": progress.psnr_db}) + "\n"
                )
            on_progress(progress)
            if progress.step % recipe.save_every == 0:
                _save(state, folder / "state.pt")
    return {name: tensor.detach().clone().contiguous() for name, tensor in state.average.state_dict().items()}


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then cosine down to `final_learning_rate` at the last step."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return recipe.final_learning_rate + (recipe.learning_rate - recipe.final_learning_rate) * cosine


def _start(spec: ModelSpec, recipe: Recipe) -> _State:
    network, average = spec.forms()["train"], spec.forms()["train"]
    average.load_state_dict(network.state_dict())
    for module in (network, average):
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        module.collapse_in_training()
    return _State(network, average, torch.optim.Adam(network.parameters(), lr=recipe.learning_rate))


def _steps(state: _State, recipe: Recipe, photos: Photos) -> Iterator[Progress]:
    losses, since = [], time.perf_counter()
    while state.step < recipe.steps:
        losses.append(_one_step(state, recipe, photos.train))
        state.step += 1
        last = state.step == recipe.steps
        validate = last or state.step % recipe.validate_every == 0
        if validate or state.step % LOG_EVERY == 0 or state.step % recipe.save_every == 0:
            speed = len(losses) / (time.perf_counter() - since)
            psnr = validate_db(state.average, photos.held_out) if validate else None
            state.best_psnr_db = max(state.best_psnr_db, psnr or -math.inf)
            yield Progress(state.step, recipe.steps, sum(losses) / len(losses), speed, psnr)
            losses, since = [], time.perf_counter()


def _one_step(state: _State, recipe: Recipe, pairs: tuple[Pair, ...]) -> float:
    low, high = random_batch(pairs, recipe.patch_px, recipe.batch, (recipe.seed, state.step))
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(recipe, state.step)
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
        output = state.network(low.to(memory_format=torch.channels_last))
    loss = (output.float() - high).abs().mean()
    if not torch.isfinite(loss):
        raise TrainingError(
            f"The loss is {loss.item()} at step {state.step}: training diverged. The last good state is kept; "
            f"start a new run with a smaller --learning-rate (now {recipe.learning_rate})."
        )
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(state.network.parameters(), recipe.gradient_clip)
    state.optimizer.step()
    _update_average(state, recipe.ema_decay)
    return loss.item()


@torch.no_grad()
def _update_average(state: _State, decay: float) -> None:
    decay = min(decay, (1 + state.step) / (10 + state.step))
    for average, value in zip(state.average.parameters(), state.network.parameters(), strict=True):
        average.lerp_(value, 1 - decay)


@torch.no_grad()
def validate_db(network: Network, pairs: tuple[Pair, ...]) -> float:
    """Mean luma PSNR over the centres of the held-out photos, in dB."""
    folded = network.fold()
    scores = []
    for pair in pairs:
        scale = pair.high.shape[0] // pair.low.shape[0]
        height, width = (min(side, VALIDATION_SIDE_PX) for side in pair.low.shape[:2])
        top, left = (pair.low.shape[0] - height) // 2, (pair.low.shape[1] - width) // 2
        low = pair.low[top : top + height, left : left + width]
        high = pair.high[top * scale : (top + height) * scale, left * scale : (left + width) * scale]
        image = torch.from_numpy(low.copy()).permute(2, 0, 1)[None].float() / 255
        output = folded(image)[0].permute(1, 2, 0).numpy()
        scores.append(psnr_db(to_uint8(output), high, "paper-y", scale))
    return sum(scores) / len(scores)


def _claim(folder: Path, recipe: Recipe, fingerprint: str) -> None:
    """Write recipe.json, or check that the run already in `folder` is this one."""
    file = folder / "recipe.json"
    wanted: dict[str, Any] = {**recipe.to_json(), "photos_sha256": fingerprint}
    if not file.exists():
        file.write_text(json.dumps(wanted, indent=1) + "\n")
        return
    try:
        found = json.loads(file.read_text())
    except ValueError as error:
        raise TrainingError(f"{file} is damaged ({error}). Choose another --run folder.") from error
    changes = recipe.changes_from(found)
    if found.get("photos_sha256") != fingerprint:
        changes.append("other photos")
    if changes:
        raise TrainingError(
            f"{folder} holds a run with another recipe ({'; '.join(changes)}). Use the same options to resume it, or "
            "choose another --run folder."
        )


def _save(state: _State, file: Path) -> None:
    temporary = file.with_suffix(".tmp")
    torch.save(
        {
            "network": state.network.state_dict(),
            "average": state.average.state_dict(),
            "optimizer": state.optimizer.state_dict(),
            "step": state.step,
            "best_psnr_db": state.best_psnr_db,
        },
        temporary,
    )
    os.replace(temporary, file)


def _resume(state: _State, file: Path) -> None:
    if not file.exists():
        return
    try:
        saved = torch.load(file, map_location="cpu", weights_only=True)
        state.network.load_state_dict(saved["network"])
        state.average.load_state_dict(saved["average"])
        state.optimizer.load_state_dict(saved["optimizer"])
        state.step, state.best_psnr_db = int(saved["step"]), float(saved["best_psnr_db"])
    except Exception as error:  # torch.load raises a dozen kinds for a damaged file
        raise TrainingError(f"{file} cannot be resumed ({error}). Delete it to start this run again.") from error


@contextmanager
def _saved_on_exit(state: _State, file: Path) -> Iterator[None]:
    """Ctrl-C and errors lose nothing: the state after the last whole step is saved."""
    try:
        yield
    except KeyboardInterrupt:
        _save(state, file)
        raise
    _save(state, file)
