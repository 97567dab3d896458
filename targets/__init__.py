"""Formats that run somewhere: one table, one file per target, one function. Reading the table imports nothing heavy."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from edgesr.errors import UnknownName, Unsupported
from edgesr.extras import require
from edgesr.quantization.toolchain import quiet
from edgesr.types import PRECISIONS, Precision, Request

if TYPE_CHECKING:
    from edgesr.targets.base import Conversion, Target
    from edgesr.targets.source import Source


@dataclass(frozen=True, slots=True)
class TargetInfo:
    """A row of the table. `packages`: imported before conversion, so that a missing one is named at once.

    `runtime`: the package that runs the result on a device.
    """

    name: str
    module: str
    extra: str
    packages: tuple[str, ...]
    runtime: str
    precisions: tuple[Precision, ...]
    summary: str


_ROWS = (
    TargetInfo(
        name="onnxruntime",
        module="edgesr.targets.onnxruntime",
        extra="onnxruntime",
        packages=("torch", "torchao", "onnx", "onnxscript", "onnxruntime"),
        runtime="onnxruntime",
        precisions=PRECISIONS,
        summary="one ONNX file for ONNX Runtime: any CPU, Android, iOS, browsers",
    ),
    TargetInfo(
        name="openvino",
        module="edgesr.targets.openvino",
        extra="openvino",
        packages=("torch", "torchao", "onnx", "onnxscript"),
        runtime="openvino",
        precisions=PRECISIONS,
        summary="OpenVINO IR (.xml, .bin): x86 and Arm CPUs",
    ),
)

TARGETS: Mapping[str, TargetInfo] = MappingProxyType({row.name: row for row in _ROWS})


def find(name: str) -> TargetInfo:
    """The row of `name`. Raises UnknownName with what exists."""
    if name not in TARGETS:
        raise UnknownName("target", name, TARGETS)
    return TARGETS[name]


def load(name: str) -> "Target":
    """The module that converts to `name`. Raises UnknownName or, if a package is not installed, MissingExtra."""
    info = find(name)
    with quiet():
        for package in info.packages:
            require(package, info.extra)
    target: Target = importlib.import_module(info.module)
    return target


def convert(source: "Source", request: Request, folder: Path) -> "Conversion":
    """Write the files of `request` into the existing, empty `folder`.

    Raises Unsupported for a precision or size that cannot be had, ConversionError(stage) if a toolchain fails.
    """
    info = find(request.target)
    if request.precision not in info.precisions:
        raise Unsupported(f"{info.name} has no {request.precision}. It has: {', '.join(info.precisions)}.")
    target = load(request.target)
    source.check(request)
    return target.convert(source, request, folder)
