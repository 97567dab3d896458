"""The ONNX file made for TensorRT, on ONNX Runtime as a reference: what it computes, not how fast."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgesr.errors import ArtifactError
from edgesr.extras import require
from edgesr.runner.contract import Array, InputRule
from edgesr.runner.manifest import Contents
from edgesr.runner.onnxruntime import SEVERITY_ERROR, check_names

PRECISIONS = {
    "fp32": "float32",
    "fp16": "float32 (float16 is chosen when the engine is built)",
    "int8": "int8 roundings computed in float32",
}


@dataclass(frozen=True, slots=True)
class TensorRtReferenceRunner:
    scale: int
    accepts: InputRule
    _session: Any
    _input_name: str
    _output_name: str
    _facts: dict[str, str]

    def __call__(self, x: Array) -> Array:
        """float32 (1, 3, H, W), RGB in [0, 1] -> float32 (1, 3, scale * H, scale * W), not clipped."""
        self.accepts.check(x)
        upscaled: Array = self._session.run([self._output_name], {self._input_name: np.ascontiguousarray(x)})[0]
        return upscaled

    def describe(self) -> dict[str, str]:
        return dict(self._facts)


def open_contents(contents: Contents, threads: int) -> TensorRtReferenceRunner:
    """Load the ONNX file from its checked bytes.

    Q/DQ stay as they are: the integer kernels of ONNX Runtime on x86 take uint8, and saturate on int8 pairs.
    """
    runtime = require("onnxruntime", "onnxruntime")
    options = runtime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = SEVERITY_ERROR
    try:
        session = runtime.InferenceSession(contents.files[contents.main], options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ArtifactError(f"ONNX Runtime {runtime.__version__} cannot load {contents.main}: {error}") from error
    check_names(session, contents)
    facts = {
        "runtime": f"onnxruntime {runtime.__version__} as reference for TensorRT",
        "precision": PRECISIONS.get(contents.precision, contents.precision),
        "threads": str(threads),
    }
    return TensorRtReferenceRunner(
        contents.scale, contents.accepts, session, contents.input_name, contents.output_name, facts
    )
