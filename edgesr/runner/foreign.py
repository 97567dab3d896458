"""Opens a model file that is not of this kit, so that it can be measured in the same way.

Such a file says nothing of scale, value range and layout; the user does. It goes into its runtime as it is: native code
reads what somebody else wrote, so open only files whose origin is trusted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesr.errors import ArtifactError, Unsupported, UsageError
from edgesr.extras import require
from edgesr.runner.contract import Array, InputRule, Runner
from edgesr.runner.guarded import Guarded
from edgesr.runner.manifest import Contents
from edgesr.runner.opening import available_threads
from edgesr.types import Size

Numbers = npt.NDArray[Any]
Raw = Callable[[Numbers], Numbers]
RANGES = ("0-1", "0-255")
LAYOUTS = ("NCHW", "NHWC")
FREE = -1
"""A side that the file leaves open."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """What the user says of a file: `value_range` "0-1" or "0-255"; `layout` of the input and the output."""

    scale: int
    value_range: str = "0-1"
    layout: str = "NCHW"

    def __post_init__(self) -> None:
        if type(self.scale) is not int or not 1 <= self.scale <= 16:
            raise UsageError(f"--scale must be from 1 to 16; found {self.scale!r}.")
        if self.value_range not in RANGES or self.layout not in LAYOUTS:
            found = f"{self.value_range!r}, {self.layout!r}"
            raise UsageError(f"--range is {' or '.join(RANGES)}, --layout {' or '.join(LAYOUTS)}; found {found}.")


@dataclass(frozen=True, slots=True)
class Port:
    """The input as the file declares it: shape with FREE sides; `step`, `zero`: value = step * (number - zero)."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    step: float = 1.0
    zero: int = 0


@dataclass(frozen=True, slots=True)
class Loaded:
    """`result`: what the output's numbers stand for, its shape unknown. `precision`: what the runtime computes in."""

    raw: Raw
    source: Port
    result: Port
    runtime: str
    precision: str = "as the file has it"


@dataclass(frozen=True, slots=True)
class ForeignRunner:
    scale: int
    accepts: InputRule
    _foreign: Foreign
    _loaded: Loaded
    _facts: dict[str, str]

    def __call__(self, x: Array) -> Array:
        """float32 (1, 3, H, W), RGB in [0, 1] -> float32 (1, 3, scale * H, scale * W), not clipped."""
        self.accepts.check(x)
        made = _values(self._loaded.raw(_numbers(x, self._foreign, self._loaded.source)), self._loaded.result)
        if self._foreign.layout == "NHWC":
            made = made.transpose(0, 3, 1, 2)
        expected = (1, 3, self.scale * x.shape[2], self.scale * x.shape[3])
        if made.shape != expected:
            raise ArtifactError(
                f"A {x.shape[2]}x{x.shape[3]} image became {made.shape}, not {expected}. Check --scale and --layout."
            )
        peak = np.float32(255 if self._foreign.value_range == "0-255" else 1)
        return np.ascontiguousarray(made / peak, dtype=np.float32)

    def describe(self) -> dict[str, str]:
        return dict(self._facts)


def open_foreign(file: Path, foreign: Foreign, *, threads: int | None = None) -> Runner:
    """Load `file` into the runtime of its suffix.

    Raises ArtifactError for one that the runtime cannot open or that takes no single image, Unsupported for an unknown
    suffix, MissingExtra.
    """
    threads = available_threads() if threads is None else threads
    if file.suffix not in OPENERS:
        raise Unsupported(f"{file.name} is no model file that can be measured. Known: {', '.join(OPENERS)}.")
    try:
        loaded = OPENERS[file.suffix](file, threads)
    except OSError as error:
        raise ArtifactError(f"{file} cannot be read: {error.strerror}.") from error
    except (ArtifactError, RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArtifactError(f"{file.name} cannot be opened: {reason}") from error
    facts = {"runtime": loaded.runtime, "precision": loaded.precision, "threads": str(threads)}
    return Guarded(ForeignRunner(foreign.scale, _rule(file, foreign, loaded.source), foreign, loaded, facts))


def _rule(file: Path, foreign: Foreign, port: Port) -> InputRule:
    """Sizes that the file takes."""
    sides = {"NCHW": (1, 2, 3), "NHWC": (3, 1, 2)}[foreign.layout]
    if len(port.shape) != 4 or port.shape[0] not in (1, FREE) or port.shape[sides[0]] not in (3, FREE):
        raise ArtifactError(
            f"{file.name} does not take one RGB image in {foreign.layout}: its input is {list(port.shape)} (-1: free). "
            "Check --layout."
        )
    size: Size = (port.shape[sides[1]], port.shape[sides[2]])
    return InputRule() if FREE in size else InputRule((size,))


def _numbers(x: Array, foreign: Foreign, port: Port) -> Numbers:
    values = x * np.float32(255) if foreign.value_range == "0-255" else x
    if foreign.layout == "NHWC":
        values = values.transpose(0, 2, 3, 1)
    if port.dtype.kind in "iu":
        limits = np.iinfo(port.dtype)
        values = np.clip(np.rint(values / np.float32(port.step)) + port.zero, limits.min, limits.max)
    return np.ascontiguousarray(values, dtype=port.dtype)


def _values(numbers: Numbers, port: Port) -> Array:
    values = np.asarray(numbers)
    if values.dtype.kind in "iu":
        return (values.astype(np.float32) - np.float32(port.zero)) * np.float32(port.step)
    return values.astype(np.float32, copy=False)


def _onnx(file: Path, threads: int) -> Loaded:
    runtime = require("onnxruntime", "onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    try:
        session = runtime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions are of a dozen kinds that it does not export
        raise ArtifactError(f"ONNX Runtime {runtime.__version__} cannot open {file.name}: {error}") from error
    source, result = _single(file, session.get_inputs()), _single(file, session.get_outputs())
    types = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
    if source.type not in types:
        raise ArtifactError(f"{file.name} takes {source.type}. Known: {', '.join(types)}.")
    shape = tuple(side if isinstance(side, int) else FREE for side in source.shape)
    port = Port(shape, np.dtype(types[source.type]))
    return Loaded(
        lambda x: session.run([result.name], {source.name: x})[0], port, port, f"onnxruntime {runtime.__version__}"
    )


def _tflite(file: Path, threads: int) -> Loaded:
    from edgesr.runner.tflite import load_runtime, version

    runtime = load_runtime()
    interpreter = runtime.Interpreter(model_content=file.read_bytes(), num_threads=threads)
    interpreter.allocate_tensors()
    source = _single(file, interpreter.get_input_details())
    result = _single(file, interpreter.get_output_details())

    def run(x: Numbers) -> Numbers:
        interpreter.set_tensor(source["index"], x)
        interpreter.invoke()
        made: Numbers = interpreter.get_tensor(result["index"])
        return made

    return Loaded(run, _tflite_port(source), _tflite_port(result), version(runtime))


def _tflite_port(end: Mapping[str, Any]) -> Port:
    step, zero = end["quantization"]
    return Port(tuple(map(int, end["shape"])), np.dtype(end["dtype"]), float(step) or 1.0, int(zero))


def _openvino(file: Path, threads: int) -> Loaded:
    from edgesr.runner.openvino import HINT, load_openvino

    openvino = load_openvino()
    weights = file.with_suffix(".bin").read_bytes()
    core = openvino.Core()
    model = core.read_model(file.read_bytes(), openvino.Tensor(np.frombuffer(weights, dtype=np.uint8)))
    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    compiled = core.compile_model(model, "CPU", config)
    source = _single(file, compiled.inputs)
    _single(file, compiled.outputs)
    request = compiled.create_infer_request()
    shape = tuple(side.get_length() if side.is_static else FREE for side in source.get_partial_shape())
    port = Port(shape, np.dtype(source.get_element_type().to_dtype()))

    def run(x: Numbers) -> Numbers:
        request.infer([x], share_inputs=True)
        made: Numbers = request.get_output_tensor(0).data.copy()
        return made

    precision = f"{compiled.get_property(HINT).to_string()}, the runtime's choice"
    return Loaded(run, port, port, f"openvino {openvino.__version__}", precision)


def _executorch(file: Path, threads: int) -> Loaded:
    from edgesr.runner import executorch

    method = executorch.Method(executorch.load_runtime(threads), file.read_bytes())
    port = Port(method.shape, np.dtype(np.float32))
    version = require("executorch.version", "executorch").__version__
    return Loaded(method, port, port, f"executorch {version}")


def _coreml(file: Path, threads: int) -> Loaded:
    """On macOS by Apple's runtime, elsewhere by this kit's interpreter; both take NCHW."""
    from edgesr.runner import coreml
    from edgesr.runner.mil import MODEL
    from edgesr.runner.mil_program import read_program

    names = {path: path.relative_to(file).as_posix() for path in file.rglob("*") if path.is_file()}
    files = {f"{file.name}/{name}": path.read_bytes() for path, name in names.items()}
    inner = {name.removeprefix(f"{coreml.DATA}/"): path.read_bytes() for path, name in names.items()}
    if MODEL not in inner:
        raise ArtifactError(f"{file.name} has no {coreml.DATA}/{MODEL}.")
    program = read_program(inner[MODEL], inner)
    source, result = _single(file, program.inputs), _single(file, program.outputs)
    if len(source.shape) != 4 or source.shape[:2] != (1, 3):
        raise ArtifactError(
            f"{file.name} must take an array (1, 3, height, width); found {source.shape or 'an image'}."
        )
    rule = InputRule(((source.shape[2], source.shape[3]),))
    contents = Contents("coreml", "fp32", 1, rule, file.name, source.name, result.name, {}, files)
    runner = coreml.open_contents(contents, threads)
    port = Port(source.shape, np.dtype(np.float32))
    return Loaded(runner, port, port, runner.describe()["runtime"])


def _ncnn(file: Path, threads: int) -> Loaded:
    from edgesr.runner.ncnn_file import read_bin, read_param

    runtime = require("ncnn", "ncnn")
    text, weights = file.read_bytes(), file.with_suffix(".bin").read_bytes()
    layers = read_param(text)
    read_bin(weights, layers)
    network = runtime.Net()
    network.opt.use_vulkan_compute, network.opt.num_threads = False, threads
    if network.load_param_mem(text.decode("ascii")) != 0:
        raise ArtifactError(f"ncnn {runtime.__version__} cannot load {file.name}.")
    network.load_model_mem(weights)
    inputs = [layer.outputs[0] for layer in layers if layer.kind == "Input"]
    used = {name for layer in layers for name in layer.inputs}
    outputs = [name for layer in layers for name in layer.outputs if name not in used]
    source, result = _single(file, inputs), _single(file, outputs)

    def run(x: Numbers) -> Numbers:
        extractor = network.create_extractor()
        extractor.input(source, runtime.Mat(x[0]).clone())
        status, made = extractor.extract(result)
        if status != 0:
            raise ArtifactError(f"ncnn could not run {file.name}: status {status}.")
        return np.array(made, dtype=np.float32)[None]

    port = Port((1, 3, FREE, FREE), np.dtype(np.float32))
    return Loaded(run, port, port, f"ncnn {runtime.__version__}")


def _single(file: Path, ends: Any) -> Any:
    if len(ends) != 1:
        raise ArtifactError(f"{file.name} has {len(ends)} inputs or outputs where one is expected.")
    return ends[0]


OPENERS: Mapping[str, Callable[[Path, int], Loaded]] = MappingProxyType(
    {
        ".onnx": _onnx,
        ".tflite": _tflite,
        ".xml": _openvino,
        ".pte": _executorch,
        ".mlpackage": _coreml,
        ".param": _ncnn,
    }
)
TARGETS: Mapping[str, str] = MappingProxyType(
    {
        ".onnx": "onnxruntime",
        ".tflite": "tflite",
        ".xml": "openvino",
        ".pte": "executorch",
        ".mlpackage": "coreml",
        ".param": "ncnn",
    }
)
"""Suffix -> target of this kit with the same runtime."""
