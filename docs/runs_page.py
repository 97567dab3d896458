"""What was measured on devices (docs/device_runs.py): README's tables of it, and the page with every column."""

from collections.abc import Sequence
from pathlib import Path

from records import ROOT
from tables import table

from edgesr.bench.columns import COLUMNS, by_device, emulated, shown
from edgesr.bench.report import as_markdown
from edgesr.bench.runs import Loaded, load
from edgesr.bench.summary import Summary

RUNS = ROOT / "docs" / "runs"
PAGE = "docs/runs.md"
KEYS = ("size_mb", "p50_ms", "ms_per_mpx", "peak_mb", "psnr_y_db", "drop_y_db", "worst_drop_db")


def recorded(folder: Path = RUNS) -> Loaded | None:
    return load([folder]) if folder.is_dir() else None


def runs_page(loaded: Loaded) -> str:
    by = "By `python docs/device_runs.py --data SETS`; columns: [bench.md](bench.md)."
    return f"# Measured on devices\n\n{by}\n\n{as_markdown(loaded)}"


def readme_block(loaded: Loaded) -> str:
    devices = by_device([run.summary for run in loaded.runs])
    return "\n\n".join(_section(found) for found in devices.values())


def _section(found: Sequence[Summary]) -> str:
    first = found[0]
    columns = [column for column in COLUMNS if column.key in KEYS and not (column.machine and emulated(first))]
    common = set.intersection(*(set(summary.flags) for summary in found))
    header = ["network", "target", "", *(column.title for column in columns), *([] if emulated(first) else ["flags"])]
    lines = []
    for summary in sorted(found, key=_order):
        subject = summary.subject
        cells = [f"`{subject.model}`", subject.target, subject.precision]
        cells += [shown(column, summary) for column in columns]
        if not emulated(first):
            cells.append(", ".join(flag for flag in summary.flags if flag not in common))
        lines.append(cells)
    return f"{_title(first, sorted(common))}\n\n{table(header, lines, right=3)}"


def _order(summary: Summary) -> tuple[str, ...]:
    subject = summary.subject
    return (subject.model or "", subject.target, subject.precision)


def _title(summary: Summary, common: Sequence[str]) -> str:
    facts, subject = summary.where.facts, summary.subject
    height, width = subject.size
    processor = ", ".join(dict.fromkeys(cluster["name"] for cluster in facts["clusters"] if cluster["name"]))
    where = ", ".join(filter(None, (processor, facts["os"])))
    sets = f"quality on {summary.quality.name}" if summary.quality else "no quality"
    words = [f"{height}x{width} input", f"one thread, profile {summary.regime.profile}", sets]
    if emulated(summary):
        words.append("times of an emulated processor say nothing and are left out")
    elif common:
        words.append(f"flagged everywhere: {', '.join(common)}")
    machine = str(facts["arch"]).replace("_", "-")
    return f"**{summary.where.kind}, {machine}** ({where}): {'; '.join(words)}."
