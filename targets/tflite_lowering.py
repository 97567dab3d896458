"""From an ATen graph to the operators of LiteRT, NHWC from the first to the last: one pass, a rule per operator.

What runs on integers is decided by the roundings of the graph alone: an operator whose inputs are rounded and whose
only reader rounds its result is an integer operator with exactly those scales; everything else is float32 between
DEQUANTIZE and QUANTIZE, which is what the graph says.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ai_edge_litert import schema_py_generated as schema
from torch import fx

from edgesr.errors import ConversionError
from edgesr.targets.base import INPUT_NAME, OUTPUT_NAME
from edgesr.targets.tflite_file import FileWriter, Rounding, Tensor, usual_order
from edgesr.types import Io

QUANTIZE = "quantized_decomposed.quantize_per_tensor.default"
DEQUANTIZE = "quantized_decomposed.dequantize_per_tensor.default"
DEQUANTIZE_WEIGHT = "quantized_decomposed.dequantize_per_channel.default"

PIXELS: Mapping[Io, Rounding] = MappingProxyType(
    {"uint8": Rounding("uint8", 1 / 255, 0), "int8": Rounding("int8", 1 / 255, -128)}
)
"""An 8-bit pixel p is p / 255; as int8 it is 128 lower."""

Values = npt.NDArray[Any]
Rule = Callable[["Lowering", fx.Node], Tensor]


class Lowering:
    """One pass over a graph. `macs`: multiply-accumulates of the convolutions, by the type they compute on."""

    def __init__(
        self, program: torch.export.ExportedProgram, rules: Mapping[str, Rule], io: Io, weight_dtype: str = "float32"
    ) -> None:
        """`rules`: how each operator is written. `weight_dtype`: how float32 weights are stored, or "float16"."""
        self.file, self.rules, self.io, self.weight_dtype = FileWriter(), rules, io, weight_dtype
        self.parameters, self.image, self.result = _inputs(program)
        self.values: dict[fx.Node, Tensor] = {}
        self.turns: dict[tuple[int, tuple[int, ...], tuple[int, ...]], Tensor] = {}
        self.casts: dict[tuple[int, Rounding | None], Tensor] = {}
        self.macs: dict[str, int] = {}
        self.nodes = list(program.graph.nodes)

    def run(self) -> bytes:
        """The file. Raises ConversionError naming an operator that has no rule."""
        self.values[self.image] = self.file.tensor(INPUT_NAME, nhwc(self.image), PIXELS.get(self.io, "float32"))
        for node in self.nodes:
            if _is_activation(node):
                self.values[node] = self._lower(node)
        result = self.cast(self.of(self.result), PIXELS.get(self.io), OUTPUT_NAME)
        return self.file.save(self.values[self.image], result, (INPUT_NAME, OUTPUT_NAME))

    def _lower(self, node: fx.Node) -> Tensor:
        rule = self.rules.get(str(node.target))
        if rule is None:
            raise ConversionError("lower", f"LiteRT has no rule for the operator {node.target} ({node.name})")
        return rule(self, node)

    def of(self, node: Any, order: tuple[int, ...] | None = None) -> Tensor:
        """The tensor of an activation, its axes in the usual order, or in `order`.

        Or of a parameter or a number, with as many axes as `order` has.
        """
        if isinstance(node, int | float):
            return self.file.constant(f"const_{node}", np.full((1,) * len(order or ()), node, np.float32))
        if isinstance(node, fx.Node) and node.name in self.parameters:
            values = self.parameters[node.name]
            order = order or usual_order(values.ndim)
            values = values.reshape((1,) * (len(order) - values.ndim) + values.shape)
            return replace(self.file.constant(node.name, values.transpose(order)), order=order)
        tensor = self.lying(node)
        return self.turned(tensor, order or usual_order(len(tensor.shape)))

    def lying(self, node: Any) -> Tensor:
        """The tensor of an activation in whichever order its axes lie."""
        if not isinstance(node, fx.Node) or node not in self.values:
            raise ConversionError("lower", f"expected an activation, found {node}")
        return self.values[node]

    def turned(self, tensor: Tensor, order: tuple[int, ...]) -> Tensor:
        """`tensor` with its axes in `order`; made once."""
        if tensor.order == order:
            return tensor
        key = (tensor.index, tensor.order, order)
        if key not in self.turns:
            self.turns[key] = self._transpose(tensor, order)
        return self.turns[key]

    def _transpose(self, tensor: Tensor, order: tuple[int, ...]) -> Tensor:
        """As a TRANSPOSE of as few axes as possible: neighbours that stay neighbours are one, sides of 1 are none."""
        moved = [tensor.order.index(axis) for axis in order]
        shape = tuple(tensor.shape[place] for place in moved)
        name = f"{tensor.index}_{''.join(map(str, order))}"
        runs: list[list[int]] = []
        for place in (place for place in moved if tensor.shape[place] != 1):
            follows = runs and not any(side != 1 for side in tensor.shape[runs[-1][-1] + 1 : place])
            if follows and place > runs[-1][-1]:
                runs[-1].append(place)
            else:
                runs.append([place])
        merged = {run[0]: math.prod(tensor.shape[place] for place in run) for run in runs}
        places = sorted(merged)
        axes = [places.index(run[0]) for run in runs]
        kind = tensor.rounding or tensor.dtype
        if axes != sorted(axes):
            tensor = self.reshaped(tensor, tuple(merged[place] for place in places), f"{name}_flat")
            turned = self.file.tensor(f"{name}_turned", tuple(merged[run[0]] for run in runs), kind)
            tensor = self.file.operator("TRANSPOSE", [tensor, self.integers(*axes)], turned, schema.TransposeOptionsT())
        return replace(self.reshaped(tensor, shape, name), order=order)

    def stored(self, name: str, values: Values) -> Tensor:
        """float32 weights as a constant, of half the bytes if weights are stored as float16."""
        constant = self.file.constant(name, values.astype(self.weight_dtype))
        if self.weight_dtype == "float32":
            return constant
        return self.file.operator("DEQUANTIZE", [constant], self.file.tensor(f"{constant.index}", values.shape))

    def reshaped(self, tensor: Tensor, shape: tuple[int, ...], name: str) -> Tensor:
        """The same values in the order in which they lie; a RESHAPE unless the shape is the same."""
        if tensor.shape == shape:
            return tensor
        options = schema.ReshapeOptionsT()
        options.newShape = list(shape)
        result = self.file.tensor(name, shape, tensor.rounding or tensor.dtype)
        return self.file.operator("RESHAPE", [tensor, self.integers(*shape)], result, options)

    def plain(self, node: Any, order: tuple[int, ...] | None = None) -> Tensor:
        """The activation as float32, its axes in the usual order, or in `order`."""
        tensor = self.of(node, order)
        return self.cast(tensor, None, f"{tensor.index}_float")

    def cast(self, tensor: Tensor, rounding: Rounding | None, name: str) -> Tensor:
        """`tensor` rounded as `rounding`, or as float32 if that is None; made once."""
        if tensor.rounding == rounding:
            return tensor
        key = (tensor.index, rounding)
        if key not in self.casts:
            self.casts[key] = self._cast(tensor, rounding, name)
        return replace(self.casts[key], order=tensor.order)

    def _cast(self, tensor: Tensor, rounding: Rounding | None, name: str) -> Tensor:
        """From one step to another through float32: XNNPACK's direct way multiplies by a number of few bits.

        Its error is one of its own: outputs agree with the graph's to 44 dB with it, to 60 dB without (PlainUSR-T).
        """
        if rounding is None:
            return self.file.operator("DEQUANTIZE", [tensor], self.file.tensor(name, tensor.shape))
        if tensor.rounding is not None and tensor.rounding.scale != rounding.scale:
            tensor = self.cast(tensor, None, f"{name}_float")
        return self.file.operator("QUANTIZE", [tensor], self.file.tensor(name, tensor.shape, rounding))

    def emit(
        self,
        code: str,
        inputs: list[Tensor],
        node: fx.Node,
        kind: Rounding | str,
        options: Any = None,
        order: tuple[int, ...] | None = None,
    ) -> Tensor:
        """Append operator `code` that writes the tensor of `node`, its axes in `order` (default: the usual one)."""
        shape = shape_of(node)
        order = order or usual_order(len(shape))
        result = self.file.tensor(node.name, tuple(shape[axis] for axis in order), kind)
        return replace(self.file.operator(code, inputs, result, options), order=order)

    def integers(self, *values: int) -> Tensor:
        """An int32 constant, as shapes and axes are given."""
        return self.file.constant("_".join(("const", *map(str, values))), np.array(values, np.int32))

    def weight(self, node: Any) -> Values:
        """float32 or int8 values of a parameter."""
        if not isinstance(node, fx.Node) or node.name not in self.parameters:
            raise ConversionError("lower", f"expected a parameter, found {node}")
        return self.parameters[node.name]


def _is_activation(node: fx.Node) -> bool:
    """Not a parameter, not the parts of a split together."""
    tensor = node.op == "call_function" and not isinstance(node.meta["val"], list | tuple)
    return tensor and str(node.target) != DEQUANTIZE_WEIGHT


def arguments(node: fx.Node, count: int = 0) -> list[Any]:
    """The node's positional arguments, None for those of `count` that are left out."""
    return [*node.args, *[None] * (count - len(node.args))]


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Shape of the node's tensor in the network."""
    return tuple(int(side) for side in node.meta["val"].shape)


def nhwc(node: fx.Node) -> tuple[int, ...]:
    """Shape of the node's tensor in the file, for an image."""
    shape = shape_of(node)
    if len(shape) != 4:
        raise ConversionError("lower", f"{node.name} has {len(shape)} axes; this rule for LiteRT knows images only")
    return shape[0], shape[2], shape[3], shape[1]


def rounding_of(node: fx.Node) -> Rounding:
    """What a quantize or dequantize node rounds to."""
    _, scale, zero_point, _, _, dtype = arguments(node)
    return Rounding(str(dtype).removeprefix("torch."), scale, zero_point)


def wanted(node: fx.Node) -> Rounding | None:
    """The rounding of the result if nothing reads it unrounded."""
    readers = list(node.users)
    return rounding_of(readers[0]) if len(readers) == 1 and str(readers[0].target) == QUANTIZE else None


def _inputs(program: torch.export.ExportedProgram) -> tuple[dict[str, Values], fx.Node, fx.Node]:
    """Parameters by placeholder, the image, and the node that is the result."""
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    tensors = {**program.state_dict, **program.constants}
    parameters = {node: tensors[name].detach().numpy() for node, name in names.items()}
    parameters |= {
        node: program.constants[name].numpy() for node, name in signature.inputs_to_lifted_tensor_constants.items()
    }
    by_name = {node.name: node for node in program.graph.nodes}
    return parameters, by_name[signature.user_inputs[0]], by_name[signature.user_outputs[0]]
