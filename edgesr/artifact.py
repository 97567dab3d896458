"""The artifact: a folder with the converted files and manifest.json, which apps and runners read and nothing else.

A folder appears whole or not at all: it is built under a temporary name beside its place and renamed at the end.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgesr.errors import ArtifactError, OutputError
from edgesr.runner.opening import RUNTIMES
from edgesr.types import Request, TensorSpec

SCHEMA = 1
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class FileEntry:
    """`name` is relative to the artifact's folder, with forward slashes."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class WeightsEntry:
    """`kind`: "official", "edgesr-trained" or "user"."""

    kind: str
    file: str
    sha256: str


@dataclass(frozen=True, slots=True)
class SetQuality:
    """Luma PSNR against the ground truth over one image set; `psnr_fp32_db`: the float32 network's on the same images.

    A drop is positive when the artifact is worse; `drops_db`: of every image, by name.
    """

    name: str
    images: int
    protocol: str
    psnr_db: float
    psnr_fp32_db: float
    psnr_drop_db: float
    worst_image: str
    worst_drop_db: float
    drops_db: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Proof:
    """What was measured when the saved artifact ran in its own runtime, against the float32 network in torch.

    parity_max_abs: largest difference in 8-bit levels after rounding. fidelity_db: RGB PSNR against the network's own
    output, mean over images; None if every pixel is equal. runtime: what ran it (version, execution precision ...).
    colour_shift_255: by how many 8-bit levels the mean colour of an image moves, in the channel where it moves most,
    mean over images; None in manifests that were written before it was measured.
    """

    parity_max_abs: int
    fidelity_db: float | None
    worst_fidelity_db: float | None
    sets: tuple[SetQuality, ...]
    runtime: Mapping[str, str]
    colour_shift_255: float | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything a runner or an app needs to know about an artifact, and how it was made.

    multiple_px: tiles start at multiples of it, so that the network's windows keep their places in the image.
    """

    slug: str
    request: Request
    scale: int
    main: str
    files: tuple[FileEntry, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    min_side_px: int
    halo_px: int
    peak_bytes_per_px: int
    weights: WeightsEntry
    toolchain: Mapping[str, str]
    runtime_options: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    shares: Mapping[str, float] = field(default_factory=dict)
    calibration: Mapping[str, Any] | None = None
    recipe: Mapping[str, Any] | None = None
    proof: Proof | None = None
    multiple_px: int = 1
    schema: int = SCHEMA


LEAST = {"scale": 1, "min_side_px": 1, "multiple_px": 1, "halo_px": 0, "peak_bytes_per_px": 1}
"""Of a manifest's numbers."""


@contextmanager
def building(place: Path) -> Iterator[Path]:
    """A temporary folder that becomes `place` when the block ends well and vanishes when it does not.

    An artifact already at `place` is replaced only then. Raises OutputError for a folder that cannot be written.
    """
    temporary = _temporary_beside(place)
    try:
        yield temporary
        _move_into_place(temporary, place)
    except BrokenPipeError:
        raise  # whoever read what is said has gone; nothing is wrong with the folder
    except OSError as error:
        file = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else temporary
        at = file if file.is_absolute() and not file.is_relative_to(place.parent.absolute()) else place
        raise OutputError(f"Cannot write {at}: {error.strerror or error}. Choose another folder with -o.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def file_entries(folder: Path) -> tuple[FileEntry, ...]:
    """Every file in `folder` but the manifest, sorted by name, with its hash."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return tuple(
        FileEntry(path.relative_to(folder).as_posix(), file_sha256(path), path.stat().st_size) for path in files
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace manifest.json atomically; keys sorted, so equal manifests are equal bytes. ValueError for NaN."""
    temporary = folder / f".{MANIFEST}.tmp"
    temporary.write_text(json.dumps(asdict(manifest), indent=1, sort_keys=True, allow_nan=False) + "\n", "utf-8")
    os.replace(temporary, folder / MANIFEST)


def read_manifest(folder: Path) -> Manifest:
    """Read and validate manifest.json. Raises ArtifactError that says what is wrong with which field."""
    from pydantic import TypeAdapter, ValidationError

    raw = _manifest_json(folder)
    try:
        manifest = TypeAdapter(Manifest).validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(f"{folder / MANIFEST}: field {where!r}: {first['msg']}. Convert it again.") from error
    for name, least in LEAST.items():
        if getattr(manifest, name) < least:
            raise ArtifactError(
                f"{folder / MANIFEST}: field {name!r} is {getattr(manifest, name)}, must be at least {least}. Convert "
                "it again."
            )
    return manifest


def latest(folder: Path) -> Path:
    """The last converted artifact in `folder` that runs here; damaged ones are passed over.

    Raises ArtifactError if there is none.
    """
    whole = (path for path in folder.glob(f"*/{MANIFEST}") if not path.parent.name.startswith("."))
    damaged = ""
    for path in sorted(whole, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            if read_manifest(path.parent).request.target in RUNTIMES:
                return path.parent
        except ArtifactError as error:
            damaged = damaged or f" Damaged: {error}"
    raise ArtifactError(
        f"There is no artifact in {folder} that runs here. Make one, for example: edgesr convert bsrn-s --target "
        f"openvino --int8; or name one with -a.{damaged}"
    )


def _manifest_json(folder: Path) -> dict[str, Any]:
    file = folder / MANIFEST
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_MANIFEST_BYTES + 1)
        if len(content) > MAX_MANIFEST_BYTES:
            raise ArtifactError(f"{file} is larger than {MAX_MANIFEST_BYTES} bytes: it is not a manifest.")
        raw: dict[str, Any] = json.loads(content, parse_constant=_refuse_constant)
    except OSError as error:
        inside = sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST}"))
        hint = f" Do you mean one in it, as {folder / inside[0]}?" if inside else ""
        raise ArtifactError(f"{folder} is not an artifact: cannot read {MANIFEST} ({error.strerror}).{hint}") from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{file} is not valid JSON ({error}). Convert it again.") from error
    schema = raw.get("schema") if isinstance(raw, dict) else None
    if schema != SCHEMA:
        raise ArtifactError(f"{file} has schema {schema!r}; this edgesr reads schema {SCHEMA}. Convert it again.")
    return raw


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _temporary_beside(place: Path) -> Path:
    if place.exists() and not place.is_dir():
        raise OutputError(f"Cannot write {place}: a file is in the way. Choose another folder with -o.")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{place.name}.", suffix=".tmp", dir=place.parent))
    except OSError as error:
        raise OutputError(
            f"Cannot write into {place.parent}: {error.strerror}. Choose another folder with -o."
        ) from error


def _move_into_place(temporary: Path, place: Path) -> None:
    temporary.chmod(0o755)
    old = place.with_name(f".{place.name}.old")
    with suppress(FileNotFoundError):
        shutil.rmtree(old)
    if place.exists():
        place.rename(old)
    try:
        temporary.rename(place)
    except BaseException:
        if old.exists():
            old.rename(place)
        raise
    shutil.rmtree(old, ignore_errors=True)


def file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
