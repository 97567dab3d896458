"""ncnn on the CPU."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgesr.errors import ArtifactError
from edgesr.extras import require
from edgesr.runner.contract import Array, InputRule
from edgesr.runner.manifest import Contents
from edgesr.runner.ncnn_file import Layer, read_bin, read_param
from edgesr.runner.ncnn_shapes import blob_shapes

PRECISIONS: Mapping[str, str] = {
    "fp32": "float32",
    "fp16": "bfloat16 tensors and weights (from float16 ones in the file), sums in float32",
    "int8": "int8 where the file has int8 weights, else float32",
}


@dataclass(frozen=True, slots=True)
class NcnnRunner:
    scale: int
    accepts: InputRule
    _network: Any
    _matrix: Callable[[Array], Any]
    _check_size: Callable[[int, int], None]
    _input_name: str
    _output_name: str
    _facts: dict[str, str]

    def __call__(self, x: Array) -> Array:
        """float32 (1, 3, H, W), RGB in [0, 1] -> float32 (1, 3, scale * H, scale * W), not clipped."""
        self.accepts.check(x)
        self._check_size(x.shape[2], x.shape[3])
        extractor = self._network.create_extractor()
        # The matrix does not keep the array alive, so a name must. ncnn owns the clone: layers may write into it.
        pixels = np.ascontiguousarray(x[0])
        extractor.input(self._input_name, self._matrix(pixels).clone())
        status, upscaled = extractor.extract(self._output_name)
        if status != 0:
            raise ArtifactError(f"ncnn could not run a {x.shape[2]}x{x.shape[3]} image: status {status}.")
        return np.array(upscaled, dtype=np.float32)[None]

    def describe(self) -> dict[str, str]:
        return dict(self._facts)


def open_contents(contents: Contents, threads: int) -> NcnnRunner:
    """Load both files from their checked bytes, after checking all that ncnn takes on trust."""
    runtime = require("ncnn", "ncnn")
    layers, weights = _checked(contents)
    network = runtime.Net()
    _set_options(network.opt, contents.precision, threads)
    status = network.load_param_mem(contents.files[contents.main].decode("ascii"))
    if status != 0:
        raise ArtifactError(f"ncnn {runtime.__version__} cannot load {contents.main}: status {status}.")
    network.load_model_mem(weights)
    facts = {
        "runtime": f"ncnn {runtime.__version__}",
        "precision": PRECISIONS.get(contents.precision, contents.precision),
        "threads": str(threads),
    }
    check_size = _size_check(layers, contents)
    return NcnnRunner(
        contents.scale,
        contents.accepts,
        network,
        runtime.Mat,
        check_size,
        contents.input_name,
        contents.output_name,
        facts,
    )


def _checked(contents: Contents) -> tuple[tuple[Layer, ...], bytes]:
    """Layers and bytes of the weights. Raises ArtifactError for what ncnn would read past the end of."""
    others = [content for name, content in contents.files.items() if name != contents.main]
    if len(others) != 1:
        raise ArtifactError(f"An ncnn artifact has two files; found {', '.join(contents.files)}.")
    layers = read_param(contents.files[contents.main])
    read_bin(others[0], layers)
    smallest = contents.accepts.sizes[0] if contents.accepts.sizes else (contents.accepts.min_side_px,) * 2
    _size_check(layers, contents)(*smallest)
    return layers, others[0]


def _size_check(layers: tuple[Layer, ...], contents: Contents) -> Callable[[int, int], None]:
    """A function of height and width that raises ArtifactError unless the layers fit together at that size."""

    @functools.lru_cache(maxsize=64)
    def check(height: int, width: int) -> None:
        found = blob_shapes(layers, contents.input_name, height, width).get(contents.output_name)
        expected = (3, contents.scale * height, contents.scale * width)
        if found != expected:
            raise ArtifactError(
                f"{contents.main} makes {contents.output_name} {found} of a {height}x{width} image, not {expected}."
            )

    return check


def _set_options(options: Any, precision: str, threads: int) -> None:
    """bfloat16 has the range of float32; float16, ncnn's own choice on Arm, overflows in soft pooling (exp)."""
    options.use_vulkan_compute = False
    options.num_threads = threads
    options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
    options.use_bf16_storage = precision == "fp16"
