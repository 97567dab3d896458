"""ONNX Runtime: one ONNX file."""

import re
import tempfile
from pathlib import Path

import onnx
from onnx import ModelProto

from edgesr.extras import require
from edgesr.quantization.toolchain import stage
from edgesr.targets import onnx_graph
from edgesr.targets.base import Conversion, tensor_specs, versions
from edgesr.targets.export import with_size
from edgesr.targets.float16 import to_float16
from edgesr.targets.source import Source
from edgesr.types import Request

MAIN = "model.onnx"
PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime")
RENAMED = re.compile(r"_token_\d+$")
"""ONNX Runtime renames a convolution that it turns into an integer one: `node_conv2d_3_token_13`."""

FLOAT_STORAGE = "float16 weights and tensors; ONNX Runtime computes in float32 where a CPU has no float16 kernel"


def convert(source: Source, request: Request, folder: Path) -> Conversion:
    """Write `model.onnx` for `request` into `folder`."""
    content = source.quantized_onnx if request.precision == "int8" else source.float_onnx
    if request.precision == "fp16":
        with stage("float16"):
            content = to_float16(content)
    notes = _notes(request, content, source.scale)
    if len(request.sizes) == 1:
        content = with_size(content, request.sizes[0], source.scale)
    (folder / MAIN).write_bytes(content)
    inputs, outputs = tensor_specs(request)
    return Conversion(
        main=MAIN,
        files=(MAIN,),
        inputs=inputs,
        outputs=outputs,
        runtime_options={"min_side_px": str(source.min_side_px)},
        toolchain=versions((*PACKAGES, "torchao") if request.precision == "int8" else PACKAGES),
        notes=notes,
    )


def _notes(request: Request, content: bytes, scale: int) -> tuple[str, ...]:
    if request.precision == "fp16":
        return (FLOAT_STORAGE,)
    if request.precision != "int8":
        return ()
    share = integer_share(content, scale)
    return (
        f"ONNX Runtime runs {share:.0%} of the convolution work (multiply-accumulates) in integer kernels and the rest "
        "in float32 from int8 weights, measured on its own optimised graph on this CPU.",
    )


def integer_share(content: bytes, scale: int) -> float:
    """Part of the convolutions' multiply-accumulates that ONNX Runtime runs as QLinearConv, 0 to 1."""
    optimised = _optimised(content)
    integer = {RENAMED.sub("", node.name) for node in optimised.graph.node if node.op_type == "QLinearConv"}
    return onnx_graph.integer_share(onnx_graph.convolution_macs(content, scale), integer)


def _optimised(content: bytes) -> ModelProto:
    """The graph that ONNX Runtime makes of the file in its fastest mode."""
    runtime = require("onnxruntime", "onnxruntime")
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    with stage("optimise"), tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / MAIN)
        runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)
