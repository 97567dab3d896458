"""Core ML: an .mlpackage with an ML program for iOS 17 and macOS 14 or newer."""

import functools
import hashlib
import json
import math
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from edgesr.quantization.toolchain import stage
from edgesr.runner.mil import Interpreter
from edgesr.runner.mil_program import Operation, messages
from edgesr.targets import coreml_graph, float16_graph
from edgesr.targets.base import INPUT_NAME, OUTPUT_NAME, Conversion, tensor_specs, versions
from edgesr.targets.coreml_graph import REWRITES as REWRITES
from edgesr.targets.export import to_module, to_program
from edgesr.targets.source import Source
from edgesr.types import Precision, Request, Size

MAIN = "model.mlpackage"
MANIFEST = "Manifest.json"
DATA = "Data/com.apple.CoreML"
PACKAGES = ("torch", "coremltools")

FLOAT16: tuple[Precision, ...] = ("fp16", "palettized")
"""Precisions that compute in float16. int8 does not: float16 rounds the scales, and values beside a rounding border the
other way. Against the quantized graph in torch that left 43 dB instead of 63 (PlainUSR-T, Set5 at 256x256), though it
was no further from the float network (39.67 dB both)."""

PALETTE_BITS = 8
"""Against the float network on eight training photos of DIV2K, 8 bits left 53 to 57 dB and 6 bits 40 to 45 (PlainUSR-T
and -M, BSRN-S), which is no better than INT8."""

PALETTE_THRESHOLD = 1024
"""Weights below this many values stay float16: the table of 256 entries alone takes 512 bytes."""

KMEANS_STEPS = 100


def convert(source: Source, request: Request, folder: Path) -> Conversion:
    """Write `model.mlpackage` for `request` into `folder`."""
    graph = _graph(source, request)
    program = to_program(graph, request.sizes[0] if len(request.sizes) == 1 else None)
    with stage("coreml"):
        program = program.run_decompositions({})
        model = _convert(program, request)
        if request.precision == "palettized":
            model = _palettize(model)
        model.save(str(folder / MAIN))
        files = _clean(folder / MAIN)
        interpreter = _open(folder / MAIN)
    inputs, outputs = tensor_specs(request)
    shares = {"int8_macs": integer_share(interpreter, request.sizes[0])} if request.precision == "int8" else {}
    return Conversion(
        main=MAIN,
        files=files,
        inputs=inputs,
        outputs=outputs,
        runtime_options={"min_side_px": str(source.min_side_px)},
        toolchain=versions((*PACKAGES, "torchao") if request.precision == "int8" else PACKAGES),
        notes=_notes(request, shares),
        shares=shares,
    )


def _graph(source: Source, request: Request) -> nn.Module:
    if request.precision == "int8":
        graph = source.signed_for(request.target)
    else:
        graph = module = to_module(to_program(source.network, request.sizes[0] if len(request.sizes) == 1 else None))
        if request.precision in FLOAT16:
            with stage("rewrite"):
                float16_graph.keep_in_range(module)
    return coreml_graph.PixelOutput(graph) if request.io == "image" else graph


def _convert(program: torch.export.ExportedProgram, request: Request) -> Any:
    """The model as coremltools holds it. Its options are written out: their defaults follow the deployment target."""
    coremltools = _coremltools()
    precision = coremltools.precision.FLOAT16 if request.precision in FLOAT16 else coremltools.precision.FLOAT32
    shape = _shape(coremltools, request.sizes)
    if request.io == "image":
        rgb = coremltools.colorlayout.RGB
        given = coremltools.ImageType(name=INPUT_NAME, shape=shape, scale=1 / 255, color_layout=rgb)
        made = coremltools.ImageType(name=OUTPUT_NAME, color_layout=rgb)
    else:
        given = coremltools.TensorType(name=INPUT_NAME, shape=shape, dtype=np.float32)
        made = coremltools.TensorType(name=OUTPUT_NAME, dtype=np.float32)
    return coremltools.convert(
        program,
        inputs=[given],
        outputs=[made],
        convert_to="mlprogram",
        compute_precision=precision,
        minimum_deployment_target=coremltools.target.iOS17,
        skip_model_load=True,
    )


def _shape(coremltools: Any, sizes: tuple[Size, ...]) -> Any:
    """One size as it is; more as enumerated shapes, all of which the Neural Engine runs (a range it does not)."""
    shapes = [(1, 3, *size) for size in sizes]
    return shapes[0] if len(shapes) == 1 else coremltools.EnumeratedShapes(shapes=shapes, default=shapes[0])


@functools.cache
def _coremltools() -> Any:
    """coremltools with its translation of bilinear resizing completed."""
    import coremltools
    from coremltools.converters.mil import Builder, register_torch_op
    from coremltools.converters.mil.frontend.torch import ops

    constant_factor = ops.upsample_bilinear2d

    def resize_to_input(context: Any, node: Any) -> None:
        """coremltools 9.0 cannot resize to a size that only the input decides; iOS 17's resize can."""
        names = node.inputs[1] if isinstance(node.inputs[1], list | tuple) else ()
        size = [context[name] for name in names if isinstance(name, str)]
        if len(size) != 2:
            constant_factor(context, node)
            return
        resized = Builder.resize(
            x=context[node.inputs[0]],
            shape=Builder.stack(values=size, axis=0),
            resized_dims=np.uint32(2),
            interpolation_mode="LINEAR",
            sampling_mode="UNALIGN_CORNERS",
            name=node.name,
        )
        context.add(resized)

    register_torch_op(resize_to_input, torch_alias=["upsample_bilinear2d.vec"], override=True)
    return coremltools


def _palettize(model: Any) -> Any:
    """Tables for the weights of every layer but the last: its errors are in the pixels as they are."""
    from coremltools.optimize import coreml as optimize

    table = optimize.OpPalettizerConfig(mode="custom", lut_function=palette, weight_threshold=PALETTE_THRESHOLD)
    configuration = optimize.OptimizationConfig(global_config=table)
    last = model._mil_program.functions["main"].find_ops(op_type="conv")[-1]
    configuration.set_op_name(last.weight.op.name, None)
    return optimize.palettize_weights(model, configuration)


def palette(weight: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
    """Table (2 ** PALETTE_BITS,), sorted, and the index of every value in it, flat: one-dimensional k-means.

    Lloyd's algorithm from evenly spaced values to evenly filled ones, half of each: the same table every time.
    """
    values = np.sort(weight.ravel().astype(np.float64))
    entries = 2**PALETTE_BITS
    centres = _first_centres(values, entries)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    for _ in range(KMEANS_STEPS):
        ends = np.searchsorted(values, (centres[1:] + centres[:-1]) / 2)
        starts, ends = np.concatenate([[0], ends]), np.concatenate([ends, [len(values)]])
        counts = ends - starts
        centres = np.where(counts > 0, (sums[ends] - sums[starts]) / np.maximum(counts, 1), centres)
    table = centres.astype(weight.dtype)
    rows, wide = weight.reshape(len(weight), -1).astype(np.float64), table.astype(np.float64)
    spatial = math.prod(weight.shape[2:]) > 1
    return table, (_diffused(rows, wide) if spatial else _nearest(rows, wide)).ravel()


def _nearest(values: npt.NDArray[np.float64], table: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    return np.searchsorted((table[1:] + table[:-1]) / 2, values).astype(np.uint8)


def _diffused(rows: npt.NDArray[np.float64], table: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Indices per output channel; the error of every weight is carried to the next one.

    So flat areas keep their brightness: with 8 bits 53 dB to the float network instead of 47 (PlainUSR-T, training
    photos of DIV2K). For 1x1 kernels, whose inputs have nothing in common, it is worse than the nearest entry (BSRN-S:
    51 instead of 57).
    """
    indices = np.empty(rows.shape, np.uint8)
    carried = np.zeros(len(rows))
    for column in range(rows.shape[1]):
        wanted = rows[:, column] + carried
        indices[:, column] = _nearest(wanted, table)
        carried = wanted - table[indices[:, column]]
    return indices


def _first_centres(values: npt.NDArray[np.float64], entries: int) -> npt.NDArray[np.float64]:
    even = np.linspace(values[0], values[-1], entries // 2)
    filled = np.quantile(values, (np.arange(entries - entries // 2) + 0.5) / (entries - entries // 2))
    return np.sort(np.concatenate([even, filled]))


def _clean(package: Path) -> tuple[str, ...]:
    """Take what differs from run to run out of the package: dates, random identifiers, a debugging file.

    Returns the names of its files, relative to the folder around the package.
    """
    for path in package.iterdir():
        if path.name not in (MANIFEST, DATA.partition("/")[0]):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    model = package / DATA / "model.mlmodel"
    specification = messages().Model()
    specification.ParseFromString(model.read_bytes())
    specification.description.metadata.userDefined.pop("com.github.apple.coremltools.conversion_date", None)
    specification.mlProgram.attributes.pop("buildInfo", None)
    model.write_bytes(specification.SerializeToString(deterministic=True))
    _name_by_content(package)
    files = sorted(path for path in package.rglob("*") if path.is_file())
    return tuple(path.relative_to(package.parent).as_posix() for path in files)


def _name_by_content(package: Path) -> None:
    """Write the package's table of contents with identifiers that follow from what they identify."""
    table = json.loads((package / MANIFEST).read_text(encoding="utf-8"))
    model = (package / DATA / "model.mlmodel").read_bytes()
    items = sorted(table["itemInfoEntries"].values(), key=lambda item: str(item["path"]))
    named = {_identifier(model, item["path"]): item for item in items}
    root = next(name for name, item in named.items() if item["path"].endswith(".mlmodel"))
    table |= {"itemInfoEntries": named, "rootModelIdentifier": root}
    (package / MANIFEST).write_text(json.dumps(table, indent=4, sort_keys=True) + "\n", encoding="utf-8")


def _identifier(model: bytes, path: str) -> str:
    digest = hashlib.sha256(model + path.encode()).digest()
    return str(uuid.UUID(bytes=digest[:16], version=5))


def _open(package: Path) -> Interpreter:
    folder = package / DATA
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return Interpreter(files["model.mlmodel"], files)


def integer_share(interpreter: Interpreter, size: Size) -> float:
    """Part of the saved program's multiply-accumulates with 8-bit inputs and 8-bit weights, 0 to 1."""
    shapes: dict[str, tuple[int, ...]] = {}
    image = np.zeros((1, 3, *size), np.float32)
    interpreter({INPUT_NAME: image}, lambda name, value: shapes.update({name: value.shape}))
    makers = {
        tensor.name: operation.kind for operation in interpreter.program.operations for tensor in operation.outputs
    }
    whole = integer = 0
    for operation in interpreter.program.operations:
        if operation.kind == "conv":
            macs = _macs(operation, interpreter, shapes)
            kinds = [makers.get(str(operation.inputs[key][0])) for key in ("x", "weight")]
            whole += macs
            integer += macs * (kinds == ["dequantize", "constexpr_affine_dequantize"])
    return integer / whole


def _macs(operation: Operation, interpreter: Interpreter, shapes: dict[str, tuple[int, ...]]) -> int:
    weight = operation.inputs["weight"][0]
    kernel = interpreter.constants[weight].shape if isinstance(weight, str) else weight.shape
    return math.prod(kernel[1:]) * math.prod(shapes[operation.outputs[0].name])


def _notes(request: Request, shares: dict[str, float]) -> tuple[str, ...]:
    notes = []
    if request.precision == "int8":
        notes.append(
            f"{shares['int8_macs']:.0%} of the convolution work (multiply-accumulates) reads 8-bit activations and "
            "8-bit weights in the saved program; the rest is float32, so that the scales are exactly the calibrated "
            "ones. Which of it runs on integers is the device's choice."
        )
    if request.precision == "palettized":
        notes.append(
            f"weights from tables of {2**PALETTE_BITS} values per layer, but for the last; float16 activations"
        )
    return (*notes, "Checked with the reference interpreter, not with Apple's runtime, where not converted on macOS.")
