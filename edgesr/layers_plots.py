"""Plots of a quantization, layer by layer."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from edgesr import svg
from edgesr.svg import INK

if TYPE_CHECKING:
    from edgesr.quantization.layers_report import Activation, LayerRow

COLOURS = {
    "#000003": "var(--input)",
    "#000004": "var(--output)",
    "#000005": "var(--weight)",
    "#000006": "var(--grid)",
}
INPUT, OUTPUT, WEIGHT, GRID = COLOURS
WIDTH_IN, ROW_IN, EDGES_IN = 11.0, 0.17, 1.6
SHOWN = (-0.6, 1.6)
"""Part of the axis of ranges that is drawn, in widths of the grid."""

Draw = Callable[[Any, Any, Sequence["LayerRow"]], None]


def errors_plot(rows: Sequence["LayerRow"]) -> str:
    """Predicted error of the image by layer, and the SNR on the way to it; an <svg> element."""
    label = (
        "Predicted error of the image by layer, and signal-to-noise ratio so far; the numbers are in the table below"
    )
    return _plotted(rows, label, _draw_errors, _draw_ratios)


def ranges_plot(rows: Sequence["LayerRow"]) -> str:
    """What every activation reached on the crops, against what its grid holds; an <svg> element."""
    label = "Range that every input and output reached, and that its grid holds; the numbers are in the table below"
    panels = _ranges_of("input", lambda row: row.reads), _ranges_of("output", lambda row: row.writes)
    return _plotted(rows, label, *panels)


def _plotted(rows: Sequence["LayerRow"], label: str, *panels: Draw) -> str:
    """Panels side by side with one row per layer, the first layer on top."""
    with svg.drawing("/".join(panel.__name__ for panel in panels)) as figure_type:
        figure = figure_type(figsize=(WIDTH_IN, EDGES_IN + ROW_IN * len(rows)), layout="constrained")
        axes = figure.subplots(1, len(panels), sharey=True)
        for axis, draw in zip(axes, panels, strict=True):
            draw(axis, range(len(rows)), rows)
            svg.plain(axis, "x")
            axis.tick_params(axis="x", labeltop=True)
        names = [f"{row.name} (float)" if row.if_rounded is not None else row.name for row in rows]
        axes[0].set_yticks(range(len(rows)), names)
        axes[0].set_ylim(len(rows) - 0.4, -0.6)
        return svg.element(figure, COLOURS, label)


def _draw_errors(axis: Any, places: Sequence[int], rows: Sequence["LayerRow"]) -> None:
    start = [0.0] * len(rows)
    parts = (("input rounding", INPUT, "input_error"), ("output rounding", OUTPUT, "output_error"))
    for label, colour, field in (*parts, ("weights", WEIGHT, "weight_error")):
        values = [getattr(row, field) for row in rows]
        axis.barh(places, values, left=start, color=colour, label=label, height=0.7)
        start = [before + value for before, value in zip(start, values, strict=True)]
    _titled(axis, "Predicted error of the image by layer", "squared 8-bit levels")


def _draw_ratios(axis: Any, places: Sequence[int], rows: Sequence["LayerRow"]) -> None:
    own = [row.writes.rounding.snr_db if row.writes.rounding else None for row in rows]
    axis.plot(_drawn(own), places, "o", color=GRID, markersize=3, label="own rounding alone")
    axis.plot(_drawn([row.snr_db for row in rows]), places, ".-", color=OUTPUT, label="activations")
    axis.plot(_drawn([row.network_snr_db for row in rows]), places, ".-", color=WEIGHT, label="activations and weights")
    _titled(axis, "SNR so far of what is read of each layer", "dB")


def _titled(axis: Any, title: str, unit: str) -> None:
    """With the legend between the title and the panel, where it hides nothing."""
    axis.set_title(title, loc="left", pad=36)
    axis.set_xlabel(unit)
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 2}
    legend = axis.legend(**place, ncols=3, handlelength=1.2, columnspacing=1.2)
    legend.set_in_layout(False)  # it takes no width from the panel, and the title's pad leaves it its height


def _ranges_of(side: str, activation_of: "Callable[[LayerRow], Activation]") -> Draw:
    def draw(axis: Any, places: Sequence[int], rows: Sequence["LayerRow"]) -> None:
        for place, row in zip(places, rows, strict=True):
            activation = activation_of(row)
            grid = activation.rounding
            if grid is None:
                continue
            low, high = ((end - grid.low) / (grid.high - grid.low) for end in (activation.low, activation.high))
            axis.barh(place, 1, color=GRID, height=0.8)
            axis.barh(place, high - low, left=low, color=INPUT if side == "input" else OUTPUT, height=0.35)
            axis.plot([grid.zero_point / 255] * 2, [place - 0.4, place + 0.4], color=INK, linewidth=1)
        axis.set_xlim(*SHOWN)
        axis.set_title(loc="left", pad=20, label=f"{side}: range seen (thin) and held by the grid (wide); line: zero")
        axis.set_xlabel("widths of the grid; beyond 0 and 1 values are clipped")

    draw.__name__ = f"ranges_{side}"
    return draw


def _drawn(values: Sequence[float | None]) -> list[float]:
    """A gap where nothing is lost."""
    return [math.nan if value is None else value for value in values]
