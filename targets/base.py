"""What a target gets and gives."""

import importlib.metadata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from edgesr.targets.rewrite import Rewrite
from edgesr.targets.source import Source
from edgesr.types import Io, Request, TensorSpec

INPUT_NAME = "image"
OUTPUT_NAME = "upscaled"
Layout = Literal["NCHW", "NHWC"]
VALUE_RANGES: Mapping[Io, tuple[float, float]] = {
    "float32": (0.0, 1.0),
    "uint8": (0.0, 255.0),
    "int8": (-128.0, 127.0),
    "image": (0.0, 255.0),
}


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a target wrote.

    main: the file a runner opens. files: every file written, by name, `main` included. runtime_options: what the
    runner must know, as text: `min_side_px` always. toolchain: package -> version. notes: facts for a person, in words.
    shares: parts of the work, 0 to 1, by name: "int8_macs" (computed on integers), "delegated_macs" (by the accelerator
    library that the file was made for).
    """

    main: str
    files: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    runtime_options: Mapping[str, str]
    toolchain: Mapping[str, str]
    notes: tuple[str, ...] = ()
    shares: Mapping[str, float] = field(default_factory=dict)


class Target(Protocol):
    """A module of this package. A protocol because each needs another toolchain, imported only when it is used.

    REWRITES: what it changes in a network, for `edgesr targets --explain`.
    """

    REWRITES: tuple[Rewrite, ...]

    def convert(self, source: Source, request: Request, folder: Path) -> Conversion:
        """Write `request` into `folder`; the request was checked against the table and the network."""
        ...


def tensor_specs(request: Request, layout: Layout = "NCHW") -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs: named sides where they are free or enumerated, numbers where the size is fixed."""
    height: int | str = "height"
    width: int | str = "width"
    out_height: int | str = f"{request.scale}*height"
    out_width: int | str = f"{request.scale}*width"
    if len(request.sizes) == 1:
        ((height, width),) = request.sizes
        out_height, out_width = request.scale * height, request.scale * width
    return (
        (_spec(INPUT_NAME, height, width, request.io, layout),),
        (_spec(OUTPUT_NAME, out_height, out_width, request.io, layout),),
    )


def _spec(name: str, height: int | str, width: int | str, io: Io, layout: Layout) -> TensorSpec:
    shape = (1, 3, height, width) if layout == "NCHW" else (1, height, width, 3)
    return TensorSpec(name, shape, "uint8" if io == "image" else io, layout, VALUE_RANGES[io])


def versions(packages: Iterable[str]) -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in packages}
