"""Wheels for a device's Python and processor, downloaded by pip on this machine."""

import importlib.util
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from edgesr.devices.facts import Python
from edgesr.errors import DeviceError, UsageError

OLDEST = (3, 11)
DOWNLOAD_S = 1800.0
LEFT_OUT = ("openvino_telemetry",)
"""Packages that a runtime asks for and works without, because they report their use over the network."""
OLDEST_GLIBC = 17
"""manylinux_2_17, the oldest that runtimes still publish."""


def platforms(python: Python) -> tuple[str, ...]:
    """Platform tags of wheels that run on the device, newest first (PEP 600, PEP 656). Raises DeviceError."""
    system, _, rest = python.platform.partition("-")
    if system == "linux":
        return _linux(_linux_machine(rest, python.bits), python.libc)
    if system == "macosx":
        version, _, machine = rest.rpartition("-")
        return _macos(version, machine)
    raise DeviceError(f"No wheels can be chosen for the platform {python.platform!r}: Linux and macOS only.")


def _linux_machine(machine: str, bits: int) -> str:
    """A 32-bit Python under a 64-bit kernel, as on older images for the Raspberry Pi, says aarch64 all the same."""
    return "armv7l" if (machine, bits) == ("aarch64", 32) else machine


def _linux(machine: str, libc: tuple[str, str]) -> tuple[str, ...]:
    name, version = libc
    found = re.match(r"2\.(\d+)", version)
    if name != "glibc" or not found:
        return tuple(f"musllinux_1_{minor}_{machine}" for minor in (2, 1))
    new = [f"manylinux_2_{minor}_{machine}" for minor in range(int(found[1]), OLDEST_GLIBC - 1, -1)]
    return (*new, f"manylinux2014_{machine}")


def _macos(version: str, machine: str) -> tuple[str, ...]:
    """The version is the oldest that this Python was built for; wheels for later ones are not safe to choose."""
    major, _, minor = version.partition(".")
    if not major.isdigit():
        raise DeviceError(f"No wheels can be chosen for macOS {version!r}.")
    newest, kinds = int(major), (machine, "universal2")
    tags = [f"macosx_{number}_0_{kind}" for number in range(newest, 10, -1) for kind in kinds]
    if machine == "x86_64":
        last = int(minor) if newest == 10 and minor.isdigit() else 16
        tags += [f"macosx_10_{number}_{kind}" for number in range(last, 8, -1) for kind in kinds]
    return tuple(tags)


def download(requirements: Sequence[str], python: Python, source: Path | None, into: Path, what: str) -> list[Path]:
    """Wheels of `requirements` and of all that these need.

    `source`: a folder of wheels to take them from instead of the package index. `what`: the device, for messages.
    Raises DeviceError if there is none for the device.
    """
    if source is not None and not source.is_dir():
        raise UsageError(f"--wheels {source} is not a folder.")
    major, minor, _ = python.version
    tags = [item for tag in platforms(python) for item in ("--platform", tag)]
    abis = [item for abi in (f"cp{major}{minor}", "abi3", "none") for item in ("--abi", abi)]
    origin = ["--no-index", "--find-links", str(source)] if source is not None else []
    command = [
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download", "--no-input"),
        *("--only-binary=:all:", "--implementation", "cp", "--python-version", f"{major}.{minor}"),
        *abis,
        *tags,
        *origin,
        *("--dest", str(into)),
        *requirements,
    ]
    if importlib.util.find_spec("pip") is None:
        raise DeviceError(
            "Wheels for a device are downloaded by pip, which this environment does not have. Run: "
            f"{sys.executable} -m ensurepip"
        )
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=DOWNLOAD_S)
    except subprocess.TimeoutExpired as error:
        raise DeviceError(
            f"{what}: downloading {', '.join(requirements)} was given up after {DOWNLOAD_S:.0f} s. Run it again: what "
            "pip has is kept."
        ) from error
    if done.returncode != 0:
        raise DeviceError(_why_not(done.stderr, requirements, python, what), command, done.returncode, done.stderr)
    return sorted(wheel for wheel in into.glob("*.whl") if wheel.name.partition("-")[0] not in LEFT_OUT)


def _why_not(said: str, requirements: Sequence[str], python: Python, what: str) -> str:
    machine = f"Python {'.'.join(map(str, python.version[:2]))} on {platforms(python)[0]}"
    missing = re.search(r"No matching distribution found for (\S+)", said)
    if missing:
        return (
            f"{what}: there is no wheel of {missing[1]} for {machine}. Choose another --runtime, or pass --wheels DIR."
        )
    if "ResolutionImpossible" in said:
        return f"{what}: there are no wheels of {', '.join(requirements)} that fit together for {machine}."
    lines = [line.strip() for line in said.splitlines() if line.startswith("ERROR")]
    return (
        f"{what}: pip could not download {', '.join(requirements)} for {machine}: {(lines or ['it said nothing'])[-1]}"
    )


def unpacked_mb(wheels: Sequence[Path]) -> float:
    """What they take on the device, with the wheels themselves while they are unpacked. Raises DeviceError."""
    total = 0
    for wheel in wheels:
        try:
            with zipfile.ZipFile(wheel) as archive:
                total += wheel.stat().st_size + sum(member.file_size for member in archive.infolist())
        except (OSError, zipfile.BadZipFile) as error:
            raise DeviceError(f"{wheel} is not a wheel: {error}") from error
    return total / 1e6
