"""OpenVINO: intermediate representation, an .xml graph and a .bin with the weights."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgesr.quantization.toolchain import stage
from edgesr.runner.cpu import products_saturate
from edgesr.runner.openvino import HINT, load_openvino, usable_hint
from edgesr.targets import onnx_graph
from edgesr.targets.base import Conversion, tensor_specs, versions
from edgesr.targets.export import with_size
from edgesr.targets.rewrite import Rewrite
from edgesr.targets.source import Source
from edgesr.types import Precision, Request, Size

MAIN = "model.xml"
WEIGHTS = "model.bin"
LAYERS = "layers.json"
PACKAGES = ("torch", "onnx", "onnxscript", "openvino")
NUMBERED = re.compile(r'<layer id="(\d+)" name="[A-Z][A-Za-z]*_\d+[^"]*" type="(\w+)"')
HINTS: dict[Precision, str] = {"fp32": "f32", "fp16": "bf16", "int8": "bf16"}
"""How to compute what is not integer. bf16, since x86 has no fast float16; where a CPU lacks it the runner takes f32.
For int8 it made the network 1.3 to 1.7 times faster for 0.02 dB (2026.4). Source.exact_rest takes f32 instead."""

EXACT = (
    "8-bit products saturate in OpenVINO's integer kernels on this CPU, which has no VNNI: edgesr computes the same "
    "values in float here (LP_TRANSFORMS_MODE off), no faster than fp32."
)

MADE_UP = re.compile(r"[A-Z][A-Za-z]*_\d+")
"""Names that OpenVINO gives to layers of its own, with a counter of this process."""

NOT_COMPUTED = ("Const", "Input", "Output")

REWRITES: tuple[Rewrite, ...] = (
    Rewrite("with_size", "a fixed size is 1.03 to 1.16 times faster than a free one in OpenVINO's CPU plugin"),
)


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of OpenVINO's execution graph. `names`: the network's own nodes in it; `type`, `precision`: as OpenVINO
    reports them; `macs_share`: its part of the convolutions' multiply-accumulates, 0 to 1."""

    names: tuple[str, ...]
    type: str
    precision: str
    macs_share: float


def convert(source: Source, request: Request, folder: Path) -> Conversion:
    """Write `model.xml`, `model.bin` and `layers.json` for `request` into `folder`."""
    content = source.onnx(request)
    openvino = load_openvino()
    wanted = "f32" if source.exact_rest else HINTS[request.precision]
    hint = usable_hint(openvino.Core(), wanted)
    layers = execution_layers(content, source.scale, hint)
    with stage("openvino"):
        model = openvino.Core().read_model(with_size(content, request.sizes, source.scale))
        openvino.save_model(model, folder / MAIN, compress_to_fp16=request.precision == "fp16")
        _name_by_position(folder / MAIN)
    (folder / LAYERS).write_text(_table(layers, hint, source.size or onnx_graph.COUNTING_SIZE), encoding="utf-8")
    inputs, outputs = tensor_specs(request)
    return Conversion(
        main=MAIN,
        files=(MAIN, WEIGHTS, LAYERS),
        inputs=inputs,
        outputs=outputs,
        runtime_options={"min_side_px": str(source.min_side_px), HINT: wanted},
        toolchain=versions((*PACKAGES, "torchao") if request.precision == "int8" else PACKAGES),
        notes=_notes(request, layers, wanted, hint),
        shares={"int8_macs": integer_share(layers)} if request.precision == "int8" else {},
    )


def _name_by_position(path: Path) -> None:
    """Rename layers that OpenVINO numbered with a counter of this process: the same graph must be the same file."""
    text = path.read_text(encoding="utf-8")
    path.write_text(NUMBERED.sub(r'<layer id="\1" name="\2_\1" type="\2"', text), encoding="utf-8")


def _notes(request: Request, layers: list[Layer], wanted: str, hint: str) -> tuple[str, ...]:
    first: tuple[str, ...] = ()
    if request.precision == "fp16" and wanted == "f32":
        first = ("float16 weights, computed in float32: bfloat16 is too coarse for this network.",)
    elif request.precision == "fp16":
        first = (f"float16 weights; computes in bfloat16 where the CPU has it, else float32 (on this CPU: {hint}).",)
    elif request.precision == "int8":
        first = (
            f"OpenVINO runs {integer_share(layers):.0%} of the convolution work (multiply-accumulates) in integer "
            f"kernels and what is not integer in {hint}, measured on its own execution graph on this CPU.",
            *([EXACT] if products_saturate() else []),
        )
    return (*first, _by_precision(layers))


def _by_precision(layers: list[Layer]) -> str:
    """One sentence: work and layers by execution precision."""
    parts = []
    for precision in sorted({layer.precision for layer in layers}):
        found = [layer for layer in layers if layer.precision == precision]
        share = sum(layer.macs_share for layer in found)
        parts.append(f"{precision} {share:.0%} of the convolution work and {len(found)} of {len(layers)} layers")
    return f"Execution precision that OpenVINO chooses on this CPU: {'; '.join(parts)} ({LAYERS} lists them)."


def _table(layers: list[Layer], hint: str, size: Size) -> str:
    """JSON, a line per layer; `size`: of the input for which they were counted."""
    height, width = size
    facts = {"device": "CPU of the conversion", HINT: hint, "input": [1, 3, height, width]}
    rows = ",\n".join("  " + json.dumps(asdict(layer)) for layer in layers)
    return json.dumps(facts)[:-1] + f', "layers": [\n{rows}\n]}}\n'


def integer_share(layers: list[Layer]) -> float:
    """Part of the convolutions' multiply-accumulates that OpenVINO's CPU plugin runs on 8-bit integers, 0 to 1."""
    return min(1.0, sum(layer.macs_share for layer in layers if layer.precision in ("u8", "i8")))


def execution_layers(content: bytes, scale: int, hint: str) -> list[Layer]:
    """What OpenVINO's CPU plugin makes of an ONNX file, in the order of execution; free sides become 64x64."""
    openvino = load_openvino()
    height, width = onnx_graph.COUNTING_SIZE
    macs, known_as = onnx_graph.convolution_macs(content, scale), onnx_graph.convolutions_by_factor(content)
    with stage("openvino"):
        core = openvino.Core()
        model = core.read_model(content)
        if model.is_dynamic():
            model.reshape([1, 3, height, width])
        config = {HINT: hint, "PERFORMANCE_HINT": "LATENCY"}
        nodes = core.compile_model(model, "CPU", config).get_runtime_model().get_ordered_ops()
        infos = [{key: getattr(value, "value", value) for key, value in node.get_rt_info().items()} for node in nodes]
        infos.sort(key=lambda info: int(info["execOrder"]))
    return [_layer(info, macs, known_as) for info in infos if info["layerType"] not in NOT_COMPUTED]


def _layer(info: dict[str, Any], macs: dict[str, int], known_as: dict[str, str]) -> Layer:
    """A convolution whose output has a factor per channel takes that in, and its name."""
    originals = str(info["originalLayersNames"]).split(",")
    names = tuple(name for name in originals if name and not MADE_UP.match(name))
    convs = {known_as.get(name, name) for name in names} & macs.keys() if info["layerType"] == "Convolution" else set()
    done = sum(macs[name] for name in convs)
    return Layer(names, str(info["layerType"]), str(info["runtimePrecision"]), round(done / sum(macs.values()), 9))
