"""ONNX Runtime on the CPU."""

import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgesr.errors import ArtifactError
from edgesr.extras import require
from edgesr.runner.contract import Array, InputRule
from edgesr.runner.cpu import is_x86, products_saturate
from edgesr.runner.manifest import Contents

SEVERITY_ERROR = 3

EXACT_PRODUCTS = "session.x64quantprecision"
"""Unsigned weights instead of signed ones, whose kernels sum in 32 bits (1.31: where a weight is beyond -64..63)."""

X86_LEVEL = "x86_graph_optimization_level"
"""Which of ONNX Runtime's levels is the faster one for INT8: "all" or "extended". The last level lays tensors out anew
for integer convolutions; those in float keep a layout of their own, with transpositions between the two (1.31)."""

PRECISIONS = {
    "fp32": "float32",
    "fp16": "float16 tensors; operators without a float16 CPU kernel compute in float32",
    "int8": "int8 where ONNX Runtime has an integer kernel for the pattern, else float32",
}


@dataclass(frozen=True, slots=True)
class OnnxRuntimeRunner:
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


def open_contents(contents: Contents, threads: int) -> OnnxRuntimeRunner:
    """Load the ONNX file from its checked bytes, so that nothing outside the artifact can be read along."""
    runtime = require("onnxruntime", "onnxruntime")
    options = runtime.SessionOptions()
    options.graph_optimization_level = optimization_level(runtime, contents)
    precision = PRECISIONS.get(contents.precision, contents.precision)
    if contents.precision == "int8" and products_saturate():
        options.add_session_config_entry(EXACT_PRODUCTS, "1")
        precision += (
            "; by its exact, slower kernels, since 8-bit products would saturate on this CPU, which has no VNNI"
        )
    facts = {"runtime": f"onnxruntime {runtime.__version__}", "precision": precision}
    return open_session(runtime, options, contents, threads, facts)


def optimization_level(runtime: Any, contents: Contents) -> Any:
    """All, but on x86 not for INT8 unless the artifact asks for it (X86_LEVEL)."""
    levels = runtime.GraphOptimizationLevel
    if contents.precision != "int8" or not is_x86() or contents.options.get(X86_LEVEL) == "all":
        return levels.ORT_ENABLE_ALL
    return levels.ORT_ENABLE_EXTENDED


def open_session(
    runtime: Any, options: Any, contents: Contents, threads: int, facts: dict[str, str]
) -> OnnxRuntimeRunner:
    """`contents` on the CPU with `options`; `facts` are said by `describe`, with the number of threads."""
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = SEVERITY_ERROR
    try:
        with tempfile.TemporaryDirectory(prefix="edgesr-") as empty:
            # without it, what a model names as its external data is looked for in the working directory
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", empty)
            session = runtime.InferenceSession(
                contents.files[contents.main], options, providers=["CPUExecutionProvider"]
            )
    except Exception as error:
        raise ArtifactError(f"ONNX Runtime {runtime.__version__} cannot load {contents.main}: {error}") from error
    _check_names(session, contents)
    names = contents.input_name, contents.output_name
    return OnnxRuntimeRunner(contents.scale, contents.accepts, session, *names, facts | {"threads": str(threads)})


def _check_names(session: Any, contents: Contents) -> None:
    """Raise ArtifactError unless the session has exactly the tensors that the manifest names."""
    found = [node.name for node in session.get_inputs()], [node.name for node in session.get_outputs()]
    expected = [contents.input_name], [contents.output_name]
    if found != expected:
        raise ArtifactError(f"{contents.main} does not match its manifest: tensors {expected} expected, {found} found.")
