"""One step: loss, gradient, update, average.

On CUDA the kernels of a step are recorded once and replayed as one graph: these networks are so small that launching
their kernels one by one takes several times as long as computing them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgesr.train.divergence import Diverged
from edgesr.train.losses import loss_of
from edgesr.train.machine import Machine
from edgesr.train.optimizers import set_learning_rate
from edgesr.train.photos import Batch
from edgesr.train.recipe import Recipe
from edgesr.train.schedule import learning_rate
from edgesr.train.state import State, norm_of_weights, update_average

STEPS_BEFORE_RECORDING = 3
"""Computed kernel by kernel: they make what later steps only change, and choose among cuDNN's kernels."""


@dataclass(frozen=True, slots=True)
class _Recorded:
    """`replay` computes gradients and updates the weights for what `low` and `high` hold, and leaves its `loss`."""

    replay: Callable[[], None]
    low: Tensor
    high: Tensor
    loss: Tensor


class Stepper:
    """Steps of one run."""

    def __init__(self, state: State, recipe: Recipe, machine: Machine) -> None:
        self._state, self._recipe, self._machine = state, recipe, machine
        # Muon's step reads its learning rate from this process
        self._may_record = machine.device.type == "cuda" and machine.ranks == 1 and recipe.optimizer == "adam"
        self.forget()

    def forget(self) -> None:
        """What was recorded: after the state was replaced, it would change tensors that are no longer used."""
        self._computed = 0
        self._recorded: dict[str, _Recorded] = {}

    def __call__(self, batch: Batch) -> float:
        """The loss of the step `state.step`, which is not counted here. Raises Diverged."""
        state, recipe = self._state, self._recipe
        kind = recipe.loss_at(state.step)
        set_learning_rate(state.optimizers, learning_rate(recipe, state.step, state.rollbacks))
        if self._may_record and self._computed >= STEPS_BEFORE_RECORDING:
            loss = self._replay(kind, batch)
        else:
            loss = self._compute(kind, *(part.to(self._machine.device, non_blocking=True) for part in batch.both()))
            self._computed += 1
        update_average(state, recipe.ema_decay)
        number, norm = (float(value) for value in torch.stack([loss.detach(), norm_of_weights(state)]).tolist())
        # A gradient or the update itself can overflow although the loss did not; state.pt must never hold that.
        _check_finite("loss", number)
        _check_finite("weights' norm", norm)
        state.trend = state.trend.after(kind, number)
        return number

    def _compute(self, kind: str, low: Tensor, high: Tensor) -> Tensor:
        """The loss over all ranks."""
        loss = self._loss(kind, low, high)
        found = self._machine.mean(loss)
        if not self._may_record:
            _check_finite("loss", found.item())
        self._state.network.zero_grad(set_to_none=True)
        self._update(loss)
        return found

    def _loss(self, kind: str, low: Tensor, high: Tensor) -> Tensor:
        recipe, machine = self._recipe, self._machine
        low, high = low.float() / 255, high.float() / 255
        with torch.autocast(machine.device.type, torch.bfloat16, enabled=recipe.bf16):
            output = self._state.call(low.to(memory_format=self._state.network.layout_in_training))
        return loss_of(kind, output.float(), low, high, self._state.teacher, recipe.teacher_share or 0.0)

    def _update(self, loss: Tensor) -> None:
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self._state.network.parameters(), self._recipe.gradient_clip)
        for optimizer in self._state.optimizers.values():
            optimizer.step()

    def _replay(self, kind: str, batch: Batch) -> Tensor:
        if kind not in self._recorded:
            self._recorded[kind] = self._record(kind, batch)
        recorded = self._recorded[kind]
        recorded.low.copy_(batch.low, non_blocking=True)
        recorded.high.copy_(batch.high, non_blocking=True)
        recorded.replay()
        return recorded.loss

    def _record(self, kind: str, batch: Batch) -> _Recorded:
        """Nothing is computed yet."""
        low, high = (part.to(self._machine.device) for part in batch.both())
        graph = torch.cuda.CUDAGraph()
        self._state.network.zero_grad(set_to_none=True)
        # the threads that draw patches pin memory meanwhile, which is none of this step
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            loss = self._loss(kind, low, high)
            self._update(loss)
        return _Recorded(graph.replay, low, high, loss.detach())


def _check_finite(what: str, value: float) -> None:
    if value - value != 0:
        raise Diverged(f"The {what} is {value}")
