"""What a run of quantization-aware training does, as data. Saved beside its state and in its recipe."""

from dataclasses import dataclass

from edgesr.errors import UsageError
from edgesr.train.recipe import Saved

RATE_OF = {"weight": 1.0, "bias": 1.0, "log_step": 0.05, "grid_log_step": 0.25, "zero_point": 5.0}
"""What the learning rate is multiplied by, for each kind of what is learned. Grids of activations are fast: what a
range of calibration crops cuts off on other photos costs more than all roundings, and it may have to grow a lot."""
_AT_LEAST = {
    **dict.fromkeys(("scale", "steps", "batch", "save_every", "validate_every"), 1),
    **dict.fromkeys(("seed", "warmup_steps", "max_rollbacks"), 0),
}
SMALLEST_PATCH_PX = 32
SPLIT_WORK = 0.05
"""Most work that a start may add for two grids of what a convolution writes: enough for PlainUSR's image, whose one
grid of 8 bits from its head to its tail is coarser than the pixels of smooth photos."""


@dataclass(frozen=True, slots=True)
class Settings(Saved):
    """Adam, a cosine learning rate after a linear warm-up, EMA of all that is learned.

    `patch_px` is the side of a low-resolution patch; global statistics of a network (attention) are those of a patch.
    `learning_rate` is in levels of an int8 weight, and of what is written for biases and zero points. `weight_bits` 7
    keeps weights within -63..63: x86 processors without VNNI add pairs of products in 16 bits, where 8 bits overflow.
    `start_sha256` is of the numbers of the recipe that the run starts from, `weights_sha256` of the float network.
    """

    model: str
    scale: int
    steps: int = 1500
    batch: int = 8
    patch_px: int = 64
    learning_rate: float = 0.02
    final_learning_rate: float = 2e-4
    warmup_steps: int = 20
    ema_decay: float = 0.995
    seed: int = 0
    save_every: int = 100
    validate_every: int = 500
    max_rollbacks: int = 3
    weight_bits: int = 8
    schedule: str = "cosine"
    weights_sha256: str = ""
    start_sha256: str = ""

    @property
    def weight_levels(self) -> int:
        """The largest level of an integer weight."""
        return int(2 ** (self.weight_bits - 1) - 1)

    def __post_init__(self) -> None:
        for name, least in _AT_LEAST.items():
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be at least {least}, got {getattr(self, name)}.")
        if self.weight_bits not in (7, 8):
            raise UsageError(f"weight_bits must be 7 or 8, got {self.weight_bits}.")
        if self.patch_px < SMALLEST_PATCH_PX:
            raise UsageError(f"patch_px must be at least {SMALLEST_PATCH_PX}, got {self.patch_px}. Give --patch 64.")
        if not 0 <= self.ema_decay < 1:
            raise UsageError(f"ema_decay must be in [0, 1), got {self.ema_decay}.")
        if not 0 <= self.final_learning_rate <= self.learning_rate <= 1 or self.learning_rate == 0:
            raise UsageError(
                f"learning_rate must be in (0, 1] and final_learning_rate between 0 and it, got {self.learning_rate} "
                f"and {self.final_learning_rate}."
            )
