"""LiteRT (TensorFlow Lite) on the CPU: `tflite_runtime` where it is installed, else `ai_edge_litert`."""

import contextlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesr.errors import ArtifactError
from edgesr.extras import require
from edgesr.runner.contract import Array, InputRule
from edgesr.runner.manifest import Contents
from edgesr.types import Size

IDENTIFIER = b"TFL3"
DTYPES = (np.dtype(np.float32), np.dtype(np.uint8), np.dtype(np.int8))

PRECISIONS = {
    "fp32": "float32",
    "fp16": "float16 weights, computed in float32 where the CPU has no float16 kernels",
    "int8": "int8 convolutions, float32 for what lies between them",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """One file, loaded. `step` and `zero`: value = step * (number - zero) of the input and the output."""

    interpreter: Any
    source: Mapping[str, Any]
    result: Mapping[str, Any]

    def __call__(self, x: Array) -> Array:
        self.interpreter.set_tensor(self.source["index"], _rounded(x.transpose(0, 2, 3, 1), self.source))
        self.interpreter.invoke()
        numbers = self.interpreter.get_tensor(self.result["index"])
        return np.ascontiguousarray(_values(numbers, self.result).transpose(0, 3, 1, 2))


@dataclass(frozen=True, slots=True)
class LiteRtRunner:
    scale: int
    accepts: InputRule
    _plans: Mapping[Size, Plan]
    _facts: dict[str, str]

    def __call__(self, x: Array) -> Array:
        """float32 (1, 3, H, W), RGB in [0, 1] -> float32 (1, 3, scale * H, scale * W), not clipped.

        An artifact of 8-bit pixels rounds its input and clips its output.
        """
        self.accepts.check(x)
        return self._plans[x.shape[2], x.shape[3]](x)

    def describe(self) -> dict[str, str]:
        return dict(self._facts)


def open_contents(contents: Contents, threads: int) -> LiteRtRunner:
    """Load the file of every size from its checked bytes."""
    runtime = load_runtime()
    sizes = contents.accepts.sizes
    if not sizes:
        raise ArtifactError("The manifest gives no size; a LiteRT artifact has one file for each of its sizes.")
    plans = {size: _plan(runtime, contents, _file_name(contents, size), size, threads) for size in sizes}
    facts = {
        "runtime": version(runtime),
        "precision": PRECISIONS.get(contents.precision, contents.precision),
        "threads": str(threads),
    }
    return LiteRtRunner(contents.scale, contents.accepts, plans, facts)


def load_runtime() -> ModuleType:
    """`tflite_runtime.interpreter` where it is installed, else `ai_edge_litert.interpreter`."""
    package = "tflite_runtime" if importlib.util.find_spec("tflite_runtime") else "ai_edge_litert"
    return require(f"{package}.interpreter", "tflite")


def version(runtime: ModuleType) -> str:
    """Of what `load_runtime` gave: its package and that package's version."""
    package = runtime.__name__.partition(".")[0]
    return f"{package} {importlib.metadata.version(package.replace('_', '-'))}"


def _file_name(contents: Contents, size: Size) -> str:
    """`model.tflite` of an artifact with one size, else `model_HEIGHTxWIDTH.tflite`."""
    name = contents.main if len(contents.accepts.sizes) == 1 else f"model_{size[0]}x{size[1]}.tflite"
    if name not in contents.files:
        raise ArtifactError(f"The artifact has no {name}, the file for {size[0]}x{size[1]} inputs.")
    return name


def _plan(runtime: Any, contents: Contents, name: str, size: Size, threads: int) -> Plan:
    content = contents.files[name]
    if content[4:8] != IDENTIFIER:
        raise ArtifactError(f"{name} is not a LiteRT file: {IDENTIFIER!r} expected at byte 4, {content[4:8]!r} found.")
    try:
        with _quiet_stderr():
            interpreter = runtime.Interpreter(model_content=content, num_threads=threads)
            ends = interpreter.get_input_details(), interpreter.get_output_details()
            _check(contents, name, size, ends)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ArtifactError(f"{runtime.__name__} cannot load {name}: {error}") from error
    return Plan(interpreter, ends[0][0], ends[1][0])


def _check(contents: Contents, name: str, size: Size, ends: tuple[Any, Any]) -> None:
    """Before memory is taken for them: one tensor in and out, named, shaped and typed as the manifest says."""
    (height, width), scale = size, contents.scale
    expected = [
        [(contents.input_name, [1, height, width, 3])],
        [(contents.output_name, [1, scale * height, scale * width, 3])],
    ]
    found = [[(end["name"], end["shape"].tolist()) for end in side] for side in ends]
    if found != expected:
        raise ArtifactError(f"{name} does not match its manifest: tensors {expected} expected, {found} found.")
    for end in (ends[0][0], ends[1][0]):
        step, _ = end["quantization"]
        if np.dtype(end["dtype"]) not in DTYPES or (end["dtype"] is not np.float32 and not step > 0):
            raise ArtifactError(
                f"{name}: {end['name']} is {end['dtype'].__name__} with step {step}; unknown to this kit."
            )


def _rounded(values: Array, end: Mapping[str, Any]) -> npt.NDArray[Any]:
    """`values` as the file's input takes them."""
    if end["dtype"] is np.float32:
        return np.ascontiguousarray(values)
    step, zero = end["quantization"]
    limits = np.iinfo(end["dtype"])
    numbers = np.clip(np.rint(values / np.float32(step)) + zero, limits.min, limits.max)
    rounded: npt.NDArray[Any] = numbers.astype(end["dtype"])
    return rounded


def _values(numbers: npt.NDArray[Any], end: Mapping[str, Any]) -> Array:
    """What the file's output stands for."""
    if end["dtype"] is np.float32:
        return numbers
    step, zero = end["quantization"]
    return (numbers.astype(np.float32) - np.float32(zero)) * np.float32(step)


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Drop what native code writes: the runtimes greet on file descriptor 2 and have no setting against it."""
    sys.stderr.flush()
    kept = os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(sink)
