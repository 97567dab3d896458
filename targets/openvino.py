"""OpenVINO: intermediate representation, an .xml graph and a .bin with the weights."""

import re
from pathlib import Path
from typing import Any

from edgesr.quantization.toolchain import stage
from edgesr.runner.openvino import HINT, load_openvino, usable_hint
from edgesr.targets import onnx_graph
from edgesr.targets.base import Conversion, tensor_specs, versions
from edgesr.targets.export import with_size
from edgesr.targets.source import Source
from edgesr.types import Precision, Request

MAIN = "model.xml"
WEIGHTS = "model.bin"
PACKAGES = ("torch", "onnx", "onnxscript", "openvino")
NUMBERED = re.compile(r'<layer id="(\d+)" name="[A-Z][A-Za-z]*_\d+[^"]*" type="(\w+)"')
HINTS: dict[Precision, str] = {"fp32": "f32", "fp16": "bf16", "int8": "bf16"}
"""How to compute what is not integer. bf16, since x86 has no fast float16; where a CPU lacks it the runner takes f32.
For int8 it made the network 1.3 to 1.7 times faster for 0.02 dB (2026.4)."""


def convert(source: Source, request: Request, folder: Path) -> Conversion:
    """Write `model.xml` and `model.bin` for `request` into `folder`."""
    content = source.quantized_onnx if request.precision == "int8" else source.float_onnx
    if len(request.sizes) == 1:
        content = with_size(content, request.sizes[0], source.scale)
    openvino = load_openvino()
    with stage("openvino"):
        model = openvino.Core().read_model(content)
        openvino.save_model(model, folder / MAIN, compress_to_fp16=request.precision == "fp16")
        _name_by_position(folder / MAIN)
    inputs, outputs = tensor_specs(request)
    return Conversion(
        main=MAIN,
        files=(MAIN, WEIGHTS),
        inputs=inputs,
        outputs=outputs,
        runtime_options={"min_side_px": str(source.min_side_px), HINT: HINTS[request.precision]},
        toolchain=versions((*PACKAGES, "torchao") if request.precision == "int8" else PACKAGES),
        notes=_notes(source, request),
    )


def _name_by_position(path: Path) -> None:
    """Rename layers that OpenVINO numbered with a counter of this process: the same graph must be the same file."""
    text = path.read_text(encoding="utf-8")
    path.write_text(NUMBERED.sub(r'<layer id="\1" name="\2_\1" type="\2"', text), encoding="utf-8")


def _notes(source: Source, request: Request) -> tuple[str, ...]:
    if request.precision == "fp32":
        return ()
    hint = usable_hint(load_openvino().Core(), HINTS[request.precision])
    if request.precision == "fp16":
        return (f"float16 weights; computes in bfloat16 where the CPU has it, else float32 (on this CPU: {hint}).",)
    share = integer_share(source.quantized_onnx, source.scale, hint)
    return (
        f"OpenVINO runs {share:.0%} of the convolution work (multiply-accumulates) in integer kernels and the rest of "
        f"the network in {hint}, measured on its own execution graph on this CPU.",
    )


def integer_share(content: bytes, scale: int, hint: str) -> float:
    """Part of the convolutions' multiply-accumulates that OpenVINO's CPU plugin runs on 8-bit integers, 0 to 1."""
    openvino = load_openvino()
    height, width = onnx_graph.COUNTING_SIZE
    with stage("openvino"):
        core = openvino.Core()
        model = core.read_model(content)
        model.reshape([1, 3, height, width])
        config = {HINT: hint, "PERFORMANCE_HINT": "LATENCY"}
        graph = core.compile_model(model, "CPU", config).get_runtime_model()
        integer = {name for node in graph.get_ops() for name in _integer_convolution(node)}
    return onnx_graph.integer_share(onnx_graph.convolution_macs(content, scale), integer)


def _integer_convolution(node: Any) -> list[str]:
    """Names of the original nodes fused into `node` if it is a convolution on 8-bit integers."""
    info = {key: getattr(value, "value", value) for key, value in node.get_rt_info().items()}
    if info["layerType"] != "Convolution" or info["runtimePrecision"] not in ("u8", "i8"):
        return []
    return str(info["originalLayersNames"]).split(",")
