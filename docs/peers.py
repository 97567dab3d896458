"""What a user gets from the runtimes' own post-training quantization: the same float32 ONNX file, calibration photos
and images to judge, in each tool's own defaults. Each runs in a process of its own.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import flat

from edgesr import verify
from edgesr.artifact import Proof
from edgesr.extras import require
from edgesr.listener import Listener
from edgesr.metrics import to_input
from edgesr.runner import Array, Runner
from edgesr.runner.contract import InputRule
from edgesr.runner.onnxruntime import EXACT_PRODUCTS, OnnxRuntimeRunner
from edgesr.runner.openvino import HINT, OpenVinoRunner, load_openvino, without_telemetry


@dataclass(frozen=True, slots=True)
class Network:
    """What a tool starts from. `content`: float32 ONNX of free height and width; `crops`: uint8 RGB to calibrate on."""

    content: bytes
    crops: Sequence[verify.Pixels]
    scale: int
    min_side_px: int


@dataclass(frozen=True, slots=True)
class Peer:
    """`settings`: all that was asked of the tool, in words for the page."""

    packages: tuple[str, ...]
    settings: str
    quantize: Callable[[Network], Runner]


@dataclass(frozen=True, slots=True)
class Job:
    """What the process of a peer gets. `expected`, `patches`: what the float32 network makes of the images."""

    peer: str
    network: Network
    expected: Sequence[verify.Reference]
    patches: Sequence[flat.Patch]


@dataclass(frozen=True, slots=True)
class Measured:
    proof: Proof
    on_flat: flat.Deviation


def run(job: Job, listener: Listener) -> Measured:
    """Raises MissingExtra if the tool is not installed."""
    runner = PEERS[job.peer].quantize(job.network)
    return Measured(verify.prove(runner, job.expected, listener), flat.deviation(runner, job.patches))


def nncf_default(network: Network) -> Runner:
    return _nncf(network, lambda nncf: None)


def nncf_mixed(network: Network) -> Runner:
    return _nncf(network, lambda nncf: nncf.QuantizationPreset.MIXED)


def onnxruntime_default(network: Network) -> Runner:
    return _onnxruntime(network, lambda quantization: {})


def onnxruntime_advised(network: Network) -> Runner:
    return _onnxruntime(
        network, lambda quantization: {"activation_type": quantization.QuantType.QUInt8, "per_channel": True}
    )


PEERS: Mapping[str, Peer] = MappingProxyType(
    {
        "nncf": Peer(("nncf", "openvino"), "`nncf.quantize(model, nncf.Dataset(crops))`", nncf_default),
        "nncf-mixed": Peer(("nncf", "openvino"), "the same with `preset=MIXED` (asymmetric activations)", nncf_mixed),
        "ort": Peer(
            ("onnxruntime", "onnx"),
            "`quant_pre_process`, then `quantize_static` (QDQ, int8 activations and weights, one step per tensor)",
            onnxruntime_default,
        ),
        "ort-advised": Peer(
            ("onnxruntime", "onnx"),
            "the same with what its documentation advises for x86 and for accuracy: `activation_type=QUInt8`, "
            "`per_channel=True`",
            onnxruntime_advised,
        ),
    }
)


def load_nncf() -> ModuleType:
    """Import nncf without telemetry. The variable is nncf's own switch (nncf/definitions.py, 3.4)."""
    load_openvino()
    os.environ["NNCF_CI"] = "1"
    return without_telemetry("nncf", "peers")


def _nncf(network: Network, preset: Callable[[ModuleType], Any]) -> Runner:
    openvino, nncf = load_openvino(), load_nncf()
    core = openvino.Core()
    dataset = nncf.Dataset(list(_inputs(network)))
    model = nncf.quantize(core.read_model(network.content), dataset, preset=preset(nncf))
    compiled = core.compile_model(model, "CPU")
    facts = {
        "runtime": f"openvino {openvino.__version__}",
        "precision": f"nncf {nncf.__version__}, the rest {compiled.get_property(HINT).to_string()}",
    }
    return OpenVinoRunner(network.scale, _rule(network), compiled.create_infer_request(), facts)


def _onnxruntime(network: Network, options: Callable[[ModuleType], dict[str, Any]]) -> Runner:
    runtime = require("onnxruntime", "onnxruntime")
    quantization = require("onnxruntime.quantization", "onnxruntime")
    shapes = require("onnxruntime.quantization.shape_inference", "onnxruntime")
    with tempfile.TemporaryDirectory(prefix="edgesr-peer-") as name:
        given, prepared, made = (Path(name) / f"{step}.onnx" for step in ("given", "prepared", "made"))
        given.write_bytes(network.content)
        shapes.quant_pre_process(given, prepared)
        quantization.quantize_static(
            prepared,
            made,
            Reader(_input_name(runtime, network.content), _inputs(network)),
            quant_format=quantization.QuantFormat.QDQ,
            **options(quantization),
        )
        session = runtime.InferenceSession(made.read_bytes(), sums_exactly(runtime), providers=["CPUExecutionProvider"])
    names = session.get_inputs()[0].name, session.get_outputs()[0].name
    facts = {"runtime": f"onnxruntime {runtime.__version__}", "precision": "QDQ as quantize_static wrote it"}
    return OnnxRuntimeRunner(network.scale, _rule(network), session, *names, facts)


def sums_exactly(runtime: ModuleType) -> Any:
    """As this kit's own artifacts are run on a CPU without VNNI."""
    options = runtime.SessionOptions()
    options.add_session_config_entry(EXACT_PRODUCTS, "1")
    return options


@dataclass(slots=True)
class Reader:
    """Calibration inputs as ONNX Runtime asks for them: one by one, then None. Not frozen: it remembers its place."""

    input_name: str
    images: Iterator[Array]

    def get_next(self) -> dict[str, Array] | None:
        image = next(self.images, None)
        return None if image is None else {self.input_name: image}


def _input_name(runtime: ModuleType, content: bytes) -> str:
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    name: str = session.get_inputs()[0].name
    return name


def _inputs(network: Network) -> Iterator[Array]:
    """float32 (1, 3, H, W), RGB in [0, 1]."""
    return (to_input(crop) for crop in network.crops)


def _rule(network: Network) -> InputRule:
    return InputRule((), network.min_side_px)
