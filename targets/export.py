"""PyTorch to ONNX: a small, checked, reproducible file without traces of the machine that made it."""

import io
from typing import Any

import torch
from torch import fx, nn

from edgesr.quantization.prepared import without_guards
from edgesr.quantization.toolchain import stage
from edgesr.targets import onnx_graph
from edgesr.targets.base import INPUT_NAME, OUTPUT_NAME
from edgesr.types import Size

OPSET = 18
OPSET_WITH_GELU = 20
"""The first with a Gelu node; below it GELU becomes five nodes that ONNX Runtime does not fuse back. Where there is no
GELU the older one is better: ONNX Runtime 1.31 pools several times slower from opset 19 on (`make bench`)."""

EXAMPLE_SIDES = (48, 40)
"""Unlike, so that the exporter cannot take one side for the other; above its lower bound of 32."""

LOWER_BOUND = 32
"""torch.export must prove pooling windows non-empty; from 32 it can. The graph itself holds no such bound."""


def example_input(size: Size = EXAMPLE_SIDES) -> torch.Tensor:
    """float32 (1, 3, height, width), contiguous, values spread over [0, 1]."""
    height, width = size
    return torch.linspace(0, 1, 3 * height * width).reshape(1, 3, height, width)


def free_sides() -> tuple[dict[int, Any]]:
    """`dynamic_shapes` of torch.export for one image whose height and width are free."""
    return ({2: torch.export.Dim("height", min=LOWER_BOUND), 3: torch.export.Dim("width", min=LOWER_BOUND)},)


def to_program(network: nn.Module, size: Size | None = None) -> torch.export.ExportedProgram:
    """The ATen graph of `network` for inputs of exactly `size`, or of free height and width."""
    with stage("export"), torch.no_grad():
        if size is None:
            return torch.export.export(network, (example_input(),), dynamic_shapes=free_sides())
        return torch.export.export(network, (torch.zeros(1, 3, *size),))


def to_module(program: torch.export.ExportedProgram) -> fx.GraphModule:
    """The graph of `program`, for every size that its operators take."""
    module = program.module()
    assert isinstance(module, fx.GraphModule)
    without_guards(module)  # also refuses sides below LOWER_BOUND
    return module


def save_module(graph: nn.Module, size: Size | None = None) -> bytes:
    """A graph of torch.export as the bytes of a .pt2 file, for inputs of `size` or of free height and width."""
    content = io.BytesIO()
    program = to_program(graph, size)
    with stage("save"):
        torch.export.save(program, content)
    return content.getvalue()


def load_module(content: bytes) -> nn.Module:
    """The graph that `save_module` wrote, for every size that its operators take. For our own files: it unpickles."""
    with stage("load"):
        import torchao.quantization.pt2e  # noqa: F401 - registers the operators quantized_decomposed

        return to_module(torch.export.load(io.BytesIO(content)))


def to_onnx(network: nn.Module, size: Size | None = None) -> bytes:
    """The ONNX file of `network` (float32 (1, 3, H, W) in and out) for `size`, or with free height and width."""
    program = to_program(network, size)
    with stage("export"):
        has_gelu = any(node.target is torch.ops.aten.gelu.default for node in program.graph.nodes)
        written: Any = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET_WITH_GELU if has_gelu else OPSET,
            external_data=False,
            verbose=False,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes=free_sides() if size is None else None,
        )
        model = written.model_proto
    return onnx_graph.save(onnx_graph.clean(model))


def with_size(content: bytes, sizes: tuple[Size, ...], scale: int) -> bytes:
    """The same network for inputs of exactly one size: runtimes plan memory and fold shapes ahead.

    As it is if `sizes` are none or several.
    """
    if len(sizes) != 1:
        return content
    return onnx_graph.save(onnx_graph.fix_size(onnx_graph.load(content), sizes[0], scale))
