"""The whole way on one screen: name -> network -> artifact -> runner -> proof -> row.

Each conversion and each proof runs in a process of its own (edgesr.isolation).
"""

import json
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgesr import artifact, datasets, isolation, report, targets, verify
from edgesr.artifact import Manifest, WeightsEntry
from edgesr.errors import EdgesrError, MissingExtra, Unsupported, WeightsError
from edgesr.extras import require
from edgesr.listener import Listener, Silent
from edgesr.runner import open_artifact
from edgesr.runner.opening import RUNTIMES
from edgesr.types import Io, Precision, Request, Size

if TYPE_CHECKING:
    from edgesr.quantization.calibration import Calibration
    from edgesr.targets.base import Conversion
    from edgesr.targets.source import Source

TIMEOUT_S = 1800.0
"""For one conversion or one proof. Ours take seconds; a proof of a large network over many photos takes minutes."""


@dataclass(frozen=True, slots=True)
class ConvertJob:
    """What the process of a conversion gets."""

    source: "Source"
    request: Request
    folder: Path


@dataclass(frozen=True, slots=True)
class ProveJob:
    """What the process of a proof gets; it imports no torch but what a runtime brings."""

    folder: Path
    expected: Sequence[verify.Reference]


def run_conversion(job: ConvertJob, listener: Listener) -> "Conversion":
    job.source.progress = lambda done, total: listener.progress("calibrate", done, total)
    return targets.convert(job.source, job.request, job.folder)


def run_proof(job: ProveJob, listener: Listener) -> artifact.Proof:
    return verify.prove(open_artifact(job.folder), job.expected, listener)


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
        timeout_s: float = TIMEOUT_S,
        listener: Listener | None = None,
    ) -> None:
        """`calib`: folder of low-resolution images for INT8 ranges; `data`: folder of image sets to verify on;
        `int8`: whether any precision on integers will be asked for; `timeout_s`: for one conversion or one proof.

        Raises UsageError, WeightsError, DataError before any work is done.
        """
        require("torch", "export")
        from edgesr.models.weights import load
        from edgesr.targets.source import Source

        self.listener, self.timeout_s = listener or Silent(), timeout_s
        self._store = Path(tempfile.mkdtemp(prefix="edgesr-exports-"))
        weakref.finalize(self, shutil.rmtree, self._store, ignore_errors=True)
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
            store=self._store,
        )
        self._references: dict[tuple[tuple[int, int], ...], list[verify.Reference]] = {}

    def convert(self, request: Request, out: Path) -> report.Row:
        """Make the artifact `out/slug`, verify it in its own runtime if that exists here, keep it only if it passes.

        Raises Crashed if the toolchain or the runtime crashes or takes longer than `timeout_s`.
        """
        start = time.perf_counter()
        self.listener.say(f"Converting {request.slug} (weights: {self.loaded.provenance.kind}) ...")
        with artifact.building(out / request.slug) as folder:
            made = isolation.run(
                run_conversion, ConvertJob(self.source, request, folder), self.listener, self.timeout_s
            )
            manifest = self._manifest(request, made.value, folder)
            artifact.write_manifest(folder, manifest)
            if request.target in RUNTIMES:
                manifest = replace(manifest, proof=self.prove(folder, request))
                artifact.write_manifest(folder, manifest)
        for note in manifest.notes:
            self.listener.say(f"  {note}")
        cost = report.Cost(time.perf_counter() - start, made.seconds, made.peak_mb)
        return report.row(manifest, cost)

    def prove(self, folder: Path, request: Request) -> artifact.Proof:
        """Run the artifact in `folder` against the float32 network.

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
        job = ProveJob(folder, self._references[request.sizes])
        proof = isolation.run(run_proof, job, self.listener, self.timeout_s).value
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

        int8 = request.precision in targets.INTEGER and self.calibration is not None
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
class Planned:
    """A request. `optional`: part of "all", so that what cannot be had is a row with the reason and not an error."""

    request: Request
    optional: bool = False


def plan(
    model: str,
    scale: int,
    names: Iterable[str],
    precisions: Sequence[Precision],
    sizes: tuple[Size, ...] = (),
    io: Io = "float32",
) -> list[Planned]:
    """A request for every target in `names` ("all": each there is) and precision, each target once.

    Raises UnknownName or Unsupported for a target named by itself that does not have what is asked.
    """
    chosen: dict[str, bool] = {}
    for name in names:
        for target in targets.TARGETS if name == "all" else (targets.find(name).name,):
            chosen[target] = chosen.get(target, True) and name == "all"
    planned = []
    for target, optional in chosen.items():
        info = targets.TARGETS[target]
        for precision in precisions:
            request = Request(model, scale, target, precision, info.sizes(sizes), io)
            if not optional:
                info.check(request)
            planned.append(Planned(request, optional))
    return planned


@dataclass(frozen=True, slots=True)
class Outcome:
    """Rows in the order of the requests; `first_error` is None unless one failed."""

    rows: tuple[report.Row, ...]
    first_error: EdgesrError | None


def convert_all(session: Session, planned: Iterable[Planned], out: Path) -> Outcome:
    """Convert one request after another; one that fails does not stop the rest."""
    rows: list[report.Row] = []
    first_error: EdgesrError | None = None
    for item in planned:
        start = time.perf_counter()
        try:
            targets.find(item.request.target).check(item.request)
            rows.append(session.convert(item.request, out))
        except EdgesrError as error:
            seconds, kind = time.perf_counter() - start, session.loaded.provenance.kind
            impossible = item.optional and isinstance(error, Unsupported | MissingExtra)
            rows.append(report.without(item.request, "impossible" if impossible else "failed", seconds, kind, error))
            if not impossible:
                session.listener.say(f"  {report.MARKS['failed']} {error}")
                first_error = first_error or error
    return Outcome(tuple(rows), first_error)


def verify_artifact(
    folder: Path, *, weights: Path | None = None, data: Path | None = None, listener: Listener | None = None
) -> report.Row:
    """Check an artifact that was made earlier, perhaps elsewhere: its files, then its output in its own runtime.

    Raises ArtifactError, WeightsError if the weights that it was made from are not here, ParityError, QualityError.
    """
    start = time.perf_counter()
    manifest = artifact.read_manifest(folder)
    open_artifact(folder)
    request = manifest.request
    session = Session(request.model, request.scale, weights=weights, data=data, listener=listener)
    found = session.loaded.provenance
    if found.sha256 != manifest.weights.sha256:
        raise WeightsError(
            f"{folder.name} was made from {manifest.weights.kind} weights {manifest.weights.file} (sha256 "
            f"{manifest.weights.sha256[:16]}...), but the weights found here are {found.kind} {found.file} (sha256 "
            f"{found.sha256[:16]}...). Pass the right file with --weights."
        )
    proof = session.prove(folder, request)
    return report.row(replace(manifest, proof=proof), report.Cost(time.perf_counter() - start))
