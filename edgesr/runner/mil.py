"""Reference interpreter of saved Core ML programs: proves anywhere what an .mlpackage computes.

It says nothing of Apple's kernels: their order of summation, their accumulators or their speed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from edgesr.errors import ArtifactError, Unsupported
from edgesr.runner.contract import Array
from edgesr.runner.mil_arguments import Arguments
from edgesr.runner.mil_operations import CHUNK, OPERATIONS
from edgesr.runner.mil_program import Operation, Program, Tensor, Values, read_program

MODEL = "model.mlmodel"
Watch = Callable[[str, Values], None]
Mode = Literal["declared", "float32"]
"""declared: tensors of a program that are float16 are rounded to it after every operation, to infinity beyond 65504.
float32: they are not; only the stored weights are what they are."""

FAILURES = (ValueError, IndexError, TypeError, OverflowError, ZeroDivisionError, MemoryError, KeyError)
"""What numpy raises where shapes or types of a damaged program do not fit together."""


class Interpreter:
    """One loaded program. Not a frozen value: reading it computes the weights once."""

    def __init__(self, model: bytes, files: Mapping[str, bytes], mode: Mode = "declared") -> None:
        """`model`: the content of model.mlmodel; `files`: what lies beside it, by relative name.

        Raises ArtifactError for a broken program, Unsupported for operations that it does not know, by name.
        """
        self.program: Program = read_program(model, files)
        self.mode = mode
        unknown = {operation.kind for operation in self.program.operations} - OPERATIONS.keys()
        if unknown:
            raise Unsupported(f"The reference interpreter does not know the operations {', '.join(sorted(unknown))}.")
        self.constants = {name: value for name, value in self.program.constants.items() if not isinstance(value, str)}
        self.constants = {name: _wide(value) for name, value in self.constants.items()}
        self.operations: list[Operation] = []
        for operation in self.program.operations:
            if operation.kind.startswith("constexpr_"):
                self.constants.update(self._run(operation, {}))
            else:
                self.operations.append(operation)
        self.last_use = _last_uses(self.operations)

    def __call__(self, inputs: Mapping[str, Array], watch: Watch = lambda name, value: None) -> dict[str, Array]:
        """Inputs and outputs by name: float32 tensors as the program has them (images: numbers from 0 to 255).

        `watch` is called with the name and the value of every tensor that is made.
        """
        values: dict[str, Values] = {name: np.asarray(value, np.float32) for name, value in inputs.items()}
        missing = [port.name for port in self.program.inputs if port.name not in values]
        if missing:
            raise ArtifactError(f"The program needs the inputs {missing}.")
        results = {port.name for port in self.program.outputs}
        with np.errstate(all="ignore"):
            for position, operation in enumerate(self.operations):
                made = self._run(operation, values)
                values.update(made)
                for name, value in made.items():
                    watch(name, value)
                for name in self.last_use[position]:
                    if name not in results:
                        values.pop(name, None)
        return {name: self._output(name, values) for name in sorted(results)}

    def _output(self, name: str, values: Mapping[str, Values]) -> Array:
        if name not in values:
            raise ArtifactError(f"{MODEL}: no operation makes the output {name!r:.80}.")
        return np.ascontiguousarray(values[name], dtype=np.float32)

    def _run(self, operation: Operation, values: Mapping[str, Values]) -> dict[str, Values]:
        label = f"{MODEL}: operation {operation.kind} ({operation.outputs[0].name if operation.outputs else '-'})"
        arguments = Arguments(
            {key: tuple(self._find(part, values, label) for part in parts) for key, parts in operation.inputs.items()},
            operation.texts,
        )
        try:
            made = OPERATIONS[operation.kind](arguments)
        except ArtifactError as error:
            raise ArtifactError(f"{label} {error}.") from error
        except FAILURES as error:
            raise ArtifactError(f"{label} failed: {type(error).__name__}: {error}") from error
        results = made if isinstance(made, tuple) else (made,)
        if len(results) != len(operation.outputs):
            raise ArtifactError(f"{label} declares {len(operation.outputs)} outputs; it makes {len(results)}.")
        return {
            tensor.name: self._checked(tensor, result, label)
            for tensor, result in zip(operation.outputs, results, strict=True)
        }

    def _find(self, part: str | Values, values: Mapping[str, Values], label: str) -> Values:
        if not isinstance(part, str):
            return _wide(part)
        found = values.get(part)
        if found is None:
            found = self.constants.get(part)
        if found is None:
            raise ArtifactError(f"{label} reads {part!r:.80}, which nothing has made before.")
        return found

    def _checked(self, tensor: Tensor, result: Values, label: str) -> Values:
        """`result` as the program declares it. Raises ArtifactError if it has another shape."""
        fits = len(result.shape) == len(tensor.shape) and all(
            declared in (None, side) for declared, side in zip(tensor.shape, result.shape, strict=True)
        )
        if not fits:
            raise ArtifactError(f"{label} declares the shape {tensor.shape}; it makes {result.shape}.")
        if tensor.dtype == np.float16 and self.mode == "declared":
            return to_float16(result)
        return result


def to_float16(values: Values) -> Array:
    """float32 values rounded to the nearest float16, to infinity beyond 65504."""
    flat = np.ascontiguousarray(values, dtype=np.float32).reshape(-1)
    rounded = np.empty_like(flat)
    with np.errstate(over="ignore"):
        for start in range(0, flat.size, CHUNK):
            rounded[start : start + CHUNK] = flat[start : start + CHUNK].astype(np.float16)
    return rounded.reshape(values.shape)


def _wide(values: Values) -> Values:
    """float16 as float32, in which everything is computed."""
    return values.astype(np.float32) if values.dtype == np.float16 else values


def _last_uses(operations: Sequence[Operation]) -> list[list[str]]:
    """For every operation the tensors that nothing reads behind it, so that memory can be given back."""
    seen: set[str] = set()
    result: list[list[str]] = []
    for operation in reversed(operations):
        names: dict[str, Any] = {
            part: None for parts in operation.inputs.values() for part in parts if isinstance(part, str)
        }
        names.update({tensor.name: None for tensor in operation.outputs})
        result.append([name for name in names if name not in seen])
        seen.update(names)
    return result[::-1]
