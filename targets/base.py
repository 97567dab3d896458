"""What a target gets and gives."""

import importlib.metadata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edgesr.targets.source import Source
from edgesr.types import Request, TensorSpec

INPUT_NAME = "image"
OUTPUT_NAME = "upscaled"


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a target wrote.

    main: the file a runner opens. files: every file written, by name, `main` included. runtime_options: what the
    runner must know, as text: `min_side_px` always. toolchain: package -> version. notes: facts for a person, in words.
    """

    main: str
    files: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    runtime_options: Mapping[str, str]
    toolchain: Mapping[str, str]
    notes: tuple[str, ...] = field(default=())


class Target(Protocol):
    """A module of this package. A protocol because each needs another toolchain, imported only when it is used."""

    def convert(self, source: Source, request: Request, folder: Path) -> Conversion:
        """Write `request` into `folder`; the request was checked against the table and the network."""
        ...


def tensor_specs(request: Request) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs: named sides where they are free or enumerated, numbers where the size is fixed."""
    height: int | str = "height"
    width: int | str = "width"
    out_height: int | str = f"{request.scale}*height"
    out_width: int | str = f"{request.scale}*width"
    if len(request.sizes) == 1:
        ((height, width),) = request.sizes
        out_height, out_width = request.scale * height, request.scale * width
    inputs = TensorSpec(INPUT_NAME, (1, 3, height, width), "float32")
    outputs = TensorSpec(OUTPUT_NAME, (1, 3, out_height, out_width), "float32")
    return (inputs,), (outputs,)


def versions(packages: Iterable[str]) -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in packages}
