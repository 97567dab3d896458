"""What nothing else beats in both speed and quality."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgesr.bench.columns import emulated
from edgesr.bench.summary import Summary

Unit = Literal["ms per megapixel of output", "ms per inference"]


@dataclass(frozen=True, slots=True)
class Point:
    """`cost`: in the unit of its plot."""

    summary: Summary
    cost: float
    psnr_y_db: float


@dataclass(frozen=True, slots=True)
class Plot:
    """Points of one device that can be compared: equal scale and image sets. `frontier`: from fast to good. `missing`:
    artifacts without a point, and why."""

    scale: int
    sets: str
    unit: Unit
    points: tuple[Point, ...]
    frontier: tuple[Point, ...]
    missing: tuple[tuple[Summary, str], ...] = ()


def plots(summaries: Sequence[Summary]) -> list[Plot]:
    """Of one device; what cannot have a point is named in the first plot. Empty if nothing can."""
    missing = [(each, reason) for each in summaries if (reason := unfit(each))]
    groups: dict[tuple[int, str], list[Summary]] = {}
    for each in summaries:
        if each.quality is not None and unfit(each) is None:
            groups.setdefault((each.subject.scale, each.quality.name), []).append(each)
    return [
        _plot(scale, sets, found, () if index else missing)
        for index, ((scale, sets), found) in enumerate(groups.items())
    ]


def unfit(summary: Summary) -> str | None:
    """Why a run says nothing about speed against quality, in words; None if it does."""
    if summary.status != "done":
        return summary.status
    if emulated(summary):
        return "emulated: its times say nothing"
    if summary.latency is None:
        return "no time was taken"
    if summary.quality is None or summary.quality.psnr_y_db is None:
        return "its quality was not measured"
    return None


def frontier(points: Sequence[Point]) -> tuple[Point, ...]:
    """From the fastest on, every point that is better than all faster ones."""
    found: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.psnr_y_db)):
        if not found or point.psnr_y_db > found[-1].psnr_y_db:
            found.append(point)
    return tuple(found)


def _plot(scale: int, sets: str, found: Sequence[Summary], missing: Sequence[tuple[Summary, str]]) -> Plot:
    """Per megapixel unless fewer runs know their halo than share one size."""
    per_mpx = [each for each in found if each.ms_per_mpx is not None]
    size, same_size = Counter(each.subject.size for each in found).most_common(1)[0]
    unit: Unit = "ms per megapixel of output" if len(per_mpx) >= same_size else "ms per inference"
    if unit == "ms per inference":
        shown = [each for each in found if each.subject.size == size]
        points = tuple(Point(each, each.latency.p50_ms, _psnr(each)) for each in shown if each.latency)
        left_out = f"timed at another size than {size[0]}x{size[1]}"
    else:
        points = tuple(Point(each, each.ms_per_mpx, _psnr(each)) for each in per_mpx if each.ms_per_mpx is not None)
        left_out = "its halo is not known"
    shown_runs = [point.summary for point in points]
    others = [(each, left_out) for each in found if each not in shown_runs]
    return Plot(scale, sets, unit, points, frontier(points), (*missing, *others))


def _psnr(summary: Summary) -> float:
    assert summary.quality is not None
    assert summary.quality.psnr_y_db is not None
    return summary.quality.psnr_y_db
