"""The steps: resumable at any of them, and on a CPU equal to the bit when they were."""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgesr.datasets import Pixels
from edgesr.errors import TrainingError
from edgesr.qat.photos import LowPhotos
from edgesr.qat.settings import Settings
from edgesr.qat.state import State, all_finite, begin, go_back, keep, resume, save, set_rates, update_average
from edgesr.quantization.distillation import batch, weighted_error
from edgesr.quantization.settings import Fit
from edgesr.quantization.student import Student
from edgesr.train.batches import Batches
from edgesr.train.divergence import Diverged
from edgesr.train.interrupt import asked_to_stop
from edgesr.train.machine import Machine, failures_said
from edgesr.train.run_folder import append_log, claimed, cut_log

CHECK_EVERY = 10
"""Steps between two looks at what the device found: a look waits for it."""
LOG_EVERY = 50
HELD_OUT_BATCHES = 4
COLOURFUL = 0.15
"""Part of the crops with purer colours than photos have."""


@dataclass(frozen=True, slots=True)
class Progress:
    """`loss`: mean since the last report, see weighted_error. `fidelity_db`: RGB PSNR of the averaged student against
    the teacher on crops of held-out photos, set after a validation. `rolled_back`: in words, that and why the run went
    back to `step`; `loss` is NaN then."""

    step: int
    steps: int
    loss: float
    steps_per_second: float
    fidelity_db: float | None
    learning_rate: float
    rolled_back: str | None = None


@dataclass(frozen=True, slots=True)
class Lesson:
    """A student, its teacher (batches of the same shape) and what they look at."""

    student: Student
    teacher: nn.Module
    photos: LowPhotos
    settings: Settings


@dataclass(frozen=True, slots=True)
class Learned:
    """`values`: of the student, averaged. `steps`: after how many."""

    values: dict[str, Tensor]
    steps: int


def learn(
    lesson: Lesson, folder: Path, on_progress: Callable[[Progress], None], machine: Machine, *, stop: bool = False
) -> Learned:
    """Begin, or go on with, the run in `folder`.

    `stop`: take what the run has reached, without another step. Ctrl-C loses nothing. Raises TrainingError if `folder`
    holds another run, is in use or is to stop before its first step, if memory runs out or if the run diverges in spite
    of its rollbacks, OutputError.
    """
    settings = lesson.settings
    with claimed(folder, settings, lesson.photos.fingerprint), failures_said(settings, machine.device):
        state = begin(lesson.student)
        resume(state, folder)
        if not stop:
            _run(state, lesson, folder, on_progress, machine)
    if not state.step:
        raise TrainingError(f"The run in {folder} has saved no step yet, so there is no recipe. Leave --stop out.")
    return Learned(state.average, state.step)


def _run(state: State, lesson: Lesson, folder: Path, on_progress: Callable[[Progress], None], machine: Machine) -> None:
    settings = lesson.settings
    fit = Fit(batch=settings.batch, side_px=settings.patch_px, seed=settings.seed)

    def draw(step: int) -> Tensor:
        low = batch(lesson.photos.train, fit, step, COLOURFUL)
        return low.pin_memory() if machine.device.type == "cuda" else low

    with asked_to_stop() as asked, Batches(draw, settings.steps, machine.workers, settings.batch) as batches:
        for progress in _steps(state, lesson, batches, asked, machine):
            if progress is None:
                save(state, folder)
                raise KeyboardInterrupt
            _note(progress, state, folder)
            on_progress(progress)
            if progress.rolled_back is None and state.step % settings.save_every == 0:
                save(state, folder)
    save(state, folder)


def _note(progress: Progress, state: State, folder: Path) -> None:
    """A line of the log: of what depends on the settings alone, not of speed."""
    entry: dict[str, Any] = {"step": progress.step, "loss": progress.loss, "fidelity_db": progress.fidelity_db}
    if progress.rolled_back is not None:
        cut_log(folder, progress.step, state.rollbacks)
        entry = {"step": progress.step, "rollback": state.rollbacks, "why": progress.rolled_back}
    append_log(folder, {**entry, "learning_rate": progress.learning_rate})


def _steps(
    state: State, lesson: Lesson, batches: Batches[Tensor], asked: Callable[[], bool], machine: Machine
) -> Iterator[Progress | None]:
    """Reports; None when it was asked to stop, at a step that was checked."""
    settings = lesson.settings
    unchecked, losses, since = list[Tensor](), list[float](), time.perf_counter()
    while state.step < settings.steps:
        unchecked.append(_one_step(state, lesson, batches.at(state.step), machine))
        state.step += 1
        if state.step % CHECK_EVERY and state.step != settings.steps and state.step % settings.save_every:
            continue
        try:
            losses += _checked(state, unchecked)
        except Diverged as error:
            yield Progress(*_rolled_back(state, settings, error))
            unchecked, losses, since = [], [], time.perf_counter()
            continue
        unchecked = []
        if state.step % settings.save_every == 0:
            keep(state)
        validate = state.step == settings.steps or state.step % settings.validate_every == 0
        if validate or state.step % LOG_EVERY == 0 or state.step % settings.save_every == 0:
            speed = len(losses) / (time.perf_counter() - since)
            fidelity = fidelity_db(state, lesson, machine) if validate else None
            rate = state.optimizer.param_groups[0]["lr"]
            mean = sum(losses) / len(losses)
            yield Progress(state.step, settings.steps, mean, speed, fidelity, rate)
            losses, since = [], time.perf_counter()
        if asked():  # after the report: a step that is saved is not validated again
            yield None


def _one_step(state: State, lesson: Lesson, drawn: Tensor, machine: Machine) -> Tensor:
    low = drawn.to(machine.device, non_blocking=True)
    set_rates(state, lesson.settings)
    with torch.no_grad():
        wanted = lesson.teacher(low)
    loss = weighted_error(state.student(low), wanted, low)
    state.optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward([loss])
    state.optimizer.step()
    state.student.clip()
    update_average(state, lesson.settings.ema_decay)
    return loss.detach()


def _checked(state: State, losses: Sequence[Tensor]) -> list[float]:
    """The losses as numbers, if they and what was learned are in order. Raises Diverged."""
    numbers = torch.stack([*losses]).tolist()
    for number in numbers:
        if not math.isfinite(number):
            raise Diverged(f"The loss is {number}")
        state.trend = state.trend.after("distance", number)
    if not all_finite(state):
        raise Diverged("A weight, a step or a zero point is not finite")
    return [float(number) for number in numbers]


def _rolled_back(state: State, settings: Settings, error: Diverged) -> tuple[Any, ...]:
    """Go back; the report of it. Raises TrainingError when that was done often enough."""
    at = state.step
    if state.rollbacks >= settings.max_rollbacks:
        tried = f" It went back {state.rollbacks} times, each time with half the learning rate." * bool(state.rollbacks)
        raise TrainingError(
            f"{error.what} at step {at}: the run diverged.{tried} What was saved before is finite and is kept; start a "
            f"new run with a smaller --learning-rate (here {settings.learning_rate})."
        ) from error
    go_back(state)
    said = f"{error.what} at step {at}: back to step {state.step} with half the learning rate"
    return (state.step, settings.steps, math.nan, 0.0, None, settings.learning_rate * 0.5**state.rollbacks, said)


@torch.no_grad()
def fidelity_db(state: State, lesson: Lesson, machine: Machine) -> float | None:
    """RGB PSNR of the averaged student against the teacher on crops of held-out photos; None if none is held out."""
    if not lesson.photos.held_out:
        return None
    student = copy.copy(state.student)
    student.values = state.average
    errors = []
    for low in held_out_crops(lesson.photos.held_out, lesson.settings):
        low = low.to(machine.device)
        difference = student(low).clamp(0, 1) - lesson.teacher(low).clamp(0, 1)
        errors.append(float(difference.square().mean()))
    return round(-10 * math.log10(max(sum(errors) / len(errors), 1e-12)), 3)


def held_out_crops(photos: Sequence[Pixels], settings: Settings) -> list[Tensor]:
    fit = Fit(batch=settings.batch, side_px=settings.patch_px, extremes=0, faded=0, flat=0, seed=settings.seed + 1)
    return [batch(photos, fit, number) for number in range(HELD_OUT_BATCHES)]
