"""ExecuTorch with XNNPACK on the CPU.

ExecuTorch's Python runtime imports torch itself and takes torch tensors; on a phone its C++ runtime needs neither.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from edgesr.errors import ArtifactError
from edgesr.extras import require
from edgesr.runner.contract import Array, InputRule
from edgesr.runner.manifest import Contents
from edgesr.types import Size

IDENTIFIER = b"ET12"
"""At byte 4 of a program: the file type and version of its flatbuffer."""

EXTENDED_HEADER = struct.Struct("<4sIQQQ")
"""At byte 8: b"eh00", its own length, then in bytes the program's size, where its segments begin and their size."""

METHOD = "forward"
FLOAT32 = 6
"""ExecuTorch's number for the type."""

PRECISIONS = {"fp32": "float32", "int8": "int8 convolutions, float32 for the operators between them"}


class Method:
    """The method of one program.

    It keeps the bytes and what was read from them alive: the runtime points into both, and would crash without.
    """

    def __init__(self, runtime: ModuleType, content: bytes) -> None:
        """Raises RuntimeError (or another exception of the runtime) for what it cannot load."""
        self._torch = require("torch", "executorch")
        self._content = content
        verified = runtime.Verification.InternalConsistency  # by default a broken program crashes the process
        self._program = runtime._load_program_from_buffer(content, program_verification=verified)
        self._method = self._program.load_method(METHOD)
        meta = self._method.method_meta().input_tensor_meta(0)
        self.shape: tuple[int, ...] = tuple(meta.sizes())
        self.is_float32 = meta.dtype() == FLOAT32

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """`x` and what comes back have the shapes and types that the program was made with."""
        (made,) = self._method.call([self._torch.tensor(np.ascontiguousarray(x))], clone_outputs=False)
        return np.array(made.numpy())


@dataclass(frozen=True, slots=True)
class ExecuTorchRunner:
    scale: int
    accepts: InputRule
    _programs: Mapping[Size, Method]
    _facts: dict[str, str]

    def __call__(self, x: Array) -> Array:
        """float32 (1, 3, H, W), RGB in [0, 1] -> float32 (1, 3, scale * H, scale * W), not clipped."""
        self.accepts.check(x)
        upscaled: Array = self._programs[x.shape[2], x.shape[3]](x)
        return upscaled

    def describe(self) -> dict[str, str]:
        return dict(self._facts)


def open_contents(contents: Contents, threads: int) -> ExecuTorchRunner:
    """Load every program from its checked bytes. `threads` holds for all ExecuTorch programs of the process."""
    runtime = load_runtime(threads)
    version = require("executorch.version", "executorch").__version__
    programs = {}
    for name, content in contents.files.items():
        size, method = _load(runtime, name, content, version)
        programs[size] = method
    if not contents.accepts.sizes or set(programs) != set(contents.accepts.sizes):
        found = ", ".join(f"{height}x{width}" for height, width in programs)
        raise ArtifactError(f"The programs do not match the manifest: {contents.accepts} expected, {found} found.")
    facts = {
        "runtime": f"executorch {version}, XNNPACK",
        "precision": PRECISIONS.get(contents.precision, contents.precision),
        "threads": str(threads),
    }
    return ExecuTorchRunner(contents.scale, contents.accepts, programs, facts)


def load_runtime(threads: int) -> ModuleType:
    """ExecuTorch's compiled runtime; `threads` holds for the whole process.

    The compiled module itself, not `executorch.runtime` around it: that one imports torch's and ExecuTorch's compilers
    for the class of a warning, which takes longer than to load and run a model.
    """
    require("torch", "executorch")  # whose libraries the compiled module needs
    bindings = require("executorch.extension.pybindings._portable_lib", "executorch")
    bindings._unsafe_reset_threadpool(threads)
    return bindings


def _load(runtime: ModuleType, name: str, content: bytes, version: str) -> tuple[Size, Method]:
    """The method of a program and the size that it takes."""
    _check_complete(name, content)
    try:
        method = Method(runtime, content)
    except Exception as error:
        raise ArtifactError(f"ExecuTorch {version} cannot load {name}: {error}") from error
    shape = method.shape
    if len(shape) != 4 or shape[:2] != (1, 3) or not method.is_float32:
        raise ArtifactError(f"{name} does not take one float32 (1, 3, height, width) image; it takes {shape}.")
    return (shape[2], shape[3]), method


def _check_complete(name: str, content: bytes) -> None:
    """Raise ArtifactError before native code reads a file that is none of its own, or ends early."""
    if content[4:8] != IDENTIFIER or len(content) < 8 + EXTENDED_HEADER.size:
        raise ArtifactError(f"{name} is not an ExecuTorch program of the version {IDENTIFIER.decode()}.")
    magic, _, program_size, segments_at, segments_size = EXTENDED_HEADER.unpack_from(content, 8)
    expected = max(program_size, segments_at + segments_size)
    if magic != b"eh00" or len(content) < expected:
        raise ArtifactError(f"{name} is incomplete: {expected} bytes expected, {len(content)} found.")
