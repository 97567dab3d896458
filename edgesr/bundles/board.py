"""Bundles for Linux boards: a tar with the runner, the artifacts and the commands of apps/board.

edgesr-rpi/install.sh upscale bench serve run   commands
           code/      edgesr, as far as the commands need it     models/   the artifacts, unchanged
           wheels/    with --offline, for one Python             SHA256SUMS over everything else
"""

import hashlib
import io
import re
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from importlib import resources
from pathlib import Path

from edgesr.bundles import notices
from edgesr.bundles.contents import Packed
from edgesr.bundles.options import Options
from edgesr.devices import unpack
from edgesr.devices.bundle import runner_bundle
from edgesr.devices.facts import Python
from edgesr.devices.setup import RUNTIMES
from edgesr.devices.wheels import OLDEST, download
from edgesr.errors import BundleError, DeviceError, UsageError
from edgesr.listener import Listener

MACHINE = "aarch64"
COMMANDS = ("upscale", "bench", "serve")
PAGE = ("page.html", "page.js", "page.css")
GLIBC = "2.35"
"""Of Ubuntu 22.04, the oldest system with Python 3.11 or newer among those of these boards."""
OURS = "edgesr.board"
REFERENCE = "onnxruntime"
"""What runs the ONNX form of a TensorRT artifact where there is no engine."""
DATE_S = 1577836800
"""2020-01-01, of every file in the tar, so that equal files are equal bytes."""


@dataclass(frozen=True, slots=True)
class Board:
    """`python`: of its system, for wheels."""

    name: str
    title: str
    targets: tuple[str, ...]
    python: str


RPI = Board("rpi", "Raspberry Pi", ("onnxruntime", "tflite", "ncnn", "openvino"), "3.13")
"""Raspberry Pi OS on Debian 13, 64 bits."""
JETSON = Board("jetson", "Jetson", ("tensorrt", "onnxruntime", "tflite", "ncnn"), "3.12")
"""JetPack 7 on Ubuntu 24.04."""


def marker(board: Board) -> str:
    return f"edgesr-{board.name}.tar"


def prepare(board: Board, packed: Sequence[Packed], options: Options, listener: Listener) -> Callable[[Path], None]:
    """Collect everything; the result writes the bundle into an empty folder."""
    files = dict(_files(board, packed, options, listener))
    return lambda folder: _write(board, files, folder)


def _files(board: Board, packed: Sequence[Packed], options: Options, listener: Listener) -> Iterator[tuple[str, bytes]]:
    """Name in the bundle -> content."""
    code = runner_bundle(OURS)
    version = options.python or board.python
    requirements = sorted({*_runtimes(packed), *code.requirements})
    wheels = _wheels(board, version, requirements, options, listener)
    yield from ((f"code/{name}", content) for name, content in code.files.items())
    yield "code/edgesr/apps/__init__.py", _source("__init__.py", folder="")
    yield from ((f"code/edgesr/apps/board/{name}", _source(name)) for name in PAGE)
    for item in packed:
        yield from ((f"models/{item.manifest.slug}/{name}", content) for name, content in item.files.items())
    for command in COMMANDS:
        yield command, _filled("command", COMMAND=command)
    yield "run", _source("run")
    if any(item.manifest.request.target == "tensorrt" for item in packed):
        yield "engines.sh", _source("engines.sh")
    yield "install.sh", _filled("install.sh", PYTHON=version, MACHINE=MACHINE)
    yield "edgesr.service", _source("edgesr.service")
    yield "requirements.txt", "".join(f"{line}\n" for line in requirements).encode()
    if wheels:
        yield "tools/unpack.py", Path(unpack.__file__).read_bytes()
        yield from ((f"wheels/{name}", content) for name, content in wheels.items())
    yield "README.md", _readme(board, packed, version, bool(wheels)).encode()
    yield "NOTICE.txt", _notice(packed, requirements, wheels).encode()


def _runtimes(packed: Sequence[Packed]) -> Iterator[str]:
    """Requirements of what runs the artifacts."""
    for item in packed:
        target = item.manifest.request.target
        wanted = REFERENCE if target == "tensorrt" else target
        yield from next(one.requirements for one in RUNTIMES.values() if one.target == wanted)


def _wheels(
    board: Board, version: str, requirements: Sequence[str], options: Options, listener: Listener
) -> dict[str, bytes]:
    """Name -> content; none unless they are asked for."""
    found = re.fullmatch(r"3\.(\d{1,2})", version)
    if not found or (3, int(found[1])) < OLDEST:
        raise UsageError(f"--python {version!r:.20} is no version from {OLDEST[0]}.{OLDEST[1]} on, for example 3.13.")
    if not options.offline and options.wheels is None:
        return {}
    python = Python((3, int(found[1]), 0), f"linux-{MACHINE}", 64, "cpython", ("glibc", GLIBC), "python3")
    listener.say(f"Fetching wheels for {MACHINE}, Python {version} ...")
    with tempfile.TemporaryDirectory(prefix="edgesr-wheels-") as name:
        try:
            got = download(requirements, python, options.wheels, Path(name), board.name)
        except DeviceError as error:
            said = str(error).replace("Choose another --runtime, or pass", "Choose another --python, or pass")
            raise BundleError(said) from error
        return {wheel.name: wheel.read_bytes() for wheel in got}


def _source(name: str, folder: str = "board") -> bytes:
    """A file of apps/board."""
    try:
        return resources.files("edgesr.apps").joinpath(folder, name).read_bytes()
    except OSError as error:
        raise BundleError(f"The app's sources are incomplete: {name} is missing. Install edgesr again.") from error


def _filled(name: str, **values: str) -> bytes:
    text = _source(name).decode()
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text.encode()


def _write(board: Board, files: Mapping[str, bytes], folder: Path) -> None:
    sums = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    whole = {**files, "SHA256SUMS": sums.encode()}
    top = f"edgesr-{board.name}"
    with tarfile.open(folder / marker(board), "w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(whole):
            archive.addfile(_member(f"{top}/{name}", whole[name]), io.BytesIO(whole[name]))
    (folder / "README.md").write_bytes(files["README.md"])
    (folder / "NOTICE.txt").write_bytes(files["NOTICE.txt"])


def _member(name: str, content: bytes) -> tarfile.TarInfo:
    """Raises BundleError for a name that a tar of 1988 cannot hold."""
    member = tarfile.TarInfo(name)
    member.size, member.mtime = len(content), DATE_S
    member.mode = 0o755 if content.startswith(b"#!") else 0o644
    try:
        member.tobuf(tarfile.USTAR_FORMAT)
    except ValueError as error:
        raise BundleError(f"The name {name!r:.80} is too long for a tar: {error}.") from error
    return member


README = """\
# edgesr on a {title}

{models} on the board itself: no photo leaves it.

1. Copy `{tar}` to the board and unpack it: `tar xf {tar} && cd edgesr-{name}`
2. Install{into}: `./install.sh`{network}
3. Enlarge: `./upscale photo.jpg` writes `photo_x{scale}.jpg` beside it. `./upscale --help` has the rest.

`./bench` times the artifacts the way `edgesr bench` does and writes records that `edgesr report` reads. `./serve` shows
a page on http://127.0.0.1:8000 that takes a photo and gives it back. It listens on the board alone. For your network:
`./serve --host 0.0.0.0 --allow NAME.local`; it has no password, so do so only where you trust everyone. Limits:
`./serve --help`. `sudo ./install.sh --service` starts it with the board; unpack the bundle in /opt for that, because
the service runs as a user of its own.

Behind a proxy with a password: it must pass the Host header on as it came (nginx: `proxy_set_header Host $http_host;`),
and the service must know that name: `sudo systemctl edit edgesr` and, below `[Service]`, the two lines `ExecStart=` and
`ExecStart=/opt/edgesr-{name}/serve --allow NAME --per-minute 60`. All photos then come from the proxy's address, so it
is the proxy that limits each client.
{more}
| artifact | file | sha256 |
|---|---|---|
{rows}

Python {python} is this bundle's choice for the board{wheels}. Licences and notices, those of the model included:
NOTICE.txt. To remove everything: `sudo ./install.sh --remove-service` if there is a service, then delete the folder.
"""
TENSORRT = """
TensorRT: `./install.sh --engines` builds an engine of each `tensorrt` artifact with trtexec (JetPack has it) into
`engines/`; `trtexec --loadEngine=engines/NAME.engine` says how fast it is. `upscale` and `bench` do not run engines:
they compute the same ONNX file with ONNX Runtime on the CPU, as a reference.
"""


def _readme(board: Board, packed: Sequence[Packed], python: str, offline: bool) -> str:
    names = sorted({f"{item.manifest.request.model} x{item.manifest.scale}" for item in packed})
    rows = [
        f"| {item.manifest.slug} | {entry.name} | {entry.sha256} |" for item in packed for entry in item.manifest.files
    ]
    tensorrt = any(item.manifest.request.target == "tensorrt" for item in packed)
    return README.format(
        title=board.title,
        name=board.name,
        tar=marker(board),
        models=" and ".join(names),
        scale=packed[0].manifest.scale,
        into=" into the same folder",
        network=" (works without a network)" if offline else " (pip fetches the packages in requirements.txt)",
        more=TENSORRT if tensorrt else "",
        rows="\n".join(rows),
        python=python,
        wheels=": the wheels in it fit no other" if offline else "; any from 3.11 on will do",
    )


def _notice(packed: Sequence[Packed], requirements: Sequence[str], wheels: Mapping[str, bytes]) -> str:
    parts = notices.own("The commands and the page (edgesr)", [item.manifest for item in packed])
    if wheels:
        parts += [_wheel_notice(name, content) for name, content in wheels.items()]
    else:
        text = "Not in this bundle; pip fetches them, each under its own licence:\n" + "\n".join(requirements)
        parts.append(("Packages", text))
    return notices.joined(parts)


def _wheel_notice(name: str, content: bytes) -> tuple[str, str]:
    """What the wheel says of itself, and the texts that it brings."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        metadata = next((one for one in names if re.fullmatch(r"[^/]+\.dist-info/METADATA", one)), None)
        said = HeaderParser().parsestr("" if metadata is None else archive.read(metadata).decode("utf-8", "replace"))
    licence = said.get("License-Expression") or (said.get("License") or "").partition("\n")[0] or "said in the wheel"
    classified = [line.split(" :: ")[-1] for line in said.get_all("Classifier", []) if line.startswith("License ::")]
    texts = [one for one in names if re.search(r"(licen[cs]e|notice|copying)", one.rpartition("/")[2], re.IGNORECASE)]
    lines = [
        f"File: wheels/{name}",
        f"Licence: {', '.join(dict.fromkeys((licence, *classified)))}",
        "Texts in it: " + (", ".join(texts[:20]) or "none"),
    ]
    return f"{said.get('Name', name)} {said.get('Version', '')}".strip(), "\n".join(lines)
