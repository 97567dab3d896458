"""Small operations on ONNX graphs: clean, fix the size, check, count. Ours are flat: no functions, no subgraphs."""

import math
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, numpy_helper

from edgesr.errors import ConversionError
from edgesr.quantization.toolchain import stage
from edgesr.types import Size

PRODUCER = "edgesr"
COUNTING_SIZE: Size = (64, 64)


def load(content: bytes) -> ModelProto:
    return onnx.load_from_string(content)


def save(model: ModelProto) -> bytes:
    """Bytes of the checked model; the same for the same model."""
    with stage("check"):
        onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def clean(model: ModelProto) -> ModelProto:
    """Drop what the exporter notes about its own work: stack traces, local paths, names of its classes, shapes."""
    model.producer_name, model.producer_version, model.doc_string = PRODUCER, "", ""
    del model.metadata_props[:]
    graph = model.graph
    graph.name, graph.doc_string = PRODUCER, ""
    del graph.metadata_props[:]
    del graph.value_info[:]
    for item in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        item.doc_string = ""
        del item.metadata_props[:]
    return model


def fix_size(model: ModelProto, size: Size, scale: int) -> ModelProto:
    """Set the sides of input and output, unless they are fixed already."""
    if all(dim.HasField("dim_value") for dim in model.graph.input[0].type.tensor_type.shape.dim):
        return model
    _set_sides(model.graph.input[0], size)
    _set_sides(model.graph.output[0], (scale * size[0], scale * size[1]))
    return model


def _set_sides(value: ValueInfoProto, size: Size) -> None:
    for dim, side in zip(value.type.tensor_type.shape.dim[2:], size, strict=True):
        dim.dim_value = side


def initializers(graph: GraphProto) -> dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.generic]]"]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def producers(graph: GraphProto) -> dict[str, NodeProto]:
    """Tensor name -> the node that makes it."""
    return {output: node for node in graph.node for output in node.output}


def check_weights_are_int8(model: ModelProto) -> None:
    """Every weight behind a quantized convolution must be an int8 constant and a DequantizeLinear per channel.

    Float constants between a DequantizeLinear and a QuantizeLinear are quantized by ONNX Runtime itself, more coarsely
    (-0.15 dB). A convolution that was left in float may read a dequantized tensor, but not between two roundings.
    """
    made, constants, read = producers(model.graph), initializers(model.graph), readers(model.graph)
    for conv in quantized_convolutions(model.graph):
        weight = made.get(conv.input[1])
        if weight is None and {node.op_type for node in read[conv.output[0]]} != {"QuantizeLinear"}:
            continue
        stored = constants.get(weight.input[0]) if weight is not None else None
        if weight is None or weight.op_type != "DequantizeLinear" or stored is None or stored.dtype != np.int8:
            raise ConversionError("check", f"the weight of {conv.name} is not stored as int8")


def with_own_zero_points(content: bytes) -> bytes:
    """The same graph, in which each quantized weight is read by one convolution and shares no zero points.

    ONNX Runtime's exact kernels for CPUs without VNNI take unsigned weights; where two convolutions share a weight (as
    those of a split range do), or two weights zero points, it fails while making those ("Attempt to replace the
    existing tensor", 1.31).
    """
    model = load(content)
    graph, used = model.graph, set[str]()
    known = {tensor.name: tensor for tensor in graph.initializer}
    reading, nodes = readers(graph), list[NodeProto]()
    for node in graph.node:
        weight = node.op_type == "DequantizeLinear" and len(node.input) > 2 and node.input[0] in known
        for number, reader in enumerate(reading.get(node.output[0], [])[1:] if weight else [], start=1):
            own = NodeProto()
            own.CopyFrom(node)
            own.name, own.output[0] = f"{node.name}_copy_{number}", f"{node.output[0]}_copy_{number}"
            for position in (0, 2):
                own.input[position] = _copy(
                    graph, known[node.input[position]], f"{node.input[0]}_copy_{number}_{position}"
                )
            reader.input[list(reader.input).index(node.output[0])] = own.output[0]
            nodes.append(own)
        for position in (0, 2) if weight else ():
            if node.input[position] in used:
                node.input[position] = _copy(graph, known[node.input[position]], f"{node.output[0]}_input_{position}")
            used.add(node.input[position])
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return save(model)


def round_parts_before_concat(content: bytes) -> bytes:
    """The same graph, in which tensors that are joined and then rounded are rounded first: the same numbers.

    So that bytes are moved and not floats; ONNX Runtime does not do it by itself.
    """
    model = load(content)
    reading, nodes, done = readers(model.graph), list[NodeProto](), set[str]()
    for node in model.graph.node:
        after = reading.get(node.output[0], []) if node.op_type == "Concat" else []
        if len(after) == 1 and after[0].op_type == "QuantizeLinear":
            for number, part in enumerate(node.input):
                own = NodeProto()
                own.CopyFrom(after[0])
                own.name, own.input[0] = f"{own.name}_part_{number}", part
                own.output[0] = f"{own.output[0]}_part_{number}"
                node.input[number] = own.output[0]
                nodes.append(own)
            node.output[0] = after[0].output[0]
            done.add(node.output[0])
        elif node.op_type == "QuantizeLinear" and node.output[0] in done:
            continue
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return save(model)


def _copy(graph: GraphProto, tensor: TensorProto, name: str) -> str:
    own = TensorProto()
    own.CopyFrom(tensor)
    own.name = name
    graph.initializer.append(own)
    return name


def readers(graph: GraphProto) -> dict[str, list[NodeProto]]:
    """Tensor name -> the nodes that read it."""
    found: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found


def quantized_convolutions(graph: GraphProto) -> Iterator[NodeProto]:
    """Convolutions that read a dequantized tensor."""
    made = producers(graph)
    for node in graph.node:
        source = made.get(node.input[0]) if node.op_type == "Conv" else None
        if source is not None and source.op_type == "DequantizeLinear":
            yield node


def convolution_macs(content: bytes, scale: int) -> dict[str, int]:
    """Convolution name -> its share of the work: multiply-accumulates for a 64x64 input, or one of the fixed size."""
    model = onnx.shape_inference.infer_shapes(fix_size(load(content), COUNTING_SIZE, scale), data_prop=True)
    shapes = _shapes((*model.graph.value_info, *model.graph.output))
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    return {
        node.name: math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])
        for node in model.graph.node
        if node.op_type == "Conv"
    }


def convolutions_by_factor(content: bytes) -> dict[str, str]:
    """Name of a multiplication by a constant -> name of the convolution whose output it takes."""
    graph = load(content).graph
    made, constants = producers(graph), {tensor.name for tensor in graph.initializer}
    found = {}
    for node in graph.node:
        values = [name for name in node.input if name not in constants] if node.op_type == "Mul" else []
        if len(values) == 1 and values[0] in made and made[values[0]].op_type == "Conv":
            found[node.name] = made[values[0]].name
    return found


def _shapes(values: tuple[ValueInfoProto, ...]) -> dict[str, tuple[int, ...]]:
    return {value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim) for value in values}


def integer_share(macs: Mapping[str, int], integer: set[str]) -> float:
    """Part of all multiply-accumulates that the convolutions named in `integer` do, 0 to 1."""
    return sum(macs[name] for name in integer & macs.keys()) / max(1, sum(macs.values()))
