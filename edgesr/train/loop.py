"""The training loop: resumable at any step, and equal to the bit when it was."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from edgesr.errors import TrainingError
from edgesr.metrics import psnr_db, to_uint8
from edgesr.models.network import Network
from edgesr.models.registry import ModelSpec
from edgesr.train.photos import Pair, Photos, random_batch
from edgesr.train.recipe import Recipe
from edgesr.train.run_folder import append_log, claim, cut_log, not_resumable, read_state, save_state
from edgesr.train.teacher import Teacher, check_patch

LOG_EVERY = 50
VALIDATION_SIDE_PX = 128


@dataclass(frozen=True, slots=True)
class Progress:
    """`loss` is the mean L1 since the last report, on the [0, 1] scale; `psnr_db` is set after a validation.

    With a teacher, `loss` is the mean of the L1 to the ground truth and that to the teacher's output, by their shares.
    """

    step: int
    steps: int
    loss: float
    steps_per_second: float
    psnr_db: float | None


@dataclass
class _State:
    """What a step changes, and the teacher, which none does."""

    network: Network
    average: Network
    optimizer: torch.optim.Optimizer
    teacher: Teacher | None
    step: int = 0
    best_psnr_db: float = -math.inf
    whole: bool = True
    """False within a step."""


def train(
    spec: ModelSpec,
    recipe: Recipe,
    photos: Photos,
    folder: Path,
    on_progress: Callable[[Progress], None],
    start: dict[str, Tensor] | None = None,
    teacher: Teacher | None = None,
) -> dict[str, Tensor]:
    """Train `spec` from scratch or go on with the run in `folder`; return the averaged weights (official keys).

    `start`: weights of the training form that a new run begins with. `teacher`: the one that `recipe` names.

    Ctrl-C loses nothing: it waits for the end of the step, and what was reached is saved. Raises UsageError for a patch
    that the network cannot take, TrainingError if `folder` holds a run with another recipe or other photos or if
    training diverges, OutputError if the folder cannot be written.
    """
    assert recipe.teacher_sha256 == (None if teacher is None else teacher.provenance.sha256)
    check_patch(spec, recipe, spec.name)
    claim(folder, recipe, photos.fingerprint)
    torch.manual_seed(recipe.seed)
    state = _start(spec, recipe, start, teacher)
    _resume(state, folder)
    try:
        _run(state, recipe, photos, folder, on_progress)
    except KeyboardInterrupt:
        if state.whole:
            _save(state, folder)
        raise
    _save(state, folder)
    return {name: tensor.detach().clone().contiguous() for name, tensor in state.average.state_dict().items()}


def _run(state: _State, recipe: Recipe, photos: Photos, folder: Path, on_progress: Callable[[Progress], None]) -> None:
    with _interrupt_between_steps() as interrupt:
        for progress in _steps(state, recipe, photos, interrupt):
            append_log(folder, {"step": progress.step, "loss": progress.loss, "psnr_db": progress.psnr_db})
            on_progress(progress)
            if progress.step % recipe.save_every == 0:
                _save(state, folder)


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then cosine down to `final_learning_rate` at the last step."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return recipe.final_learning_rate + (recipe.learning_rate - recipe.final_learning_rate) * cosine


def _start(spec: ModelSpec, recipe: Recipe, start: dict[str, Tensor] | None, teacher: Teacher | None) -> _State:
    network, average = spec.forms()["train"], spec.forms()["train"]
    if start is not None:
        network.load_state_dict(start, strict=True)
    average.load_state_dict(network.state_dict())
    for module in (network, average):
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        module.collapse_in_training()
    return _State(network, average, torch.optim.Adam(network.parameters(), lr=recipe.learning_rate), teacher)


def _steps(state: _State, recipe: Recipe, photos: Photos, between_steps: Callable[[], None]) -> Iterator[Progress]:
    losses, since = [], time.perf_counter()
    while state.step < recipe.steps:
        state.whole = False
        losses.append(_one_step(state, recipe, photos.train))
        state.step += 1
        state.whole = True
        between_steps()
        validate = state.step == recipe.steps or state.step % recipe.validate_every == 0
        if validate or state.step % LOG_EVERY == 0 or state.step % recipe.save_every == 0:
            speed = len(losses) / (time.perf_counter() - since)
            psnr = validate_db(state.average, photos.held_out) if validate else None
            state.best_psnr_db = state.best_psnr_db if psnr is None else max(state.best_psnr_db, psnr)
            yield Progress(state.step, recipe.steps, sum(losses) / len(losses), speed, psnr)
            losses, since = [], time.perf_counter()


def _one_step(state: _State, recipe: Recipe, pairs: tuple[Pair, ...]) -> float:
    low, high = random_batch(pairs, recipe.patch_px, recipe.batch, (recipe.seed, state.step))
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(recipe, state.step)
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
        output = state.network(low.to(memory_format=torch.channels_last))
    loss = _loss(output.float(), low, high, recipe, state.teacher)
    _check_finite("loss", loss, recipe, state.step)
    state.optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(state.network.parameters(), recipe.gradient_clip)
    state.optimizer.step()
    _update_average(state, recipe.ema_decay)
    # A gradient or the update itself can overflow although the loss did not; state.pt must never hold that.
    weights = [value.detach() for network in (state.network, state.average) for value in network.parameters()]
    _check_finite("weights' norm", nn.utils.get_total_norm(weights), recipe, state.step)
    return loss.item()


def _loss(output: Tensor, low: Tensor, high: Tensor, recipe: Recipe, teacher: Teacher | None) -> Tensor:
    loss = (output - high).abs().mean()
    if teacher is None or recipe.teacher_share is None:
        return loss
    return torch.lerp(loss, (output - teacher.outputs(low)).abs().mean(), recipe.teacher_share)


def _check_finite(what: str, value: Tensor, recipe: Recipe, step: int) -> None:
    if not torch.isfinite(value):
        raise TrainingError(
            f"The {what} is {value.item()} at step {step}: training diverged. What was saved before is finite and is "
            f"kept; start a new run with a smaller --learning-rate (now {recipe.learning_rate})."
        )


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


def _save(state: _State, folder: Path) -> None:
    save_state(
        folder,
        {
            "network": state.network.state_dict(),
            "average": state.average.state_dict(),
            "optimizer": state.optimizer.state_dict(),
            "step": state.step,
            "best_psnr_db": state.best_psnr_db,
        },
    )


def _resume(state: _State, folder: Path) -> None:
    saved = read_state(folder)
    if saved is not None:
        try:
            state.network.load_state_dict(saved["network"])
            state.average.load_state_dict(saved["average"])
            state.optimizer.load_state_dict(saved["optimizer"])
            state.step, state.best_psnr_db = int(saved["step"]), float(saved["best_psnr_db"])
        except Exception as error:  # a file of something else fails in any of these
            raise not_resumable(folder, error) from error
    cut_log(folder, state.step)


@contextmanager
def _interrupt_between_steps() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C back until the function that this yields is called; a second one comes through at once."""
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(previous):
        yield lambda: None  # no Ctrl-C arrives: not the main thread, or it is ignored as in `nohup`
        return
    asked = False

    def note(number: int, frame: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, previous)

    def interrupt() -> None:
        if asked:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, previous)
