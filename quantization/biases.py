"""Biases as integer kernels add them: whole steps of the accumulator."""

import torch
from torch import fx, nn

from edgesr.quantization.prepared import CONVOLUTION, tensor_of
from edgesr.quantization.reconstruction import DEQUANTIZE, QUANTIZE

LARGEST_BIAS = 2.0**30
"""In units of the accumulator, an int32, which also has to hold the products."""


@torch.no_grad()
def round_biases(graph: nn.Module) -> None:
    """Round, in place, the bias of every convolution that is rounded on both sides to input step times weight step.

    Every integer kernel does so, and a hundredth of a step is enough to turn some roundings over, which later
    convolutions amplify: with it in the graph all targets compute the same numbers, and verification sees its cost.
    A channel whose weights are so small that its bias would overflow gets a larger weight step.
    """
    assert isinstance(graph, fx.GraphModule)
    for node in graph.graph.nodes:
        if node.target is not CONVOLUTION or len(node.args) < 3 or node.args[2] is None:
            continue
        source, weight, bias = node.args[:3]
        if source.target is DEQUANTIZE and all(reader.target is QUANTIZE for reader in node.users):
            stored, scales, values = (tensor_of(graph, found) for found in (*weight.args[:2], bias))
            _enlarge_steps(stored, scales, values.abs().double() / (LARGEST_BIAS * source.args[1]))
            unit = source.args[1] * scales.double()
            values.copy_((values.double() / unit).round() * unit)


def _enlarge_steps(stored: torch.Tensor, scales: torch.Tensor, least: torch.Tensor) -> None:
    """Make every weight step at least `least` (per output channel), in place, and the int8 weights fit it."""
    enlarged = torch.maximum(scales.double(), least)
    factor = (scales.double() / enlarged).reshape(-1, *[1] * (stored.dim() - 1))
    stored.copy_((stored.double() * factor).round().to(stored.dtype))
    scales.copy_(enlarged)
