"""What a network becomes before Core ML's converter reads it: exact rewrites of its ATen graph."""

import torch
from torch import Tensor, nn

from edgesr.targets import float16_graph
from edgesr.targets.rewrite import Rewrite

REWRITES: tuple[Rewrite, ...] = (
    *float16_graph.REWRITES,
    Rewrite("PixelOutput", "an image output holds 0 to 255: scale, round and clip in the model (`--io image` only)"),
    Rewrite(
        "resize_to_input",
        "upsample_bilinear needs a constant factor, which enumerated sizes do not have: iOS 17's resize instead",
    ),
)


class PixelOutput(nn.Module):
    """`network` with an output in 8-bit levels: float (1, 3, sH, sW), whole numbers from 0 to 255."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return torch.round(torch.clamp(self.network(x) * 255, 0, 255))
