"""The baseline: the graph of the authors' code, exported as it is.

Our networks hold the official weights but not the official graph: they are written for inference. What a user gets who
exports the authors' repositories is measured with these modules, written anew from their description:

- BSRN-S (github.com/xiaom233/BSRN): the image four times over, every pointwise layer an nn.Linear between permutes
  (N, C, H, W) <-> (N, H, W, C), distilled features concatenated channels last, channel weight and last linear apart.
- DITN-Real (github.com/yongliuy/DITN): its attention between channels takes a window as a list of tokens, an nn.Linear
  makes queries, keys and values of them in one, which are then turned around; nothing is folded.
- PlainUSR (github.com/icandle/PlainUSR): its deploy form, after reparameterization, which is what the authors time:
  `x[:, :k] = block(x[:, :k])`. That is the form `slice_assignment` of our folded network, unchanged.

Exported at one fixed size, since a free one would make them slower still, and at ONNX opset 18, which was PyTorch's
default for long and has no Gelu; opset 20, the default now (2.13), is timed beside it.
"""

import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.errors import Unsupported
from edgesr.models.bsrn import BSRN, ESA, ESDB, BSConvU, Pointwise
from edgesr.models.ditn import DITN, InnerPatchAttention
from edgesr.models.network import swapped
from edgesr.models.plainusr import PlainUSR
from edgesr.quantization.toolchain import stage
from edgesr.runner.openvino import HINT, load_openvino
from edgesr.targets import onnx_graph
from edgesr.targets.base import INPUT_NAME, OUTPUT_NAME, Conversion, tensor_specs
from edgesr.targets.forms import slice_assignment
from edgesr.targets.source import Source
from edgesr.types import Request, Size


class TokenAttention(nn.Module):
    """DITN's attention between channels as its authors compute it, on the weights of `source`."""

    def __init__(self, source: InnerPatchAttention) -> None:
        super().__init__()
        self.source = source

    def forward(self, x: Tensor) -> Tensor:
        """float32 (windows, C, 8, 8) -> the same."""
        qkv = self.source.qkv(x.flatten(2).transpose(1, 2))
        q, k, v = (part.transpose(1, 2) for part in qkv.chunk(3, dim=-1))
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(1, 2)
        attended = (scores * self.source.temperature).softmax(dim=-1) @ v
        projected: Tensor = self.source.project_out(attended.reshape(x.shape))
        return projected


class OfficialBSRNS(nn.Module):
    """BSRN-S as its authors compute it, on the weights of `network`."""

    def __init__(self, network: BSRN) -> None:
        super().__init__()
        if not network.config.slim:
            raise Unsupported("The official graph is written down for BSRN-S and PlainUSR; this is BSRN.")
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """float32 (1, 3, H, W), RGB in [0, 1] -> the same at `scale` times the sides."""
        net = self.network
        shallow = _separable(net.fea_conv, torch.cat([x, x, x, x], dim=1))
        deep, trunk = shallow, []
        for index in range(net.config.blocks):
            block = net.get_submodule(f"B{index + 1}")
            assert isinstance(block, ESDB)
            deep = _block(block, deep)
            trunk.append(deep)
        joined = _linear(net.c1, _channels_last(torch.cat(trunk, dim=1)))
        upscaled: Tensor = net.upsampler(_separable(net.c2, F.gelu(_channels_first(joined))) + shallow)
        return upscaled


def official(network: nn.Module, folded: nn.Module) -> nn.Module:
    """The official graph of a loaded network. Raises Unsupported for one that is not written down here."""
    if isinstance(folded, PlainUSR):
        return slice_assignment(folded)
    if isinstance(network, DITN):
        return swapped(network, InnerPatchAttention, TokenAttention)
    if isinstance(network, BSRN):
        return OfficialBSRNS(network).eval()
    raise Unsupported(f"The official graph of {type(network).__name__} is not written down.")


class PlainSource(Source):
    """A source whose ONNX file is a plain `torch.onnx.export` at one opset and one fixed size."""

    size: Size

    def __init__(self, network: nn.Module, size: Size, opset: int, *, name: str, scale: int, min_side_px: int) -> None:
        super().__init__(network, name=name, scale=scale, min_side_px=min_side_px, size=size)
        self.opset = opset

    @functools.cached_property
    def float_onnx(self) -> bytes:
        with stage("export"):
            program: Any = torch.onnx.export(
                self.network,
                (torch.zeros(1, 3, *self.size),),
                dynamo=True,
                opset_version=self.opset,
                external_data=False,
                verbose=False,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
            )
        return onnx_graph.save(program.model_proto)


def plain_conversion(source: Source, request: Request, folder: Path) -> Conversion:
    """The export as it is for a runtime that reads ONNX; OpenVINO's own file format keeps the graph unchanged.

    Not through our targets, whose inspection needs a graph with free sides.
    """
    main, files = "model.onnx", ["model.onnx"]
    options = {"min_side_px": str(source.min_side_px)}
    if request.target == "openvino":
        main, files = "model.xml", ["model.xml", "model.bin"]
        options[HINT] = "bf16" if request.precision == "fp16" else "f32"
        openvino = load_openvino()
        model = openvino.Core().read_model(source.float_onnx)
        openvino.save_model(model, folder / main, compress_to_fp16=request.precision == "fp16")
    else:
        (folder / main).write_bytes(source.float_onnx)
    inputs, outputs = tensor_specs(request)
    return Conversion(main, tuple(files), inputs, outputs, options, toolchain={})


def _block(block: ESDB, x: Tensor) -> Tensor:
    refined, distilled = x, []
    for distil, refine in ((block.c1_d, block.c1_r), (block.c2_d, block.c2_r), (block.c3_d, block.c3_r)):
        distilled.append(F.gelu(_linear(distil, _channels_last(refined))))
        refined = F.gelu(_separable(refine, refined) + refined)
    last = F.gelu(_separable(block.c4, refined))
    fused = _channels_first(_linear(block.c5, torch.cat([*distilled, _channels_last(last)], dim=3)))
    weighted = _channels_last(fused * _attention(block.esa, fused)) * block.cw
    return _channels_first(_linear(block.conv_out, weighted)) + x


def _attention(esa: ESA, x: Tensor) -> Tensor:
    assert isinstance(esa.conv_max, BSConvU)
    full = _linear(esa.conv1, _channels_last(x))
    small = F.max_pool2d(esa.conv2(_channels_first(full)), kernel_size=7, stride=3)
    small = F.gelu(_separable(esa.conv_max, small))
    small = _separable(esa.conv3_, F.gelu(_separable(esa.conv3, small)))
    small = F.interpolate(small, x.shape[2:], mode="bilinear", align_corners=False)
    logits = _linear(esa.conv4, _channels_last(small) + _linear(esa.conv_f, full))
    return torch.sigmoid(_channels_first(logits))


def _separable(layer: BSConvU, x: Tensor) -> Tensor:
    depthwise: Tensor = layer.dw(_channels_first(_linear(layer.pw, _channels_last(x))))
    return depthwise


def _linear(layer: Pointwise, x: Tensor) -> Tensor:
    return F.linear(x, layer.weight, layer.bias)


def _channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def _channels_first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)
