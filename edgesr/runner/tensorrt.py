"""The ONNX file made for TensorRT, on ONNX Runtime as a reference: what it computes, not how fast."""

from edgesr.extras import require
from edgesr.runner.manifest import Contents
from edgesr.runner.onnxruntime import OnnxRuntimeRunner, open_session

PRECISIONS = {
    "fp32": "float32",
    "fp16": "float32 (float16 is chosen when the engine is built)",
    "int8": "int8 roundings computed in float32",
}


def open_contents(contents: Contents, threads: int) -> OnnxRuntimeRunner:
    """Load the ONNX file from its checked bytes.

    Q/DQ stay as they are: the integer kernels of ONNX Runtime on x86 take uint8, and saturate on int8 pairs.
    """
    runtime = require("onnxruntime", "onnxruntime")
    options = runtime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    facts = {
        "runtime": f"onnxruntime {runtime.__version__} as reference for TensorRT",
        "precision": PRECISIONS.get(contents.precision, contents.precision),
    }
    return open_session(runtime, options, contents, threads, facts)
