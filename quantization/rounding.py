"""Rounding to integer levels that passes gradients on, to values and to steps."""

from typing import Any

import torch
from torch import Tensor

WEIGHT_LEVELS, LEVELS = 127, 255
"""Largest level of an int8 weight, which is symmetric, and of a uint8 activation."""


class Rounded(torch.autograd.Function):
    """x rounded to uint8 levels of a learned step and zero point, with the gradients of LSQ (Esser et al., 2020).

    The same as torch._fake_quantize_learnable_per_tensor_affine, in vectorised passes: much of a fit's time is here.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, zero_point: Tensor) -> Tensor:
        whole = zero_point.round()
        if x.is_cuda:  # reading a number back would wait for all that was asked of the device
            levels = torch.addcmul(whole, x, step.reciprocal()).round_()
        else:
            levels = torch.add(whole, x, alpha=1 / float(step)).round_()
        inside = (levels >= 0).logical_and_(levels <= LEVELS)
        output = levels.clamp_(0, LEVELS).sub_(whole).mul_(step)
        ctx.save_for_backward(x, step, inside, output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, step, inside, output = ctx.saved_tensors
        (gradient,) = gradients
        passed = gradient * inside
        of_step = (_dot(gradient, output) - _dot(passed, x)) / step
        return passed, of_step, step * (passed.sum() - gradient.sum())


def _dot(first: Tensor, second: Tensor) -> Tensor:
    return torch.dot(first.flatten(), second.flatten())


class RoundedWeight(torch.autograd.Function):
    """A weight rounded to levels, at most `most`, of a learned step per output channel, with the gradients of LSQ.

    weight: (out, in / groups, kh, kw) and step (out, 1, 1, 1) in one unit -> levels times step.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, step: Tensor, most: int) -> Tensor:
        levels = weight / step
        inside = levels.abs() <= most
        output = levels.round_().clamp_(-most, most).mul_(step)
        ctx.save_for_backward(weight, step, inside, output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        weight, step, inside, output = ctx.saved_tensors
        (gradient,) = gradients
        passed = gradient * inside
        of_step = (gradient * output - passed * weight).sum((1, 2, 3), keepdim=True) / step
        return passed, of_step, None
