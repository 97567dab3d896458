"""What a step changes, and how it is kept, resumed and gone back to."""

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgesr.qat.settings import RATE_OF, Settings
from edgesr.quantization.student import Student
from edgesr.train.divergence import Trend
from edgesr.train.run_folder import cut_log, not_resumable, read_state, save_state
from edgesr.train.schedule import learning_rate

BETAS = (0.9, 0.99)


@dataclass
class State:
    """`average`: EMA of the student's values. `kept`: the states at the last two steps that `save_every` divides, older
    first, so that a resumed run goes back to where an uninterrupted one does."""

    student: Student
    average: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    step: int = 0
    trend: Trend = field(default_factory=lambda: Trend("distance"))
    rollbacks: int = 0
    kept: list[dict[str, Any]] = field(default_factory=list)


def begin(student: Student) -> State:
    optimizer = torch.optim.Adam(list(student.groups()), lr=0.0, betas=BETAS)
    state = State(student, {name: value.detach().clone() for name, value in student.values.items()}, optimizer)
    keep(state)
    return state


def set_rates(state: State, settings: Settings) -> None:
    rate = learning_rate(settings, state.step, state.rollbacks)
    for group in state.optimizer.param_groups:
        group["lr"] = rate * RATE_OF[group["kind"]]


@torch.no_grad()
def update_average(state: State, decay: float) -> None:
    decay = min(decay, (1 + state.step) / (10 + state.step))
    values = [value.detach() for value in state.student.values.values()]
    torch._foreach_lerp_(list(state.average.values()), values, 1 - decay)


def all_finite(state: State) -> Tensor:
    """A bool on the device."""
    values = [*state.student.values.values(), *state.average.values()]
    return torch.stack([value.detach().sum() for value in values]).isfinite().all()


def keep(state: State) -> None:
    """Remember this state and the one before, to go back to."""
    state.kept = [*state.kept[-1:], copy.deepcopy(_content(state))]


def go_back(state: State) -> None:
    """To the older state that was kept, one rollback more."""
    rollbacks = state.rollbacks + 1
    _restore(state, copy.deepcopy(state.kept[0]))
    state.rollbacks, state.kept = rollbacks, []
    keep(state)


def save(state: State, folder: Path) -> None:
    """With the state before that was kept, of which this may be the last."""
    is_kept = state.kept[-1]["step"] == state.step
    kept = state.kept[:-1] if is_kept else state.kept
    save_state(folder, {**_content(state), "kept": kept, "is_kept": is_kept})


def resume(state: State, folder: Path) -> None:
    """Go on from what was saved in `folder`, if anything was. Raises TrainingError if that cannot be."""
    saved = read_state(folder)
    if saved is not None:
        try:
            state.kept = []
            for older in saved["kept"]:  # restored, so that a damaged one is found now
                _restore(state, older)
                keep(state)
            _restore(state, saved)
            if saved["is_kept"]:
                keep(state)
        except Exception as error:  # a file of something else fails in any of these
            raise not_resumable(folder, error) from error
    cut_log(folder, state.step, state.rollbacks)


def _content(state: State) -> dict[str, Any]:
    return {
        "values": {name: value.detach() for name, value in state.student.values.items()},
        "average": state.average,
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "trend": state.trend.to_json(),
        "rollbacks": state.rollbacks,
    }


@torch.no_grad()
def _restore(state: State, saved: dict[str, Any]) -> None:
    for target, source in ((state.student.values, saved["values"]), (state.average, saved["average"])):
        if target.keys() != source.keys():
            raise ValueError("it is of another network")
        for name, value in target.items():
            if value.shape != source[name].shape:
                raise ValueError(f"{name} has another shape")
            value.copy_(source[name])
    state.optimizer.load_state_dict(saved["optimizer"])
    state.step, state.trend, state.rollbacks = int(saved["step"]), Trend(**saved["trend"]), int(saved["rollbacks"])
