"""A report of measurements as files: a page, Markdown, CSV, JSON."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import methodcaller
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from pydantic import TypeAdapter, ValidationError

from edgesr import __version__
from edgesr.bench import page
from edgesr.bench.columns import COLUMNS, LABELS, MARKS, Column, by_device, emulated, shown, told
from edgesr.bench.runs import Loaded
from edgesr.bench.summary import Summary
from edgesr.errors import DataError, UsageError
from edgesr.extras import require
from edgesr.whole_file import write_whole

SCHEMA: Final = 1
ELSEWHERE = "Choose another place with -o."
PROTOCOLS = MappingProxyType({"psnr_y_db": "paper-y", "ssim_y": "paper-y", "psnr_rgb_db": "ntire-rgb4"})

Format = Literal["html", "markdown", "csv", "json"]
SUFFIXES: Mapping[str, Format] = MappingProxyType(
    {".html": "html", ".md": "markdown", ".csv": "csv", ".json": "json"},
)
NEEDS: Mapping[Format, tuple[str, ...]] = MappingProxyType(
    {"html": ("matplotlib", "jinja2"), "markdown": (), "csv": (), "json": ()}
)


@dataclass(frozen=True, slots=True)
class Report:
    """What the JSON file holds. `protocols`: how the fields of `Quality` are computed."""

    edgesr: str
    protocols: Mapping[str, str]
    runs: tuple[Summary, ...]
    unread: tuple[str, ...] = ()
    schema: Literal[1] = SCHEMA
    kind: Literal["bench-report"] = "bench-report"


@dataclass(frozen=True, slots=True)
class Output:
    format: Format
    file: Path


def output(file: Path) -> Output:
    """By the suffix. Raises UsageError."""
    if file.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{file} is no report: its name must end with {', '.join(SUFFIXES)}.")
    return Output(SUFFIXES[file.suffix.lower()], file)


def check(outputs: Sequence[Output]) -> None:
    """What can be known before the work. Raises UsageError, MissingExtra."""
    files = [each.file.absolute() for each in outputs]
    twice = [str(file) for file in files if files.count(file) > 1]
    if twice:
        raise UsageError(f"{twice[0]} is asked for twice. Give every file another name.")
    for each in outputs:
        for module in NEEDS[each.format]:
            require(module, "report")


def write(loaded: Loaded, outputs: Sequence[Output]) -> None:
    """Make everything, then write every file whole or not at all. Raises OutputError."""
    made = [(each.file, MAKERS[each.format](loaded).encode()) for each in outputs]
    for file, data in made:
        write_whole(file, methodcaller("write_bytes", data), ELSEWHERE)


def of(loaded: Loaded) -> Report:
    return Report(__version__, dict(PROTOCOLS), tuple(run.summary for run in loaded.runs), loaded.unread)


def as_json(loaded: Loaded) -> str:
    return json.dumps(asdict(of(loaded)), indent=1, allow_nan=False) + "\n"


def read_json(file: Path) -> Report:
    """What `as_json` wrote. Raises DataError for anything else, and for another schema."""
    try:
        return TypeAdapter(Report).validate_json(file.read_bytes())
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}).") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise DataError(f"{file} is no report of schema {SCHEMA}: {where}: {first['msg']}.") from error


def as_csv(loaded: Loaded) -> str:
    """One row per run, every column, numbers as they are; times and memory of emulated machines are left out."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.key for column in COLUMNS])
    for run in loaded.runs:
        writer.writerow([_harmless(told(column, run.summary)) for column in COLUMNS])
    return text.getvalue()


def as_markdown(loaded: Loaded) -> str:
    """A table for each device; times and memory of emulated machines are left out."""
    devices = by_device([run.summary for run in loaded.runs])
    parts = [_section(name, kind, found) for (name, kind, _), found in devices.items()]
    unread = [f"- {_plain(reason)}" for reason in loaded.unread]
    if unread:
        parts.append("\n".join(["Not read:", "", *unread]))
    return "\n\n".join(parts) + "\n"


def _section(name: str, kind: str, found: Sequence[Summary]) -> str:
    columns = [column for column in COLUMNS if column.place == "everywhere"]
    if any(map(emulated, found)):
        columns = [column for column in columns if not column.machine]
    columns = [column for column in columns if column.words or any(column.value(each) is not None for each in found)]
    lines = [f"**{_plain(name)}** ({LABELS[kind]})", ""]
    lines.append(_line(column.title for column in columns))
    lines.append(_line("---" if column.words else "---:" for column in columns))
    lines += [_line(_cell(column, summary) for column in columns) for summary in found]
    return "\n".join([*lines, "", *_notes(found)])


def _notes(found: Sequence[Summary]) -> list[str]:
    sets = dict.fromkeys(each.quality.name for each in found if each.quality)
    notes = [f"PSNR-Y: luma, paper-y; mean over {_plain('; or '.join(sets))}."] if sets else []
    failures = [f"- {_plain(each.subject.name)}: {_plain(failure)}" for each in found for failure in each.failures]
    return [*notes, *(["", "Failures:", "", *failures] if failures else [])]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(column: Column, summary: Summary) -> str:
    if column.key == "status":
        return f"{MARKS[summary.status]} {summary.status}"
    detail = column.detail(summary) if column.detail else ""
    value = shown(column, summary)
    return _plain(f"{value} ({detail})" if value and detail else value)


def _plain(text: str) -> str:
    """Names from anywhere as text in a cell: neither markup nor the end of the cell."""
    return re.sub(r"([\\`*\[\]|<>~&])", r"\\\1", " ".join(text.split()))


def _harmless(value: str | float | None) -> str | float | None:
    """Spreadsheets run text that begins like a formula (OWASP, CSV injection)."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value


MAKERS: Mapping[Format, Callable[[Loaded], str]] = MappingProxyType(
    {"html": page.as_html, "markdown": as_markdown, "csv": as_csv, "json": as_json}
)
