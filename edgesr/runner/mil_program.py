"""Reads a saved Core ML program (MIL: protobuf and weight file) into plain values, trusting nothing in it.

The message classes come from coremltools without the package around it, which imports torch and prints.
Format: the .proto files of coremltools (mlmodel/format/MIL.proto) and MILBlob/Blob/StorageFormat.hpp.
"""

import functools
import importlib
import importlib.util
import math
import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesr.errors import ArtifactError, MissingExtra

Values = npt.NDArray[Any]
Constant = Values | str

PROTO = "edgesr_coreml_proto"
"""The name under which coremltools' message classes are loaded: theirs would load all of coremltools."""

TYPES: Mapping[int, "np.dtype[Any]"] = {
    1: np.dtype(np.bool_),
    10: np.dtype(np.float16),
    11: np.dtype(np.float32),
    21: np.dtype(np.int8),
    22: np.dtype(np.int16),
    23: np.dtype(np.int32),
    24: np.dtype(np.int64),
    31: np.dtype(np.uint8),
    32: np.dtype(np.uint16),
    33: np.dtype(np.uint32),
}
"""MIL.proto DataType -> numpy. Strings (2) are Python's."""

STRING = 2
LISTS = {"floats": np.float32, "ints": np.int32, "longInts": np.int64, "bools": np.bool_}
WEIGHTS_PREFIX = "@model_path/"
SENTINEL = 0xDEADBEEF
BLOB_HEADER = struct.Struct("<IIQQ")
"""Sentinel, data type, size in bytes, offset of the data."""

LIMIT_ELEMENTS = 1 << 28
LIMIT_RANK = 16
"""Of one tensor: 1 GiB of float32. An 8x upscaled 1024 px tile has a tenth of it."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A declared result. `dtype` is None for text; `shape` holds None for sides that the input decides."""

    name: str
    dtype: "np.dtype[Any] | None"
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """`inputs`: for each parameter the constants or the names of the tensors that it takes."""

    kind: str
    inputs: Mapping[str, tuple[str | Values, ...]]
    texts: Mapping[str, str]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output of the model. `image`: 8-bit RGB pixels outside, numbers from 0 to 255 inside.

    `shape`: of an array, as declared; empty where the file leaves it open.
    """

    name: str
    image: bool
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Program:
    """Operations in the order of execution; `constants` by name."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    operations: tuple[Operation, ...]
    constants: Mapping[str, Constant]


def read_program(model: bytes, files: Mapping[str, bytes]) -> Program:
    """`model`: the content of model.mlmodel; `files`: what lies beside it, by relative name ("weights/weight.bin").

    Raises ArtifactError for anything that is not a readable ML program, MissingExtra without coremltools.
    """
    specification = messages().Model()
    try:
        specification.ParseFromString(model)
    except Exception as error:  # protobuf's DecodeError; a class of another package where C++ decodes
        raise ArtifactError(f"model.mlmodel is not a Core ML model: {error}") from error
    if specification.WhichOneof("Type") != "mlProgram":
        found = specification.WhichOneof("Type") or "nothing"
        raise ArtifactError(f"model.mlmodel must hold an ML program; found {found}.")
    return _Reader(files).program(specification)


@functools.cache
def messages() -> ModuleType:
    """coremltools' generated module Model_pb2. Raises MissingExtra if coremltools is not installed."""
    if PROTO not in sys.modules:
        folder = _package_folder() / "proto"
        spec = importlib.util.spec_from_file_location(
            PROTO, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules[PROTO] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[PROTO])
    return importlib.import_module(f"{PROTO}.Model_pb2")


def _package_folder() -> Path:
    """Where coremltools is installed, without importing it."""
    try:
        found = importlib.util.find_spec("coremltools")
    except ModuleNotFoundError as error:
        raise MissingExtra("coremltools", "coreml") from error
    if found is None or found.origin is None:
        raise MissingExtra("coremltools", "coreml")
    return Path(found.origin).parent


class _Reader:
    """One pass over a model; `constants` grows as `const` operations are met."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files
        self.constants: dict[str, Constant] = {}

    def program(self, specification: Any) -> Program:
        functions = specification.mlProgram.functions
        if "main" not in functions:
            raise ArtifactError(f"model.mlmodel has no function 'main'; it has: {', '.join(functions) or 'none'}.")
        main = functions["main"]
        if main.opset not in main.block_specializations:
            raise ArtifactError(f"model.mlmodel: function 'main' has no block for its opset {main.opset!r:.40}.")
        block = main.block_specializations[main.opset]
        operations = tuple(self._operations(block))
        names = [port.name for port in specification.description.output]
        if list(block.outputs) != names:
            raise ArtifactError(f"model.mlmodel returns {list(block.outputs)} but describes the outputs {names}.")
        inputs, outputs = specification.description.input, specification.description.output
        return Program(tuple(map(_port, inputs)), tuple(map(_port, outputs)), operations, self.constants)

    def _operations(self, block: Any) -> Iterator[Operation]:
        for operation in block.operations:
            if operation.type == "const":
                self._constant(operation)
            else:
                yield self._operation(operation)

    def _constant(self, operation: Any) -> None:
        if len(operation.outputs) != 1 or "val" not in operation.attributes:
            raise ArtifactError("model.mlmodel: a const operation needs one output and the attribute 'val'.")
        name = operation.outputs[0].name
        self.constants[name] = self._value(operation.attributes["val"], name)

    def _operation(self, operation: Any) -> Operation:
        inputs: dict[str, tuple[str | Values, ...]] = {}
        texts: dict[str, str] = {}
        outputs = tuple(map(_tensor, operation.outputs))
        label = outputs[0].name if outputs else operation.type
        for key, value in operation.attributes.items():
            if key != "name":
                self._take(key, (self._value(value, f"{label}.{key}"),), inputs, texts)
        for key, argument in operation.inputs.items():
            self._take(key, tuple(self._binding(binding, label) for binding in argument.arguments), inputs, texts)
        return Operation(operation.type, inputs, texts, outputs)

    def _take(
        self,
        key: str,
        values: tuple[Constant, ...],
        inputs: dict[str, tuple[str | Values, ...]],
        texts: dict[str, str],
    ) -> None:
        """Sort the values of a parameter: text is kept apart from the names of tensors."""
        only = values[0] if len(values) == 1 else None
        if isinstance(only, _Text):
            texts[key] = str(only)
        else:
            inputs[key] = values

    def _binding(self, binding: Any, label: str) -> Constant:
        if binding.WhichOneof("binding") == "value":
            return self._value(binding.value, label)
        constant = self.constants.get(binding.name)
        return constant if isinstance(constant, _Text) else binding.name

    def _value(self, value: Any, label: str) -> Constant:
        kind = value.WhichOneof("value")
        declared = value.type.tensorType
        if kind == "immediateValue" and declared.dataType == STRING:
            texts = value.immediateValue.tensor.strings.values
            return _Text(texts[0] if texts else "")
        dtype, shape = _dtype(declared.dataType, label), _sides(declared, label)
        if kind == "immediateValue":
            flat = _immediate(value.immediateValue.tensor, dtype, label)
        elif kind == "blobFileValue":
            flat = self._blob(value.blobFileValue, dtype, math.prod(shape), label)
        else:
            raise ArtifactError(f"model.mlmodel: the constant {label} has no value.")
        if flat.size != math.prod(shape):
            raise ArtifactError(f"model.mlmodel: {label} declares the shape {shape} but holds {flat.size} values.")
        return flat.reshape(shape)

    def _blob(self, blob: Any, dtype: "np.dtype[Any]", count: int, label: str) -> Values:
        """The values at `blob.offset` of a weight file, as its header there describes them."""
        name = blob.fileName.removeprefix(WEIGHTS_PREFIX)
        if name not in self.files:
            raise ArtifactError(f"{label} is stored in {blob.fileName!r:.80}, which the package does not hold.")
        content, size = self.files[name], count * dtype.itemsize
        if not 0 <= blob.offset <= len(content) - BLOB_HEADER.size:
            raise ArtifactError(f"{name}: {label} at offset {blob.offset} lies outside of its {len(content)} bytes.")
        sentinel, _, stored, start = BLOB_HEADER.unpack_from(content, blob.offset)
        if sentinel != SENTINEL:
            raise ArtifactError(f"{name}: no weight begins at offset {blob.offset} ({label}).")
        if stored != size or start + stored > len(content):
            raise ArtifactError(
                f"{name}: {label} needs {size} bytes; its header says {stored} bytes from {start} on in a file of "
                f"{len(content)} bytes."
            )
        return np.frombuffer(content, dtype, count, start)


class _Text(str):
    """A constant that is text, told apart from the name of a tensor."""

    __slots__ = ()


def _port(feature: Any) -> Port:
    kind = feature.type.WhichOneof("Type")
    if kind not in ("multiArrayType", "imageType"):
        raise ArtifactError(f"{feature.name!r:.80} is of type {kind}; this kit knows arrays and images.")
    image = kind == "imageType"
    if image and feature.type.imageType.colorSpace != feature.type.imageType.RGB:
        raise ArtifactError(f"The image {feature.name!r:.80} must be RGB.")
    return Port(feature.name, image, () if image else tuple(feature.type.multiArrayType.shape))


def _tensor(declared: Any) -> Tensor:
    kind = declared.type.tensorType
    if declared.type.WhichOneof("type") != "tensorType":
        raise ArtifactError(f"model.mlmodel: {declared.name!r:.80} is not a tensor.")
    dtype = None if kind.dataType == STRING else _dtype(kind.dataType, declared.name)
    sides = tuple(
        side.constant.size if side.WhichOneof("dimension") == "constant" else None for side in kind.dimensions
    )
    _check_count([side for side in sides if side is not None], declared.name)
    return Tensor(declared.name, dtype, sides)


def _dtype(number: int, label: str) -> "np.dtype[Any]":
    if number not in TYPES:
        raise ArtifactError(f"model.mlmodel: {label} has the data type {number}, which this kit does not know.")
    return TYPES[number]


def check_size(shape: tuple[int, ...]) -> None:
    """Raise ArtifactError for a tensor that no network of this kit makes, before there is one."""
    if math.prod(shape) > LIMIT_ELEMENTS:
        raise ArtifactError(f"would make a tensor of shape {shape}; at most {LIMIT_ELEMENTS} elements are made")


def _sides(declared: Any, label: str) -> tuple[int, ...]:
    sides = tuple(side.constant.size for side in declared.dimensions if side.WhichOneof("dimension") == "constant")
    if len(sides) != len(declared.dimensions):
        raise ArtifactError(f"model.mlmodel: the constant {label} has no fixed shape.")
    return _check_count(sides, label)


def _check_count(sides: tuple[int, ...] | list[int], label: str) -> tuple[int, ...]:
    if len(sides) > LIMIT_RANK:
        raise ArtifactError(f"model.mlmodel: {label} has {len(sides)} dimensions; at most {LIMIT_RANK} are read.")
    if math.prod(sides) > LIMIT_ELEMENTS:
        raise ArtifactError(
            f"model.mlmodel: {label} has {math.prod(sides)} elements; at most {LIMIT_ELEMENTS} are read."
        )
    return tuple(sides)


def _immediate(tensor: Any, dtype: "np.dtype[Any]", label: str) -> Values:
    field = tensor.WhichOneof("value")
    if field == "bytes":
        content = tensor.bytes.values
        if len(content) % dtype.itemsize:
            raise ArtifactError(f"model.mlmodel: {label} has {len(content)} bytes, which are no {dtype} values.")
        return np.frombuffer(content, dtype)
    if field not in LISTS:
        raise ArtifactError(f"model.mlmodel: {label} holds {field or 'nothing'} where {dtype} values should be.")
    return np.array(getattr(tensor, field).values, LISTS[field]).astype(dtype)
