"""Plots of measurements: speed against quality, how samples are spread, how a device keeps its speed."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesr import svg
from edgesr.bench.columns import significant
from edgesr.bench.pareto import Plot, Point
from edgesr.bench.summary import Repeat
from edgesr.svg import INK

COLOURS = {
    **{f"#00001{index}": f"var(--c{index})" for index in range(6)},
    "#000020": "var(--frontier)",
    "#000021": "var(--hot)",
}
*SERIES, FRONTIER, HOT = COLOURS
MARKERS = "osD^vP"
PARETO_IN, HISTOGRAM_IN, SUSTAINED_IN = (8.0, 4.2), (3.6, 1.7), (8.0, 3.2)
BINS = 40
SHOWN_SHARE = 99.0
"""Per cent of the samples that a histogram is as wide as; a single pause would make the rest one bar."""
MOST_STEPS = 300
LONGEST_LABEL = 40
POINT_PX = 7
PLACES_PT = (9, -9, 19, -19, 29, -29)
"""Where the number of a point may stand, above it or below; the first that is free."""
LONG_S = 120.0
"""Runs of this length show how a device keeps its speed, also when that was not asked for."""


@dataclass(frozen=True, slots=True)
class Step:
    """A part of a long run. Quantiles of its samples in milliseconds; `at_s` from the beginning of the first repeat."""

    at_s: float
    p10_ms: float
    p50_ms: float
    p90_ms: float
    temperature_c: float | None


def pareto_plot(plot: Plot, numbers: Mapping[int, int]) -> str:
    """`numbers`: of the rows of the table, by `id` of the summary; points carry them. An <svg> element."""
    with svg.drawing("pareto") as figure_type:
        figure = figure_type(figsize=PARETO_IN, layout="constrained")
        axis = figure.subplots()
        costs = [point.cost for point in plot.frontier]
        quality = [point.psnr_y_db for point in plot.frontier]
        axis.plot(costs, quality, color=FRONTIER, linewidth=5, alpha=0.35, drawstyle="steps-post", label="frontier")
        for index, (model, points) in enumerate(_by_model(plot.points).items()):
            # Markers tell more than six models apart, and those apart who see no colours.
            look = {"color": SERIES[index % len(SERIES)], "marker": MARKERS[index // len(SERIES) % len(MARKERS)]}
            ordered = sorted(points, key=lambda point: point.cost)
            values = [point.cost for point in ordered], [point.psnr_y_db for point in ordered]
            axis.plot(*values, linewidth=1, markersize=5, label=_label(model), **look)
        axis.set_xscale("log" if _wide(plot.points) else "linear")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter("{x:g}" if _wide(plot.points) else "")
        axis.set_xlabel(plot.unit)
        axis.set_ylabel("PSNR-Y, dB")
        axis.margins(0.08, 0.12)
        axis.tick_params(which="both", length=3)
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        svg.plain(axis, "both")
        _name_points(axis, plot.points, numbers)
        best = ", ".join(f"{point.summary.subject.name}" for point in plot.frontier)
        return svg.element(figure, COLOURS, f"PSNR-Y against {plot.unit}; nothing beats: {best}. Numbers: the table")


def histogram(repeats: Sequence[Repeat], name: str) -> str:
    """Latencies, one colour for each cold process; an <svg> element. At least one sample is needed."""
    raw_ms = [np.asarray(repeat.raw_ns) / 1e6 for repeat in repeats if repeat.raw_ns]
    everything = np.concatenate(raw_ms)
    low, p50, p90, high = np.percentile(everything, [0, 50, 90, SHOWN_SHARE])
    high = max(high, low * 1.001)
    with svg.drawing("histogram") as figure_type:
        figure = figure_type(figsize=HISTOGRAM_IN, layout="constrained")
        axis = figure.subplots()
        colours = list(itertools.islice(itertools.cycle(SERIES), len(raw_ms)))
        axis.hist(raw_ms, bins=BINS, range=(low, high), stacked=True, color=colours)
        for value, style in ((p50, "-"), (p90, "--")):
            axis.axvline(value, color=INK, linewidth=1, linestyle=style)
        axis.set_xlabel(_beyond(everything, high))
        svg.plain(axis, "x")
        axis.yaxis.set_visible(False)
        axis.spines["left"].set_visible(False)
        label = f"Latency of {name}: median {p50:.2f} ms, p90 {p90:.2f} ms, {len(everything)} samples"
        return svg.element(figure, COLOURS, label)


def is_long(profile: str, repeats: Sequence[Repeat]) -> bool:
    length_s = sum(repeat.samples[-1].at_s for repeat in repeats if repeat.samples)
    return (profile == "sustained" or length_s >= LONG_S) and len(steps(repeats)) > 1


def steps(repeats: Sequence[Repeat]) -> list[Step]:
    """Consecutive reports of all repeats, several together where there are more than a plot has room for."""
    chunks = []
    begin_s = 0.0
    for repeat in repeats:
        chunks += [
            (begin_s + chunk.at_s, chunk.raw_ns, chunk.temperature_c) for chunk in repeat.samples if chunk.raw_ns
        ]
        begin_s += repeat.samples[-1].at_s if repeat.samples else 0.0
    together = max(1, -(-len(chunks) // MOST_STEPS))
    return [_step(chunks[index : index + together]) for index in range(0, len(chunks), together)]


def sustained_plot(found: Sequence[Step], name: str) -> str:
    """Latency and, where the device tells it, temperature over time; an <svg> element."""
    at_s = [step.at_s for step in found]
    temperatures = [np.nan if step.temperature_c is None else step.temperature_c for step in found]
    hot = not all(np.isnan(temperatures))
    with svg.drawing("sustained") as figure_type:
        figure = figure_type(figsize=SUSTAINED_IN, layout="constrained")
        axes = figure.subplots(2 if hot else 1, 1, sharex=True, squeeze=False, height_ratios=[2, 1] if hot else [1])[
            :, 0
        ]
        axes[0].fill_between(
            at_s,
            [step.p10_ms for step in found],
            [step.p90_ms for step in found],
            color=SERIES[0],
            alpha=0.25,
            linewidth=0,
        )
        axes[0].plot(at_s, [step.p50_ms for step in found], color=SERIES[0], linewidth=1.2)
        axes[0].set_ylabel("ms")
        axes[0].set_ylim(bottom=0)
        if hot:
            axes[1].plot(at_s, temperatures, color=HOT, linewidth=1.2)
            axes[1].set_ylabel("°C")
        axes[-1].set_xlabel("seconds of measuring")
        for axis in axes:
            svg.plain(axis, "both")
        return svg.element(figure, COLOURS, f"Latency of {name} over time. {kept(found)}")


def kept(found: Sequence[Step]) -> str:
    """What a long run comes to, as a sentence: the first tenth against the last."""
    tenth = max(1, len(found) // 10)
    first = float(np.median([step.p50_ms for step in found[:tenth]]))
    last = float(np.median([step.p50_ms for step in found[-tenth:]]))
    told = [step.temperature_c for step in found if step.temperature_c is not None]
    heat = f"; from {told[0]:.0f} to {told[-1]:.0f} °C, at most {max(told):.0f}" if told else ""
    times = f"The last tenth took {significant(last, 3)} ms, the first {significant(first, 3)} ms"
    return f"{times} ({100 * (last / first - 1):+.1f} %){heat}."


def _step(chunks: Sequence[tuple[float, Sequence[int], float | None]]) -> Step:
    raw_ms = np.concatenate([np.asarray(raw_ns) for _, raw_ns, _ in chunks]) / 1e6
    p10, p50, p90 = (float(value) for value in np.percentile(raw_ms, [10, 50, 90]))
    told = [temperature for _, _, temperature in chunks if temperature is not None]
    return Step(chunks[-1][0], p10, p50, p90, told[-1] if told else None)


def _by_model(points: Sequence[Point]) -> dict[str, list[Point]]:
    found: dict[str, list[Point]] = {}
    for point in points:
        subject = point.summary.subject
        found.setdefault(subject.model or subject.name, []).append(point)
    return found


def _label(name: str) -> str:
    """Of a legend: not wider than the plot, and not hidden, as matplotlib does with what begins with an underscore."""
    return f" {name[:LONGEST_LABEL]}" if name.startswith("_") else name[:LONGEST_LABEL]


def _name_points(axis: Any, points: Sequence[Point], numbers: Mapping[int, int]) -> None:
    """Above or below, near or further off, where a number hides nothing else; flagged ones with an asterisk."""
    from matplotlib.transforms import Bbox

    axis.figure.draw_without_rendering()  # from here on places are known
    around = POINT_PX / 2
    centres = axis.transData.transform([(point.cost, point.psnr_y_db) for point in points])
    taken = [Bbox.from_extents(x - around, y - around, x + around, y + around) for x, y in centres]
    for point in sorted(points, key=lambda point: point.cost):
        name = f"{numbers[id(point.summary)]}{'*' if point.summary.flags else ''}"
        at = (point.cost, point.psnr_y_db)
        text = axis.annotate(name, at, (0, 0), textcoords="offset points", fontsize=7, ha="center", va="center")
        found = next((place for place in PLACES_PT if not _hides(text, place, taken)), PLACES_PT[0])
        taken.append(_placed(text, found))


def _hides(text: Any, place: float, taken: Sequence[Any]) -> bool:
    return bool(_placed(text, place).count_overlaps(taken))


def _placed(text: Any, place: float) -> Any:
    """Where `text` lies on the figure when it is moved to `place`, in points above its point."""
    text.xyann = (0, place)
    return text.get_window_extent()


def _wide(points: Sequence[Point]) -> bool:
    costs = [point.cost for point in points]
    return max(costs) > 5 * min(costs)


def _beyond(raw_ms: npt.NDArray[np.float64], high: float) -> str:
    beyond = int(np.count_nonzero(raw_ms > high))
    return f"ms; {beyond} of {len(raw_ms)} beyond, up to {significant(raw_ms.max(), 3)}" if beyond else "ms"
