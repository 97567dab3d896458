"""Tells torchao's PT2E flow what to quantize in an exported graph."""

import functools
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import fx
from torch.nn import functional as F
from torchao.quantization.pt2e import PerChannelMinMaxObserver
from torchao.quantization.pt2e.quantizer import (
    FixedQParamsQuantizationSpec,
    QuantizationAnnotation,
    QuantizationSpec,
    QuantizationSpecBase,
    Quantizer,
)

from edgesr.quantization.prepared import is_image, is_on_grid, name_of
from edgesr.quantization.range_split import COARSE_LEVELS
from edgesr.quantization.ranges import Activation
from edgesr.quantization.scheme import Placement

CONVOLUTION = torch.ops.aten.conv2d.default
GELU = torch.ops.aten.gelu.default
LEAKY_RELU = torch.ops.aten.leaky_relu.default

WEIGHT = QuantizationSpec(
    dtype=torch.int8,
    observer_or_fake_quant_ctr=PerChannelMinMaxObserver.with_args(eps=2**-40),
    quant_min=-127,
    quant_max=127,
    qscheme=torch.per_channel_symmetric,
    ch_axis=0,
)
"""-128 is left out: some kernels add pairs of products in 16 bits."""

IMAGE = FixedQParamsQuantizationSpec(dtype=torch.uint8, scale=1 / 255, zero_point=0, quant_min=0, quant_max=255)
"""An 8-bit photo keeps every one of its values."""


ObserverOf = Callable[[Activation | None], Any]
"""From the activation function behind a tensor to the class that observes it, made as torchao makes observers."""


class ConvolutionQuantizer(Quantizer):  # type: ignore[misc]
    """Quantizes what every convolution reads and, if so placed, writes; nothing else."""

    def __init__(self, placement: Placement, observer: ObserverOf, kept_float: Collection[str] = ()) -> None:
        """`placement`: see Scheme. `kept_float`: names of convolutions (edgesr.quantization.prepared.name_of) that are
        left as they are.
        """
        super().__init__()
        self.placement, self.observer, self.kept_float = placement, observer, kept_float
        self.specs: dict[Any, QuantizationSpecBase] = {}

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        for node in model.graph.nodes:
            if node.target is CONVOLUTION and name_of(node) not in self.kept_float:
                node.meta["quantization_annotation"] = self._annotation(node)
        return model

    def validate(self, model: fx.GraphModule) -> None:
        pass

    def _annotation(self, conv: fx.Node) -> QuantizationAnnotation:
        source, weight = conv.args[:2]
        assert isinstance(source, fx.Node)
        assert isinstance(weight, fx.Node)
        inputs: dict[fx.Node, QuantizationSpecBase | None] = {source: self._input(source), weight: WEIGHT}
        written = self._activation(_activation_after(conv)) if self.placement == "inputs+outputs" else None
        return QuantizationAnnotation(inputs, written, _annotated=True)

    def _input(self, source: fx.Node) -> QuantizationSpecBase:
        if is_image(source):
            return IMAGE
        if is_on_grid(source):
            return self._coarse(source.args[1])
        after = _activation_after(source) if source.target is CONVOLUTION else None
        return self._activation(after)

    def _coarse(self, step: Any) -> QuantizationSpecBase:
        if step not in self.specs:
            self.specs[step] = FixedQParamsQuantizationSpec(
                dtype=torch.uint8, scale=step, zero_point=COARSE_LEVELS, quant_min=0, quant_max=255
            )
        return self.specs[step]

    def _activation(self, after: Activation | None) -> QuantizationSpecBase:
        """One spec per kind: torchao lets the users of a tensor share an observer only if their specs are equal."""
        key = getattr(after, "__name__", None) if not isinstance(after, functools.partial) else after.args
        if key not in self.specs:
            self.specs[key] = QuantizationSpec(torch.uint8, self.observer(after), 0, 255, torch.per_tensor_affine)
        return self.specs[key]


def _activation_after(conv: fx.Node) -> Activation | None:
    """The activation function that alone reads `conv`: what matters is the error behind it."""
    readers = list(conv.users)
    if len(readers) != 1 or readers[0].target not in (GELU, LEAKY_RELU):
        return None
    if readers[0].target is GELU:
        return F.gelu
    slope = readers[0].args[1]
    assert isinstance(slope, float)
    return functools.partial(_leaky_relu, slope)


def _leaky_relu(slope: float, x: torch.Tensor) -> torch.Tensor:
    return F.leaky_relu(x, slope)
