"""A trained network whose output is a second ground truth (distillation)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgesr.errors import UsageError, WeightsError
from edgesr.listener import Listener
from edgesr.models.registry import ModelSpec, find
from edgesr.models.weights import Loaded, Provenance, load
from edgesr.train.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Teacher:
    """`network`: the folded form, in eval mode. `name`: of the network."""

    name: str
    network: nn.Module
    provenance: Provenance

    def outputs(self, low: Tensor) -> Tensor:
        """float32 NCHW in [0, 1] -> the same at `scale` times the sides, without a gradient.

        In float32 even where the student computes in bfloat16: 1/256 is as much as is left to learn. One patch after
        another: for 16 of 48 px at once HAT takes 1.7 GB, for one after another 0.1 GB, and no less time.
        """
        with torch.inference_mode():
            found = torch.cat([self.network(patch[None]) for patch in low])
        return found.clone()  # outside, so that autograd may keep it

    def facts(self) -> dict[str, Any]:
        """What the card of the trained weights says about it; its share of the loss is in the recipe."""
        return {
            "teacher": {
                "model": self.name,
                "weights": self.provenance.kind,
                "file": self.provenance.file,
                "weights_sha256": self.provenance.sha256,
            }
        }


def read_teacher(recipe: Recipe, weights: Path | None, listener: Listener) -> Teacher | None:
    """The teacher that `recipe` names, with `weights` or those found in the usual order; None where it names none.

    Raises UsageError for weights without a teacher and for patches that the teacher cannot take, WeightsError.
    """
    if recipe.teacher is None:
        if weights is not None:
            raise UsageError(f"The teacher's weights {weights} belong to no teacher. Add --teacher NAME.")
        return None
    spec = find(recipe.teacher, recipe.scale)
    check_patch(spec, recipe, f"the teacher {spec.name}")
    loaded = _load(spec, weights, listener)
    return Teacher(spec.name, loaded.folded, loaded.provenance)


def check_patch(spec: ModelSpec, recipe: Recipe, who: str) -> None:
    """Raise UsageError for patches that `who`, the network `spec`, cannot take.

    One that works in windows reflects what a patch lacks; its smallest side is the smallest that can be reflected.
    """
    if recipe.patch_px < spec.min_side_px:
        raise UsageError(
            f"patch_px must be at least {spec.min_side_px} for {who}, got {recipe.patch_px}. "
            f"Give --patch {spec.min_side_px} or more."
        )


def _load(spec: ModelSpec, weights: Path | None, listener: Listener) -> Loaded:
    try:
        return load(spec.name, spec.scale, weights, listener.say)
    except WeightsError as error:
        raise WeightsError(f"The teacher cannot be loaded: {error} A teacher's file is --teacher-weights.") from error
