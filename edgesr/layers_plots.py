"""Plots of a quantization, layer by layer, as SVG that is put into a page and takes the page's colours."""

import io
import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from edgesr.extras import require
from edgesr.quantization.toolchain import quiet

if TYPE_CHECKING:
    from edgesr.quantization.layers_report import Activation, LayerRow

COLOURS = {
    "#000001": "var(--ink)",
    "#000002": "var(--line)",
    "#000003": "var(--input)",
    "#000004": "var(--output)",
    "#000005": "var(--weight)",
    "#000006": "var(--grid)",
}
"""What is drawn stands for a variable of the page's style sheet, which differs in the dark."""
INK, LINE, INPUT, OUTPUT, WEIGHT, GRID = COLOURS
STYLE = {
    "svg.fonttype": "none",  # the reader's fonts, and text that can be searched
    "text.parse_math": False,  # a name is a name, also with dollar signs in it
    "font.size": 8,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": LINE,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": LINE,
    "axes.titlesize": 9,
    "legend.frameon": False,
}
WIDTH_IN, ROW_IN, EDGES_IN = 11.0, 0.17, 1.6
SHOWN = (-0.6, 1.6)
"""Part of the axis of ranges that is drawn, in widths of the grid."""

Draw = Callable[[Any, Any, Sequence["LayerRow"]], None]


def errors_plot(rows: Sequence["LayerRow"]) -> str:
    """Predicted error of the image by layer, and the SNR on the way to it; an <svg> element."""
    return _plotted(rows, _draw_errors, _draw_ratios)


def ranges_plot(rows: Sequence["LayerRow"]) -> str:
    """What every activation reached on the crops, against what its grid holds; an <svg> element."""
    return _plotted(rows, _ranges_of("input", lambda row: row.reads), _ranges_of("output", lambda row: row.writes))


def _plotted(rows: Sequence["LayerRow"], *panels: Draw) -> str:
    """Panels side by side with one row per layer, the first layer on top."""
    with quiet():  # the first use builds a font cache and says so; a font may lack a letter of a name
        matplotlib = require("matplotlib", "report")
        figure_type = require("matplotlib.figure", "report").Figure
        with matplotlib.rc_context({**STYLE, "svg.hashsalt": "/".join(panel.__name__ for panel in panels)}):
            figure = figure_type(figsize=(WIDTH_IN, EDGES_IN + ROW_IN * len(rows)), layout="constrained")
            axes = figure.subplots(1, len(panels), sharey=True)
            for axis, draw in zip(axes, panels, strict=True):
                draw(axis, range(len(rows)), rows)
                axis.patch.set_visible(False)
                axis.spines[["top", "right"]].set_visible(False)
                axis.grid(axis="x", linewidth=0.5, alpha=0.5)
                axis.set_axisbelow(True)
                axis.tick_params(axis="x", labeltop=True)
            names = [f"{row.name} (float)" if row.if_rounded is not None else row.name for row in rows]
            axes[0].set_yticks(range(len(rows)), names)
            axes[0].set_ylim(len(rows) - 0.4, -0.6)
            content = io.StringIO()
            nothing = {"Creator": None, "Date": None, "Format": None, "Type": None}
            figure.savefig(content, format="svg", transparent=True, metadata=nothing)
    return _embedded(content.getvalue())


def _embedded(document: str) -> str:
    """The <svg> element for use within HTML: no namespaces, no names of groups, no size, the page's colours."""
    element = document[document.index("<svg") :]
    element = re.sub(r'\sxmlns(:\w+)?="[^"]*"|(?<=<g)\sid="[^"]*"', "", element)
    element = re.sub(r'(<svg[^>]*?)\swidth="[^"]*"', r"\1", element, count=1)
    element = re.sub(r'(<svg[^>]*?)\sheight="[^"]*"', r"\1", element, count=1)
    for drawn, shown in COLOURS.items():
        element = element.replace(drawn, shown)
    return element


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
