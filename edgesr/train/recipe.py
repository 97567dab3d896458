"""What a training run does, as data. Saved beside its result; no torch here."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from edgesr.errors import UsageError

DEFAULT_TEACHER_SHARE = 0.5
OPTIMIZERS = ("adam", "muon")
SCHEDULES = ("cosine", "multi-step")
FINISH_LOSSES = ("l2", "fft")
DEGRADATIONS = ("bicubic", "real-world")
_AT_LEAST = {
    **dict.fromkeys(("scale", "steps", "batch", "patch_px", "validate_every", "save_every"), 1),
    **dict.fromkeys(("seed", "warmup_steps", "finish_steps", "max_rollbacks"), 0),
}


@dataclass(frozen=True, slots=True)
class Saved:
    """Settings of a run that are written beside its state."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def in_words(self) -> str:
        """`name value, ...`, without what is not set."""
        return ", ".join(f"{name} {value}" for name, value in asdict(self).items() if value is not None)

    def changes_from(self, other: dict[str, Any]) -> list[str]:
        """`name: old -> new` for every field that differs from saved ones."""
        old = {field.name: other.get(field.name, field.default) for field in fields(self)}
        return [
            f"{name}: {value} -> {getattr(self, name)}" for name, value in old.items() if value != getattr(self, name)
        ]


@dataclass(frozen=True, slots=True)
class Recipe(Saved):
    """L1 loss, a learning rate with a linear warm-up, EMA of the weights, flips and rotations.

    `patch_px` is the side of a low-resolution patch. `start_sha256` is the weights file that the run starts from, None
    from scratch. `teacher` is a network whose output takes `teacher_share` of the loss, in [0, 1], the ground truth the
    rest; `teacher_sha256` is its weights file; all three are None without a teacher. `finish_loss`, "l2" or "fft",
    takes the place of L1 in the last `finish_steps` of `steps`. `schedule`: "cosine" falls to `final_learning_rate`,
    "multi-step" halves. `degradation` makes the low-resolution patches: "bicubic" like MATLAB, or "real-world". A run
    that diverges goes back to its last good state with half the learning rate, at most `max_rollbacks` times.
    `optimizer`: "adam", or "muon" for kernels that mix channels (Adam for the rest).

    Two runs with equal recipe, photos and torch version on one CPU give equal weights. A saved recipe that lacks a
    field was written before the field existed, and means its default.
    """

    model: str
    scale: int
    steps: int = 20_000
    batch: int = 16
    patch_px: int = 48
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-6
    warmup_steps: int = 200
    ema_decay: float = 0.999
    gradient_clip: float = 1.0
    bf16: bool = False
    seed: int = 0
    validate_every: int = 1000
    save_every: int = 250
    start_sha256: str | None = None
    teacher: str | None = None
    teacher_sha256: str | None = None
    teacher_share: float | None = None
    schedule: str = "cosine"
    finish_loss: str | None = None
    finish_steps: int = 0
    degradation: str = "bicubic"
    max_rollbacks: int = 3
    optimizer: str = "adam"

    def __post_init__(self) -> None:
        for name, least in _AT_LEAST.items():
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be at least {least}, got {getattr(self, name)}.")
        if not 0 <= self.ema_decay < 1:
            raise UsageError(f"ema_decay must be in [0, 1), got {self.ema_decay}.")
        if not 0 < self.gradient_clip < math.inf:
            raise UsageError(f"gradient_clip must be positive and finite, got {self.gradient_clip}.")
        self._check_learning_rate()
        self._check_choices()
        self._check_finish()
        self._check_teacher()

    def _check_learning_rate(self) -> None:
        if not 0 < self.learning_rate <= 1:
            raise UsageError(f"learning_rate must be in (0, 1], got {self.learning_rate}.")
        if not 0 <= self.final_learning_rate <= self.learning_rate:
            raise UsageError(
                f"final_learning_rate must be between 0 and learning_rate ({self.learning_rate}), got "
                f"{self.final_learning_rate}. Give --final-learning-rate."
            )

    def _check_choices(self) -> None:
        for name, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("degradation", DEGRADATIONS)):
            if getattr(self, name) not in known:
                raise UsageError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}.")
        if self.finish_loss is not None and self.finish_loss not in FINISH_LOSSES:
            raise UsageError(f"finish_loss must be one of {', '.join(FINISH_LOSSES)}, got {self.finish_loss!r}.")

    def _check_finish(self) -> None:
        if self.finish_steps > self.steps:
            raise UsageError(f"finish_steps must be at most steps ({self.steps}), got {self.finish_steps}.")
        if self.finish_loss is None and self.finish_steps:
            raise UsageError(
                f"finish_steps is {self.finish_steps}, but there is no finish_loss. Add --finish-loss "
                f"{' or '.join(FINISH_LOSSES)}."
            )
        if self.finish_loss is not None and not self.finish_steps:
            raise UsageError(f"finish_loss is {self.finish_loss}, but for no step. Add --finish-steps N.")

    def _check_teacher(self) -> None:
        if self.teacher is None and self.teacher_share is not None:
            raise UsageError(f"teacher_share is {self.teacher_share}, but there is no teacher. Add --teacher NAME.")
        if self.teacher is not None and (self.teacher_share is None or not 0 <= self.teacher_share <= 1):
            raise UsageError(f"teacher_share must be in [0, 1], got {self.teacher_share}.")

    def loss_at(self, step: int) -> str:
        """ "l1", or `finish_loss` in the last `finish_steps`."""
        return self.finish_loss if self.finish_loss and step >= self.steps - self.finish_steps else "l1"
