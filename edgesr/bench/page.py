"""The page of a report: one HTML file without anything outside of it."""

import base64
import hashlib
import html
import itertools
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgesr import __version__
from edgesr.bench import crops, pareto, plots
from edgesr.bench.columns import COLUMNS, LABELS, Column, by_device, emulated, shown, significant, size
from edgesr.bench.crops import Crop
from edgesr.bench.records import Start
from edgesr.bench.runs import Loaded, Run, regime
from edgesr.bench.stats import LEAST_FOR_P99
from edgesr.bench.summary import UNSTABLE, Status, Summary, repeats
from edgesr.pages import asset, render

TEMPLATE, SCRIPT = "bench_page.html.j2", "bench_page.js"
FLAGS = {
    "unstable": f"the medians of the cold processes lie more than {UNSTABLE:.0%} apart",
    "throttled": "the device said that it slowed itself down",
    "too few samples": "time was up, or a process was cut off, before there were enough",
    "started hot": "the device did not cool down in the time that it was given",
}
ADDRESSES = ("local", "ssh:", "adb:")
"""Of devices that this kit measures itself; the others are apps."""
MOST_CROPS = 32
"""Of a device: each is a quarter of a megabyte of page."""
MARKS: Mapping[Status, str] = {"done": "✓", "unfinished": "…", "failed": "✗"}
"""Coloured ones are drawn by the page: not every browser has a font for the others."""
KINDS = {"low": "low resolution", "artifact": "artifact", "reference": "float32 network", "high": "ground truth"}


@dataclass(frozen=True, slots=True)
class Cell:
    """`sort`: what the table is sorted by, empty for what goes to the end; `made_up`: a time or memory of an emulated
    machine."""

    column: Column
    text: str
    detail: str
    sort: str
    made_up: bool


@dataclass(frozen=True, slots=True)
class Row:
    number: int
    name: str
    mark: str
    status: str
    cells: tuple[Cell, ...]
    flags: tuple[str, ...]
    failures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """`plot`: an <svg> element."""

    title: str
    plot: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """One device."""

    name: str
    address: str
    kind: str
    label: str
    facts: tuple[tuple[str, str], ...]
    sets: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    pareto: tuple[Figure, ...]
    histograms: tuple[Figure, ...]
    sustained: tuple[Figure, ...]
    crops: tuple[tuple[str, Crop], ...]
    hidden_crops: int
    regimes: tuple[str, ...]
    commands: tuple[str, ...]


def as_html(loaded: Loaded) -> str:
    """Text from outside (names, facts, messages) is escaped, in plots by matplotlib; the page runs one script, its own,
    and loads nothing."""
    runs = {id(run.summary): run for run in loaded.runs}
    devices = by_device([run.summary for run in loaded.runs])
    numbers = {id(found): number for number, found in enumerate(itertools.chain(*devices.values()), 1)}
    sections = [_section([runs[id(found)] for found in group], numbers) for group in devices.values()]
    script = asset(SCRIPT)
    content = {
        "sections": sections,
        "columns": _columns([run.summary for run in loaded.runs]),
        "flags": FLAGS,
        "kinds": KINDS,
        "gain": crops.GAIN,
        "least_for_p99": LEAST_FOR_P99,
        "unread": loaded.unread,
        "count": len(loaded.runs),
        "script": script,
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "versions": sorted({start.edgesr for run in loaded.runs if isinstance(start := run.records[0], Start)}),
        "version": __version__,
    }
    return render(TEMPLATE, content, {"breakable": breakable})


def _columns(summaries: Sequence[Summary]) -> tuple[Column, ...]:
    """Those with a value in any row. Status and flags are shown beside the name."""
    candidates = [column for column in COLUMNS if column.place != "data" and column.key not in ("status", "flags")]
    return tuple(column for column in candidates if any(column.value(found) is not None for found in summaries))


def _section(runs: Sequence[Run], numbers: Mapping[int, int]) -> Section:
    summaries = [run.summary for run in runs]
    where, columns = summaries[0].where, _columns(summaries)
    shown_crops = _crops(runs, numbers)
    return Section(
        name=where.name,
        address=where.address,
        kind=where.kind,
        label=LABELS[where.kind],
        facts=tuple(flat(where.facts)),
        sets=tuple(dict.fromkeys(found.quality.name for found in summaries if found.quality)),
        columns=columns,
        rows=tuple(_row(found, columns, numbers[id(found)]) for found in summaries),
        pareto=tuple(_pareto(plot, numbers) for plot in pareto.plots(summaries) if plot.points),
        histograms=tuple(_histogram(run, numbers[id(run.summary)]) for run in runs if _timed(run)),
        sustained=tuple(_sustained(run, numbers[id(run.summary)]) for run in runs if _long(run)),
        crops=shown_crops[:MOST_CROPS],
        hidden_crops=len(shown_crops[MOST_CROPS:]),
        regimes=tuple(dict.fromkeys(map(_how, summaries))),
        commands=tuple(dict.fromkeys(command for found in summaries if (command := _command(found)))),
    )


def _row(summary: Summary, columns: Sequence[Column], number: int) -> Row:
    cells = tuple(_cell(column, summary) for column in columns)
    return Row(
        number, summary.subject.name, MARKS[summary.status], summary.status, cells, summary.flags, summary.failures
    )


def _cell(column: Column, summary: Summary) -> Cell:
    value = column.value(summary)
    detail = column.detail(summary) if column.detail and value is not None else ""
    made_up = column.machine and emulated(summary) and value is not None
    sortable = column.words or isinstance(value, int | float)
    return Cell(column, shown(column, summary), detail, str(value) if sortable and value is not None else "", made_up)


def _pareto(plot: pareto.Plot, numbers: Mapping[int, int]) -> Figure:
    names = ", ".join(_title(point.summary, numbers[id(point.summary)]) for point in plot.frontier)
    words = [f"Nothing is both faster and better than: {names}."]
    words += ["*: flagged in the table."] if any(point.summary.flags for point in plot.points) else []
    words += [f"Not in the plot: {_title(found, numbers[id(found)])}: {reason}." for found, reason in plot.missing]
    return Figure(f"x{plot.scale}, mean over {plot.sets}", plots.pareto_plot(plot, numbers), tuple(words))


def _crops(runs: Sequence[Run], numbers: Mapping[int, int]) -> tuple[tuple[str, Crop], ...]:
    """With the title of the first run of each artifact: its outputs do not depend on threads."""
    first = {run.summary.subject.sha256: run for run in reversed(runs)}
    ordered = [run for run in runs if first[run.summary.subject.sha256] is run]
    return tuple((_title(run.summary, numbers[id(run.summary)]), crop) for run in ordered for crop in crops.crops(run))


def _timed(run: Run) -> bool:
    return run.summary.latency is not None and not emulated(run.summary)


def _long(run: Run) -> bool:
    return _timed(run) and plots.is_long(run.summary.regime.profile, repeats(run.records))


def _histogram(run: Run, number: int) -> Figure:
    latency = run.summary.latency
    assert latency is not None
    p50, p90, mad = (significant(value, 3) for value in (latency.p50_ms, latency.p90_ms, latency.mad_ms))
    p99 = "" if latency.p99_ms is None else f", p99 {significant(latency.p99_ms, 3)}"
    spread = "" if latency.spread is None else f"; processes {100 * latency.spread:.1f} % apart"
    words = f"p50 {p50}, p90 {p90}{p99} ms; MAD {mad}{spread}"
    name = run.summary.subject.name
    return Figure(_title(run.summary, number), plots.histogram(repeats(run.records), name), (words,))


def _sustained(run: Run, number: int) -> Figure:
    found = plots.steps(repeats(run.records))
    plot = plots.sustained_plot(found, run.summary.subject.name)
    return Figure(_title(run.summary, number), plot, (plots.kept(found),))


def _title(summary: Summary, number: int) -> str:
    return f"{number} {summary.subject.name}"


def _how(summary: Summary) -> str:
    cpus = "" if summary.regime.cpus is None else f", bound to CPUs {', '.join(map(str, summary.regime.cpus))}"
    inputs = f"{summary.inputs.count} inputs from {summary.inputs.source}"
    return f"{regime(summary)}{cpus}; {inputs}"


def _command(summary: Summary) -> str | None:
    """That measures an artifact like this again; None of what an app measured."""
    if not summary.where.address.startswith(ADDRESSES):
        return None
    regime = summary.regime
    words = ["edgesr", "bench", "ARTIFACT", "--device", summary.where.address, "--profile", regime.profile]
    words += [] if regime.threads is None else ["--threads", str(regime.threads)]
    words += [] if regime.cpus is None else ["--cpus", ",".join(map(str, regime.cpus))]
    return shlex.join([*words, "--size", size(summary)])


def breakable(name: str) -> str:
    """`name` escaped, with places where a line may end: names of artifacts are long and have no spaces."""
    return html.escape(name).replace("_", "_<wbr>")


def flat(facts: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Name and text of everything that a device said; nothing for what it did not."""
    for key, value in facts.items():
        name = f"{above} {key}".strip().replace("_", " ")
        if isinstance(value, Mapping):
            yield from flat(value, name)
        elif isinstance(value, list) and all(isinstance(each, str | int | float) for each in value):
            if value:
                yield name, ", ".join(map(str, value))
        elif isinstance(value, list):
            for number, each in enumerate(value):
                yield from flat({str(number): each}, name)
        elif value is not None and value != "":
            yield name, value if isinstance(value, str) else json.dumps(value)
