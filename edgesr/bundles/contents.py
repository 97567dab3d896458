"""Artifacts as a bundle takes them: read once, checked, and of a kind that its platform runs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from edgesr.artifact import MANIFEST, Manifest, read_manifest
from edgesr.errors import ArtifactError, Unsupported
from edgesr.runner.manifest import read_contents

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
"""Of an artifact's folder in a bundle: safe as a part of a path and of an address."""


@dataclass(frozen=True, slots=True)
class Packed:
    """An artifact and the very bytes that were checked, `manifest.json` included, by name with forward slashes."""

    folder: Path
    manifest: Manifest
    files: Mapping[str, bytes]


def read_packed(folder: Path, platform: str, targets: Sequence[str]) -> Packed:
    """Read and check `folder`. Raises ArtifactError; Unsupported for what `platform` does not run, with what does."""
    manifest = read_manifest(folder)
    request = manifest.request
    if request.target not in targets:
        command = f"edgesr convert {request.model} --scale {request.scale} --target {targets[0]}"
        raise Unsupported(
            f"{folder} is for {request.target}, which {platform} does not run. Convert to {' or '.join(targets)}, for "
            f"example: {command} --precision {request.precision}"
        )
    if request.io == "image":
        raise Unsupported(
            f"{folder} takes images of its platform, {platform} gives numbers: convert without --io image."
        )
    if not NAME.fullmatch(manifest.slug) or ".." in manifest.slug:
        raise ArtifactError(f"{folder / MANIFEST}: {manifest.slug!r:.80} is not a plain name. Convert it again.")
    contents = read_contents(folder)
    raw = (folder / MANIFEST).read_bytes()
    return Packed(folder, manifest, {**contents.files, MANIFEST: raw})


def check_float(packed: Sequence[Packed], layouts: Mapping[str, str] = MappingProxyType({})) -> None:
    """Raise Unsupported for an artifact that a native app cannot use: those give and take float32.

    `layouts`: of targets whose tensors are not NCHW."""
    for item in packed:
        layout = layouts.get(item.manifest.request.target, "NCHW")
        for spec in (*item.manifest.inputs, *item.manifest.outputs):
            if (spec.dtype, spec.layout) != ("float32", layout):
                raise Unsupported(
                    f"{item.folder} does not take and give float32 in {layout}: its {spec.name} is {spec.dtype} in "
                    f"{spec.layout}. Convert without --io."
                )
