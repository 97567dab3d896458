"""Programs that apps are built with, and how to get them."""

import re
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
    """`install`: what to type or where to get it. `asks`: argument that makes it say its version; None: it has none.
    `least`: major version. `file`: where it lies if it is no program in PATH."""

    program: str
    install: str
    asks: str | None = "--version"
    least: int | None = None
    file: str | None = None


_NODE = "apt-get install nodejs npm (Debian, Ubuntu), brew install node (macOS), or https://nodejs.org"
ANDROID_PACKAGES = ("aapt", "zipalign", "apksigner", "libsmali-java", "android-framework-res", "default-jre-headless")
_ANDROID = f"apt-get install {' '.join(ANDROID_PACKAGES)} (Debian 12 or newer, Ubuntu 24.04)"
_JAVA = "/usr/share/java"
TOOLS: Mapping[str, Tool] = MappingProxyType(
    {
        "node": Tool("node", _NODE, least=18),
        "npm": Tool("npm", _NODE, least=8),
        "java": Tool("java", _ANDROID, least=11),
        "keytool": Tool("keytool", _ANDROID, None),
        "aapt": Tool("aapt", _ANDROID, "version"),
        "zipalign": Tool("zipalign", _ANDROID, None),
        "apksigner": Tool("apksigner", _ANDROID),
        "smali": Tool("smali (Java library)", _ANDROID, None, file=f"{_JAVA}/smali.jar"),
        "android-framework-res": Tool(
            "android-framework-res", _ANDROID, None, file="/usr/share/android-framework-res/framework-res.apk"
        ),
    }
)


def version_of(tool: Tool) -> str | None:
    """What the program says of itself, "there" if it does not say; None if it is not there or does not start."""
    if tool.file is not None:
        return "there" if Path(tool.file).is_file() else None
    path = shutil.which(tool.program)
    if path is None or tool.asks is None:
        return None if path is None else "there"
    try:
        done = subprocess.run([path, tool.asks], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"\d+[\w.+-]*", done.stdout)
    return found[0] if found else None


def need(name: str, purpose: str) -> str:
    """The path of a program or file that is new enough. Raises MissingTool with the way to get it."""
    tool = TOOLS[name]
    found = version_of(tool)
    if found is None:
        raise MissingTool(tool.program, purpose, tool.install)
    major = found.partition(".")[0]
    if tool.least is not None and (not major.isdigit() or int(major) < tool.least):
        raise MissingTool(f"{tool.program} {tool.least} or newer (found {found})", purpose, tool.install)
    return tool.file or shutil.which(tool.program) or tool.program


def run(arguments: Sequence[str], folder: Path, timeout_s: float, advice: str) -> str:
    """Run a program in `folder`; what it said. Raises BundleError with the last lines of what it said, and `advice`."""
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
    return done.stdout
