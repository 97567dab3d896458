"""The page that explains a recipe: one HTML file without anything outside of it, and its rows as JSON."""

import importlib.metadata
import json
import os
import platform
from dataclasses import asdict, dataclass
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesr import layers_plots
from edgesr.artifact import Proof
from edgesr.errors import OutputError, UsageError
from edgesr.extras import require
from edgesr.pages import render
from edgesr.report import decibels
from edgesr.verify import lost
from edgesr.whole_file import write_whole

if TYPE_CHECKING:
    from edgesr.quantization.layers_report import Explanation
    from edgesr.quantization.recipe import Facts

SCHEMA = 1
TEMPLATE = "layers_page.html.j2"
EXTRA = "report"
ELSEWHERE = "Choose another place with --report."
PACKAGES = ("edgesr", "torch", "torchao", "numpy")
"""That decide the numbers."""


@dataclass(frozen=True, slots=True)
class Page:
    """`weights_kind`: "official", "edgesr-trained" or "user"; `proof`: of the recipe's graph on the image sets."""

    facts: "Facts"
    weights_kind: str
    proof: Proof
    explanation: "Explanation"


def rows_of(path: Path) -> Path:
    """Where the rows of the page `path` lie. Not NAME.json: that is what the recipe beside NAME.html is called."""
    return path.with_suffix(".layers.json")


def check_place(path: Path, recipe: Path) -> None:
    """What can be known before the work: raises UsageError, OutputError, MissingExtra; makes no file or folder."""
    if path.suffix != ".html":
        given = path.with_suffix(".html")
        raise UsageError(f"A report is a .html file; found --report {path}. Give, for example, --report {given}")
    if rows_of(path).absolute() == recipe.absolute():
        raise UsageError(f"{recipe} would be the recipe and the rows of the report. Give another name with -o.")
    for module in ("matplotlib", "jinja2"):
        require(module, EXTRA)
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise OutputError(f"Cannot write {path}: {folder.name} is a file. {ELSEWHERE}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"Cannot write {path}: {folder.name} is read-only. {ELSEWHERE}")


def write(page: Page, path: Path) -> None:
    """Write the rows and then the page, each whole or not at all. Raises OutputError."""
    contents = {rows_of(path): as_json(page), path: as_html(page)}
    for target, text in contents.items():
        data = text.encode()
        write_whole(target, methodcaller("write_bytes", data), ELSEWHERE)


def as_json(page: Page) -> str:
    """What the page shows. Numbers in the units that edgesr.quantization.layers_report gives."""
    return json.dumps(_content(page), indent=1, allow_nan=False) + "\n"


def as_html(page: Page) -> str:
    """Text from outside (names, notes) is escaped, in plots by matplotlib; nothing is loaded from anywhere."""
    rows = page.explanation.rows
    plots = {"errors": layers_plots.errors_plot(rows), "ranges": layers_plots.ranges_plot(rows)}
    filters = {"db": lambda value: decibels(value, digits=1), "number": _number, "percent": _percent}
    return render(TEMPLATE, {**_content(page), "plots": plots}, filters)


def _content(page: Page) -> dict[str, Any]:
    facts, found = page.facts, page.explanation
    mean_db, worst_db = lost(page.proof)
    return {
        "schema": SCHEMA,
        "model": facts.model,
        "scale": facts.scale,
        "weights": {"kind": page.weights_kind, "sha256": facts.weights_sha256},
        "calibration": dict(facts.calibration),
        "settings": dict(facts.settings),
        "int8_share": facts.integer_share,
        "kept_float": list(facts.kept_float),
        "notes": list(facts.notes),
        "proof": asdict(page.proof),
        "mean_drop_db": mean_db,
        "worst_drop_db": worst_db,
        "environment": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "crops": found.crops,
        "predicted_error": found.predicted,
        "rounding_error": found.rounding_error,
        "network_error": found.network_error,
        "layers": [asdict(row) for row in found.rows],
    }


def _version(package: str) -> str:
    from edgesr import __version__

    return __version__ if package == "edgesr" else importlib.metadata.version(package)


def _number(value: float) -> str:
    """Three digits that count."""
    return f"{value:.3g}"


def _percent(part: float) -> str:
    return f"{_number(100 * part)}%"
