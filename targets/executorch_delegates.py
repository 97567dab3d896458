"""The accelerator libraries that an ExecuTorch program can hand its work to, and how much of it they took."""

import contextlib
import logging
import re
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from typing import Any

from torch import fx

from edgesr.types import Precision

CONVOLUTIONS = ("aten.convolution.default", "aten.conv2d.default")
PLUMBING = ("getitem", "executorch_call_delegate")
UUID = re.compile(rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
MANIFEST_ENTRY = re.compile(rb'"[0-9a-fA-F-]{36}": (\{[^{}]*\})')
"""Of `Manifest.json` in a CoreML package; they stand in the order of their random names."""


@dataclass(frozen=True, slots=True)
class Delegation:
    """What became of the convolutions' multiply-accumulates and of every other operator.

    macs: all of them; delegated and integer: part of them, 0 to 1. left: name of each operator that stayed with
    ExecuTorch's own kernels -> how often. delegates: how many pieces the library got.
    """

    macs: int
    delegated: float
    integer: float
    left: dict[str, int]
    delegates: int


def partitioner(target: str, precision: Precision) -> Any:
    """The object that claims operators for the library of `target`."""
    with _root_logger_kept():
        return _PARTITIONERS[target](precision)


def _xnnpack(precision: Precision) -> Any:
    """Also with GELU between two roundings to 8 bits as an integer operator.

    XNNPACK makes a table of such a function when a program is loaded; ExecuTorch's list takes GELU as float alone.
    """
    from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
    from executorch.backends.xnnpack.partition.config.generic_node_configs import GeluConfig
    from executorch.backends.xnnpack.partition.config.xnnpack_config import ConfigPrecisionType
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    class TabulatedGeluConfig(GeluConfig):  # type: ignore[misc]
        def supported_precision_types(self) -> list[ConfigPrecisionType]:
            return [ConfigPrecisionType.FP32, ConfigPrecisionType.STATIC_QUANT]

    configs = [TabulatedGeluConfig if each is GeluConfig else each for each in ALL_PARTITIONER_CONFIGS]
    return XnnpackPartitioner(configs=configs)


def _vulkan(precision: Precision) -> Any:
    from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner

    return VulkanPartitioner({"force_fp16": True} if precision == "fp16" else {})


def _coreml(precision: Precision) -> Any:
    import coremltools as ct
    from executorch.backends.apple.coreml.compiler import CoreMLBackend
    from executorch.backends.apple.coreml.partition import CoreMLPartitioner

    specs = CoreMLBackend.generate_compile_specs(
        compute_precision=ct.precision.FLOAT32 if precision == "fp32" else ct.precision.FLOAT16,
        minimum_deployment_target=ct.target.iOS17,
    )
    return CoreMLPartitioner(compile_specs=specs)


_PARTITIONERS = {"executorch": _xnnpack, "executorch-vulkan": _vulkan, "executorch-coreml": _coreml}


@contextlib.contextmanager
def without_debug_handles() -> Iterator[None]:
    """No table in CoreML programs of which operation came from which node: half of a small INT8 one's bytes."""
    from coremltools.converters.mil.mil import Program

    construct = Program.construct_debug_handle_to_ops_mapping
    Program.construct_debug_handle_to_ops_mapping = lambda self: {}
    try:
        yield
    finally:
        Program.construct_debug_handle_to_ops_mapping = construct


@contextlib.contextmanager
def _root_logger_kept() -> Iterator[None]:
    """The partitioners' modules set the level of the root logger and give it a handler when they are imported."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers


def measure(module: fx.GraphModule, *, float_outputs: bool = False) -> Delegation:
    """Count in the lowered top-level graph of a program.

    `float_outputs`: whether the library's integer convolutions write floats (TargetInfo).
    """
    parts = [getattr(module, str(node.target)) for node in module.graph.nodes if node.op == "get_attr"]
    inside = [node for part in parts for node in part.original_module.graph_module.graph.nodes]
    outside = [node for node in module.graph.nodes if node.op == "call_function"]
    taken, kept = _convolutions(inside), _convolutions(outside)
    macs = sum(map(_macs, taken + kept))
    names = Counter(_name(node) for node in outside)
    return Delegation(
        macs=macs,
        delegated=sum(map(_macs, taken)) / macs,
        integer=sum(_macs(node) for node in taken if _is_integer(node, float_outputs)) / macs,
        left={name: count for name, count in sorted(names.items()) if name not in PLUMBING},
        delegates=len(parts),
    )


def _convolutions(nodes: list[fx.Node]) -> list[fx.Node]:
    return [node for node in nodes if node.op == "call_function" and _name(node) in CONVOLUTIONS]


def _macs(convolution: fx.Node) -> int:
    """Outputs times the weights that each of them reads."""
    weight = convolution.args[1]
    assert isinstance(weight, fx.Node)
    return int(convolution.meta["val"].numel() * prod(weight.meta["val"].shape[1:]))


def _is_integer(convolution: fx.Node, float_outputs: bool) -> bool:
    """Whether roundings stand at its input, weight and output: then the library has an integer kernel. The last not
    where that writes floats."""
    source, weight = convolution.all_input_nodes[:2]
    written = float_outputs or all(
        "quantize_per_tensor" in _name(node) and "dequantize" not in _name(node) for node in convolution.users
    )
    return "dequantize" in _name(source) and "dequantize" in _name(weight) and written


def _name(node: fx.Node) -> str:
    target = node.target
    return str(getattr(target, "__name__", target)).removeprefix("torch.ops.")


def without_random_names(content: bytes) -> bytes:
    """A CoreML program names its parts by random UUIDs: replace them by ones made from everything else in it.

    They are also the key under which a device caches the compiled model, so they must differ between models.
    """
    entries = [match.group() for match in MANIFEST_ENTRY.finditer(content)]
    in_order = iter(sorted(entries, key=lambda entry: entry.partition(b":")[2]))
    content = MANIFEST_ENTRY.sub(lambda _: next(in_order), content)
    digest = sha256(UUID.sub(b"", content)).hexdigest()
    for index, old in enumerate(dict.fromkeys(UUID.findall(content))):
        content = content.replace(old, str(uuid.uuid5(uuid.NAMESPACE_OID, f"{digest}/{index}")).encode())
    return content
