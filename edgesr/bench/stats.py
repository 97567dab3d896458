"""What a list of nanoseconds says: percentiles, spread, and how sure the median is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgesr.extras import require

LEAST_FOR_P99 = 1000
"""A hundredth of fewer is fewer than ten samples (MLPerf's LoadGen reports no tail below)."""
CONFIDENCE = 0.95
RESAMPLES = 2000
MOST_RESAMPLED = 2000
"""A bootstrap of more samples takes long and tells no more: those are thinned evenly."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds over all repeats. `low_ms` to `high_ms`: 95 % interval of the median. `mad_ms`: median absolute
    deviation. `spread`: how far the medians of the repeats lie apart, relative to the smallest; None for one repeat."""

    samples: int
    p50_ms: float
    p90_ms: float
    p99_ms: float | None
    least_ms: float
    most_ms: float
    mad_ms: float
    low_ms: float
    high_ms: float
    spread: float | None


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as long A takes as B; `low` to `high`: 95 % interval."""

    value: float
    low: float
    high: float


def latency(repeats: Sequence[Sequence[int]]) -> Latency:
    """Of the nanoseconds of every repeat. Raises ValueError without any sample."""
    raw_ms = _ms([value for samples in repeats for value in samples])
    p50, p90 = np.percentile(raw_ms, [50, 90])
    low, high = _interval((raw_ms,), np.median)
    medians = [float(np.median(samples)) for samples in repeats if samples]
    return Latency(
        samples=len(raw_ms),
        p50_ms=float(p50),
        p90_ms=float(p90),
        p99_ms=float(np.percentile(raw_ms, 99)) if len(raw_ms) >= LEAST_FOR_P99 else None,
        least_ms=float(raw_ms.min()),
        most_ms=float(raw_ms.max()),
        mad_ms=float(require("scipy.stats", "bench").median_abs_deviation(raw_ms)),
        low_ms=low,
        high_ms=high,
        spread=max(medians) / min(medians) - 1 if len(medians) > 1 else None,
    )


def ratio(a_ns: Sequence[int], b_ns: Sequence[int]) -> Ratio:
    """Of the medians of A and B, which were not measured in pairs. Raises ValueError if either is empty."""
    a, b = _ms(a_ns), _ms(b_ns)

    def of_medians(a: Any, b: Any, axis: int = -1) -> Any:
        return np.median(a, axis=axis) / np.median(b, axis=axis)

    low, high = _interval((a, b), of_medians)
    return Ratio(float(np.median(a) / np.median(b)), low, high)


def _ms(raw_ns: Sequence[int]) -> Any:
    if not len(raw_ns):
        raise ValueError("there is no sample")
    return np.asarray(raw_ns, dtype=np.float64) / 1e6


def _some(values: Any) -> Any:
    """At most MOST_RESAMPLED, drawn at random: every n-th would be of the same few inputs, which take turns."""
    if len(values) <= MOST_RESAMPLED:
        return values
    return np.random.default_rng(0).choice(values, MOST_RESAMPLED, replace=False)


def _interval(samples: tuple[Any, ...], statistic: Any) -> tuple[float, float]:
    """Percentile bootstrap (Efron and Tibshirani 1993, chapter 13), seeded: equal samples give equal bounds."""
    thinned = tuple(_some(values) for values in samples)
    if any(len(values) < 2 for values in thinned):
        point = float(statistic(*samples))
        return point, point
    found = require("scipy.stats", "bench").bootstrap(
        thinned,
        statistic,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
