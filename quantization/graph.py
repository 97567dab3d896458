"""Post-training quantization: export, observe, convert. The result is one PT2E graph for every target."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from edgesr.errors import ConversionError
from edgesr.quantization.biases import round_biases
from edgesr.quantization.calibration import Calibration, Pixels
from edgesr.quantization.quantizer import ConvolutionQuantizer
from edgesr.quantization.ranges import ActivationObserver
from edgesr.quantization.scheme import Scheme
from edgesr.quantization.toolchain import stage

Progress = Callable[[int, int], None]
"""Called with calibration crops done and crops in all."""


def quantize(
    network: nn.Module,
    calibration: Calibration,
    scheme: Scheme,
    example: Tensor,
    dynamic_shapes: Any,
    progress: Progress | None = None,
) -> nn.Module:
    """The quantized graph of `network` (float32 NCHW RGB [0, 1] in and out): int8 weights, rounding nodes.

    `example`: an input for tracing; `dynamic_shapes`: which of its sides are free (torch.export).
    """
    with stage("quantize"):
        # A copy: the graph shares its parameters with what it was exported from, and biases are rounded in place.
        exported = torch.export.export(copy.deepcopy(network), (example,), dynamic_shapes=dynamic_shapes).module()
        prepared = prepare_pt2e(exported, ConvolutionQuantizer(scheme))
    _observe(prepared, calibration, scheme.patch_weight, progress)
    with stage("quantize"):
        converted: nn.Module = convert_pt2e(prepared)
        round_biases(converted)
    return converted


@torch.no_grad()
def _observe(prepared: nn.Module, calibration: Calibration, patch_weight: float, progress: Progress | None) -> None:
    """Not silenced like the toolchain around it: `progress` may print."""
    weighted = [(crop, 1.0) for crop in calibration.photos]
    if patch_weight > 0:
        weighted += [(crop, patch_weight) for crop in calibration.patches]
    observers = [module for module in prepared.modules() if isinstance(module, ActivationObserver)]
    for done, (crop, weight) in enumerate(weighted, start=1):
        for observer in observers:
            observer.weight = weight
        if not torch.isfinite(prepared(to_tensor(crop))).all():
            raise ConversionError("quantize", "the network's output is not finite on a calibration crop")
        if progress is not None:
            progress(done, len(weighted))


def to_tensor(crop: Pixels) -> Tensor:
    """uint8 (H, W, 3) -> float32 (1, 3, H, W) in [0, 1]."""
    pixels = np.ascontiguousarray(crop.transpose(2, 0, 1)[None], dtype=np.float32)
    return torch.from_numpy(pixels) / 255
