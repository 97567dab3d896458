"""TensorRT: an ONNX file that its parser takes, and a script that builds the engine on a Jetson."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from edgesr.quantization.toolchain import stage
from edgesr.targets import onnx_graph
from edgesr.targets.base import INPUT_NAME, Conversion, tensor_specs, versions
from edgesr.targets.export import with_size
from edgesr.targets.float16 import overflowing
from edgesr.targets.rewrite import Rewrite
from edgesr.targets.source import Source
from edgesr.types import Request, Size

MAIN = "model.onnx"
SCRIPT = "build_engine.sh"
PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime")
OPSET = 17
"""The newest of TensorRT 8.5 (JetPack 5). TensorRT 10 (JetPack 6) takes it too."""
LEVELS = 127
OPTIMUM: Size = (256, 256)
LARGEST: Size = (512, 512)
DEFAULTS_SINCE_18 = {
    "Resize": ("antialias", "keep_aspect_ratio_policy"),
    "AveragePool": ("dilations",),
    "Cast": ("saturate",),
    "QuantizeLinear": ("saturate", "output_dtype", "block_size", "precision"),
    "DequantizeLinear": ("block_size", "output_dtype"),
    "ReduceMean": ("noop_with_empty_axes",),
    "Split": ("num_outputs",),
}
"""Attributes that opset 17 does not have; the exporter writes them with their defaults. A Split without one makes equal
parts, as many as it has outputs."""

REWRITES: tuple[Rewrite, ...] = (
    Rewrite(
        "decompose_gelu", "opset 17, the newest that TensorRT 8.5 reads, has no Gelu; its exact form with Erf does"
    ),
    Rewrite("to_opset_17", "TensorRT 8.5 and 8.6 read up to opset 17"),
    Rewrite(
        "unround_image",
        "the image's rounding to 1/255 changes no 8-bit photo, and symmetric int8 would halve its levels",
    ),
    Rewrite(
        "store_weights_as_floats", "TensorRT 8 quantizes weights itself; the floats lie on the int8 grid, so exactly"
    ),
)
"""Exact ones; `make_symmetric` is not, and is said in the notes of every INT8 artifact."""

NOT_RUN = (
    f"No TensorRT engine was built or run here: {MAIN} was checked with ONNX Runtime as a reference. Build the engine "
    f"on the device with {SCRIPT}; speed, memory and TensorRT's own rounding are unknown until then."
)
MOVED = (
    "TensorRT takes symmetric int8 only: every activation scale is max(|low|, |high|) / 127 of the range that the one "
    "quantized graph has, so a one-sided range keeps about 127 of its 255 levels. The image itself is not rounded. "
    "All convolutions have int8 Q/DQ except the first, whose input is the image."
)


def convert(source: Source, request: Request, folder: Path) -> Conversion:
    """Write `model.onnx` and `build_engine.sh` for `request` into `folder`."""
    content = with_size(source.onnx(request), request.sizes, source.scale)
    with stage("tensorrt"):
        model = onnx_graph.load(content)
        if request.precision == "int8":
            unround_image(model.graph)
            make_symmetric(model.graph)
            store_weights_as_floats(model.graph)
        decompose_gelu(model.graph)
        to_opset_17(model)
        kept = sorted(node.name for node in overflowing(model.graph)) if request.precision != "fp32" else []
        (folder / MAIN).write_bytes(onnx_graph.save(model))
    (folder / SCRIPT).write_text(build_script(request, kept, source.min_side_px), encoding="utf-8")
    inputs, outputs = tensor_specs(request)
    return Conversion(
        main=MAIN,
        files=(MAIN, SCRIPT),
        inputs=inputs,
        outputs=outputs,
        runtime_options={"min_side_px": str(source.min_side_px)},
        toolchain=versions((*PACKAGES, "torchao") if request.precision == "int8" else PACKAGES),
        notes=_notes(request, model, source.scale, kept),
    )


def _notes(request: Request, model: ModelProto, scale: int, kept: list[str]) -> tuple[str, ...]:
    notes = [NOT_RUN]
    if request.precision == "int8":
        macs = onnx_graph.convolution_macs(onnx_graph.save(model), scale)
        asked = {node.name for node in onnx_graph.quantized_convolutions(model.graph)}
        share = onnx_graph.integer_share(macs, asked)
        notes = [f"{share:.0%} of the convolution work (multiply-accumulates) reads int8 through Q/DQ.", MOVED, NOT_RUN]
    if request.precision != "fp32":
        notes.append(f"The script allows float16; {len(kept)} layers whose values would overflow it stay float32.")
    return tuple(notes)


def decompose_gelu(graph: GraphProto) -> None:
    """Gelu(x) -> x * (1 + erf(x / sqrt 2)) * 0.5, exact (Hendrycks and Gimpel, 2016)."""
    nodes: list[NodeProto] = []
    for node in graph.node:
        nodes.extend(_erf_form(node) if node.op_type == "Gelu" else [node])
    if len(nodes) > len(graph.node):
        values = (("gelu_root", math.sqrt(2)), ("gelu_one", 1), ("gelu_half", 0.5))
        graph.initializer.extend(numpy_helper.from_array(np.array(v, np.float32), name) for name, v in values)
    _replace_nodes(graph, nodes)


def _erf_form(node: NodeProto) -> Iterator[NodeProto]:
    assert all(helper.get_attribute_value(each) == b"none" for each in node.attribute)
    (x,), (y,) = node.input, node.output
    steps = (("Div", x, "gelu_root"), ("Erf", None, None), ("Add", None, "gelu_one"), ("Mul", None, x))
    made = x
    for operator, first, second in steps:
        result = f"{y}_{operator.lower()}"
        inputs = [name for name in (first or made, second) if name]
        yield helper.make_node(operator, inputs, [result], name=f"{node.name}_{operator.lower()}")
        made = result
    yield helper.make_node("Mul", [made, "gelu_half"], [y], name=node.name)


def to_opset_17(model: ModelProto) -> None:
    """Drop what later opsets added and these graphs leave at its default."""
    constants = onnx_graph.initializers(model.graph)
    for node in model.graph.node:
        kept = [each for each in node.attribute if each.name not in DEFAULTS_SINCE_18.get(node.op_type, ())]
        del node.attribute[:]
        node.attribute.extend(kept)
        if node.op_type == "ReduceMean" and len(node.input) == 2:
            node.attribute.append(helper.make_attribute("axes", constants[node.input[1]].tolist()))
            del node.input[1]
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", OPSET))
    model.ir_version = 8
    _drop_unused(model.graph)


def unround_image(graph: GraphProto) -> None:
    """Let what reads the rounded image read the image."""
    rounded = {n.output[0]: n.input[0] for n in graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")}
    for node in graph.node:
        for index, name in enumerate(node.input):
            if node.op_type != "DequantizeLinear" and rounded.get(rounded.get(name, "")) == INPUT_NAME:
                node.input[index] = INPUT_NAME
    roundings = {name for name, source in rounded.items() if INPUT_NAME in (source, rounded.get(source))}
    _replace_nodes(graph, [node for node in graph.node if node.output[0] not in roundings])
    _drop_unused(graph)


def make_symmetric(graph: GraphProto) -> None:
    """uint8 affine activations -> int8 with zero point 0 over a range that covers theirs."""
    constants = onnx_graph.initializers(graph)
    stored: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = {}
    for node in graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or constants[node.input[2]].dtype != np.uint8:
            continue
        scale, zero = float(constants[node.input[1]]), int(constants[node.input[2]])
        name = f"{node.input[1]}_{node.input[2]}_symmetric"
        stored[name] = np.array(scale * max(zero, 255 - zero) / LEVELS, np.float32)
        stored["zero_int8"] = np.array(0, np.int8)
        node.input[1], node.input[2] = name, "zero_int8"
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in stored.items())
    _drop_unused(graph)


def store_weights_as_floats(graph: GraphProto) -> None:
    """int8 weight -> DequantizeLinear becomes float weight -> QuantizeLinear -> DequantizeLinear, the same values."""
    constants = onnx_graph.initializers(graph)
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            name, scale, zero = node.input
            shape = (-1, *[1] * (constants[name].ndim - 1))
            values = constants[name].astype(np.float32) * constants[scale].astype(np.float32).reshape(shape)
            # By the node: equal weights, as the shifts of ELAN, are one constant with many readers.
            made, rounded = f"{node.name}_float", f"{node.name}_int8"
            graph.initializer.append(numpy_helper.from_array(values, made))
            nodes.append(
                helper.make_node("QuantizeLinear", [made, scale, zero], [rounded], f"{node.name}_weight", axis=0)
            )
            node.input[0] = rounded
        nodes.append(node)
    _replace_nodes(graph, nodes)
    _drop_unused(graph)


def _replace_nodes(graph: GraphProto, nodes: list[NodeProto]) -> None:
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _drop_unused(graph: GraphProto) -> None:
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def build_script(request: Request, kept: list[str], min_side_px: int) -> str:
    """A bash script that builds `model.engine` beside `model.onnx`. `kept`: layers that stay float32."""
    options = ['--onnx="$folder/model.onnx"', '--saveEngine="$engine"', *_shapes(request.sizes, min_side_px)]
    if request.precision == "int8":
        options.append("--int8")
    if request.precision != "fp32":
        options.append("--fp16")
    if kept:
        layers = ",".join(f"{name}:fp32" for name in kept)
        options += ["--precisionConstraints=obey", f"--layerPrecisions='{layers}'"]
    return TEMPLATE.replace("OPTIONS", " \\\n  ".join(options))


def _shapes(sizes: tuple[Size, ...], min_side_px: int) -> list[str]:
    """trtexec's range of input shapes; none where the file itself has a fixed one."""
    if len(sizes) == 1:
        return []
    least, optimum, most = (min_side_px, min_side_px), OPTIMUM, LARGEST
    if sizes:
        least = (min(h for h, _ in sizes), min(w for _, w in sizes))
        optimum, most = max(sizes), (max(h for h, _ in sizes), max(w for _, w in sizes))
    named = (("min", least), ("opt", optimum), ("max", most))
    return [f"--{name}Shapes={INPUT_NAME}:1x3x{height}x{width}" for name, (height, width) in named]


TEMPLATE = """#!/usr/bin/env bash
# Builds a TensorRT engine from model.onnx, on the device that will run it. Usage: build_engine.sh [ENGINE]
set -euo pipefail

folder="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
engine="${1:-$folder/model.engine}"

if command -v trtexec >/dev/null 2>&1; then
  trtexec="$(command -v trtexec)"
elif [[ -x /usr/src/tensorrt/bin/trtexec ]]; then
  trtexec=/usr/src/tensorrt/bin/trtexec
else
  echo "trtexec is neither in PATH nor in /usr/src/tensorrt/bin. Install TensorRT (on a Jetson: JetPack)." >&2
  exit 1
fi

"$trtexec" \\
  OPTIONS
"""
