"""ONNX Runtime: an ONNX file, and the same network in the ORT format of its mobile and minimal builds."""

import re
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

from edgesr.errors import ConversionError
from edgesr.extras import require
from edgesr.quantization.toolchain import stage
from edgesr.runner.cpu import products_saturate
from edgesr.runner.onnxruntime import X86_LEVEL
from edgesr.targets import onnx_graph
from edgesr.targets.base import INPUT_NAME, Conversion, tensor_specs, versions
from edgesr.targets.export import with_size
from edgesr.targets.float16 import to_float16
from edgesr.targets.ort_format import in_order
from edgesr.targets.rewrite import Rewrite
from edgesr.targets.source import Source
from edgesr.types import Request, Size

MAIN = "model.onnx"
ORT_FORMAT = "model.ort"
PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime")
RENAMED = re.compile(r"_token_\d+$")
"""ONNX Runtime renames a convolution that it turns into an integer one: `node_conv2d_3_token_13`."""

FLOAT_STORAGE = "float16 weights and tensors; ONNX Runtime computes in float32 where a CPU has no float16 kernel"

EXACT = (
    "8-bit products saturate in ONNX Runtime's usual kernels on this CPU, which has no VNNI: edgesr runs the exact "
    "ones (session.x64quantprecision). Set that option in your app too where it may meet such a CPU."
)

NOT_LAID_OUT = (
    "On x86 edgesr opens model.onnx with ORT_ENABLE_EXTENDED: ONNX Runtime's last level lays tensors out for integer "
    "convolutions, which is no faster where several are in float. Your app may do the same."
)

SAVED = (
    "model.ort is the same network for ONNX Runtime's mobile and minimal builds: its extended optimisations are done, "
    "and none that suits one CPU only."
)

NOT_PORTABLE = ["NchwcTransformer"]
"""Lays tensors out for x86."""

LAID_OUT_FROM = 0.95
"""Part of the work on integers from which on ONNX Runtime's layout for these is the faster one on x86. Times as fast as
without it, on an AMD EPYC with VNNI, one thread: BSRN-S with all on integers 1.24, DITN-Real (98.5 %) 1.12, PlainUSR-M
(97.7 %) 1.02, BSRN-S with 92.2 % 1.00, BSRN with 92.0 % 0.94."""

SAMPLE_SIZE: Size = (64, 64)
TOLERANCE = 1 / 255

REWRITES: tuple[Rewrite, ...] = (
    Rewrite(
        "to_float16",
        "ONNX Runtime's own float16 tool rounds the values between nodes that it keeps in float32, where soft pooling "
        "overflows; regions that overflow stay float32 as a whole",
    ),
    Rewrite(
        "round_parts_before_concat",
        "ONNX Runtime joins float tensors and rounds them afterwards: bytes are less to move",
    ),
    Rewrite("with_size", "a fixed size lets ONNX Runtime plan memory and fold shapes ahead"),
)


def convert(source: Source, request: Request, folder: Path) -> Conversion:
    """Write `model.onnx` and `model.ort` for `request` into `folder`."""
    content, share = source.onnx(request), None
    if request.precision == "int8":
        content = onnx_graph.round_parts_before_concat(content)
        share = integer_share(content, source.scale)
    if request.precision == "fp16":
        with stage("float16"):
            content = to_float16(content)
    content = with_size(content, request.sizes, source.scale)
    saved = to_ort_format(content)
    check_equal(content, saved, _sample_size(source, request))
    (folder / MAIN).write_bytes(content)
    (folder / ORT_FORMAT).write_bytes(saved)
    inputs, outputs = tensor_specs(request)
    return Conversion(
        main=MAIN,
        files=(MAIN, ORT_FORMAT),
        inputs=inputs,
        outputs=outputs,
        runtime_options={
            "min_side_px": str(source.min_side_px),
            **({} if share is None else {X86_LEVEL: "all" if _is_laid_out(share) else "extended"}),
        },
        toolchain=versions((*PACKAGES, "torchao") if request.precision == "int8" else PACKAGES),
        notes=(*_notes(request, share), SAVED),
        shares={} if share is None else {"int8_macs": share},
    )


def _is_laid_out(integer: float) -> bool:
    """Whether a layout for integer convolutions pays; `integer`: part of the work that is theirs."""
    return integer >= LAID_OUT_FROM


def _sample_size(source: Source, request: Request) -> Size:
    return request.sizes[0] if request.sizes else max(SAMPLE_SIZE, (source.min_side_px, source.min_side_px))


def _notes(request: Request, share: float | None) -> tuple[str, ...]:
    if request.precision == "fp16":
        return (FLOAT_STORAGE,)
    if share is None:
        return ()
    return (
        f"ONNX Runtime runs {share:.0%} of the convolution work (multiply-accumulates) in integer kernels and the rest "
        "in float32 from int8 weights, measured on its own optimised graph on this CPU.",
        *([EXACT] if products_saturate() else []),
        *([] if _is_laid_out(share) else [NOT_LAID_OUT]),
    )


def integer_share(content: bytes, scale: int) -> float:
    """Part of the convolutions' multiply-accumulates that ONNX Runtime runs as QLinearConv, 0 to 1."""
    optimised = _optimised(content)
    integer = {RENAMED.sub("", node.name) for node in optimised.graph.node if node.op_type == "QLinearConv"}
    return onnx_graph.integer_share(onnx_graph.convolution_macs(content, scale), integer)


def _optimised(content: bytes) -> ModelProto:
    """The graph that ONNX Runtime makes of a file with INT8, before it lays tensors out for one CPU."""
    runtime = require("onnxruntime", "onnxruntime")
    with stage("optimise"), tempfile.TemporaryDirectory() as folder:
        options = _options(runtime, runtime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED)
        options.optimized_model_filepath = str(Path(folder) / MAIN)
        runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


def to_ort_format(content: bytes) -> bytes:
    """The ORT format of an ONNX file, with the optimisations that hold on every CPU done.

    Done, not noted for replay: replaying needs a session option, without which INT8 would compute in float32, and
    saving for it fails where a convolution has a bias and Q/DQ around it ("sum of input arg count", 1.31).
    """
    runtime = require("onnxruntime", "onnxruntime")
    with stage("ort format"), tempfile.TemporaryDirectory() as folder:
        options = _options(runtime, runtime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED)
        options.add_session_config_entry("session.save_model_format", "ORT")
        options.optimized_model_filepath = str(Path(folder) / ORT_FORMAT)
        _session(runtime, content, options)
        return in_order(Path(options.optimized_model_filepath).read_bytes())


def check_equal(content: bytes, saved: bytes, size: Size) -> None:
    """Raise ConversionError if the ONNX file and its ORT format differ by more than 1/255 on a smooth image."""
    runtime = require("onnxruntime", "onnxruntime")
    with stage("ort format"):
        level = runtime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        sessions = [_session(runtime, each, _options(runtime, level)) for each in (content, saved)]
        first, second = (session.run(None, {INPUT_NAME: _smooth_image(size)})[0] for session in sessions)
    largest = float(np.abs(first - second).max())
    if not largest <= TOLERANCE:
        raise ConversionError("ort format", f"{ORT_FORMAT} differs from {MAIN} by {largest:.4g}, more than 1/255")


def _smooth_image(size: Size) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    """float32 (1, 3, H, W) in [0, 1]: waves, since noise makes these networks chaotic."""
    colour, y, x = np.meshgrid(range(3), range(size[0]), range(size[1]), indexing="ij")
    waves = 0.5 + 0.25 * np.sin(0.21 * x + colour) + 0.25 * np.sin(0.13 * y + 0.05 * x)
    image: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = waves[None].astype(np.float32)
    return image


def _options(runtime: ModuleType, level: Any) -> Any:
    options = runtime.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 3
    return options


def _session(runtime: ModuleType, content: bytes, options: Any) -> Any:
    return runtime.InferenceSession(
        content, options, providers=["CPUExecutionProvider"], disabled_optimizers=NOT_PORTABLE
    )
