"""The whole way on one screen: name -> network -> artifact -> runner -> proof -> row.

Each conversion and each proof runs in a process of its own (edgesr.isolation).
"""

import functools
import hashlib
import json
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from edgesr import advice, artifact, datasets, isolation, report, targets, verify
from edgesr.artifact import Manifest, WeightsEntry
from edgesr.errors import EdgesrError, MissingExtra, QualityError, Unsupported, UsageError
from edgesr.extras import require
from edgesr.listener import Listener, Silent
from edgesr.planned import Planned
from edgesr.recipes import Candidates, generated_words
from edgesr.runner import open_artifact
from edgesr.runner.contract import InputRule
from edgesr.runner.opening import RUNTIMES
from edgesr.types import Request, Size

if TYPE_CHECKING:
    from edgesr.quantization.calibration import Calibration
    from edgesr.quantization.layers_report import Explanation
    from edgesr.quantization.recipe import Recipe
    from edgesr.quantization.settings import Settings
    from edgesr.targets.base import Conversion
    from edgesr.targets.source import Source

T = TypeVar("T")

CROPS, CROPS_FOR_RECIPES = 32, 128
"""Of calibration images: for ranges alone, and where weights are fitted to them."""

JUDGED_AT: Size = (128, 128)
"""The part of each image on which a recipe for a network that works in windows is judged in torch."""

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


def run_explanation(source: "Source", listener: Listener) -> "Explanation":
    return source.explain(listener.progress)


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
        calib: Path | datasets.CalibrationImages | None = None,
        data: Path | None = None,
        int8: bool = False,
        recipe: Path | None = None,
        timeout_s: float = TIMEOUT_S,
        listener: Listener | None = None,
    ) -> None:
        """`calib`: low-resolution images for INT8 ranges, or their folder; `data`: folder of image sets to verify on;
        `int8`: whether any precision on integers will be asked for; `recipe`: what `edgesr quantize` wrote, taken for
        INT8 instead; `timeout_s`: for one conversion, quantization or proof.

        Raises UsageError, WeightsError, DataError, ArtifactError before any work is done.
        """
        require("torch", "export")
        from edgesr.models.weights import load

        self.listener, self.timeout_s = listener or Silent(), timeout_s
        self._store = Path(tempfile.mkdtemp(prefix="edgesr-exports-"))
        weakref.finalize(self, shutil.rmtree, self._store, ignore_errors=True)
        self.loaded = load(model, scale, weights, self.listener.say)
        self.spec = self.loaded.spec
        self.sets: Sequence[verify.ImageSet] = (
            datasets.eval_sets(data, self.spec.scale) if data else [datasets.built_in_set(self.spec.scale)]
        )
        given = self._read_recipe(recipe) if recipe else None
        self.images = self._calibration_images(calib) if int8 and given is None else None
        self._places: dict[Recipe | None, Path] = {}
        self._proofs: dict[Recipe, artifact.Proof] = {}
        self._said: set[str] = set()
        self.source = self._source(given)
        self._references: dict[tuple[tuple[int, int], ...], list[verify.Reference]] = {}

    def convert(self, request: Request, out: Path, limit: verify.Limit | None = None) -> report.Row:
        """Make the artifact `out/slug`, verify it in its own runtime if that exists here, keep it only if it passes.

        `limit`: for INT8, quantize with more and more effort until the loss is within it, of the graph in torch and
        then in the target's own runtime if that exists here, if need be with float32 for what is not integer.
        None: search for ranges alone. fp16 computes in float32 where a target's bfloat16 is too far from it.
        Raises QualityError if it never is, Crashed if the toolchain or the runtime crashes or takes longer than
        `timeout_s`.
        """
        self.source.check(request)
        if limit is None or request.precision != "int8":
            if request.precision in targets.INTEGER and self.source.recipe is None:
                self._warn_of_generated(quick=True)
            if request.precision == "fp16" and targets.find(request.target).coarse_rest:
                return self._convert_fp16(request, out)
            return self._convert(self.source, request, out)
        if self.source.recipe is not None:
            if request.target not in RUNTIMES:
                verify.check_limit(self._proof_of(self.source.recipe), limit, f"the recipe for {request.slug}")
            return self._convert_within(self.source.recipe, request, out, limit)
        return self._until_it_holds(lambda recipe: self._convert_within(recipe, request, out, limit), limit)

    def quantize(self, limit: verify.Limit, least_effort: int | None = None) -> "tuple[Recipe, artifact.Proof]":
        """The first recipe whose graph, in torch, is within `limit`, and what it loses on the image sets.

        `least_effort`: number of the effort to begin with, from 1; then the recipe in the package is left out too.
        Raises QualityError if none is, UsageError for an effort that does not exist, Unsupported for a network that
        cannot be quantized.
        """
        from edgesr.quantization.settings import EFFORTS

        if least_effort is not None and not 1 <= least_effort <= len(EFFORTS):
            raise UsageError(f"There is no effort {least_effort}: efforts are 1 to {len(EFFORTS)}.")
        self.source.check_integers()
        candidates = None if least_effort is None else self._recipes(EFFORTS, left_out=least_effort - 1)
        return self._until_it_holds(lambda recipe: (recipe, self._proof_of(recipe)), limit, candidates)

    def explain(self, recipe: "Recipe") -> "Explanation":
        """What `recipe`, of this network, does to every convolution, and where its error comes from.

        Raises Unsupported for a session without calibration images, Crashed after `timeout_s`.
        """
        source = self._source(recipe, crops=CROPS_FOR_RECIPES)
        return isolation.run(run_explanation, source, self.listener, self.timeout_s).value

    def _until_it_holds(
        self, attempt: "Callable[[Recipe], T]", limit: verify.Limit, candidates: Candidates | None = None
    ) -> T:
        """`attempt` with each recipe in turn whose graph is within `limit`, until it does not raise QualityError."""
        candidates = self._candidates if candidates is None else candidates
        failed: list[tuple[tuple[float, float], QualityError]] = []
        for number in range(len(candidates)):
            recipe = candidates[number]
            proof = self._proof_of(recipe)
            try:
                verify.check_limit(proof, limit, f"{self.spec.name} x{self.spec.scale} INT8")
                return attempt(recipe)
            except QualityError as error:
                failed.append((verify.lost(proof), error))
                self._say_once(f"  {candidates.name(number).capitalize()}: {error}")
        _, best = min(failed, key=lambda entry: entry[0])
        raise QualityError(
            f"Post-training quantization cannot keep the contract. The best it reached: {best} Allow more with "
            "--max-drop and --max-worst-drop (what was tried is kept, so that is quick), use a higher precision with "
            "--precision fp16, or train the network for INT8."
        ) from best

    def _warn_of_generated(self, *, quick: bool = False) -> None:
        if self.images is not None and self.images.generated:
            self._say_once(generated_words(self.loaded, quick=quick))

    def _say_once(self, text: str) -> None:
        """The same recipe is refused for one target after another."""
        if text not in self._said:
            self._said.add(text)
            self.listener.say(text)

    def _proof_of(self, recipe: "Recipe") -> artifact.Proof:
        """What a recipe's graph loses on the image sets, in torch; measured once."""
        if recipe not in self._proofs:
            source, sizes = self._source(recipe), (() if self.spec.multiple_px == 1 else (JUDGED_AT,))
            graph = (source.at(*sizes) if sizes else source).quantized
            runner = GraphRunner(graph, self.spec.scale, InputRule(sizes, self.spec.min_side_px))
            self._proofs[recipe] = verify.prove(runner, self.expected(sizes), self.listener)
        return self._proofs[recipe]

    def proof(self) -> artifact.Proof:
        """What the recipe of this session loses on the image sets, in torch."""
        assert self.source.recipe is not None, "an argument of the caller"
        return self._proof_of(self.source.recipe)

    def recipe_of_effort(self, settings: "Settings") -> "Recipe":
        """What quantization with exactly these settings finds; kept in the cache.

        Raises Unsupported for a network that cannot be quantized, Crashed after `timeout_s`.
        """
        self.source.check_integers()
        return self._recipes((settings,))[0]

    @functools.cached_property
    def _candidates(self) -> Candidates:
        assert self.images is not None, "a session that was given a recipe has no other candidates"
        from edgesr.quantization.settings import EFFORTS

        return self._recipes(EFFORTS, use_shipped=self.images.generated)

    def _recipes(self, efforts: "Sequence[Settings]", *, use_shipped: bool = False, left_out: int = 0) -> Candidates:
        return Candidates(
            self.loaded,
            self._source(None, crops=CROPS_FOR_RECIPES),
            self._calibration_entry(CROPS_FOR_RECIPES),
            use_shipped=use_shipped,
            before_making=self._warn_of_generated,
            timeout_s=self.timeout_s,
            listener=self.listener,
            efforts=efforts,
            left_out=left_out,
        )

    def _convert_within(self, recipe: "Recipe", request: Request, out: Path, limit: verify.Limit) -> report.Row:
        """With float32 for what is not integer if the target's own choice breaks the contract."""

        def check(proof: artifact.Proof) -> None:
            verify.check_limit(proof, limit, request.slug)

        try:
            return self._convert(self._source(recipe), request, out, check)
        except QualityError as error:
            if not targets.find(request.target).coarse_rest:
                raise
            self._say_once(f"  {error} Again, with float32 for what is not integer ...")
        return self._convert(self._source(recipe, exact_rest=True), request, out, check)

    def _convert_fp16(self, request: Request, out: Path) -> report.Row:
        """Computed in float32 if the target's own choice is too far from it."""
        try:
            return self._convert(self.source, request, out, lambda proof: verify.check_fp16(proof, request.slug))
        except QualityError as error:
            self._say_once(f"  {error} Again, computed in float32 ...")
        return self._convert(self._source(self.source.recipe, exact_rest=True), request, out)

    def _convert(
        self, source: "Source", request: Request, out: Path, check: Callable[[artifact.Proof], None] | None = None
    ) -> report.Row:
        """`check`: raises QualityError for a proof that must not be kept."""
        start = time.perf_counter()
        self.listener.say(f"Converting {request.slug} (weights: {self.loaded.provenance.kind}) ...")
        with artifact.building(out / request.slug) as folder:
            made = isolation.run(run_conversion, ConvertJob(source, request, folder), self.listener, self.timeout_s)
            manifest = self._manifest(source, request, made.value, folder)
            artifact.write_manifest(folder, manifest)
            if request.target in RUNTIMES:
                manifest = replace(manifest, proof=self.prove(folder, request))
                artifact.write_manifest(folder, manifest)
            if check is not None and manifest.proof is not None:
                check(manifest.proof)
        for note in manifest.notes:
            self.listener.say(f"  {note}")
        cost = report.Cost(time.perf_counter() - start, made.seconds, made.peak_mb)
        return report.row(manifest, cost)

    def advise(self, request: Request, folder: Path) -> str | None:
        """A sentence on how fast the INT8 artifact in `folder` is on this machine against float of the same target.

        None for what does not run here, or only in an emulation.
        """
        precision = advice.rival(request.target)
        if request.precision != "int8" or precision is None:
            return None
        other, size = replace(request, precision=precision), (*request.sizes, advice.SIZE)[0]
        with tempfile.TemporaryDirectory(prefix="edgesr-") as name:
            place = Path(name) / "float"
            place.mkdir()
            made = isolation.run(run_conversion, ConvertJob(self.source, other, place), self.listener, self.timeout_s)
            artifact.write_manifest(place, self._manifest(self.source, other, made.value, place))
            job = advice.TimeJob(folder, place, size)
            ratio = isolation.run(advice.run_timing, job, self.listener, self.timeout_s).value
        return advice.sentence(request.target, precision, size, ratio)

    def prove(self, folder: Path, request: Request) -> artifact.Proof:
        """Run the artifact in `folder` against the float32 network.

        Raises ParityError or QualityError below the floor of its precision.
        """
        job = ProveJob(folder, self.expected(request.sizes))
        proof = isolation.run(run_proof, job, self.listener, self.timeout_s).value
        verify.check(proof, request.precision, request.slug)
        return proof

    def expected(self, sizes: tuple[Size, ...] = ()) -> list[verify.Reference]:
        """What the float32 network makes of the image sets, or of pieces of them of exactly `sizes`; made once."""
        if sizes not in self._references:
            self._references[sizes] = verify.references(
                self.network,
                self.sets,
                self.spec.scale,
                self.listener,
                sizes=sizes,
                min_side_px=self.spec.min_side_px,
            )
        return self._references[sizes]

    def network(self, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The folded float32 network in torch: (1, 3, H, W) RGB in [0, 1] -> (1, 3, s*H, s*W)."""
        import torch

        with torch.inference_mode():
            output: npt.NDArray[np.float32] = self.loaded.in_torch(torch.from_numpy(image)).numpy()
        return output

    def _source(self, recipe: "Recipe | None", crops: int = CROPS, *, exact_rest: bool = False) -> "Source":
        """The network with what it needs for INT8. Exports are kept for each recipe apart."""
        from edgesr.targets.source import Source

        place = self._places.setdefault(recipe, self._store / str(len(self._places)))
        place.mkdir(exist_ok=True)
        return Source(
            self.loaded.folded,
            name=self.spec.name,
            scale=self.spec.scale,
            min_side_px=self.spec.min_side_px,
            multiple_px=self.spec.multiple_px,
            calibration=None if self.images is None else self._calibration(crops),
            recipe=recipe,
            exact_rest=exact_rest,
            progress=lambda done, total: self.listener.progress("calibrate", done, total),
            store=place,
        )

    def _read_recipe(self, path: Path) -> "Recipe":
        from edgesr.quantization.recipe import load_for

        return load_for(path, self.spec.name, self.spec.scale, self.loaded.provenance.sha256)

    def _calibration_images(self, calib: Path | datasets.CalibrationImages | None) -> datasets.CalibrationImages:
        if isinstance(calib, datasets.CalibrationImages):
            found = calib
        else:
            found = datasets.calibration_images(calib, self.spec.scale)
        judged = {pixels_sha256(image) for images in self.sets for pair in images for image in (pair.low, pair.high)}
        shared = sum(pixels_sha256(image) in judged for image in found.images)
        if shared:
            self.listener.say(
                f"Warning: {shared} of {len(found.images)} calibration images are also used to measure the loss, which "
                "will look smaller than it is. Give other photos with --calib, or other image sets with --data."
            )
        return found

    def _calibration(self, crops: int) -> "Calibration":
        from edgesr.quantization.calibration import from_images

        assert self.images is not None
        return from_images(self.images.images, count=crops)

    def _manifest(self, source: "Source", request: Request, conversion: "Conversion", folder: Path) -> Manifest:
        from edgesr import __version__

        int8 = request.precision in targets.INTEGER
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
            multiple_px=self.spec.multiple_px,
            halo_px=self.spec.halo_px,
            peak_bytes_per_px=self.spec.peak_bytes_per_px,
            weights=WeightsEntry(provenance.kind, provenance.file, provenance.sha256),
            toolchain={"edgesr": __version__, **conversion.toolchain},
            runtime_options=dict(conversion.runtime_options),
            notes=conversion.notes,
            shares=dict(conversion.shares),
            calibration=self._calibration_of(source) if int8 else None,
            recipe=_recipe_of(source) if int8 else None,
        )

    def _calibration_of(self, source: "Source") -> dict[str, Any]:
        return self._calibration_entry(CROPS) if source.recipe is None else dict(source.recipe.facts.calibration)

    def _calibration_entry(self, crops: int) -> dict[str, Any]:
        assert self.images is not None
        calibration = self._calibration(crops)
        taken = len(calibration.photos) + len(calibration.patches)
        return {"source": self.images.source, "crops": taken, "fingerprint": calibration.fingerprint}


def _recipe_of(source: "Source") -> dict[str, Any]:
    """How an INT8 artifact's numbers were found: the recipe, or the scheme of a search for ranges alone."""
    scheme: dict[str, Any] = json.loads(source.scheme.to_json())
    return scheme if source.recipe is None else asdict(source.recipe.facts)


@dataclass(frozen=True, slots=True)
class GraphRunner:
    """A quantized graph in torch as a runner: what every target computes, but for the order of sums."""

    graph: Any
    scale: int
    accepts: InputRule

    def __call__(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(1, 3, H, W) RGB in [0, 1] -> (1, 3, s*H, s*W)."""
        import torch

        with torch.inference_mode():
            output: npt.NDArray[np.float32] = self.graph(torch.from_numpy(x)).numpy()
        return output

    def describe(self) -> dict[str, str]:
        import torch

        return {"runtime": f"torch {torch.__version__}", "precision": "int8 simulated"}


def pixels_sha256(image: npt.NDArray[np.uint8]) -> str:
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class Outcome:
    """Rows in the order of the requests; `first_error` is None unless one failed."""

    rows: tuple[report.Row, ...]
    first_error: EdgesrError | None


def convert_all(
    session: Session,
    planned: Iterable[Planned],
    out: Path,
    limit: verify.Limit | None = None,
    *,
    advise: bool = False,
) -> Outcome:
    """Convert one request after another; one that fails does not stop the rest.

    `limit`: see Session.convert. `advise`: say how fast INT8 is here against float.
    """
    rows: list[report.Row] = []
    first_error: EdgesrError | None = None
    for item in planned:
        start = time.perf_counter()
        try:
            targets.find(item.request.target).check(item.request)
            rows.append(session.convert(item.request, out, limit))
            if advise:
                _advise(session, item.request, out / rows[-1].slug)
        except EdgesrError as error:
            seconds, kind = time.perf_counter() - start, session.loaded.provenance.kind
            impossible = item.optional and isinstance(error, Unsupported | MissingExtra)
            rows.append(report.without(item.request, "impossible" if impossible else "failed", seconds, kind, error))
            if not impossible:
                session.listener.say(f"  {report.MARKS['failed']} {error}")
                first_error = first_error or error
    return Outcome(tuple(rows), first_error)


def _advise(session: Session, request: Request, folder: Path) -> None:
    """An artifact that is made and verified is not lost because its float form cannot be timed."""
    try:
        said = session.advise(request, folder)
    except EdgesrError as error:
        said = f"{request.target}: INT8 could not be timed against float. {error}"
    if said is not None:
        session.listener.say(f"  {said}")
