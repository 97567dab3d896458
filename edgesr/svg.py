"""Plots of matplotlib as SVG that is put into a page and takes the page's colours."""

import contextlib
import html
import io
import re
from collections.abc import Iterator, Mapping
from typing import Any

from edgesr.extras import require
from edgesr.quantization.toolchain import quiet

INK, LINE = "#000001", "#000002"
COLOURS: Mapping[str, str] = {INK: "var(--ink)", LINE: "var(--line)"}
"""What is drawn stands for a variable of the page's style sheet, which differs in the dark. Pages add their own."""
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


@contextlib.contextmanager
def drawing(salt: str) -> Iterator[Any]:
    """Gives matplotlib's type of figure; equal `salt` and equal content give equal bytes."""
    with quiet():  # the first use builds a font cache and says so; a font may lack a letter of a name
        matplotlib = require("matplotlib", "report")
        figure_type = require("matplotlib.figure", "report").Figure
        with matplotlib.rc_context({**STYLE, "svg.hashsalt": salt}):
            yield figure_type


def element(figure: Any, colours: Mapping[str, str], label: str) -> str:
    """The <svg> element for use within HTML: no namespaces, no names of groups, no size, the page's colours; `label` is
    read to those who do not see it."""
    content = io.StringIO()
    nothing = {"Creator": None, "Date": None, "Format": None, "Type": None}
    figure.savefig(content, format="svg", transparent=True, metadata=nothing)
    document = content.getvalue()
    found = document[document.index("<svg") :]
    found = re.sub(r'\sxmlns(:\w+)?="[^"]*"|(?<=<g)\sid="[^"]*"', "", found)
    found = re.sub(r'(<svg[^>]*?)\swidth="[^"]*"', r"\1", found, count=1)
    found = re.sub(r'(<svg[^>]*?)\sheight="[^"]*"', r"\1", found, count=1)
    found = found.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1)
    for drawn, shown in {**COLOURS, **colours}.items():
        found = found.replace(drawn, shown)
    return found


def plain(axis: Any, grid: str) -> None:
    """No box, nothing behind it, and lines only across `grid` ("x", "y" or "both")."""
    axis.patch.set_visible(False)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis=grid, linewidth=0.5, alpha=0.5)
    axis.set_axisbelow(True)
