"""The whole way on one screen: name -> network -> artifact -> runner -> proof -> row, and photo -> larger photo."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgesr import artifact, datasets, report, targets, verify
from edgesr.artifact import Manifest, WeightsEntry
from edgesr.errors import EdgesrError, WeightsError
from edgesr.extras import require
from edgesr.listener import Listener, Silent
from edgesr.runner import Runner, open_artifact
from edgesr.types import Request

if TYPE_CHECKING:
    from edgesr.quantization.calibration import Calibration
    from edgesr.targets.base import Conversion


class Session:
    """One network, loaded once, from which any number of artifacts are made.

    Holds what conversions share (exports, calibration, the float32 network's outputs), so nothing is done twice.
    """

    def __init__(
        self,
        model: str,
        scale: int | None = None,
        *,
        weights: Path | None = None,
        calib: Path | None = None,
        data: Path | None = None,
        int8: bool = False,
        listener: Listener | None = None,
    ) -> None:
        """`calib`: folder of low-resolution images for INT8 ranges; `data`: folder of image sets to verify on.

        Raises UsageError, WeightsError, DataError before any work is done.
        """
        require("torch", "export")
        from edgesr.models.weights import load
        from edgesr.targets.source import Source

        self.listener = listener or Silent()
        self.loaded = load(model, scale, weights, self.listener.say)
        self.spec = self.loaded.spec
        self.sets: Sequence[verify.ImageSet] = (
            datasets.eval_sets(data, self.spec.scale) if data else [datasets.built_in_set(self.spec.scale)]
        )
        self.calibration = self._calibrate(calib) if int8 else None
        self.source = Source(
            self.loaded.folded,
            name=self.spec.name,
            scale=self.spec.scale,
            min_side_px=self.spec.min_side_px,
            calibration=self.calibration[0] if self.calibration else None,
            progress=lambda done, total: self.listener.progress("calibrate", done, total),
        )
        self._references: dict[tuple[tuple[int, int], ...], list[verify.Reference]] = {}

    def convert(self, request: Request, out: Path) -> report.Row:
        """Make the artifact `out/slug`, verify it in its own runtime, keep it only if it passes."""
        start = time.perf_counter()
        self.listener.say(f"Converting {request.slug} (weights: {self.loaded.provenance.kind}) ...")
        with artifact.building(out / request.slug) as folder:
            conversion = targets.convert(self.source, request, folder)
            manifest = self._manifest(request, conversion, folder)
            artifact.write_manifest(folder, manifest)
            manifest = replace(manifest, proof=self.prove(open_artifact(folder), request))
            artifact.write_manifest(folder, manifest)
        for note in manifest.notes:
            self.listener.say(f"  {note}")
        return report.row(manifest, time.perf_counter() - start)

    def prove(self, runner: Runner, request: Request) -> artifact.Proof:
        """Run an artifact against the float32 network.

        Raises ParityError or QualityError below the floor of its precision.
        """
        if request.sizes not in self._references:
            self._references[request.sizes] = verify.references(
                self.network,
                self.sets,
                self.spec.scale,
                self.listener,
                sizes=request.sizes,
                min_side_px=self.spec.min_side_px,
            )
        proof = verify.prove(runner, self._references[request.sizes], self.listener)
        verify.check(proof, request.precision, request.slug)
        return proof

    def network(self, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The folded float32 network in torch: (1, 3, H, W) RGB in [0, 1] -> (1, 3, s*H, s*W)."""
        import torch

        with torch.inference_mode():
            output: npt.NDArray[np.float32] = self.loaded.folded(torch.from_numpy(image)).numpy()
        return output

    def _calibrate(self, calib: Path | None) -> "tuple[Calibration, str]":
        from edgesr.quantization.calibration import from_images

        found = datasets.calibration_images(calib, self.spec.scale)
        if found.generated:
            self.listener.say(
                "No calibration images given: INT8 ranges come from generated pictures and will be worse "
                "than from photos. Give low-resolution photos with --calib DIR (DIV2K's official layout is recognised)."
            )
        return from_images(found.images), found.source

    def _manifest(self, request: Request, conversion: "Conversion", folder: Path) -> Manifest:
        from edgesr import __version__

        int8 = request.precision == "int8" and self.calibration is not None
        provenance = self.loaded.provenance
        return Manifest(
            slug=request.slug,
            request=request,
            scale=request.scale,
            main=conversion.main,
            files=artifact.file_entries(folder),
            inputs=conversion.inputs,
            outputs=conversion.outputs,
            min_side_px=self.spec.min_side_px,
            halo_px=self.spec.halo_px,
            peak_bytes_per_px=self.spec.peak_bytes_per_px,
            weights=WeightsEntry(provenance.kind, provenance.file, provenance.sha256),
            toolchain={"edgesr": __version__, **conversion.toolchain},
            runtime_options=dict(conversion.runtime_options),
            notes=conversion.notes,
            shares=dict(conversion.shares),
            calibration=self._calibration_entry() if int8 else None,
            recipe=json.loads(self.source.scheme.to_json()) if int8 else None,
        )

    def _calibration_entry(self) -> dict[str, Any]:
        assert self.calibration is not None
        calibration, source = self.calibration
        crops = len(calibration.photos) + len(calibration.patches)
        return {"source": source, "crops": crops, "fingerprint": calibration.fingerprint}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Rows in the order of the requests; `first_error` is None if all succeeded."""

    rows: tuple[report.Row, ...]
    first_error: EdgesrError | None


def convert_all(session: Session, requests: Sequence[Request], out: Path) -> Outcome:
    """Convert one request after another; one that fails does not stop the rest."""
    rows: list[report.Row] = []
    first_error: EdgesrError | None = None
    for request in requests:
        start = time.perf_counter()
        try:
            rows.append(session.convert(request, out))
        except EdgesrError as error:
            kind = session.loaded.provenance.kind
            rows.append(report.failed(request, time.perf_counter() - start, kind, error))
            first_error = first_error or error
    return Outcome(tuple(rows), first_error)


def verify_artifact(
    folder: Path, *, weights: Path | None = None, data: Path | None = None, listener: Listener | None = None
) -> report.Row:
    """Check an artifact that was made earlier, perhaps elsewhere: its files, then its output in its own runtime.

    Raises ArtifactError, WeightsError if the weights that it was made from are not here, ParityError, QualityError.
    """
    start = time.perf_counter()
    manifest, runner = artifact.read_manifest(folder), open_artifact(folder)
    request = manifest.request
    session = Session(request.model, request.scale, weights=weights, data=data, listener=listener)
    found = session.loaded.provenance
    if found.sha256 != manifest.weights.sha256:
        raise WeightsError(
            f"{folder.name} was made from {manifest.weights.kind} weights {manifest.weights.file} (sha256 "
            f"{manifest.weights.sha256[:16]}...), but the weights found here are {found.kind} {found.file} (sha256 "
            f"{found.sha256[:16]}...). Pass the right file with --weights."
        )
    return report.row(replace(manifest, proof=session.prove(runner, request)), time.perf_counter() - start)
