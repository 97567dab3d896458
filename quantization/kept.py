"""Recipes that were made before: shipped with the package, or kept in the user's cache."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from edgesr.errors import ArtifactError, OutputError
from edgesr.models.files import cache_folder, shipped_file
from edgesr.models.registry import ModelSpec
from edgesr.quantization.recipe import Recipe, load, save
from edgesr.quantization.settings import Settings
from edgesr.quantization.unfinished import Unfinished


def shipped(spec: ModelSpec, weights_sha256: str) -> Recipe | None:
    """The recipe in the package that belongs to exactly these weights, or None."""
    weights = shipped_file(spec)
    path = None if weights is None else weights.with_name(f"{spec.key}_int8.json")
    if path is None or not path.is_file():
        return None
    recipe = load(path)
    return recipe if recipe.facts.weights_sha256 == weights_sha256 else None


def place(spec: ModelSpec, weights_sha256: str, calibration: Mapping[str, Any], settings: Settings) -> Path:
    """Where the recipe with these settings is kept. The name changes with everything that the result depends on:
    weights, calibration crops, settings, the code of this package and PyTorch's version.
    """
    facts = {
        "weights": weights_sha256,
        "calibration": calibration["fingerprint"],
        "settings": asdict(settings),
        "code": _code_sha256(),
        "torch": torch.__version__,
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return cache_folder().with_name("recipes") / f"{spec.key}_{digest[:16]}.json"


def unfinished(path: Path) -> Unfinished:
    """The state of a fit that will become the recipe at `path`."""
    return Unfinished(path.with_suffix(".unfinished"))


def find(path: Path) -> Recipe | None:
    """What `keep` wrote; None if there is nothing, or nothing whole."""
    if not path.is_file():
        return None
    try:
        return load(path)
    except ArtifactError:
        return None


def keep(recipe: Recipe, path: Path) -> None:
    """A cache that cannot be written costs the next run minutes, not this one its result."""
    with suppress(OutputError):
        save(recipe, path)


def _code_sha256() -> str:
    """Of quantization and of the networks, whose folded forms it quantizes."""
    digest = hashlib.sha256()
    for package in ("edgesr.quantization", "edgesr.models"):
        for file in sorted(Path(str(resources.files(package))).glob("*.py")):
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()
