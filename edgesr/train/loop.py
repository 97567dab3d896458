"""The training loop: resumable at any step, and equal to the bit when it was."""

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from edgesr.errors import TrainingError
from edgesr.metrics import psnr_db, to_uint8
from edgesr.models.network import Network
from edgesr.models.registry import ModelSpec
from edgesr.train.batches import Batches, LoaderSpeed
from edgesr.train.divergence import Diverged
from edgesr.train.interrupt import asked_to_stop
from edgesr.train.machine import CPU, Machine, failures_said
from edgesr.train.pairs import Pair
from edgesr.train.photos import Batch, Photos, degraded, draw_batch
from edgesr.train.recipe import Recipe
from edgesr.train.run_folder import append_log, claimed, cut_log
from edgesr.train.schedule import learning_rate
from edgesr.train.state import State, begin, go_back, keep, resume, save
from edgesr.train.step import Stepper
from edgesr.train.teacher import Teacher, check_patch

LOG_EVERY = 50
VALIDATION_SIDE_PX = 128


@dataclass(frozen=True, slots=True)
class Progress:
    """`loss` is the mean since the last report, of images in [0, 1]; `psnr_db` is set after a validation.

    With a teacher, `loss` is the mean of that to the ground truth and that to the teacher's output, by their shares.
    `rolled_back`: in words, that and why the run went back to `step`; `loss` is NaN then.
    """

    step: int
    steps: int
    loss: float
    steps_per_second: float
    psnr_db: float | None
    learning_rate: float
    loader: LoaderSpeed
    rolled_back: str | None = None


def train(
    spec: ModelSpec,
    recipe: Recipe,
    photos: Photos,
    folder: Path,
    on_progress: Callable[[Progress], None],
    start: dict[str, Tensor] | None = None,
    teacher: Teacher | None = None,
    machine: Machine | None = None,
) -> dict[str, Tensor]:
    """Train `spec` from scratch or go on with the run in `folder`; return the averaged weights (official keys).

    `start`: weights of the training form that a new run begins with; what it lacks begins anew. `teacher`: the one that
    `recipe` names. `machine`: where; this process and its CPU if None.

    Ctrl-C loses nothing: it waits for the end of the step and its validation, and what was reached is saved. Raises
    UsageError for a patch that the network cannot take, TrainingError if `folder` holds a run with another recipe or
    other photos or is in use, if memory runs out or if training diverges in spite of its rollbacks, OutputError if the
    folder cannot be written.
    """
    machine = machine or Machine()
    assert recipe.teacher_sha256 == (None if teacher is None else teacher.provenance.sha256)
    check_patch(spec, recipe, spec.name)
    machine.share_of(recipe)
    if recipe.degradation == "real-world":
        photos = replace(photos, held_out=degraded(photos.held_out, recipe.seed))
    with (
        claimed(folder, recipe, photos.fingerprint) if machine.leads else nullcontext(),
        failures_said(recipe, machine.device),
    ):
        state = begin(spec, recipe, start, teacher, machine)
        machine.wait()  # the folder is claimed
        resume(state, folder, machine)
        try:
            _run(state, recipe, photos, folder, on_progress, machine)
        except KeyboardInterrupt:
            if state.whole and machine.leads:
                save(state, folder)
            raise
        if machine.leads:
            save(state, folder)
    machine.wait()
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.average.state_dict().items()}


def _run(
    state: State,
    recipe: Recipe,
    photos: Photos,
    folder: Path,
    on_progress: Callable[[Progress], None],
    machine: Machine,
) -> None:
    share, seed = machine.share_of(recipe), recipe.seed
    each = len(range(recipe.batch)[share])

    def draw(step: int) -> Batch:
        batch = draw_batch(photos.train, recipe.patch_px, recipe.batch, (seed, step), recipe.degradation, share)
        pinned = machine.device.type == "cuda"  # only such memory is copied while the device computes
        return Batch(batch.low.pin_memory(), batch.high.pin_memory()) if pinned else batch

    with (
        asked_to_stop() as asked,
        Batches(draw, recipe.steps, machine.workers, each) as batches,
    ):
        for progress in _steps(state, recipe, photos.held_out, batches, asked, machine):
            if machine.leads:
                _note(progress, state, folder)
                on_progress(progress)
            if progress.step % recipe.save_every == 0 and progress.rolled_back is None and machine.leads:
                save(state, folder)


def _note(progress: Progress, state: State, folder: Path) -> None:
    """A line of the log: of what depends on the recipe alone, not of speed."""
    entry: dict[str, float | str | None] = {"step": progress.step, "loss": progress.loss, "psnr_db": progress.psnr_db}
    if progress.rolled_back is not None:
        cut_log(folder, progress.step, state.rollbacks)
        entry = {
            "step": progress.step,
            "rollback": state.rollbacks,
            "why": progress.rolled_back,
        }
    append_log(folder, {**entry, "learning_rate": progress.learning_rate})


def _steps(
    state: State,
    recipe: Recipe,
    held_out: tuple[Pair, ...],
    batches: Batches[Batch],
    asked: Callable[[], bool],
    machine: Machine,
) -> Iterator[Progress]:
    step, losses, since = Stepper(state, recipe, machine), list[float](), time.perf_counter()

    def report(loss: float, psnr: float | None, rolled_back: str | None = None) -> Progress:
        speed = len(losses) / (time.perf_counter() - since)
        rate = learning_rate(recipe, max(0, state.step - 1), state.rollbacks)
        return Progress(state.step, recipe.steps, loss, speed, psnr, rate, batches.speed(), rolled_back)

    while state.step < recipe.steps:
        state.whole = False
        try:
            losses.append(step(batches.at(state.step)))
        except Diverged as error:
            yield report(float("nan"), None, _rolled_back(state, recipe, error))
            step.forget()
            losses, since = [], time.perf_counter()
            continue
        state.step += 1
        if state.step % recipe.save_every == 0:
            keep(state)
        validate = state.step == recipe.steps or state.step % recipe.validate_every == 0
        psnr = validate_db(state.average, held_out, machine.device) if validate and machine.leads else None
        state.best_psnr_db = state.best_psnr_db if psnr is None else max(state.best_psnr_db, psnr)
        state.whole = True
        if validate or state.step % LOG_EVERY == 0 or state.step % recipe.save_every == 0:
            yield report(sum(losses) / len(losses), psnr)
            losses, since = [], time.perf_counter()
        if machine.any(asked()):  # after the report: a step that is saved is not validated again
            raise KeyboardInterrupt


def _rolled_back(state: State, recipe: Recipe, error: Diverged) -> str:
    """Go back and say so. Raises TrainingError when that was done often enough."""
    if state.rollbacks >= recipe.max_rollbacks:
        tried = f" It went back {state.rollbacks} times, each time with half the learning rate." * bool(state.rollbacks)
        raise TrainingError(
            f"{error.what} at step {state.step}: training diverged.{tried} What was saved before is finite and is "
            f"kept; start a new run with a smaller --learning-rate (now {recipe.learning_rate})."
        ) from error
    at = state.step
    go_back(state)
    return f"{error.what} at step {at}: back to step {state.step} with half the learning rate"


@torch.no_grad()
def validate_db(network: Network, pairs: tuple[Pair, ...], device: torch.device = CPU) -> float:
    """Mean luma PSNR over the centres of the held-out photos, in dB, computed in float32 on `device`."""
    # on the CPU, where constants that folding makes lie
    folded = (network if device.type == "cpu" else copy.deepcopy(network).cpu()).fold().to(device)
    scores = []
    for pair in pairs:
        scale = pair.high.shape[0] // pair.low.shape[0]
        height, width = (min(side, VALIDATION_SIDE_PX) for side in pair.low.shape[:2])
        top, left = (pair.low.shape[0] - height) // 2, (pair.low.shape[1] - width) // 2
        low = pair.low[top : top + height, left : left + width]
        high = pair.high[top * scale : (top + height) * scale, left * scale : (left + width) * scale]
        image = torch.from_numpy(low.copy()).permute(2, 0, 1)[None].to(device).float() / 255
        output = folded(image)[0].permute(1, 2, 0).cpu().numpy()
        scores.append(psnr_db(to_uint8(output), high, "paper-y", scale))
    return sum(scores) / len(scores)
