"""What every network of this kit is, in the form that a checkpoint has."""

from abc import ABC, abstractmethod

from torch import nn


class Network(nn.Module, ABC):
    """float32 NCHW, RGB in [0, 1] -> the same at `scale` times the sides.

    State-dict keys are those of the official checkpoint.
    """

    @abstractmethod
    def fold(self) -> nn.Module:
        """An equal network for inference, in eval mode; shares no memory with this one."""
        ...

    def collapse_in_training(self) -> None:
        """Choose the cheapest equal computation for training, where there is one."""
