"""What a step changes, and how it is kept, resumed and gone back to."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgesr.models.network import Network
from edgesr.models.registry import ModelSpec
from edgesr.train.divergence import Trend
from edgesr.train.machine import Machine
from edgesr.train.optimizers import optimizers
from edgesr.train.recipe import Recipe
from edgesr.train.run_folder import cut_log, not_resumable, read_state, save_state
from edgesr.train.teacher import Teacher


@dataclass
class State:
    """What a step changes, and the teacher, which none does. `call` computes `network` in training."""

    network: Network
    average: Network
    call: Callable[[Tensor], Tensor]
    optimizers: dict[str, torch.optim.Optimizer]
    teacher: Teacher | None
    step: int = 0
    best_psnr_db: float = -math.inf
    trend: Trend = field(default_factory=Trend)
    rollbacks: int = 0
    kept: list[dict[str, Any]] = field(default_factory=list)
    """The states at the last two steps that `save_every` divides, older first: a function of the recipe alone, so that
    a resumed run goes back to where an uninterrupted one does."""
    whole: bool = True
    """False within a step and its validation."""


def begin(
    spec: ModelSpec, recipe: Recipe, start: dict[str, Tensor] | None, teacher: Teacher | None, machine: Machine
) -> State:
    """`start`: weights of the training form to begin with; what it lacks begins anew."""
    torch.manual_seed(recipe.seed)
    network, average = spec.forms()["train"], spec.forms()["train"]
    if start is not None:
        network.load_state_dict(network.state_dict() | start, strict=True)
    average.load_state_dict(network.state_dict())
    for module in (network, average):
        module.to(machine.device, memory_format=network.layout_in_training)  # type: ignore[call-overload]
        module.collapse_in_training()
    if teacher is not None:
        teacher.network.to(machine.device)
    state = State(network, average, machine.trained(network), optimizers(network, recipe, machine.device), teacher)
    keep(state)
    return state


def keep(state: State) -> None:
    """Remember this state and the one before, to go back to."""
    state.kept = [*state.kept[-1:], copy.deepcopy(_content(state))]


def go_back(state: State) -> None:
    """To the older state that was kept, one rollback more: weights of the newer one may be finite and yet the ones that
    make the next step diverge."""
    rollbacks = state.rollbacks + 1
    _restore(state, copy.deepcopy(state.kept[0]))
    state.rollbacks, state.whole, state.kept = rollbacks, True, []
    keep(state)


def save(state: State, folder: Path) -> None:
    """With the states that were kept, of which this may be the last."""
    is_kept = state.kept[-1]["step"] == state.step
    kept = state.kept[:-1] if is_kept else state.kept
    save_state(folder, {**_content(state), "kept": kept, "is_kept": is_kept})


def resume(state: State, folder: Path, machine: Machine) -> None:
    """Go on from what was saved in `folder`, if anything was. Raises TrainingError if that cannot be."""
    saved = read_state(folder)
    if saved is not None:
        try:
            state.kept = []
            for older in saved.get("kept", []):  # restored, so that a damaged one is found now
                _restore(state, older)
                keep(state)
            _restore(state, saved)
            if saved.get("is_kept", True):
                keep(state)
        except Exception as error:  # a file of something else fails in any of these
            raise not_resumable(folder, error) from error
    if machine.leads:
        cut_log(folder, state.step, state.rollbacks)


def _content(state: State) -> dict[str, Any]:
    return {
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        **{_saved_as(name): optimizer.state_dict() for name, optimizer in state.optimizers.items()},
        "step": state.step,
        "best_psnr_db": state.best_psnr_db,
        "trend": state.trend.to_json(),
        "rollbacks": state.rollbacks,
    }


def _saved_as(optimizer: str) -> str:
    """Adam's key is of when there was no other."""
    return "optimizer" if optimizer == "adam" else f"optimizer_{optimizer}"


def _restore(state: State, saved: dict[str, Any]) -> None:
    """`saved` may be of before trends and rollbacks."""
    state.network.load_state_dict(saved["network"])
    state.average.load_state_dict(saved["average"])
    for name, optimizer in state.optimizers.items():
        optimizer.load_state_dict(_for_this_device(saved[_saved_as(name)], optimizer))
    state.step, state.best_psnr_db = int(saved["step"]), float(saved["best_psnr_db"])
    state.trend = Trend(**saved.get("trend", {}))
    state.rollbacks = int(saved.get("rollbacks", 0))


def _for_this_device(saved: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """How an optimizer computes is the machine's, its moments are the run's."""
    groups = [
        old | {name: now[name] for name in ("lr", "fused", "capturable") if name in now}
        for old, now in zip(saved["param_groups"], optimizer.param_groups, strict=True)
    ]
    return {**saved, "param_groups": groups}


@torch.no_grad()
def update_average(state: State, decay: float) -> None:
    """Weights by an exponential mean; running statistics of the network, which are means themselves, as they are."""
    decay = min(decay, (1 + state.step) / (10 + state.step))
    torch._foreach_lerp_([*state.average.parameters()], [*state.network.parameters()], 1 - decay)
    for kept, value in zip(state.average.buffers(), state.network.buffers(), strict=True):
        kept.copy_(value)


def norm_of_weights(state: State) -> Tensor:
    weights = [value.detach() for network in (state.network, state.average) for value in network.parameters()]
    return nn.utils.get_total_norm(weights)
