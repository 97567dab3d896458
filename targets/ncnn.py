"""ncnn: a text file of layers and a file of weights, through pnnx."""

import copy
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional as F

from edgesr.errors import ArtifactError, ConversionError, Unsupported
from edgesr.extras import require
from edgesr.quantization.toolchain import stage
from edgesr.runner.ncnn_file import Layer, Weights, read_bin, read_param, write_bin, write_param
from edgesr.runner.ncnn_shapes import blob_shapes
from edgesr.targets.base import INPUT_NAME, OUTPUT_NAME, Conversion, tensor_specs, versions
from edgesr.targets.export import EXAMPLE_SIDES, example_input
from edgesr.targets.ncnn_int8 import integer_share, to_int8
from edgesr.targets.rewrite import Rewrite
from edgesr.targets.source import Source
from edgesr.types import Request

MAIN = "model.param"
WEIGHTS = "model.bin"
PACKAGES = ("torch", "pnnx")
OTHER_SIDES = (63, 71)
"""A second size, so that pnnx keeps sides free that the example has in common."""

TIME_LIMIT_S = 300
LAST_LINES = 400
PNNX_NAMES = {"in0": INPUT_NAME, "out0": OUTPUT_NAME}

REWRITES: tuple[Rewrite, ...] = (
    Rewrite(
        "shift_input",
        "ncnn's integer convolutions know no zero point: the input is shifted before it is rounded, and bias and "
        "border value take the shift back",
    ),
)

ANY_SIZE = "The files hold no size: ncnn runs them at any."
HALF = (
    "float16 weights. Computes in bfloat16 here: load with use_bf16_storage and without use_fp16_storage and "
    "use_fp16_arithmetic, because the exp of soft pooling overflows float16."
)


def convert(source: Source, request: Request, folder: Path) -> Conversion:
    """Write `model.param` and `model.bin` for `request` into `folder`."""
    if source.multiple_px > 1:
        raise Unsupported(
            f"ncnn cannot run {source.name}: its tensors have no batch axis, along which the windows of attention lie. "
            "Take one of: onnxruntime, openvino, executorch, tflite, coreml."
        )
    layers, weights = float_network(source.unrounded if request.precision == "int8" else source.network)
    notes: tuple[str, ...] = (ANY_SIZE,)
    shares: dict[str, float] = {}
    if request.precision == "fp16":
        weights, notes = _halved(weights), (HALF, ANY_SIZE)
    if request.precision == "int8":
        layers, weights = to_int8(layers, weights, source.quantized_for(request.target))
        shares["int8_macs"] = integer_share(layers)
        notes = (*_int8_notes(shares["int8_macs"]), ANY_SIZE)
    (folder / MAIN).write_bytes(write_param(layers))
    (folder / WEIGHTS).write_bytes(write_bin(layers, weights))
    inputs, outputs = tensor_specs(request)
    return Conversion(
        main=MAIN,
        files=(MAIN, WEIGHTS),
        inputs=inputs,
        outputs=outputs,
        runtime_options={"min_side_px": str(source.min_side_px)},
        toolchain=versions((*PACKAGES, "torchao") if request.precision == "int8" else PACKAGES),
        notes=notes,
        shares=shares,
    )


def _int8_notes(share: float) -> tuple[str, ...]:
    return (
        f"ncnn runs {share:.0%} of the convolution work (multiply-accumulates) in integer kernels and the rest in "
        "float32 from the same int8 weights: the first convolution, because ncnn's int8 has 255 levels and an image "
        "256, and depthwise ones, whose integer kernels were slower than the float ones on x86 (Arm: not measured).",
        "Rounds at convolution inputs only, with the scales and zero points of the quantized graph; the topmost of "
        "their 256 levels (from zero point 128 on the lowest) is clipped.",
    )


def float_network(network: nn.Module) -> tuple[tuple[Layer, ...], dict[str, Weights]]:
    """A float32 network as pnnx writes it, its blobs named like the tensors of every artifact."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with stage("export"), torch.no_grad():
            network = _with_traced_sizes(network)
            trace: Any = torch.jit.trace
            trace(network, example_input(), check_trace=False).save(str(folder / "network.pt"))
        _run_pnnx(folder)
        content = (folder / MAIN).read_bytes(), (folder / WEIGHTS).read_bytes()
    try:
        layers = tuple(_renamed(layer) for layer in read_param(content[0]))
        blob_shapes(layers, INPUT_NAME, *EXAMPLE_SIDES)
        return layers, read_bin(content[1], layers)
    except ArtifactError as error:
        raise ConversionError("pnnx", f"it wrote what the runner of this kit does not take: {error}") from error


def _with_traced_sizes(network: nn.Module) -> nn.Module:
    """A copy of an exported graph in which a trace sees that resizing depends on the size of the input.

    The ATen operators of torch.export take plain numbers, which a trace would keep.
    """
    if not isinstance(network, fx.GraphModule):
        return network
    copied = copy.deepcopy(network)
    graph = copied.graph
    for node in list(graph.nodes):
        with graph.inserting_before(node):
            if node.target is torch.ops.aten.sym_size.int:
                node.replace_all_uses_with(graph.call_method("size", node.args))
            elif node.target is torch.ops.aten.upsample_bilinear2d.vec:
                size, options = node.args[1], {"mode": "bilinear", "align_corners": node.args[2]}
                node.replace_all_uses_with(graph.call_function(F.interpolate, (node.args[0], size), options))
    graph.eliminate_dead_code()
    copied.recompile()
    return copied


def _run_pnnx(folder: Path) -> None:
    """Run the pnnx program on `network.pt` in `folder`, which holds whatever it writes."""
    program = require("pnnx", "ncnn").EXEC_PATH
    sizes = (
        f"inputshape{number}=[1,3,{height},{width}]"
        for number, (height, width) in (("", EXAMPLE_SIDES), ("2", OTHER_SIDES))
    )
    command = [program, "network.pt", *sizes, "fp16=0", f"ncnnparam={MAIN}", f"ncnnbin={WEIGHTS}"]
    with stage("pnnx"):
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=TIME_LIMIT_S, check=False)
    if done.returncode != 0 or not (folder / MAIN).exists() or not (folder / WEIGHTS).exists():
        words = " ".join((done.stdout + done.stderr).decode(errors="replace").split())
        raise ConversionError("pnnx", f"it ended with status {done.returncode}: {words[-LAST_LINES:]}")


def _renamed(layer: Layer) -> Layer:
    inputs = tuple(PNNX_NAMES.get(name, name) for name in layer.inputs)
    return replace(layer, inputs=inputs, outputs=tuple(PNNX_NAMES.get(name, name) for name in layer.outputs))


def _halved(weights: dict[str, Weights]) -> dict[str, Weights]:
    """float16 kernels; biases stay float32, ncnn has no other. Raises ConversionError if one does not fit."""
    for name, each in weights.items():
        if np.abs(each.kernel).max() > np.finfo(np.float16).max:
            raise ConversionError("float16", f"a weight of {name} is {np.abs(each.kernel).max():g}, above 65504")
    return {name: replace(each, kernel=each.kernel.astype("<f2")) for name, each in weights.items()}
