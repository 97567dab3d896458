"""What is measured: an artifact of this kit, or a model file that somebody else made."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgesr.artifact import Manifest, file_sha256, read_manifest
from edgesr.bench.records import Subject
from edgesr.errors import ArtifactError, MissingExtra, UsageError
from edgesr.runner.foreign import TARGETS, Foreign, open_foreign
from edgesr.runner.manifest import read_contents
from edgesr.types import Size

DEFAULT_SIZE: Size = (180, 320)
"""An eighth of 1440p each way, a quarter of 720p: what the papers count operations at."""
BESIDE = {".xml": ".bin", ".param": ".bin"}
"""Formats whose weights lie in a file of the same name."""


@dataclass(frozen=True, slots=True)
class Item:
    """`files`: what has to be on the device; `path`: what is opened there, one of them or the folder of all.

    `manifest`: None for a foreign file, which has `foreign`.
    """

    path: Path
    files: tuple[Path, ...]
    subject: Subject
    manifest: Manifest | None = None
    foreign: Foreign | None = None


def read_item(path: Path, size: Size | None, foreign: Foreign | None) -> Item:
    """The artifact folder or model file at `path`, to be timed at `size` (None: its own, or 180x320).

    Raises ArtifactError for a damaged artifact, UsageError, Unsupported for a size that it does not take.
    """
    if path.is_dir() and path.suffix != ".mlpackage":
        if foreign is not None:
            raise UsageError(f"{path} is an artifact with a manifest. Leave --scale, --range and --layout out.")
        return _artifact(path, size)
    if not path.exists():
        raise UsageError(f"There is no artifact or model file {path}. Check the path.")
    if path.suffix == ".ort":
        raise UsageError(f"{path} is the mobile form of the model.onnx beside it. Measure its folder, or model.onnx.")
    if foreign is None:
        raise UsageError(f"{path} has no manifest, so say what it is: --scale 4 [--range 0-255] [--layout NHWC].")
    return _foreign(path, size, foreign)


def _artifact(folder: Path, size: Size | None) -> Item:
    manifest = read_manifest(folder)
    contents = read_contents(folder)  # checks every file
    chosen = _size(folder.name, size, contents.accepts.sizes)
    if not contents.accepts.allows(chosen):
        raise UsageError(f"{folder.name} does not take {chosen[0]}x{chosen[1]}. It takes {contents.accepts}.")
    subject = Subject(
        sha256=_digest((entry.name, entry.sha256) for entry in manifest.files),
        name=manifest.slug,
        target=manifest.request.target,
        precision=manifest.request.precision,
        scale=manifest.scale,
        size=chosen,
        bytes=sum(entry.bytes for entry in manifest.files),
        model=manifest.request.model,
        weights=manifest.weights.kind,
        halo_px=manifest.halo_px,
        fixed_size=bool(contents.accepts.sizes),
        int8_share=manifest.shares.get("int8_macs"),
        delegated_share=manifest.shares.get("delegated_macs"),
    )
    files = (folder / "manifest.json", *(folder / entry.name for entry in manifest.files))
    return Item(folder, files, subject, manifest)


def _foreign(path: Path, size: Size | None, foreign: Foreign) -> Item:
    if path.suffix not in TARGETS:
        raise UsageError(f"{path.name} is no artifact and no model file. Known: {', '.join(TARGETS)}.")
    files = _files(path)
    sizes = _declared(path, foreign)
    hashes = ((file.relative_to(path.parent).as_posix(), file_sha256(file)) for file in files)
    subject = Subject(
        sha256=_digest(hashes),
        name=path.name,
        target=TARGETS[path.suffix],
        precision="unknown",
        scale=foreign.scale,
        size=_size(path.name, size, sizes),
        bytes=sum(file.stat().st_size for file in files),
        fixed_size=bool(sizes),
        foreign=True,
    )
    return Item(path, files, subject, foreign=foreign)


def _files(path: Path) -> tuple[Path, ...]:
    """Of a foreign model. Raises ArtifactError if one is missing."""
    if path.is_dir():
        return tuple(sorted(file for file in path.rglob("*") if file.is_file() and not file.is_symlink()))
    files = (path, path.with_suffix(BESIDE[path.suffix])) if path.suffix in BESIDE else (path,)
    for file in files:
        if not file.is_file():
            raise ArtifactError(f"{file} does not exist.")
    return files


def _declared(path: Path, foreign: Foreign) -> tuple[Size, ...]:
    """The sizes that the file says it takes; none if it takes any, or its runtime is not installed here."""
    try:
        return open_foreign(path, foreign, threads=1).accepts.sizes
    except MissingExtra:
        return ()


def _size(name: str, wanted: Size | None, sizes: tuple[Size, ...]) -> Size:
    if wanted is None:
        return sizes[0] if sizes else DEFAULT_SIZE
    if sizes and wanted not in sizes:
        known = ", ".join(f"{height}x{width}" for height, width in sizes)
        raise UsageError(f"{name} takes {known} only; --size {wanted[0]}x{wanted[1]} was asked for.")
    return wanted


def _digest(files: Iterable[tuple[str, str]]) -> str:
    """Over names and hashes, in the order of names."""
    text = "".join(f"{name}\0{sha256}\n" for name, sha256 in sorted(files))
    return hashlib.sha256(text.encode()).hexdigest()
