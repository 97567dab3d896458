"""Flat images come out flat: what is left over in them is taken from the last bias.

Each phase of the pixel shuffle has a bias of its own. A photo hides that one is half a level off, a flat image shows it
as a pattern.
"""

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from edgesr.quantization.prepared import bias_of, convolutions
from edgesr.quantization.range_split import last_convolutions

LEVELS = (0.0, 128 / 255, 1.0)
"""Black, grey, white."""
ALLOWED = 0.75 / 255
"""A channel is left alone up to here. 1/255 is promised; kernels round otherwise here and there."""
SHIFTS = tuple(eighths / 8 / 255 for eighths in sorted(range(-8, 9), key=abs))
"""Of a bias: what is tried, the least first."""
CENTRE_PX = 8
"""Side of what is looked at, where the padding of the border does not reach or matters least."""


@torch.no_grad()
def flatten(graph: fx.GraphModule, prepared: fx.GraphModule, side_px: int) -> None:
    """Shift, in place, the last bias of a converted PT2E graph by at most 1/255 where a flat image of `side_px` squared
    differs from that of `prepared`, its float form, by more than ALLOWED. Each channel by the least that suffices, or
    else by what helps most.
    """
    bias = _last_bias(graph, prepared)
    if bias is None:
        return
    images = [torch.full((1, 3, side_px, side_px), level) for level in LEVELS]
    exact = [_centre(prepared, image) for image in images]
    if exact[0].shape[1] != len(bias):
        return
    before, errors = bias.clone(), []
    for shift in SHIFTS:
        bias.copy_(before + shift)
        differences = [(_centre(graph, image) - wanted).abs() for image, wanted in zip(images, exact, strict=True)]
        errors.append(torch.stack([each.amax((0, 2, 3)) for each in differences]).amax(0))
    chosen = torch.stack([error.clamp(min=ALLOWED) for error in errors]).argmin(0)
    bias.copy_(before + torch.tensor(SHIFTS)[chosen])


def _last_bias(graph: fx.GraphModule, prepared: fx.GraphModule) -> Tensor | None:
    """Of the converted graph: the bias of a convolution behind which only sums and the pixel shuffle follow."""
    last = last_convolutions(prepared)
    pairs = zip(convolutions(graph), convolutions(prepared), strict=True)
    return next((found for conv, exact in pairs if exact in last and (found := bias_of(graph, conv)) is not None), None)


def _centre(network: fx.GraphModule, image: Tensor) -> Tensor:
    """(1, 3s^2, 8, 8): what is seen in the middle, phases of the shuffle as channels."""
    output = network(image).clamp(0, 1)
    low = F.pixel_unshuffle(output, output.shape[2] // image.shape[2])
    start = (image.shape[2] - CENTRE_PX) // 2
    return low[..., start : start + CENTRE_PX, start : start + CENTRE_PX]
