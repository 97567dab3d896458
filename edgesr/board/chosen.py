"""The artifacts of a bundle, and which of them is meant."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesr.artifact import MANIFEST, Manifest, read_manifest
from edgesr.errors import ArtifactError, UnknownName

MODELS = "models"


@dataclass(frozen=True, slots=True)
class Chosen:
    folder: Path
    manifest: Manifest


def artifacts(bundle: Path) -> list[Chosen]:
    """All of the bundle, by name. Raises ArtifactError if there is none, or a damaged one."""
    folders = sorted(path.parent for path in (bundle / MODELS).glob(f"*/{MANIFEST}"))
    if not folders:
        raise ArtifactError(f"{bundle} is no bundle: there is no artifact in {bundle / MODELS}. Unpack it again.")
    return [Chosen(folder, read_manifest(folder)) for folder in folders]


def choose(found: Sequence[Chosen], name: str | None) -> Chosen:
    """`name`: an artifact or a precision. None: INT8 if there is one, else the first. Raises UnknownName."""
    if name is None:
        return next((one for one in found if one.manifest.request.precision == "int8"), found[0])
    for one in found:
        if name in (one.manifest.slug, one.manifest.request.precision):
            return one
    known = dict.fromkeys((*(one.manifest.request.precision for one in found), *(one.manifest.slug for one in found)))
    raise UnknownName("artifact in this bundle", name, known)
