"""What is installed here, what can be converted and run, and the pip line for what is missing."""

import importlib.metadata
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgesr.bundles.tools import TOOLS, version_of
from edgesr.models.files import cache_folder
from edgesr.runner.cpu import processor
from edgesr.runner.opening import RUNTIMES
from edgesr.targets import TARGETS

if TYPE_CHECKING:
    from rich.console import Group

FLAGS = (
    *("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve"),
)
"""Instruction sets that decide which precision is fast: vector width, INT8 dot products, bfloat16, matrix units."""


@dataclass(frozen=True, slots=True)
class TargetState:
    """`packages`: name -> version, None if not installed."""

    target: str
    can_convert: bool
    can_run: bool
    packages: dict[str, str | None]
    install: str | None


@dataclass(frozen=True, slots=True)
class ToolState:
    """A program that `edgesr bundle` builds apps with; `version` is None if it is missing, "there" if it tells none."""

    name: str
    version: str | None
    install: str | None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    edgesr: str
    python: str
    system: str
    machine: str
    cpu: str
    cpu_features: tuple[str, ...]
    weights_cache: str
    targets: tuple[TargetState, ...]
    tools: tuple[ToolState, ...]


def diagnose() -> Diagnosis:
    """Look at this machine; imports no toolchain and touches no network."""
    from edgesr import __version__

    cpu, features = _cpu()
    return Diagnosis(
        edgesr=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()}",
        machine=platform.machine(),
        cpu=cpu,
        cpu_features=features,
        weights_cache=str(cache_folder()),
        targets=tuple(_state(name) for name in TARGETS),
        tools=tuple(_tool_state(name) for name in TOOLS),
    )


def _tool_state(name: str) -> ToolState:
    found = version_of(TOOLS[name])
    return ToolState(name, found, None if found else TOOLS[name].install)


def _state(name: str) -> TargetState:
    info = TARGETS[name]
    packages = {package: _version(package) for package in filter(None, dict.fromkeys((*info.packages, info.runtime)))}
    missing = [package for package, version in packages.items() if version is None]
    return TargetState(
        target=name,
        can_convert=not missing,
        can_run=name in RUNTIMES and info.runtime is not None and packages[info.runtime] is not None,
        packages=packages,
        install=f"pip install 'edgesr[{info.extra}]'" if missing else None,
    )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> tuple[str, tuple[str, ...]]:
    """Name and the instruction sets of FLAGS."""
    name, present = processor()
    return name, tuple(flag for flag in FLAGS if flag in (present or ()))


def report(diagnosis: Diagnosis) -> "Group":
    """For a terminal."""
    from rich.console import Group
    from rich.table import Table

    facts = Table.grid(padding=(0, 2))
    for name, value in (
        ("edgesr", f"{diagnosis.edgesr} on Python {diagnosis.python}, {diagnosis.system}, {diagnosis.machine}"),
        ("CPU", diagnosis.cpu),
        ("features", " ".join(diagnosis.cpu_features) or "unknown"),
        ("cache", diagnosis.weights_cache),
    ):
        facts.add_row(name, value)
    states = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("target", "convert", "run here", "installed", "missing"):
        states.add_column(name, overflow="fold")
    for state in diagnosis.targets:
        installed = [f"{name} {version}" for name, version in state.packages.items() if version]
        states.add_row(
            state.target,
            "✅" if state.can_convert else "❌",
            "✅" if state.can_run else "❌",
            ", ".join(installed),
            state.install or "",
        )
    tools = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("for apps", "installed", "missing"):
        tools.add_column(name, overflow="fold")
    for tool in diagnosis.tools:
        tools.add_row(tool.name, tool.version or "❌", tool.install or "")
    return Group(facts, "", states, "", tools)
