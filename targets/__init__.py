"""Formats that run somewhere: one table, one file per target, one function. Reading the table imports nothing heavy."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from edgesr.errors import UnknownName, Unsupported
from edgesr.extras import require
from edgesr.quantization.toolchain import quiet
from edgesr.types import Io, Precision, Request, Size

if TYPE_CHECKING:
    from edgesr.targets.base import Conversion, Target
    from edgesr.targets.source import Source


@dataclass(frozen=True, slots=True)
class TargetInfo:
    """A row of the table. `packages`: imported before conversion, so that a missing one is named at once.

    `runtime`: the package that runs the result in Python; None where only a device has it. `free_sizes`: whether height
    and width may be free; where not, DEFAULT_SIZES stands for no size. `ios`: what the artifact may take and give.
    `withheld`: why a precision that one would expect is missing. `coarse_rest`: whether fp16, and INT8 for what is not
    integer, compute in bfloat16, for speed. `float_outputs`: whether its integer convolutions write floats, so that
    only what they read is rounded (edgesr.quantization.float_outputs).
    """

    name: str
    module: str
    extra: str
    packages: tuple[str, ...]
    runtime: str | None
    precisions: tuple[Precision, ...]
    summary: str
    free_sizes: bool = True
    ios: tuple[Io, ...] = ("float32",)
    withheld: Mapping[Precision, str] = field(default_factory=dict)
    coarse_rest: bool = False
    float_outputs: bool = False

    def sizes(self, asked: tuple[Size, ...]) -> tuple[Size, ...]:
        """The sizes of a request: those asked for, else free ones, else the default of targets that have none."""
        return asked or (() if self.free_sizes else DEFAULT_SIZES)

    def check(self, request: Request) -> None:
        """Raise Unsupported for what this target does not have."""
        if request.precision not in self.precisions:
            why = self.withheld.get(request.precision, "")
            raise Unsupported(
                f"{self.name} has no {request.precision}. It has: {', '.join(self.precisions)}. {why}".strip()
            )
        if request.io not in self.ios:
            raise Unsupported(f"{self.name} has no {request.io} input and output. It has: {', '.join(self.ios)}.")
        if not request.sizes and not self.free_sizes:
            raise Unsupported(f"{self.name} needs fixed sizes: give one or more, for example 256x256.")


DEFAULT_SIZES: tuple[Size, ...] = ((256, 256),)
"""A tile of a photo: larger ones take more memory than a phone likes to give, smaller ones more of their border."""

INTEGER: tuple[Precision, ...] = ("int8", "int16x8")
"""Precisions whose scales come from calibration."""

BASIC: tuple[Precision, ...] = ("fp32", "fp16", "int8")


_ROWS = (
    TargetInfo(
        name="onnxruntime",
        module="edgesr.targets.onnxruntime",
        extra="onnxruntime",
        packages=("torch", "torchao", "onnx", "onnxscript", "onnxruntime"),
        runtime="onnxruntime",
        precisions=BASIC,
        summary="one ONNX file for ONNX Runtime: any CPU, Android, iOS, browsers",
    ),
    TargetInfo(
        name="openvino",
        module="edgesr.targets.openvino",
        extra="openvino",
        packages=("torch", "torchao", "onnx", "onnxscript"),
        runtime="openvino",
        precisions=BASIC,
        summary="OpenVINO IR (.xml, .bin): x86 and Arm CPUs",
        coarse_rest=True,
        float_outputs=True,
    ),
    TargetInfo(
        name="ncnn",
        module="edgesr.targets.ncnn",
        extra="ncnn",
        packages=("torch", "torchao", "pnnx"),
        runtime="ncnn",
        precisions=BASIC,
        summary="ncnn (.param, .bin): Raspberry Pi, Android and other Arm CPUs",
        float_outputs=True,
    ),
    TargetInfo(
        name="coreml",
        module="edgesr.targets.coreml",
        extra="coreml",
        packages=("torch", "torchao", "coremltools"),
        runtime="coremltools",
        precisions=(*BASIC, "palettized"),
        summary="Core ML (.mlpackage): iPhone, iPad and Mac from iOS 17 and macOS 14 on",
        free_sizes=False,
        ios=("float32", "image"),
        float_outputs=True,
    ),
    TargetInfo(
        name="executorch",
        module="edgesr.targets.executorch",
        extra="executorch",
        packages=("torch", "torchao", "executorch"),
        runtime="executorch",
        precisions=("fp32", "int8"),
        summary="ExecuTorch (.pte) with XNNPACK: Arm and x86 CPUs of phones",
        free_sizes=False,
        withheld={
            "fp16": "XNNPACK has no float16 GELU (BSRN-S fell into 32 pieces), the exp in PlainUSR's soft pooling "
            "overflows there, and its files are no smaller."
        },
    ),
    TargetInfo(
        name="executorch-coreml",
        module="edgesr.targets.executorch",
        extra="executorch-coreml",
        packages=("torch", "torchao", "executorch", "coremltools"),
        runtime=None,
        precisions=BASIC,
        summary="ExecuTorch (.pte) with CoreML: iOS 17 and macOS 14 on; runs on devices only",
        free_sizes=False,
        float_outputs=True,
    ),
    TargetInfo(
        name="executorch-vulkan",
        module="edgesr.targets.executorch",
        extra="executorch",
        packages=("torch", "torchao", "executorch"),
        runtime=None,
        precisions=BASIC,
        summary="ExecuTorch (.pte) with Vulkan: GPUs of Android phones; runs on devices only",
        free_sizes=False,
    ),
    TargetInfo(
        name="tflite",
        module="edgesr.targets.tflite",
        extra="tflite",
        packages=("torch", "torchao", "ai_edge_litert"),
        runtime="ai_edge_litert",
        precisions=BASIC,
        summary="LiteRT / TensorFlow Lite (.tflite): Android, Raspberry Pi and other Arm CPUs",
        free_sizes=False,
        ios=("float32", "uint8", "int8"),
        withheld={"int16x8": "16-bit convolutions ran over 10 times slower than float32 ones (PlainUSR-T, x86)."},
    ),
    TargetInfo(
        name="tensorrt",
        module="edgesr.targets.tensorrt",
        extra="onnxruntime",
        packages=("torch", "torchao", "onnx", "onnxscript", "onnxruntime"),
        runtime="onnxruntime",
        precisions=BASIC,
        summary="ONNX that TensorRT takes, with a build script: NVIDIA Jetson; checked here on ONNX Runtime",
        float_outputs=True,
    ),
)

TARGETS: Mapping[str, TargetInfo] = MappingProxyType({row.name: row for row in _ROWS})


OTHER_NAMES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("ort", "onnx", "onnx-runtime"), "onnxruntime"),
        **dict.fromkeys(("litert", "lite-rt", "tensorflow-lite", "tf-lite"), "tflite"),
        **dict.fromkeys(("xnnpack", "pte", "executorch-xnnpack"), "executorch"),
        **dict.fromkeys(("trt", "jetson"), "tensorrt"),
        **dict.fromkeys(("ov", "intel"), "openvino"),
        **dict.fromkeys(("apple", "ios", "mlpackage", "core-ml", "ane"), "coreml"),
        **dict.fromkeys(("vulkan",), "executorch-vulkan"),
    }
)
"""What people call targets, for a hint; a target has one name."""


def find(name: str) -> TargetInfo:
    """The row of `name`. Raises UnknownName with what exists."""
    if name not in TARGETS:
        raise UnknownName("target", name, TARGETS, OTHER_NAMES)
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
    find(request.target).check(request)
    target = load(request.target)
    source.check(request)
    return target.convert(source.fitting(request), request, folder)
