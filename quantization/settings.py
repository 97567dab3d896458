"""How much is done to keep quality: values without a toolchain."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Fit:
    """Adam with a cosine rate. Rates: of weights and biases (in their own units), of log steps, of zero points.

    extremes: part of the crops whose contrast is stretched beyond what photos have. faded: part with less of it.
    flat: part of one colour.
    """

    steps: int = 300
    batch: int = 8
    side_px: int = 48
    rate: float = 1e-4
    step_rate: float = 5e-3
    zero_point_rate: float = 0.1
    warmup: int = 20
    extremes: float = 0.2
    faded: float = 0.1
    flat: float = 0.02
    seed: int = 0

    def at(self, side_px: int) -> "Fit":
        """With crops of another side, and as many pixels a step as that allows."""
        return replace(self, side_px=side_px, batch=max(1, round(self.batch * (self.side_px / side_px) ** 2)))


@dataclass(frozen=True, slots=True)
class Settings:
    """float_work: largest part of the multiply-accumulates that may stay in float, 0 to 1. fit: None leaves ranges as
    they were found, and weights as equalization left them, until they are rounded. split_last: two grids for what the
    last convolution reads, for as much more work as that convolution does (edgesr.quantization.range_split).
    split_work: most work that may be added, as a part of all, for two grids of what other convolutions write. rescale:
    instead of those, factors per channel at what convolutions read and write, if that at least halves the error
    (edgesr.quantization.rescaling). split_reads: beside them, and for 16 bits of what convolutions read too.
    reproducible: activation functions read rounded values alone (edgesr.quantization.reproducible); for training, which
    ends with what else that takes."""

    float_work: float = 0.02
    fit: Fit | None = None
    split_last: bool = False
    split_work: float = 0.0
    rescale: bool = False
    split_reads: bool = False
    reproducible: bool = False


EFFORTS = (
    Settings(),
    Settings(0.05, Fit()),
    Settings(0.10, Fit(steps=500), split_last=True, split_work=0.3, rescale=True),
    Settings(0.10, Fit(steps=500), split_last=True, split_work=0.6, rescale=True, split_reads=True),
)
"""Tried in turn until a contract holds: equalization, ranges and GPTQ; fitted between them; fitted longer, with more
in float and, where it counts most, factors per channel or two grids; with more of those, and 16 bits for what counts
most of what is read."""
