"""ExecuTorch: one .pte program per size, for XNNPACK (Arm and x86 CPUs), CoreML (Apple) or Vulkan (GPUs).

Sizes are fixed: XNNPACK takes no slice and no bilinear resize whose sides are free, and those split the network.
"""

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path

from torch.export import ExportedProgram

from edgesr.quantization.toolchain import stage
from edgesr.targets import find, float16_graph
from edgesr.targets.base import Conversion, tensor_specs, versions
from edgesr.targets.executorch_delegates import (
    Delegation,
    measure,
    partitioner,
    without_debug_handles,
    without_random_names,
)
from edgesr.targets.executorch_rewrites import REWRITES as XNNPACK_REWRITES
from edgesr.targets.executorch_rewrites import rewrite
from edgesr.targets.export import to_module, to_program
from edgesr.targets.source import Source
from edgesr.types import Precision, Request, Size

LIBRARIES = {"executorch": "XNNPACK", "executorch-coreml": "CoreML", "executorch-vulkan": "Vulkan"}
ON_FLOAT16: tuple[tuple[str, Precision], ...] = (
    ("executorch-coreml", "fp16"),
    ("executorch-coreml", "int8"),
    ("executorch-vulkan", "fp16"),
)
"""What the delegate computes in float16 from end to end."""

REWRITES = (
    *XNNPACK_REWRITES,
    *(replace(row, targets=tuple(dict(ON_FLOAT16))) for row in float16_graph.REWRITES),
)
DEVICE_ONLY = (
    "Converted and inspected here, not run: the share of the work comes from the program, its results and speed can "
    "only be had on a device."
)


@dataclass(frozen=True, slots=True)
class Lowered:
    content: bytes
    delegation: Delegation


def convert(source: Source, request: Request, folder: Path) -> Conversion:
    """Write `model.pte`, or for several sizes `model_HxW.pte` each, into `folder`."""
    lowered = {_file_name(size, request): _lower(source, request, size) for size in request.sizes}
    for name, each in lowered.items():
        (folder / name).write_bytes(each.content)
    main = next(iter(lowered))
    inputs, outputs = tensor_specs(request)
    return Conversion(
        main=main,
        files=tuple(lowered),
        inputs=inputs,
        outputs=outputs,
        runtime_options={"min_side_px": str(source.min_side_px)},
        toolchain=versions(_packages(request)),
        notes=_notes(request, lowered[main].delegation),
        shares=_shares(request, lowered[main].delegation),
    )


def _file_name(size: Size, request: Request) -> str:
    return "model.pte" if len(request.sizes) == 1 else f"model_{size[0]}x{size[1]}.pte"


def _packages(request: Request) -> tuple[str, ...]:
    coreml = ("coremltools",) if request.target == "executorch-coreml" else ()
    return ("torch", "executorch", *coreml, *(("torchao",) if request.precision == "int8" else ()))


def _lower(source: Source, request: Request, size: Size) -> Lowered:
    program = _program(source, request, size)
    lean = without_debug_handles if request.target == "executorch-coreml" else contextlib.nullcontext
    with stage("lower"), lean():
        from executorch.exir import to_edge_transform_and_lower

        edge = to_edge_transform_and_lower(program, partitioner=[partitioner(request.target, request.precision)])
        lowered = edge.exported_program().graph_module
        delegation = measure(lowered, float_outputs=find(request.target).float_outputs)
        content = bytes(edge.to_executorch().buffer)
    return Lowered(without_random_names(content), delegation)


def _program(source: Source, request: Request, size: Size) -> ExportedProgram:
    """What is handed to the delegate, in the form that it takes whole and computes without overflow."""
    program = to_program(source.signed_for(request.target) if request.precision == "int8" else source.network, size)
    with stage("rewrite"):
        if request.target == "executorch":
            return rewrite(program)
        if (request.target, request.precision) not in ON_FLOAT16:
            return program
        graph = to_module(program)
        float16_graph.keep_in_range(graph)
    return to_program(graph, size)


def _notes(request: Request, delegation: Delegation) -> tuple[str, ...]:
    library = LIBRARIES[request.target]
    if request.precision == "int8":
        taken = f"{library} takes {delegation.integer:.0%} of the convolution work (multiply-accumulates) as int8"
    else:
        taken = f"{library} takes {delegation.delegated:.0%} of the convolution work (multiply-accumulates)"
    pieces = "one piece" if delegation.delegates == 1 else f"{delegation.delegates} pieces"
    left = ", ".join(f"{count} {name}" for name, count in delegation.left.items())
    outside = (
        f"left to ExecuTorch's portable kernels, as {library} does not take them: {left}" if left else "nothing left"
    )
    notes = (f"{taken}, in {pieces}; {outside}. Counted in the lowered program.",)
    return notes if request.target == "executorch" else (*notes, DEVICE_ONLY)


def _shares(request: Request, delegation: Delegation) -> dict[str, float]:
    integer = {"int8_macs": delegation.integer} if request.precision == "int8" else {}
    return {"delegated_macs": delegation.delegated, **integer}
