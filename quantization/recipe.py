"""The result of a quantization: for one network, every scale, every int8 weight, what stays in float, and why.

A JSON file for people and a safetensors file with the numbers beside it, made once and used for every target.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from operator import methodcaller
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgesr.artifact import file_sha256
from edgesr.errors import ArtifactError
from edgesr.quantization.prepared import part_of
from edgesr.quantization.range_split import Splits
from edgesr.quantization.rescaling import Rescaled
from edgesr.quantization.settings import Settings
from edgesr.whole_file import write_whole

SCHEMA = 1
MAX_BYTES = 16 * 2**20
BOUND_SLACK = 2e-6
"""Of a bound, so that float32 does not end below the level: too little to reach the next."""


@dataclass(frozen=True, slots=True)
class Grid:
    """uint8 levels q of an activation: x = step * (q - zero_point)."""

    step: float
    zero_point: int


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution. `reads`, `writes`: its rounded input and output, both None where it stays in float; `writes`
    alone is None where what follows needs no rounding. `work`: its part of all multiply-accumulates, 0 to 1.
    """

    name: str
    reads: Grid | None
    writes: Grid | None
    work: float

    @property
    def integer(self) -> bool:
        return self.reads is not None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything in a recipe but the tensors. `weights_sha256`: of the file that the network was loaded from;
    `settings`: how it was made; `notes`: figures and reasons, for a person; `range_splits`: convolutions
    whose input is split, and `write_splits`: whose output is, with the largest value inside; `fine_reads`: that read
    coarse and fine values, with the step of the coarse ones (edgesr.quantization.range_split); `rescaled`:
    convolutions that read or write through a factor per channel (edgesr.quantization.rescaling); `seconds`: to make
    it; `reproducible`: activation functions read rounded values alone and, once it was trained, no rounding behind one
    is in doubt (edgesr.quantization.reproducible).
    """

    model: str
    scale: int
    weights_sha256: str
    calibration: Mapping[str, Any]
    settings: Mapping[str, Any]
    layers: tuple[Layer, ...]
    notes: tuple[str, ...] = ()
    range_splits: Mapping[str, float] = field(default_factory=dict)
    write_splits: Mapping[str, float] = field(default_factory=dict)
    fine_reads: Mapping[str, float] = field(default_factory=dict)
    rescaled: Rescaled = field(default_factory=Rescaled)
    seconds: float | None = None
    reproducible: bool = False
    schema: int = SCHEMA

    @property
    def integer_share(self) -> float:
        """Part of the multiply-accumulates of all convolutions that compute on integers, 0 to 1."""
        return sum(layer.work for layer in self.layers if layer.integer)

    @property
    def splits(self) -> Splits:
        return Splits(self.range_splits, self.write_splits, self.fine_reads)

    @property
    def added_work(self) -> float:
        """Multiply-accumulates that split ranges add, as a part of those that the network has without them."""
        second = self.splits.second
        added = sum(layer.work for layer in self.layers if layer.name in second)
        return added / (1 - added)

    @property
    def trained_steps(self) -> int:
        """How many steps of quantization-aware training made it; 0 for post-training quantization."""
        done = self.settings.get("steps_done")
        return done if isinstance(done, int) else 0

    @property
    def kept_float(self) -> tuple[str, ...]:
        return tuple(layer.name for layer in self.layers if not layer.integer)


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """`tensors`: NAME.weight (int8 or float32), NAME.step (float32, per output channel), NAME.bias, and factors."""

    facts: Facts
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a quantization found: layers and numbers of a recipe, and sentences about it."""

    layers: tuple[Layer, ...]
    tensors: Mapping[str, Tensor]
    notes: tuple[str, ...]
    splits: Splits = field(default_factory=Splits)
    rescaled: Rescaled = field(default_factory=Rescaled)


def recipe_of(
    found: Found,
    model: str,
    scale: int,
    weights_sha256: str,
    calibration: Mapping[str, Any],
    settings: Settings,
    seconds: float | None = None,
) -> Recipe:
    """What was found, with where it comes from: see Facts."""
    facts = Facts(
        model=model,
        scale=scale,
        weights_sha256=weights_sha256,
        calibration=dict(calibration),
        settings=asdict(settings),
        layers=found.layers,
        notes=found.notes,
        range_splits=found.splits.reads,
        write_splits=found.splits.writes,
        fine_reads=found.splits.fine,
        rescaled=found.rescaled,
        seconds=seconds,
        reproducible=settings.reproducible,
    )
    return Recipe(with_bounds_on_grids(facts), found.tensors)


def with_bounds_on_grids(facts: Facts) -> Facts:
    """What is inside of a split output ends at a level of both of its grids; that of the whole range moves a little.

    OpenVINO clamps the levels of such a grid instead of its values, and for integers its Clamp rounds the bounds toward
    zero. Where the two clamps end apart, everything beyond them is off by the difference. Its own artifacts have no
    such grid (edgesr.quantization.float_outputs), but ONNX Runtime hands those of ours to it where it is its provider.
    """
    layers, bounds = {layer.name: layer for layer in facts.layers}, dict(facts.write_splits)
    for name, bound in bounds.items():
        fine, whole = (layers[part_of(name, part)] for part in (0, 1))
        if fine.writes is None or whole.writes is None:
            continue
        end = max(1, math.floor(bound / fine.writes.step)) * fine.writes.step
        step = float(torch.tensor(end / max(1, round(end / whole.writes.step))))  # float32, as graphs hold it
        layers[whole.name] = replace(whole, writes=replace(whole.writes, step=step))
        bounds[name] = end * (1 + BOUND_SLACK)
    return replace(facts, layers=tuple(layers.values()), write_splits=bounds)


def save(recipe: Recipe, path: Path) -> None:
    """Write `path` (.json) and its numbers beside it (.safetensors), the JSON last. Raises OutputError."""
    from safetensors.torch import save as to_bytes

    content = to_bytes(dict(recipe.tensors))
    place = numbers_of(path)
    entry = {"file": place.name, "sha256": hashlib.sha256(content).hexdigest()}
    text = json.dumps({**asdict(recipe.facts), "tensors": entry}, indent=1, allow_nan=False) + "\n"
    for target, data in ((place, content), (path, text.encode())):
        write_whole(target, methodcaller("write_bytes", data), "Choose another place with -o.")


def numbers_of(path: Path) -> Path:
    return path.with_suffix(".safetensors")


def load(path: Path) -> Recipe:
    """Read what `save` wrote. Raises ArtifactError that says what is wrong with it."""
    raw = _json(path)
    entry = raw.pop("tensors", None)
    facts = _facts(path, raw)
    place = numbers_of(path)
    if not isinstance(entry, dict) or entry.get("file") != place.name:
        raise ArtifactError(
            f"{path} does not name {place.name} as its numbers. Make it again with: edgesr quantize MODEL -o "
            f"{path.name}"
        )
    if not place.is_file():
        raise ArtifactError(f"{place} is missing: a recipe is two files, {path.name} and {place.name}.")
    return Recipe(facts, _tensors(place, entry.get("sha256")))


def load_for(path: Path, model: str, scale: int, weights_sha256: str) -> Recipe:
    """Like `load`. Raises ArtifactError also for a recipe of another network or of other weights."""
    found = load(path)
    facts = found.facts
    if (facts.model, facts.scale) != (model, scale):
        raise ArtifactError(
            f"{path} is a recipe for {facts.model} x{facts.scale}, not for {model} x{scale}. "
            f"Make one with: edgesr quantize {model} --scale {scale} -o RECIPE.json"
        )
    if facts.weights_sha256 != weights_sha256:
        raise ArtifactError(
            f"{path} was made for other weights (sha256 {facts.weights_sha256[:16]}..., here "
            f"{weights_sha256[:16]}...). Pass those with --weights, or make it again with: edgesr quantize {model} -o "
            "RECIPE.json"
        )
    return found


def _facts(path: Path, raw: dict[str, Any]) -> Facts:
    from pydantic import TypeAdapter, ValidationError

    try:
        facts = TypeAdapter(Facts).validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(f"{path} is not a recipe: field {where!r}: {first['msg']}.") from error
    for layer in facts.layers:
        if any(not _usable(grid) for grid in (layer.reads, layer.writes) if grid is not None):
            raise ArtifactError(f"{path}: {layer.name:.80} has a step or zero point that is none of uint8.")
    for name, bound in (*facts.range_splits.items(), *facts.write_splits.items(), *facts.fine_reads.items()):
        if not (math.isfinite(bound) and bound > 0):
            raise ArtifactError(f"{path}: the range of {name:.80} is split at {bound}; that must be above 0.")
    return facts


def _tensors(place: Path, expected: object) -> dict[str, Tensor]:
    from safetensors.torch import load as from_bytes

    found = file_sha256(place)
    if found != expected:
        raise ArtifactError(f"{place} was changed: expected sha256 {expected}, found {found}.")
    try:
        tensors = from_bytes(place.read_bytes())
    except Exception as error:
        raise ArtifactError(f"{place} is not a safetensors file ({type(error).__name__}).") from error
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ArtifactError(f"{place}: {name} holds NaN or infinity.")
    return tensors


def _usable(grid: Grid) -> bool:
    return math.isfinite(grid.step) and grid.step > 0 and 0 <= grid.zero_point <= 255


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ArtifactError(f"{path} is larger than {MAX_BYTES} bytes: it is not a recipe.")
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtifactError(
            f"Cannot read the recipe {path}: {error.strerror}. Make one with: edgesr quantize MODEL -o RECIPE.json"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is not valid JSON ({error}).") from error
    schema = raw.get("schema") if isinstance(raw, dict) else None
    if schema != SCHEMA:
        raise ArtifactError(f"{path} has schema {schema!r}; this edgesr reads schema {SCHEMA}.")
    return dict(raw)
