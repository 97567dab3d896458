"""Reads the part of `manifest.json` that a runner needs, trusting nothing in it.

A folder may come from anywhere: names may not leave it, every file must match its recorded SHA-256, and what is handed
to a runtime is the very bytes that were checked.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesr.errors import ArtifactError
from edgesr.runner.contract import InputRule
from edgesr.types import Size

MANIFEST = "manifest.json"
SCHEMA = 1
MANIFEST_LIMIT_BYTES = 4 << 20
"""Ours are a few kilobytes; more is not a manifest."""


@dataclass(frozen=True, slots=True)
class Contents:
    """A checked artifact: facts from the manifest, and the checked bytes of every file.

    `files`: by name relative to the artifact, with forward slashes. `main`: one of them or a folder of some.
    """

    target: str
    precision: str
    scale: int
    accepts: InputRule
    main: str
    input_name: str
    output_name: str
    options: Mapping[str, str]
    files: Mapping[str, bytes]


def read_contents(folder: Path) -> Contents:
    """Read and check the artifact in `folder`. Raises ArtifactError naming the file, what was expected and found."""
    manifest = _read_json(folder)
    schema = _get(manifest, "schema", int)
    if schema != SCHEMA:
        raise ArtifactError(f"{MANIFEST} has schema {schema}; this version reads schema {SCHEMA}.")
    request = _get(manifest, "request", dict)
    options = {key: str(value) for key, value in _get(manifest, "runtime_options", dict).items()}
    files = {_file_name(entry): _read_file(folder, entry) for entry in _get(manifest, "files", list)}
    main = _get(manifest, "main", str)
    if main not in files and not any(name.startswith(f"{main}/") for name in files):
        raise ArtifactError(f"{MANIFEST} opens {main!r}, which is not among its files: {', '.join(files) or 'none'}.")
    return Contents(
        target=_get(request, "target", str),
        precision=_get(request, "precision", str),
        scale=_positive(_get(manifest, "scale", int), "scale"),
        accepts=InputRule(_sizes(request), _min_side_px(options)),
        main=main,
        input_name=_tensor_name(manifest, "inputs"),
        output_name=_tensor_name(manifest, "outputs"),
        options=options,
        files=files,
    )


def _read_json(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        if path.stat().st_size > MANIFEST_LIMIT_BYTES:
            raise ArtifactError(f"{path} has more than {MANIFEST_LIMIT_BYTES} bytes: not a manifest of this kit.")
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtifactError(f"{folder} is not an artifact: {MANIFEST} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is not valid JSON: {type(error).__name__}: {error}") from error
    if not isinstance(manifest, dict):
        raise ArtifactError(f"{path} must hold a JSON object; found {type(manifest).__name__}.")
    return manifest


def _get(table: dict[str, Any], key: str, kind: type) -> Any:
    value = table.get(key)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        found = "nothing" if key not in table else repr(value)[:80]
        raise ArtifactError(f"{MANIFEST}: {key!r} must be of type {kind.__name__}; found {found}.")
    return value


def _object(value: Any, key: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ArtifactError(f"{MANIFEST}: every entry of {key!r} must be an object; found {value!r:.80}.")
    return value


def _positive(value: int, key: str) -> int:
    if value < 1:
        raise ArtifactError(f"{MANIFEST}: {key!r} must be at least 1; found {value}.")
    return value


def _file_name(entry: Any) -> str:
    """The entry's name, relative with forward slashes, if every part of it is plain: nothing leaves the artifact."""
    name: str = _get(_object(entry, "files"), "name", str)
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or any(sign in name for sign in "\\:\0"):
        raise ArtifactError(
            f"{MANIFEST}: {name!r:.80} is not a plain file name; files of an artifact lie in its folder."
        )
    return name


def _read_file(folder: Path, entry: dict[str, Any]) -> bytes:
    name, expected, size = _file_name(entry), _get(entry, "sha256", str), _get(entry, "bytes", int)
    path = folder / name
    inside = list(path.parents)[: name.count("/")]
    try:
        if any(part.is_symlink() for part in (path, *inside)):
            raise ArtifactError(f"{name} is or lies behind a symbolic link; files of an artifact lie in its folder.")
        found_size = path.stat().st_size
        if not path.is_file() or found_size != size:
            raise ArtifactError(f"{name} was changed: expected a file of {size} bytes, found {found_size} bytes.")
        content: bytes = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = error.strerror if isinstance(error, OSError) else "no file can have this name"
        raise ArtifactError(
            f"{ascii(name)[1:-1]:.80} is missing or unreadable: expected sha256 {expected}, {reason}."
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected.lower():
        raise ArtifactError(f"{name} was changed: expected sha256 {expected}, found {found}.")
    return content


def _sizes(request: dict[str, Any]) -> tuple[Size, ...]:
    return tuple(_size(entry) for entry in _get(request, "sizes", list))


def _size(entry: Any) -> Size:
    sides = list(entry) if isinstance(entry, list) else []
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise ArtifactError(f"{MANIFEST}: a size must be [height, width] in pixels; found {entry!r:.80}.")
    return sides[0], sides[1]


def _min_side_px(options: Mapping[str, str]) -> int:
    text = options.get("min_side_px", "1")
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise ArtifactError(f"{MANIFEST}: min_side_px must be a number of pixels; found {text!r:.80}.")
    return int(text)


def _tensor_name(manifest: dict[str, Any], key: str) -> str:
    specs = _get(manifest, key, list)
    if len(specs) != 1:
        raise ArtifactError(f"{MANIFEST}: expected one entry in {key!r}; found {len(specs)}.")
    name: str = _get(_object(specs[0], key), "name", str)
    return name
