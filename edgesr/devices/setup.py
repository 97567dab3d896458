"""Puts the runner and runtimes on a device, in one folder that needs no network and no pip there, and removes it.

    FOLDER/wheels/NAME-VERSION-TAGS/   each wheel unpacked once, whatever runtimes share it
    FOLDER/setup.json                  which of them make up a runtime, written last: what it names is complete

Runtimes whose requirements contradict (tflite-runtime needs numpy 1) stand side by side, because each has its own list.
"""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgesr.devices import unpack
from edgesr.devices.bundle import Bundle, runner_bundle, write_wheel
from edgesr.devices.facts import Facts, Python
from edgesr.devices.paths import SHORT_S, free_on, last_line, remote_path
from edgesr.devices.protocol import Device, Done
from edgesr.devices.wheels import OLDEST, download, unpacked_mb
from edgesr.errors import DeviceError, UnknownName, UsageError

SCHEMA = 1
STAMP = "setup.json"
UNPACK_S, VERIFY_S = 900.0, 300.0


@dataclass(frozen=True, slots=True)
class Runtime:
    """`target`: whose artifacts it runs; `module`: imported to see that it works; `requirements`: for pip."""

    target: str
    module: str
    requirements: tuple[str, ...]


RUNTIMES: Mapping[str, Runtime] = MappingProxyType(
    {
        "onnxruntime": Runtime("onnxruntime", "onnxruntime", ("onnxruntime>=1.23,<2",)),
        "openvino": Runtime("openvino", "openvino", ("openvino>=2026.1,<2027",)),
        "ncnn": Runtime("ncnn", "ncnn", ("ncnn>=1.0.20250916",)),
        "litert": Runtime("tflite", "ai_edge_litert.interpreter", ("ai-edge-litert>=2,<3",)),
        # The last release was built against numpy 1.
        "tflite-runtime": Runtime("tflite", "tflite_runtime.interpreter", ("tflite-runtime==2.14.0", "numpy<2")),
        "coreml": Runtime("coreml", "coremltools", ("coremltools>=9,<10",)),
    }
)
"""What `--runtime` takes. ExecuTorch's Python runtime brings torch along and is not among them."""


DEFAULT_PYTHON = "python3"
"""Whichever the device finds by that name; what was set up with another one before stays with that."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What stands on a device. `folder`: its full path there; `paths`: runtime -> entries of PYTHONPATH;
    `asked`: runtime -> the requirements it was made from; `versions`: runtime -> what it said of itself."""

    folder: str
    python: str
    runner: str
    paths: Mapping[str, tuple[str, ...]]
    asked: Mapping[str, tuple[str, ...]]
    versions: Mapping[str, str]

    def argv(self, runtime: str, *arguments: str) -> list[str]:
        """A command for `Device.run`: the device's Python with `arguments`, which finds the runner and `runtime`.

        Raises UnknownName if that was not set up.
        """
        if runtime not in self.paths:
            raise UnknownName("runtime on the device", runtime, self.paths)
        return ["env", f"PYTHONPATH={':'.join(self.paths[runtime])}", "PYTHONNOUSERSITE=1", self.python, *arguments]

    def runtime_of(self, target: str) -> str | None:
        """The first that runs artifacts of `target`."""
        return next((name for name in self.paths if name in RUNTIMES and RUNTIMES[name].target == target), None)


@dataclass(frozen=True, slots=True)
class Wanted:
    """`folder` and `python` on the device; `wheels`: a folder here to take wheels from instead of the index."""

    runtimes: tuple[str, ...]
    folder: str
    python: str = DEFAULT_PYTHON
    wheels: Path | None = None


def set_up(device: Device, wanted: Wanted, say: Callable[[str], object]) -> Installed:
    """Bring what is missing, verify it by importing it there. Doing it again does nothing.

    Raises UnknownName, DeviceError (no Python, too old, no wheel, not enough room, does not run), ConnectionLost.
    """
    unknown = next((name for name in wanted.runtimes if name not in RUNTIMES), None)
    if unknown is not None:
        raise UnknownName("runtime", unknown, RUNTIMES)
    if not wanted.runtimes:
        raise UsageError(f"Name at least one --runtime: {', '.join(RUNTIMES)}.")
    remote_path(wanted.folder)
    bundle, before = runner_bundle(), installed(device, wanted.folder)
    asked = {name: (*RUNTIMES[name].requirements, *bundle.requirements) for name in wanted.runtimes}
    named = None if wanted.python == DEFAULT_PYTHON else _with_python(device, wanted.python)
    same_python = before is not None and (named is None or usable_python(named).executable == before.python)
    if before is not None and same_python and _is_there(before, bundle, asked):
        say(f"{device.address}: {', '.join(asked)} stand in {wanted.folder} already.")
        return before
    facts = named or device.facts()
    python = usable_python(facts)
    with tempfile.TemporaryDirectory(prefix="edgesr-wheels-") as name:
        names = _bring(device, wanted, facts, python, bundle, asked, Path(name), say)
    others = set() if before is None or before.python == python.executable else before.paths.keys() - asked.keys()
    if others:
        say(f"{', '.join(sorted(others))}: set up for another Python, so left aside. Set up again with this one.")
    say(f"Verifying on {device.address} ...")
    return _finish(device, wanted, python, bundle, asked, names, before)


def installed(device: Device, folder: str) -> Installed | None:
    """What `setup.json` says; None where there is none, or one of another version of this kit."""
    done = device.run(["cat", f"{remote_path(folder)}/{STAMP}"], timeout_s=SHORT_S)
    try:
        read = json.loads(done.stdout) if done.code == 0 else {}
        if read.pop("schema", None) != SCHEMA:
            return None
        paths, asked = ({name: tuple(map(str, row)) for name, row in read[key].items()} for key in ("paths", "asked"))
        return Installed(str(read["folder"]), str(read["python"]), str(read["runner"]), paths, asked, read["versions"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def clean(device: Device, folder: str) -> bool:
    """Remove everything that was put on the device; False if nothing was there. Raises DeviceError."""
    program = '[ -e "$1" ] || exit 3; [ -e "$1/setup.json" ] || [ -d "$1/wheels" ] || exit 4; rm -rf -- "$1"'
    done = device.run(["sh", "-c", program, "edgesr", remote_path(folder)], timeout_s=UNPACK_S)
    if done.code == 4:
        raise DeviceError(f"{device.address}: {folder!r} was not made by edgesr device setup, so it is left as it is.")
    if done.code not in (0, 3):
        raise DeviceError(f"{device.address}: cannot remove {folder!r}: {last_line(done.stderr_tail)}", (), done.code)
    return done.code == 0


def usable_python(facts: Facts) -> Python:
    """Raises DeviceError with what to do."""
    python = facts.python
    if facts.os.startswith("Android"):
        raise DeviceError(
            f"{facts.address}: Android has no Python that the runtimes have wheels for, so the runner cannot be set up "
            "there. Facts, copies and programs work; artifacts are measured by the Android app."
        )
    if python is None:
        raise DeviceError(
            f"{facts.address}: there is no Python on the device. Install Python {OLDEST[0]}.{OLDEST[1]} or newer there "
            "(Debian: apt-get install python3), or name one with --python."
        )
    if python.implementation != "cpython" or python.version[:2] < OLDEST:
        found = f"{python.implementation} {'.'.join(map(str, python.version))}"
        raise DeviceError(
            f"{facts.address}: the device has {found}; the runner needs CPython {OLDEST[0]}.{OLDEST[1]} or newer. Name "
            "another one with --python."
        )
    return python


def _with_python(device: Device, python: str) -> Facts:
    from edgesr.devices.facts import collect

    return collect(device, python)


def _is_there(before: Installed, bundle: Bundle, asked: Mapping[str, tuple[str, ...]]) -> bool:
    return before.runner == bundle.digest and all(before.asked.get(name) == row for name, row in asked.items())


def _bring(
    device: Device,
    wanted: Wanted,
    facts: Facts,
    python: Python,
    bundle: Bundle,
    asked: Mapping[str, tuple[str, ...]],
    here: Path,
    say: Callable[[str], object],
) -> dict[str, tuple[str, ...]]:
    """Download, push and unpack what the device does not have. Runtime -> names of its wheels."""
    needed: dict[str, Path] = {}
    names: dict[str, tuple[str, ...]] = {}
    runner = write_wheel(bundle, here)
    for runtime, requirements in asked.items():
        say(f"Downloading {runtime} for {facts.arch}, Python {'.'.join(map(str, python.version[:2]))} ...")
        (here / runtime).mkdir()
        found = [runner, *download(requirements, python, wanted.wheels, here / runtime, device.address)]
        names[runtime] = tuple(wheel.stem for wheel in found)
        needed |= {wheel.stem: wheel for wheel in found}
    there = set(device.run(["ls", f"{wanted.folder}/wheels"], timeout_s=SHORT_S).stdout.split())
    missing = [wheel for name, wheel in needed.items() if name not in there]
    _check_room(device, missing, wanted.folder)
    megabytes = sum(wheel.stat().st_size for wheel in missing) / 1e6
    say(f"Pushing {len(missing)} wheels, {megabytes:.1f} MB, to {device.address} ...")
    _push(device, wanted.folder, python, missing, here)
    return names


def _check_room(device: Device, wheels: Sequence[Path], folder: str) -> None:
    need_mb, free_kb = unpacked_mb(wheels), free_on(device, folder)
    if free_kb is not None and need_mb * 1e6 > free_kb * 1024:
        raise DeviceError(
            f"{device.address}: {folder!r} needs {need_mb:.0f} MB and the disk there has {free_kb * 1024 / 1e6:.0f} MB "
            "free. Free some space, or name a folder on another disk with --folder."
        )


def _push(device: Device, folder: str, python: Python, wheels: Sequence[Path], here: Path) -> None:
    incoming = here / "incoming"
    incoming.mkdir()
    for wheel in wheels:
        wheel.rename(incoming / wheel.name)
    program = Path(unpack.__file__)
    (incoming / program.name).write_bytes(program.read_bytes())
    device.push(incoming, f"{folder}/incoming")
    arguments = [f"{folder}/incoming/{program.name}", f"{folder}/incoming", f"{folder}/wheels"]
    done = device.run([python.executable, *arguments], timeout_s=UNPACK_S)
    if done.code != 0:
        raise DeviceError(
            f"{device.address}: the wheels cannot be unpacked in {folder!r}: {why(done)}", arguments, done.code
        )
    device.run(["rm", "-rf", f"{folder}/incoming"], timeout_s=SHORT_S)


def why(done: Done) -> str:
    """The end of a command in words: what a signal means, else its last line."""
    signals = {
        4: "an instruction that this processor does not have (built for a newer one)",
        9: "killed; too little memory is the usual reason",
        11: "crashed (segmentation fault)",
    }
    number = done.code - 128
    if number in signals:
        return f"it was ended by signal {number}: {signals[number]}"
    if "No space left" in done.stderr_tail:
        return "the disk is full"
    if "Exec format error" in done.stderr_tail or "wrong ELF class" in done.stderr_tail:
        return f"wrong architecture: {last_line(done.stderr_tail)}"
    return last_line(done.stderr_tail)


def _finish(
    device: Device,
    wanted: Wanted,
    python: Python,
    bundle: Bundle,
    asked: Mapping[str, tuple[str, ...]],
    names: Mapping[str, Sequence[str]],
    before: Installed | None,
) -> Installed:
    """Import every runtime on the device, then write the stamp."""
    place = device.run(["sh", "-c", 'cd -- "$1" && pwd', "edgesr", wanted.folder], timeout_s=SHORT_S).stdout.strip()
    paths = {runtime: tuple(f"{place}/wheels/{name}" for name in row) for runtime, row in names.items()}
    made = Installed(place, python.executable, bundle.digest, paths, dict(asked), {})
    versions = {runtime: _version(device, made, runtime) for runtime in paths}
    # Runtimes of an earlier setup stay, if they were made with the same runner and for the same Python.
    same = before is not None and (before.runner, before.python) == (bundle.digest, python.executable)
    old = before if same else None
    whole = Installed(
        folder=place,
        python=python.executable,
        runner=bundle.digest,
        paths={**(old.paths if old else {}), **paths},
        asked={**(old.asked if old else {}), **asked},
        versions={**(old.versions if old else {}), **versions},
    )
    _write_stamp(device, wanted.folder, {"schema": SCHEMA, **asdict(whole)})
    return whole


_CHECK = (
    "import importlib, importlib.metadata, sys; from edgesr.runner import open_artifact; "
    "importlib.import_module(sys.argv[1]); print(importlib.metadata.version(sys.argv[2]))"
)


def _version(device: Device, made: Installed, runtime: str) -> str:
    one = RUNTIMES[runtime]
    package = one.requirements[0].replace("=", ">").partition(">")[0]
    done = device.run(made.argv(runtime, "-c", _CHECK, one.module, package), timeout_s=VERIFY_S)
    if done.code != 0:
        raise DeviceError(
            f"{device.address}: {runtime} was copied, but does not run there: {why(done)}",
            (),
            done.code,
            done.stderr_tail,
        )
    return last_line(done.stdout)


def _write_stamp(device: Device, folder: str, stamp: Mapping[str, Any]) -> None:
    with tempfile.TemporaryDirectory(prefix="edgesr-") as name:
        file = Path(name) / STAMP
        file.write_text(json.dumps(stamp, indent=1), encoding="utf-8")
        device.push(file, f"{folder}/{STAMP}")
