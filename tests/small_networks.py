"""Networks of every kind that are small enough to convert in a second, and photo-like inputs for them."""

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgesr.models import bsrn, plainusr
from edgesr.quantization import calibration
from edgesr.quantization.pixels import to_tensor
from edgesr.runner import Array, Runner, open_artifact
from edgesr.runner.cpu import products_saturate
from edgesr.targets import convert, find
from edgesr.targets.source import Source
from edgesr.types import Request

SCALE = 2
MIN_SIDE_PX = {"plainusr": 7, "plainusr-lia": 7, "bsrn-slim": 15, "bsrn": 15}
NETWORKS: dict[str, Callable[[], Any]] = {
    "plainusr": lambda: plainusr.forms(plainusr.Config((16, 8), None), SCALE)["train"],
    "plainusr-lia": lambda: plainusr.forms(plainusr.Config((12, 8), 4, 1), SCALE)["train"],
    "bsrn-slim": lambda: bsrn.forms(bsrn.Config(16, 1, True), SCALE)["train"],
    "bsrn": lambda: bsrn.forms(bsrn.Config(16, 1, False), SCALE)["train"],
}

LARGE = {"plainusr-lia": 25.0, "bsrn": 30000.0}
"""`large` of a network that overflows float16: exp(25) is infinite there, and so is the square of what 30000 makes."""


LEAST_AGREEMENT_DB = {"ncnn": 25, "tensorrt": 25, "openvino": 35}
"""Of a target to the quantized graph; 40 elsewhere. ncnn and TensorRT cannot express its roundings, OpenVINO computes
the rest in bfloat16."""


def photo(seed: int, height: int, width: int) -> Array:
    """float32 (1, 3, H, W) in [0, 1]: 8-bit values, coarse shapes and fine noise."""
    random = np.random.default_rng(seed)
    image = np.zeros((3, height, width))
    for cell, strength in ((24, 90), (8, 40), (2, 12)):
        coarse = random.normal(size=(3, height // cell + 2, width // cell + 2)) * strength
        image += np.kron(coarse, np.ones((1, cell, cell)))[:, :height, :width]
    return (np.clip(np.round(image + 120), 0, 255)[None] / 255).astype(np.float32)


@functools.cache
def source(name: str, large: float = 0.0) -> Source:
    """The network with random weights, folded, with calibration crops.

    `large`: added to what the attention of PlainUSR sees, multiplied into what that of BSRN sees.
    """
    torch.manual_seed(1)
    network = NETWORKS[name]().eval().fold()
    with torch.no_grad():
        for module in network.modules():
            if large and isinstance(module, plainusr.LocalImportanceAttention):
                module.body[0].bias += large
            if large and isinstance(module, bsrn.FoldedESDB):
                module.fuse.parts[0].weight *= large
    images = [(photo(seed, 64, 64)[0].transpose(1, 2, 0) * 255).round().astype(np.uint8) for seed in range(4)]
    crops = calibration.from_images(images, count=4, side_px=64)
    return Source(network, name=name, scale=SCALE, min_side_px=MIN_SIDE_PX[name], calibration=crops)


def crops(name: str) -> list[torch.Tensor]:
    """Those of `source(name)`, each float32 (1, 3, H, W) in [0, 1]."""
    found = source(name).calibration
    assert found is not None
    return [to_tensor(crop) for crop in found.photos]


def check_target(network: Source, name: str, target: str, folder: Path, x: Array) -> None:
    """The target computes what the quantized graph of `network` computes; what runs on devices only is converted."""
    require_runtime(target)
    request = Request(name, SCALE, target, "int8", (x.shape[2:],))
    if find(target).runtime is None:
        assert convert(network, request, folder).shares["int8_macs"] > 0.8
        return
    found_db = psnr_db(make_from(network, folder, request)(x), run(network.quantized_for(target), x))
    assert found_db > LEAST_AGREEMENT_DB.get(target, 40), f"{found_db:.1f} dB"


def run_in_openvino(content: bytes, x: Array) -> Array:
    """An ONNX file as OpenVINO computes it, with what is not integer in float32."""
    from edgesr.runner.openvino import HINT, INTEGER_KERNELS, load_openvino

    openvino = load_openvino()
    exact = {INTEGER_KERNELS: False} if products_saturate() else {}
    compiled = openvino.Core().compile_model(openvino.Core().read_model(content), "CPU", {HINT: "f32"} | exact)
    output: Array = compiled([x])[0]
    return output


def make_from(network: Source, folder: Path, request: Request) -> Runner:
    """Convert, write a minimal manifest, open."""
    made = convert(network, request, folder)
    contents = [(folder / file).read_bytes() for file in made.files]
    manifest = {
        "schema": 1,
        "request": asdict(request),
        "scale": request.scale,
        "files": [
            {"name": file, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for file, content in zip(made.files, contents, strict=True)
        ],
        "main": made.main,
        "inputs": [asdict(spec) for spec in made.inputs],
        "outputs": [asdict(spec) for spec in made.outputs],
        "runtime_options": dict(made.runtime_options),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return open_artifact(folder, threads=1)


def require_runtime(target: str) -> None:
    """Skip, naming what is missing."""
    if target == "openvino":
        from edgesr.runner.openvino import load_openvino

        load_openvino()
    else:
        info = find(target)
        pytest.importorskip(info.runtime or info.packages[-1], reason=f"needs edgesr[{info.extra}]")


def run(network: Any, x: Array) -> Array:
    """float32 (1, 3, H, W) through a torch module."""
    with torch.no_grad():
        result: Array = network(torch.from_numpy(x)).numpy()
    return result


def psnr_db(a: Array, b: Array) -> float:
    """Of two outputs in [0, 1], both clipped; 120 dB if they are equal."""
    return float(10 * np.log10(1 / max(float(np.mean((np.clip(a, 0, 1) - np.clip(b, 0, 1)) ** 2)), 1e-12)))
