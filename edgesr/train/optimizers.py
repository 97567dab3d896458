"""What changes the weights: Adam, or Muon for kernels that are matrices and Adam for the rest."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from edgesr.models.network import Network
from edgesr.train.recipe import Recipe

IMAGE_CHANNELS = 3


class MuonOfKernels(torch.optim.Muon):
    """Muon (Jordan et al. 2024: the momentum of a matrix, made orthogonal) for kernels, each seen as the matrix
    (output channels, the rest). A step has the size that one of Adam has, so that one learning rate serves both
    (Liu et al., "Muon is Scalable for LLM Training", section 2.2).
    """

    def __init__(self, kernels: Sequence[Tensor], rate: float) -> None:
        self._kernels = tuple(kernels)
        super().__init__(
            [_matrix(kernel.detach()) for kernel in kernels], lr=rate, weight_decay=0, adjust_lr_fn="match_rms_adamw"
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step by the gradients of the kernels."""
        for view, kernel in zip(self.param_groups[0]["params"], self._kernels, strict=True):
            view.grad = None if kernel.grad is None else _matrix(kernel.grad)
        return super().step(closure)  # type: ignore[no-untyped-call]


def optimizers(network: Network, recipe: Recipe, device: torch.device) -> dict[str, torch.optim.Optimizer]:
    """By name, in the order of their steps; together they change every weight of `network` once."""
    weights = list(network.parameters())
    if recipe.optimizer == "adam":
        return {"adam": _adam(weights, recipe.learning_rate, device)}
    hidden = _hidden_matrices(weights)
    rest = [weight for weight in weights if not any(weight is kernel for kernel in hidden)]
    return {"muon": MuonOfKernels(hidden, recipe.learning_rate), "adam": _adam(rest, recipe.learning_rate, device)}


def set_learning_rate(changed_by: Mapping[str, torch.optim.Optimizer], rate: float) -> None:
    for optimizer in changed_by.values():
        for group in optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate


def _adam(weights: Sequence[Tensor], rate: float, device: torch.device) -> torch.optim.Optimizer:
    if device.type != "cuda":
        return torch.optim.Adam(weights, lr=rate)
    # what a recorded step reads has to lie on the device
    return torch.optim.Adam(weights, lr=torch.tensor(rate, device=device), fused=True, capturable=True)


def _hidden_matrices(weights: Sequence[Tensor]) -> list[Tensor]:
    """Kernels that mix channels, of layers between others: not what reads the image or, last of them, writes it."""
    matrices = [weight for weight in weights if weight.ndim > 1 and 1 not in weight.shape[:2]]
    return [weight for weight in matrices[:-1] if weight.shape[1] != IMAGE_CHANNELS]


def _matrix(kernel: Tensor) -> Tensor:
    """(O, I, ...) as (O, the rest), in the order in which it lies in memory."""
    if not kernel.is_contiguous():
        kernel = kernel.movedim(1, -1)  # channels_last
    return kernel.view(len(kernel), -1)
