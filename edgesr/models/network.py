"""What every network of this kit is, in the form that a checkpoint has."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
"""Mean colour of DIV2K, RGB in [0, 1], which several networks subtract from their input."""


class Network(nn.Module, ABC):
    """float32 NCHW, RGB in [0, 1] -> the same at `scale` times the sides.

    State-dict keys are those of the official checkpoint.
    """

    layout_in_training: ClassVar[torch.memory_format] = torch.channels_last
    """Of weights and activations: the one in which a step is faster."""

    @abstractmethod
    def fold(self) -> nn.Module:
        """An equal network for inference, in eval mode; shares no memory with this one."""
        ...

    def collapse_in_training(self) -> None:
        """Choose the cheapest equal computation for training, where there is one."""


def padded(x: Tensor, multiple: int) -> Tensor:
    """Reflected to the right and bottom until both sides are multiples; (N, C, H, W).

    Raises RuntimeError where a side is not longer than what it lacks.
    """
    height, width = x.shape[2:]
    missing = -height % multiple, -width % multiple
    return F.pad(x, (0, missing[1], 0, missing[0]), "reflect") if any(missing) else x


def cropped(output: Tensor, x: Tensor, scale: int) -> Tensor:
    """`output` without what `padded` added to the input `x`."""
    height, width = scale * x.shape[2], scale * x.shape[3]
    return output if output.shape[2:] == (height, width) else output[:, :, :height, :width]


def pointwise(weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """A 1x1 convolution with weights (out, in) and biases (out,), in memory of its own."""
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
    conv.weight, conv.bias = nn.Parameter(weight[:, :, None, None].clone()), nn.Parameter(bias.clone())
    return conv


def swapped(network: nn.Module, kind: type[nn.Module], make: Callable[..., nn.Module]) -> nn.Module:
    """A copy of `network` with every module of `kind`, perhaps itself, replaced by what `make` makes of it."""
    changed = copy.deepcopy(network)
    if isinstance(changed, kind):
        return make(changed).eval()
    for name, module in list(changed.named_modules()):
        if isinstance(module, kind):
            parent, _, child = name.rpartition(".")
            setattr(changed.get_submodule(parent), child, make(module))
    return changed.eval()
