"""LiteRT (TensorFlow Lite): one .tflite file per size, NHWC, written operator by operator from the ATen graph.

Written here and not by litert_torch because the file must hold the scales of the one quantized graph, operator versions
that tflite_runtime 2.14 knows, and no transposes.
"""

from pathlib import Path

from edgesr.quantization.toolchain import stage
from edgesr.targets.base import Conversion, tensor_specs, versions
from edgesr.targets.export import to_program
from edgesr.targets.source import Source
from edgesr.targets.tflite_graph import REWRITES, RULES
from edgesr.targets.tflite_lowering import Lowering
from edgesr.types import Request, Size

__all__ = ["REWRITES", "convert"]


PACKAGES = ("torch", "ai-edge-litert", "flatbuffers")
FLOAT16 = (
    "float16 weights, made float32 when the file is loaded. A GPU delegate may compute in float16, where the exp of "
    "soft pooling (PlainUSR-S and larger) and the squares of contrast attention (BSRN) can overflow: keep "
    "is_precision_loss_allowed off for those."
)


def convert(source: Source, request: Request, folder: Path) -> Conversion:
    """Write `model.tflite`, or `model_HEIGHTxWIDTH.tflite` for each of several sizes, into `folder`."""
    lowered = {_file_name(request, size): lower(source, request, size) for size in request.sizes}
    for name, (content, _) in lowered.items():
        (folder / name).write_bytes(content)
    (_, graph), *_ = lowered.values()
    inputs, outputs = tensor_specs(request, "NHWC")
    quantized = request.precision == "int8"
    return Conversion(
        main=next(iter(lowered)),
        files=tuple(lowered),
        inputs=inputs,
        outputs=outputs,
        runtime_options={"min_side_px": str(source.min_side_px)},
        toolchain=versions((*PACKAGES, "torchao") if quantized else PACKAGES),
        notes=_notes(request, graph),
        shares={"int8_macs": _integer_share(graph)} if quantized else {},
    )


def _file_name(request: Request, size: Size) -> str:
    return "model.tflite" if len(request.sizes) == 1 else f"model_{size[0]}x{size[1]}.tflite"


def lower(source: Source, request: Request, size: Size) -> tuple[bytes, Lowering]:
    """The file for inputs of exactly `size`, and what is known of it."""
    network = source.network
    if request.precision == "int8":
        network = source.signed_for(request.target)
    program = to_program(network, size)
    with stage("lower"):
        graph = Lowering(program, RULES, request.io, "float16" if request.precision == "fp16" else "float32")
        return graph.run(), graph


def _notes(request: Request, graph: Lowering) -> tuple[str, ...]:
    if request.precision == "fp16":
        return (FLOAT16,)
    if request.precision != "int8":
        return ()
    counts = graph.file.counts.items()
    between = {code: count for (code, dtype), count in counts if dtype == "float32" and code != "QUANTIZE"}
    listed = ", ".join(f"{count} {code}" for code, count in sorted(between.items())) or "none"
    return (
        f"LiteRT runs {_integer_share(graph):.0%} of the convolution work (multiply-accumulates) in int8 kernels: "
        "the file holds them as int8 operators.",
        f"Operators in float32, between DEQUANTIZE and QUANTIZE, because the quantized graph does not round them or "
        f"XNNPACK's int8 kernel is less exact: {listed}.",
    )


def _integer_share(graph: Lowering) -> float:
    """Part of the convolutions' multiply-accumulates in int8 operators, 0 to 1."""
    return graph.macs.get("int8", 0) / sum(graph.macs.values())
