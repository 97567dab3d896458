"""uint8 activations as int8: the same step, the zero point 128 lower, so the same values."""

import copy

import torch
import torchao.quantization.pt2e  # noqa: F401 - registers the operators quantized_decomposed
from torch import fx, nn

DECOMPOSED = torch.ops.quantized_decomposed
ROUNDINGS = (DECOMPOSED.quantize_per_tensor.default, DECOMPOSED.dequantize_per_tensor.default)
SHIFT = 128


def to_signed(graph: nn.Module) -> nn.Module:
    """A copy of a converted PT2E graph whose per-tensor roundings are int8 (-128 to 127) instead of uint8.

    XNNPACK, LiteRT and CoreML take int8 activations; ONNX Runtime on x86 takes uint8.
    """
    signed = copy.deepcopy(graph)
    assert isinstance(signed, fx.GraphModule)
    for node in signed.graph.nodes:
        if node.target in ROUNDINGS and node.args[5] is torch.uint8:
            source, scale, zero_point, low, high, _ = node.args
            node.args = (source, scale, zero_point - SHIFT, low - SHIFT, high - SHIFT, torch.int8)
    signed.recompile()
    return signed
