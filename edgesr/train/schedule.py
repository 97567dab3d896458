"""The learning rate of each step."""

import math
from typing import Protocol

HALVED_AT = (0.5, 0.8, 0.9, 0.95)
"""Shares of the steps after which "multi-step" halves: those of HAT (Chen et al., CVPR 2023, section 4.1)."""


class Scheduled(Protocol):
    """`schedule`: cosine or multi-step."""

    @property
    def steps(self) -> int: ...
    @property
    def warmup_steps(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def final_learning_rate(self) -> float: ...
    @property
    def schedule(self) -> str: ...


def learning_rate(recipe: Scheduled, step: int, rollbacks: int = 0) -> float:
    """Linear warm-up, then the schedule of the recipe; half of it for each of `rollbacks`."""
    if step < recipe.warmup_steps:
        rate = recipe.learning_rate * (step + 1) / recipe.warmup_steps
    elif recipe.schedule == "multi-step":
        rate = recipe.learning_rate * 0.5 ** sum(step >= share * recipe.steps for share in HALVED_AT)
    else:
        rate = _cosine(recipe, step)
    return rate * 0.5**rollbacks if rollbacks else rate


def _cosine(recipe: Scheduled, step: int) -> float:
    """Down to `final_learning_rate` at the last step."""
    done = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return recipe.final_learning_rate + (recipe.learning_rate - recipe.final_learning_rate) * cosine
