"""Times callables against each other. Knows nothing of what they compute.

On a machine that does other work too, a variant timed after another is timed on another machine. Here all take turns:
in each round every variant runs once, in a random order, so that a slow second hits all of them alike. The ratio of two
variants is then steadier than either time.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

Clock = Literal["wall", "cpu"]
CLOCKS: Mapping[Clock, Callable[[], int]] = MappingProxyType(
    {"wall": time.perf_counter_ns, "cpu": time.process_time_ns}
)
"""wall: what a user waits. cpu: time that all threads of this process computed, which other programs do not lengthen;
for variants of one thread on a busy machine only, since it adds up threads and counts their waiting in loops."""

CONFIDENCE = 0.95
RESAMPLES = 4000


@dataclass(frozen=True, slots=True)
class Plan:
    """`warmup_rounds` are run and not counted: first calls plan memory. `seed`: of the order within each round."""

    rounds: int
    warmup_rounds: int = 2
    seed: int = 0
    clock: Clock = "wall"


@dataclass(frozen=True, slots=True)
class Samples:
    """Nanoseconds of every counted call, in the order of the rounds."""

    raw_ns: tuple[int, ...]

    @property
    def median_ms(self) -> float:
        return float(np.median(self.raw_ns)) / 1e6


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times faster; `low` to `high` is the bootstrap 95 % interval."""

    value: float
    low: float
    high: float


def interleave(
    variants: Mapping[str, Callable[[], object]], plan: Plan, progress: Callable[[int, int], None] | None = None
) -> dict[str, Samples]:
    """Samples by name. `progress(done, total)` is called after each round, warm-ups included.

    How many threads a variant uses is the caller's business.
    """
    order, shuffled = list(variants), random.Random(plan.seed)
    raw_ns: dict[str, list[int]] = {name: [] for name in variants}
    total = plan.warmup_rounds + plan.rounds
    for done in range(total):
        shuffled.shuffle(order)
        for name in order:
            elapsed_ns = _time_ns(variants[name], CLOCKS[plan.clock])
            if done >= plan.warmup_rounds:
                raw_ns[name].append(elapsed_ns)
        if progress is not None:
            progress(done + 1, total)
    return {name: Samples(tuple(samples)) for name, samples in raw_ns.items()}


def _time_ns(variant: Callable[[], object], clock: Callable[[], int]) -> int:
    start = clock()
    variant()
    return clock() - start


def speedup(slow_ns: Sequence[int], fast_ns: Sequence[int], seed: int = 0) -> Ratio:
    """How many times faster `fast_ns` is than `slow_ns`: ratio of medians, both from the same rounds.

    The interval is a percentile bootstrap that draws whole rounds, because what disturbs a round disturbs both (Efron
    and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13). Raises ValueError unless both have equally
    many rounds and at least one.
    """
    rounds = len(slow_ns)
    if rounds == 0 or rounds != len(fast_ns):
        raise ValueError(f"A ratio needs samples of the same rounds; found {rounds} and {len(fast_ns)}.")
    pairs = np.array([slow_ns, fast_ns], dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(0, rounds, (RESAMPLES, rounds))
    slow, fast = np.median(pairs[:, drawn], axis=2)
    low, high = np.quantile(slow / fast, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Ratio(float(np.median(pairs[0]) / np.median(pairs[1])), float(low), float(high))
