"""What a training run does, as data. Saved beside its result; no torch here."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from edgesr.errors import UsageError

DEFAULT_TEACHER_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Recipe:
    """L1 loss, Adam, cosine learning rate with a linear warm-up, EMA of the weights, flips and rotations.

    `patch_px` is the side of a low-resolution patch. `start_sha256` is the weights file that the run starts from, None
    from scratch. `teacher` is a network whose output takes `teacher_share` of the loss, in [0, 1], the ground truth the
    rest; `teacher_sha256` is its weights file; all three are None without a teacher. Two runs with equal recipe, photos
    and torch version on one CPU give equal weights.
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

    def __post_init__(self) -> None:
        for name in ("scale", "steps", "batch", "patch_px", "validate_every", "save_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not 0 <= self.ema_decay < 1:
            raise UsageError(f"ema_decay must be in [0, 1), got {self.ema_decay}.")
        if not 0 < self.learning_rate <= 1:
            raise UsageError(f"learning_rate must be in (0, 1], got {self.learning_rate}.")
        if self.seed < 0:
            raise UsageError(f"seed must not be negative, got {self.seed}.")
        self._check_teacher()

    def _check_teacher(self) -> None:
        if self.teacher is None and self.teacher_share is not None:
            raise UsageError(f"teacher_share is {self.teacher_share}, but there is no teacher. Add --teacher NAME.")
        if self.teacher is not None and (self.teacher_share is None or not 0 <= self.teacher_share <= 1):
            raise UsageError(f"teacher_share must be in [0, 1], got {self.teacher_share}.")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def changes_from(self, other: dict[str, Any]) -> list[str]:
        """`name: old -> new` for every field that differs from a saved recipe."""
        return [
            f"{field.name}: {other.get(field.name)} -> {getattr(self, field.name)}"
            for field in fields(self)
            if other.get(field.name) != getattr(self, field.name)
        ]
