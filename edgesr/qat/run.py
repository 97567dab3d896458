"""From `edgesr qat` to a recipe: the start, the run, the result."""

import copy
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from edgesr.datasets import CalibrationImages, spread
from edgesr.errors import UsageError
from edgesr.listener import Listener
from edgesr.models.registry import ModelSpec
from edgesr.models.weights import Loaded, load
from edgesr.qat.loop import Learned, Lesson, Progress, learn
from edgesr.qat.photos import LowPhotos
from edgesr.qat.settings import SPLIT_WORK, Settings
from edgesr.quantization import recipe as recipes
from edgesr.quantization.recipe import Recipe
from edgesr.quantization.recipe_float import unrounded
from edgesr.quantization.reproducible import check, settled
from edgesr.quantization.student import Student, on_device
from edgesr.train.machine import Machine

if TYPE_CHECKING:
    from edgesr.artifact import Proof
    from edgesr.report import Row

METHOD = "quantization-aware training: learned steps (LSQ), distillation from the float network"
MEASURED_IN = ("onnxruntime", "openvino")
MOST_CALIBRATED = 64


@dataclass(frozen=True, slots=True)
class Start:
    """The float network, which is the teacher, and the recipe that the run begins with."""

    loaded: Loaded
    recipe: Recipe


def read_start(
    spec: ModelSpec, weights: Path | None, recipe: Path, listener: Listener, *, reproducible: bool = False
) -> Start:
    """`reproducible`: made so, if it is not. Raises WeightsError, ArtifactError for a recipe of another network or of
    other weights."""
    loaded = load(spec.name, spec.scale, weights, listener.say)
    found = recipes.load_for(recipe, spec.name, spec.scale, loaded.provenance.sha256)
    facts = replace(found.facts, reproducible=reproducible or found.facts.reproducible)
    return Start(loaded, Recipe(facts, found.tensors))


def make_start(
    spec: ModelSpec,
    weights: Path | None,
    photos: LowPhotos,
    listener: Listener,
    *,
    split_last: bool = False,
    split_work: float = SPLIT_WORK,
    reproducible: bool = False,
) -> Start:
    """With ranges alone, every convolution on integers; made in seconds and kept in the cache.

    Two grids (edgesr.quantization.range_split), for more work: `split_last`, for what the last convolutions read;
    `split_work`: as a part of all work, the most that may be added for what other convolutions write. `reproducible`:
    made for INT8 that is the same to the bit on every processor (edgesr.quantization.reproducible).
    Raises DataError for fewer than four photos, Unsupported for a network that cannot be quantized.
    """
    from edgesr.pipeline import Session
    from edgesr.quantization.settings import Settings as Effort

    chosen = tuple(spread(photos.train, MOST_CALIBRATED))
    calib = CalibrationImages(chosen, f"{len(chosen)} of {photos.source}", generated=False)
    session = Session(spec.name, spec.scale, weights=weights, calib=calib, int8=True, listener=listener)
    effort = Effort(float_work=0.0, split_last=split_last, split_work=split_work, reproducible=reproducible)
    return Start(session.loaded, session.recipe_of_effort(effort))


def train_recipe(
    start: Start,
    settings: Settings,
    photos: LowPhotos,
    folder: Path,
    listener: Listener,
    machine: Machine,
    *,
    stop: bool = False,
) -> Recipe:
    """Learn (or go on with the run in `folder`) and return the recipe, for every target.

    `stop`: of what the run has reached, without another step.
    Raises UsageError for a patch that the network cannot take, TrainingError, OutputError.
    """
    settings = replace(
        settings,
        weights_sha256=start.loaded.provenance.sha256,
        start_sha256=numbers_sha256(start.recipe),
    )
    network = _at_patch(start.loaded, settings.patch_px)
    example = torch.zeros(settings.batch, 3, settings.patch_px, settings.patch_px)
    prepared = unrounded(start.recipe, network, example, None)
    if start.recipe.facts.reproducible:
        check(prepared, start.recipe)
    graph = on_device(prepared, machine.device)
    student = Student(graph, start.recipe, machine.device, settings.weight_levels)
    teacher = copy.deepcopy(network).to(machine.device).eval()
    listener.say(f"Settings: {settings.in_words()}")
    listener.say(
        f"Training the INT8 of {settings.model} x{settings.scale} on {len(photos.train)} low-resolution photos, "
        f"{len(photos.held_out)} held out; {machine.in_words()}; run: {folder}"
    )
    lesson = Lesson(student, teacher, photos, settings)
    with _exact_products():
        learned = learn(lesson, folder, _reporter(settings, listener), machine, stop=stop)
    return _finished(student, learned, start, settings, photos, network)


@contextmanager
def _exact_products() -> Iterator[None]:
    """On CUDA no TF32, whose ten bits turn roundings over, and the fastest kernel for the one size that is used."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=False):
        yield


def _at_patch(loaded: Loaded, patch_px: int) -> nn.Module:
    """The float network as it is for patches of that side."""
    spec = loaded.spec
    if patch_px < spec.min_side_px or patch_px % spec.multiple_px:
        raise UsageError(
            f"patch_px must be a multiple of {spec.multiple_px} and at least {spec.min_side_px} for {spec.name}, got "
            f"{patch_px}. Give --patch {max(96, spec.min_side_px)}."
        )
    make: Any = getattr(loaded.folded, "at", None)
    network: nn.Module = loaded.folded if make is None else make(patch_px, patch_px)
    return network.eval()


def _finished(
    student: Student, learned: Learned, start: Start, settings: Settings, photos: LowPhotos, network: nn.Module
) -> Recipe:
    """With biases as integer kernels add them, and where it comes from."""
    from edgesr.quantization.recipe_graph import with_rounded_biases

    example = torch.zeros(1, 3, settings.patch_px, settings.patch_px)
    found = student.recipe_of(learned.values)
    found = Recipe(recipes.with_bounds_on_grids(found.facts), found.tensors)
    if found.facts.reproducible:
        found = settled(found, unrounded(found, network, example, None))
    found = with_rounded_biases(found, network, example, None)
    facts = replace(
        found.facts,
        settings={
            "method": METHOD,
            "fit": settings.to_json(),
            "steps_done": learned.steps,
            "start": dict(start.recipe.facts.settings),
        },
        calibration={
            "source": photos.source,
            "crops": learned.steps * settings.batch,
            "fingerprint": photos.fingerprint,
        },
        notes=(
            *start.recipe.facts.notes,
            f"{METHOD}; {learned.steps} of {settings.steps} steps of {settings.batch} crops",
        ),
        seconds=None,
    )
    return Recipe(facts, found.tensors)


def numbers_sha256(recipe: Recipe) -> str:
    """Of everything in a recipe that changes what it computes."""
    digest = hashlib.sha256(repr((recipe.facts.layers, recipe.facts.splits)).encode())
    if recipe.facts.reproducible:
        digest.update(b"reproducible")
    for name in sorted(recipe.tensors):
        digest.update(name.encode() + recipe.tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def _reporter(settings: Settings, listener: Listener) -> Any:
    def show(progress: Progress) -> None:
        if progress.rolled_back is not None:
            listener.say(f"{progress.rolled_back}.")
            return
        note = f"{progress.steps_per_second:.1f} steps/s, loss {progress.loss:.5f}"
        listener.progress(f"qat {settings.model}", progress.step, progress.steps, note)
        if progress.fidelity_db is not None:
            listener.say(
                f"step {progress.step}: {progress.fidelity_db:.2f} dB against the float network on held-out photos "
                f"({note})"
            )

    return show


def measured(
    spec: ModelSpec, weights: Path | None, recipe: Path, data: Path | None, listener: Listener
) -> "tuple[Proof, list[Row]]":
    """What the recipe loses: its graph in torch, and its artifacts in the runtimes that are installed here."""
    import tempfile
    from importlib.util import find_spec

    from edgesr.pipeline import Session, convert_all
    from edgesr.planned import plan

    session = Session(spec.name, spec.scale, weights=weights, data=data, recipe=recipe, listener=listener)
    proof = session.proof()
    here = tuple(name for name in MEASURED_IN if find_spec(name) is not None)
    if not here:
        return proof, []
    with tempfile.TemporaryDirectory(prefix="edgesr-") as folder:
        planned = plan(spec.name, spec.scale, here, ["int8"], (), "float32")
        outcome = convert_all(session, planned, Path(folder))
    if outcome.first_error is not None:
        raise outcome.first_error
    return proof, list(outcome.rows)
