"""OpenVINO on the CPU."""

import sys
from dataclasses import dataclass
from pathlib import PurePath
from types import ModuleType
from typing import Any

import numpy as np

from edgesr.errors import ArtifactError
from edgesr.extras import require
from edgesr.runner.contract import Array, InputRule
from edgesr.runner.cpu import products_saturate
from edgesr.runner.manifest import Contents

TELEMETRY = "openvino_telemetry"
HINT = "INFERENCE_PRECISION_HINT"
INTEGER_KERNELS = "LP_TRANSFORMS_MODE"
"""OpenVINO has no exact 8-bit kernels for a CPU without VNNI; without these it computes the same values in float."""
NEEDED_CAPABILITY = {"f32": "FP32", "bf16": "BF16"}
"""Precision hint -> what the CPU must report to have it; anything else in a manifest is refused."""


@dataclass(frozen=True, slots=True)
class OpenVinoRunner:
    scale: int
    accepts: InputRule
    _request: Any
    _facts: dict[str, str]

    def __call__(self, x: Array) -> Array:
        """float32 (1, 3, H, W), RGB in [0, 1] -> float32 (1, 3, scale * H, scale * W), not clipped."""
        self.accepts.check(x)
        self._request.infer([np.ascontiguousarray(x)], share_inputs=True)
        upscaled: Array = self._request.get_output_tensor(0).data.copy()
        return upscaled

    def describe(self) -> dict[str, str]:
        return dict(self._facts)


def load_openvino() -> ModuleType:
    """Import openvino without its telemetry."""
    return without_telemetry("openvino", "openvino")


def without_telemetry(module: str, extra: str) -> ModuleType:
    """Import a package of OpenVINO's that reports itself over the network when openvino_telemetry is importable.

    It does so unless somebody opted out (seen in openvino 2026.4 and nncf 3.4). While it is imported that package is
    hidden: it then uses its own silent stub.
    """
    if module in sys.modules or TELEMETRY in sys.modules:
        return require(module, extra)
    sys.modules[TELEMETRY] = None  # type: ignore[assignment]
    try:
        return require(module, extra)
    finally:
        del sys.modules[TELEMETRY]


def open_contents(contents: Contents, threads: int) -> OpenVinoRunner:
    """Load the .xml and .bin from their checked bytes."""
    openvino = load_openvino()
    core = openvino.Core()
    weights = contents.files.get(PurePath(contents.main).with_suffix(".bin").name)
    if weights is None:
        raise ArtifactError(f"{contents.main} has no .bin file beside it in the manifest.")
    hint = usable_hint(core, contents.options.get(HINT, "f32"))
    config = {HINT: hint, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    exact = contents.precision == "int8" and products_saturate()
    if exact:
        config[INTEGER_KERNELS] = False
    try:
        blob = openvino.Tensor(np.frombuffer(weights, dtype=np.uint8))
        compiled = core.compile_model(core.read_model(contents.files[contents.main], blob), "CPU", config)
    except RuntimeError as error:
        raise ArtifactError(f"OpenVINO {openvino.__version__} cannot load {contents.main}: {error}") from error
    _check_names(compiled, contents)
    return OpenVinoRunner(
        contents.scale, contents.accepts, compiled.create_infer_request(), _facts(openvino, compiled, contents, exact)
    )


def usable_hint(core: Any, wanted: str) -> str:
    """`wanted` if this CPU computes in it, else "f32"."""
    if wanted not in NEEDED_CAPABILITY:
        raise ArtifactError(f"{HINT} {wanted!r:.40} is unknown. Known: {', '.join(NEEDED_CAPABILITY)}.")
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return wanted if NEEDED_CAPABILITY[wanted] in capabilities else "f32"


def _facts(openvino: ModuleType, compiled: Any, contents: Contents, exact: bool) -> dict[str, str]:
    used = compiled.get_property(HINT).to_string()
    wanted = contents.options.get(HINT, "f32")
    precision = used if used == wanted else f"{used} (this CPU has no {wanted})"
    if exact:
        precision = f"int8 grids, computed in {precision}: 8-bit products would saturate on this CPU, which has no VNNI"
    elif contents.precision == "int8":
        precision = f"int8 convolutions, the rest {precision}"
    return {
        "runtime": f"openvino {openvino.__version__}",
        "precision": precision,
        "threads": str(compiled.get_property("INFERENCE_NUM_THREADS")),
    }


def _check_names(compiled: Any, contents: Contents) -> None:
    found = [port.get_names() for port in (*compiled.inputs, *compiled.outputs)]
    expected = [contents.input_name, contents.output_name]
    if len(found) != 2 or not all(name in names for name, names in zip(expected, found, strict=True)):
        raise ArtifactError(f"{contents.main} does not match its manifest: tensors {expected} expected, {found} found.")
