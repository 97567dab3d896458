"""Writes a .tflite file: the tensors, constants and operators of one subgraph, as a FlatBuffer."""

from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
ALIGNMENT_BYTES = 16
"""`force_align` of a buffer in schema.fbs; kernels load constants with vector instructions from where they lie."""

TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "int32": schema.TensorType.INT32,
}

VERSIONS = {
    ("CONV_2D", "int8"): 3,
    ("DEPTHWISE_CONV_2D", "int8"): 3,
    ("DEQUANTIZE", "int8"): 2,
    ("DEQUANTIZE", "float16"): 3,
    ("ADD", "int8"): 2,
    ("SUB", "int8"): 2,
    ("MUL", "int8"): 2,
    ("CONCATENATION", "int8"): 2,
    ("SLICE", "int8"): 2,
    ("MAX_POOL_2D", "int8"): 2,
    ("PAD", "int8"): 2,
    ("GELU", "int8"): 2,
    ("RESIZE_BILINEAR", "float32"): 3,
    ("BROADCAST_TO", "float32"): 2,
}
"""Version of an operator by the type of its first input, 1 where none is given (tensorflow/lite/tools/versioning):
the lowest that has it, so that runtimes from 2.14 on load the file."""


@dataclass(frozen=True, slots=True)
class Rounding:
    """value = scale * (number - zero_point), numbers of `dtype`."""

    dtype: str
    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of the file. `shape`: as it lies there; `rounding` is None where it holds plain numbers.

    `order`: which axis of the network's tensor lies at each place: (0, 2, 3, 1) is NHWC.
    """

    index: int
    shape: tuple[int, ...]
    dtype: str
    rounding: Rounding | None = None
    order: tuple[int, ...] = ()


def usual_order(rank: int) -> tuple[int, ...]:
    """Images lie channels last, everything else as in the network."""
    return (0, 2, 3, 1) if rank == 4 else tuple(range(rank))


class AlignedBuffer:
    """A constant's bytes. In place of the schema's BufferT, whose `Pack` aligns to a single byte."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = content

    def Pack(self, builder: Any) -> int:
        data = None
        if self.content:
            builder.StartVector(1, len(self.content), ALIGNMENT_BYTES)
            builder.head = builder.Head() - len(self.content)
            builder.Bytes[builder.Head() : builder.Head() + len(self.content)] = self.content
            data = builder.EndVector()
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        offset: int = schema.BufferEnd(builder)
        return offset


class FileWriter:
    """Collects one subgraph in the order of execution; equal constants are stored once."""

    def __init__(self) -> None:
        self.buffers = [AlignedBuffer()]
        self.tensors: list[Any] = []
        self.operators: list[Any] = []
        self.codes: dict[tuple[str, int], int] = {}
        self.constants: dict[tuple[object, ...], Tensor] = {}
        self.counts: dict[tuple[str, str], int] = {}
        """How many operators there are, by code and type of the first input."""

    def tensor(self, name: str, shape: tuple[int, ...], kind: "Rounding | str" = "float32") -> Tensor:
        """A tensor that an operator writes; `kind` is its type, or its rounding where it holds rounded numbers."""
        if isinstance(kind, str):
            return self._add(name, shape, kind, None, 0, None)
        parameters = _parameters(np.array([kind.scale]), np.array([kind.zero_point]), 0)
        return self._add(name, shape, kind.dtype, parameters, 0, kind)

    def constant(
        self, name: str, values: npt.NDArray[Any], scales: npt.NDArray[Any] | None = None, axis: int = 0
    ) -> Tensor:
        """`values` as they lie in the file; `scales`: one per entry of `axis` where they stand for rounded numbers."""
        values = np.ascontiguousarray(values)
        key = (values.dtype, values.shape, values.tobytes(), None if scales is None else scales.tobytes(), axis)
        if key not in self.constants:
            parameters = None if scales is None else _parameters(scales, np.zeros(len(scales)), axis)
            self.buffers.append(AlignedBuffer(values.tobytes()))
            buffer = len(self.buffers) - 1
            self.constants[key] = self._add(name, values.shape, str(values.dtype), parameters, buffer, None)
        return self.constants[key]

    def operator(self, code: str, inputs: list[Tensor], output: Tensor, options: Any = None) -> Tensor:
        """Append operator `code` (its name in schema.fbs); `options`: its builtin options object. Returns `output`."""
        operator = schema.OperatorT()
        key = code, VERSIONS.get((code, inputs[0].dtype), 1)
        operator.opcodeIndex = self.codes.setdefault(key, len(self.codes))
        operator.inputs = [tensor.index for tensor in inputs]
        operator.outputs = [output.index]
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        self.operators.append(operator)
        self.counts[code, inputs[0].dtype] = self.counts.get((code, inputs[0].dtype), 0) + 1
        return output

    def save(self, image: Tensor, result: Tensor, names: tuple[str, str]) -> bytes:
        """The file, with `image` in and `result` out under `names`; the same calls give the same bytes."""
        self.tensors[image.index].name, self.tensors[result.index].name = names
        graph = schema.SubGraphT()
        graph.name = "main"
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs, graph.outputs = [image.index], [result.index]
        model = schema.ModelT()
        model.version = SCHEMA_VERSION
        model.operatorCodes = [_operator_code(code, version) for code, version in self.codes]
        model.subgraphs, model.buffers = [graph], self.buffers
        model.signatureDefs = [_signature(image, result, names)]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
        return bytes(builder.Output())

    def _add(
        self, name: str, shape: tuple[int, ...], dtype: str, parameters: Any, buffer: int, rounding: Rounding | None
    ) -> Tensor:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), TYPES[dtype], buffer
        tensor.quantization, tensor.hasRank = parameters, True
        self.tensors.append(tensor)
        return Tensor(len(self.tensors) - 1, tuple(shape), dtype, rounding, usual_order(len(shape)))


def _parameters(scales: npt.NDArray[Any], zero_points: npt.NDArray[Any], axis: int) -> Any:
    parameters = schema.QuantizationParametersT()
    parameters.scale = scales.astype(np.float32)
    parameters.zeroPoint = zero_points.astype(np.int64)
    parameters.quantizedDimension = axis
    return parameters


def _operator_code(code: str, version: int) -> Any:
    number = getattr(schema.BuiltinOperator, code)
    entry = schema.OperatorCodeT()
    entry.builtinCode, entry.version = number, version
    entry.deprecatedBuiltinCode = min(number, schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
    return entry


def _signature(image: Tensor, result: Tensor, names: tuple[str, str]) -> Any:
    """Lets Android and Python callers name the tensors."""
    signature = schema.SignatureDefT()
    signature.signatureKey = "serving_default"
    signature.inputs, signature.outputs = [_entry(names[0], image)], [_entry(names[1], result)]
    return signature


def _entry(name: str, tensor: Tensor) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, tensor.index
    return entry
