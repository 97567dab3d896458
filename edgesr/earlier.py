"""Artifacts that were made earlier, perhaps elsewhere: the network of one, and whether it is still what it was."""

import time
from dataclasses import replace
from pathlib import Path

from edgesr import artifact, report
from edgesr.artifact import Manifest
from edgesr.errors import Unsupported, WeightsError
from edgesr.listener import Listener
from edgesr.pipeline import Session
from edgesr.runner import open_artifact
from edgesr.runner.manifest import read_contents
from edgesr.runner.opening import RUNTIMES


def session_of(
    manifest: Manifest, *, weights: Path | None = None, data: Path | None = None, listener: Listener | None = None
) -> Session:
    """A session with the network that an artifact was made from. Raises WeightsError if its weights are not here."""
    request = manifest.request
    session = Session(request.model, request.scale, weights=weights, data=data, listener=listener)
    found = session.loaded.provenance
    if found.sha256 != manifest.weights.sha256:
        raise WeightsError(
            f"{manifest.slug} was made from {manifest.weights.kind} weights {manifest.weights.file} (sha256 "
            f"{manifest.weights.sha256[:16]}...), but the weights found here are {found.kind} {found.file} (sha256 "
            f"{found.sha256[:16]}...). Pass the right file with --weights."
        )
    return session


def verify_artifact(
    folder: Path, *, weights: Path | None = None, data: Path | None = None, listener: Listener | None = None
) -> report.Row:
    """Check an artifact that was made earlier, perhaps elsewhere: its files, then its output in its own runtime.

    Raises ArtifactError, WeightsError if the weights that it was made from are not here, ParityError, QualityError.
    """
    start = time.perf_counter()
    manifest = artifact.read_manifest(folder)
    request = manifest.request
    if request.target not in RUNTIMES:
        read_contents(folder)
        raise Unsupported(
            f"The files of {folder} are whole. {request.target} artifacts run on their device, so their output cannot "
            "be checked here."
        )
    open_artifact(folder)
    session = session_of(manifest, weights=weights, data=data, listener=listener)
    proof = session.prove(folder, request)
    return report.row(replace(manifest, proof=proof), report.Cost(time.perf_counter() - start))
