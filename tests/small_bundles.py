"""Artifacts that no runtime opens, and a web app of a few lines, put where a built one would lie."""

import json
import os
import sys
from pathlib import Path

from edgesr.artifact import Manifest, WeightsEntry, file_entries, write_manifest
from edgesr.bundles import web_build
from edgesr.types import Precision, Request, Size, TensorSpec

RUNTIMES = {
    "onnxruntime": {"now": ["ort.mjs", "ort.wasm"], "later": ["ort.gpu.wasm"]},
    "tflite": {"now": ["litert.js"], "later": ["litert_one.js"]},
}


MAIN = {"tflite": "model.tflite", "coreml": "model.mlpackage", "executorch": "model.pte"}
FILE_PER_SIZE = ("tflite", "executorch")


def builder_words(*more: object) -> list[str]:
    """What tells of this machine: paths and its name, if that is long enough to be no part of common words."""
    name = os.uname().nodename
    words = [str(Path.home()), str(Path(__file__).parents[1]), sys.prefix, *([name] if len(name) > 5 else [])]
    return [*words, *map(str, more)]


def stand_in_app() -> Path:
    """What the build would have left in the cache."""
    place = web_build.build_folder()
    for name in (
        "index.html",
        "sw.js",
        "app/page.js",
        "app/onnx_worker.js",
        "app/litert_worker.js",
        "noble-hashes.LICENSE",
    ):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(name)
    for runtime in RUNTIMES.values():
        for name in (*runtime["now"], *runtime["later"]):
            (place / "runtime").mkdir(exist_ok=True)
            (place / "runtime" / name).write_text(name)
    versions = {"onnxruntime-web": "1.2.3", "@litertjs/core": "4.5.6"}
    (place / "build.json").write_text(json.dumps({"runtimes": RUNTIMES, "versions": versions}))
    return place


def artifact(
    folder: Path,
    target: str = "onnxruntime",
    precision: Precision = "int8",
    weights: str = "user",
    sizes: tuple[Size, ...] = ((64, 64),),
) -> Path:
    """`sizes`: of targets whose sizes are fixed; of several, tflite and executorch have a file each."""
    request = Request("bsrn-s", 4, target, precision, sizes if target in MAIN else ())
    place = folder / request.slug
    place.mkdir(parents=True)
    main_file = MAIN.get(target, "model.onnx")
    mains = [main_file]
    if target in FILE_PER_SIZE and len(sizes) > 1:
        mains = [main_file.replace(".", f"_{height}x{width}.") for height, width in sizes]
        main_file = mains[0]
    for name in mains:
        written = place / name / "Data" / "weights" if target == "coreml" else place / name
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_bytes(f"{request.slug} {name}".encode())
    if target == "onnxruntime":
        (place / "model.ort").write_bytes(b"for mobile builds")
    manifest = Manifest(
        slug=request.slug,
        request=request,
        scale=4,
        main=main_file,
        files=file_entries(place),
        inputs=(_tensor("image", "height", "width", target),),
        outputs=(_tensor("upscaled", "4*height", "4*width", target),),
        min_side_px=15,
        halo_px=32,
        peak_bytes_per_px=3264,
        weights=WeightsEntry(weights, "w.pth", "1" * 64),
        toolchain={},
    )
    write_manifest(place, manifest)
    return place


def _tensor(name: str, height: str, width: str, target: str) -> TensorSpec:
    if target == "tflite":
        return TensorSpec(name, (1, height, width, 3), "float32", "NHWC")
    return TensorSpec(name, (1, 3, height, width), "float32")


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
