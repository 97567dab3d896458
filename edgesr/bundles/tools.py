"""Programs that apps are built with, and how to get them."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from edgesr.errors import BundleError, MissingTool

LAST_LINES = 8
LINE_LIMIT = 300


@dataclass(frozen=True, slots=True)
class Tool:
    """`install`: what to type or where to get it. `least`: major version."""

    program: str
    install: str
    least: int


_NODE = "apt-get install nodejs npm (Debian, Ubuntu), brew install node (macOS), or https://nodejs.org"
TOOLS: Mapping[str, Tool] = MappingProxyType({"node": Tool("node", _NODE, 18), "npm": Tool("npm", _NODE, 8)})


def version_of(tool: Tool) -> str | None:
    """What the program says of itself; None if it is not there or does not start."""
    path = shutil.which(tool.program)
    if path is None:
        return None
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip().lstrip("v") or None


def need(name: str, purpose: str) -> str:
    """The path of a program that is new enough. Raises MissingTool with the way to get it."""
    tool = TOOLS[name]
    found = version_of(tool)
    if found is None:
        raise MissingTool(tool.program, purpose, tool.install)
    major = found.partition(".")[0]
    if not major.isdigit() or int(major) < tool.least:
        raise MissingTool(f"{tool.program} {tool.least} or newer (found {found})", purpose, tool.install)
    return shutil.which(tool.program) or tool.program


def run(arguments: Sequence[str], folder: Path, timeout_s: float, advice: str) -> None:
    """Run a program in `folder`. Raises BundleError with the last lines of what it said, and `advice`."""
    name = Path(arguments[0]).name
    try:
        done = subprocess.run(
            list(arguments),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"{name} {arguments[1]} took longer than {timeout_s:g} s and was ended. {advice}") from error
    except OSError as error:
        raise BundleError(f"{name} cannot be started: {error.strerror}. {advice}") from error
    if done.returncode:
        said = [line[:LINE_LIMIT] for line in done.stdout.splitlines() if line.strip()][-LAST_LINES:]
        raise BundleError(f"{name} {arguments[1]} failed with code {done.returncode}. {advice}\n" + "\n".join(said))
