"""What training makes small: distances of NCHW images in [0, 1], one number each."""

from collections.abc import Callable

import torch
from torch import Tensor

from edgesr.train.teacher import Teacher


def l1(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).abs().mean()


def l2(output: Tensor, target: Tensor) -> Tensor:
    """Mean square: what PSNR measures."""
    return (output - target).square().mean()


def frequency_l1(output: Tensor, target: Tensor) -> Tensor:
    """L1 of real and imaginary parts of the orthonormal spectrum, which is as fine as the pixels' and global (Cho et
    al., "Rethinking Coarse-to-Fine Approach in Single Image Deblurring", ICCV 2021, section 3.4)."""
    return torch.view_as_real(torch.fft.rfft2(output - target, norm="ortho")).abs().mean()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": l1, "l2": l2, "fft": frequency_l1}


def loss_of(name: str, output: Tensor, low: Tensor, high: Tensor, teacher: Teacher | None, share: float) -> Tensor:
    """The loss `name` to the ground truth; with a teacher, `share` of it to what the teacher makes of `low`."""
    distance = LOSSES[name]
    loss = distance(output, high)
    return loss if teacher is None else torch.lerp(loss, distance(output, teacher.outputs(low)), share)
