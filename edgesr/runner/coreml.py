"""Core ML: Apple's runtime on macOS, the reference interpreter everywhere else."""

import importlib.metadata
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgesr.errors import ArtifactError
from edgesr.extras import require
from edgesr.runner.contract import Array, InputRule
from edgesr.runner.manifest import Contents
from edgesr.runner.mil import MODEL, Interpreter
from edgesr.runner.mil_program import messages

DATA = "Data/com.apple.CoreML"

PRECISIONS = {
    "fp32": "float32",
    "fp16": "float16",
    "int8": "int8 convolution inputs and weights, the rest float32",
    "palettized": "float16, weights from a table",
}

Predict = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Values by name to values by name, as a runtime takes and gives them."""


@dataclass(frozen=True, slots=True)
class CoreMLRunner:
    """`image`: the artifact takes and gives 8-bit pixels. `keep`: what must live as long as the runner."""

    scale: int
    accepts: InputRule
    _predict: Predict
    _input_name: str
    _output_name: str
    _image: bool
    _facts: dict[str, str]
    _keep: Any = None

    def __call__(self, x: Array) -> Array:
        """float32 (1, 3, H, W), RGB in [0, 1] -> float32 (1, 3, scale * H, scale * W), not clipped."""
        self.accepts.check(x)
        given = pixels(x) if self._image else np.ascontiguousarray(x)
        made = np.asarray(self._predict({self._input_name: given})[self._output_name])
        upscaled = made.astype(np.float32)
        return upscaled / np.float32(255) if self._image else upscaled

    def describe(self) -> dict[str, str]:
        return dict(self._facts)


def open_contents(contents: Contents, threads: int) -> CoreMLRunner:
    """Load the package from its checked bytes. Raises ArtifactError for one that cannot be loaded."""
    messages()  # says what is missing before anything is read
    prefix = f"{contents.main}/{DATA}/"
    files = {name.removeprefix(prefix): data for name, data in contents.files.items() if name.startswith(prefix)}
    try:
        interpreter = _interpreter(files)
    except ArtifactError as error:
        raise ArtifactError(f"The reference interpreter cannot load {contents.main}: {error}") from error
    image = _check_ports(interpreter, contents)
    if sys.platform == "darwin":
        return _on_macos(contents, image)
    facts = _facts(f"reference interpreter (coremltools {_version()}, not Apple's runtime)", contents, "1")
    return CoreMLRunner(
        contents.scale,
        contents.accepts,
        interpreter,
        contents.input_name,
        contents.output_name,
        image,
        facts,
    )


def pixels(x: Array) -> Array:
    """[0, 1] -> whole numbers from 0 to 255, as an 8-bit image holds them."""
    return np.round(np.clip(x, 0, 1) * np.float32(255))


def _interpreter(files: Mapping[str, bytes]) -> Interpreter:
    if MODEL not in files:
        raise ArtifactError(f"it has no {DATA}/{MODEL}.")
    return Interpreter(files[MODEL], files)


def _check_ports(interpreter: Interpreter, contents: Contents) -> bool:
    """Whether the program takes and gives images. Raises ArtifactError for other names than the manifest's."""
    program = interpreter.program
    found = [port.name for port in program.inputs], [port.name for port in program.outputs]
    expected = [contents.input_name], [contents.output_name]
    if found != expected:
        raise ArtifactError(f"{contents.main} does not match its manifest: tensors {expected} expected, {found} found.")
    kinds = {port.image for port in (*program.inputs, *program.outputs)}
    if len(kinds) != 1:
        raise ArtifactError(f"{contents.main} must take and give images, or arrays; it mixes them.")
    return kinds.pop()


def _on_macos(contents: Contents, image: bool) -> CoreMLRunner:
    """Apple's runtime. It compiles from a folder, so the checked bytes are written to one that is the runner's own."""
    coremltools = require("coremltools", "coreml")
    folder = tempfile.TemporaryDirectory(prefix="edgesr-coreml-")
    for name, data in contents.files.items():
        path = Path(folder.name, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    try:
        model = coremltools.models.MLModel(str(Path(folder.name, contents.main)))
    except Exception as error:
        raise ArtifactError(f"Core ML cannot load {contents.main}: {error}") from error
    facts = _facts(f"Core ML (coremltools {_version()}, macOS)", contents, "Core ML's choice")
    predict = _image_prediction(model) if image else model.predict
    return CoreMLRunner(
        contents.scale, contents.accepts, predict, contents.input_name, contents.output_name, image, facts, folder
    )


def _image_prediction(model: Any) -> Predict:
    """coremltools takes and gives Pillow images where the model has them."""

    def predict(values: Mapping[str, Any]) -> Mapping[str, Any]:
        from PIL import Image

        given = {name: Image.fromarray(_to_hwc(value), "RGB") for name, value in values.items()}
        made = model.predict(given)
        return {name: np.asarray(image.convert("RGB")).transpose(2, 0, 1)[None] for name, image in made.items()}

    return predict


def _to_hwc(image: Array) -> Any:
    """float (1, 3, H, W), whole numbers -> uint8 (H, W, 3)."""
    return np.ascontiguousarray(image[0].transpose(1, 2, 0).astype(np.uint8))


def _facts(runtime: str, contents: Contents, threads: str) -> dict[str, str]:
    return {
        "runtime": runtime,
        "precision": PRECISIONS.get(contents.precision, contents.precision),
        "threads": threads,
    }


def _version() -> str:
    return importlib.metadata.version("coremltools")
