"""Measurements as they lie in folders, read and summed up."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesr.bench.columns import size, threads
from edgesr.bench.records import SUFFIX, Record, read
from edgesr.bench.summary import Summary, summarise
from edgesr.errors import DataError, UnknownName, UsageError


@dataclass(frozen=True, slots=True)
class Run:
    file: Path
    records: tuple[Record, ...]
    summary: Summary


@dataclass(frozen=True, slots=True)
class Loaded:
    """`unread`: why a file that lies in a folder was left out, a sentence each."""

    runs: tuple[Run, ...]
    unread: tuple[str, ...] = ()


def load(places: Sequence[Path]) -> Loaded:
    """Every run in files and folders, once. Raises DataError for a named file that is none, or if there is no run.

    Within a folder one damaged file does not hide the others: it is left out and named in `unread`.
    """
    runs: list[Run] = []
    unread: list[str] = []
    for file, named in _files(places).items():
        try:
            records = tuple(read(file))
        except DataError as error:
            if named:
                raise
            unread.append(str(error))
            continue
        runs.append(Run(file, records, summarise(records)))
    if not runs:
        raise DataError(_nothing(places, unread))
    return Loaded(tuple(sorted(runs, key=_order)), tuple(unread))


def load_one(place: Path) -> Run:
    """The run of a file, or of a folder that holds one. Raises DataError, UsageError."""
    found = load([place])
    if len(found.runs) > 1:
        names = ", ".join(str(run.file) for run in found.runs[:10])
        raise UsageError(f"{place} holds {len(found.runs)} runs. Name one of them: {names}")
    return found.runs[0]


def named(runs: Sequence[Run], name: str) -> Run:
    """The run with this identifier or of the artifact with this name. Raises UnknownName, UsageError for several."""
    found = [run for run in runs if name in (run.summary.run, run.summary.subject.name)]
    if not found:
        known = dict.fromkeys(run.summary.subject.name for run in runs)
        raise UnknownName("measured artifact", name, known)
    if len(found) > 1:
        each = "; ".join(f"{run.summary.run} on {run.summary.where.name} ({regime(run.summary)})" for run in found)
        raise UsageError(f"{len(found)} runs measured {name!r}. Name one by its identifier: {each}")
    return found[0]


def regime(summary: Summary) -> str:
    return f"{size(summary)}, threads: {threads(summary)}, profile {summary.regime.profile}"


def _order(run: Run) -> tuple[str, str, int, int]:
    """Files are called by hashes: by device, artifact, threads (all of them last), size."""
    summary = run.summary
    height, width = summary.subject.size
    return summary.where.name, summary.subject.name, summary.regime.threads or sys.maxsize, height * width


def _files(places: Sequence[Path]) -> dict[Path, bool]:
    """With whether it was named itself. A file that is reached twice counts once."""
    found: dict[Path, Path] = {}
    named_ones = set()
    for place in places:
        if place.is_dir():
            for file in sorted(place.rglob(f"*{SUFFIX}")):
                found.setdefault(file.resolve(), file)
        else:
            found.setdefault(place.resolve(), place)
            named_ones.add(place.resolve())
    return {file: resolved in named_ones for resolved, file in found.items()}


def _nothing(places: Sequence[Path], unread: Sequence[str]) -> str:
    where = ", ".join(str(place) for place in places)
    if unread:
        return f"No measurement in {where} can be read. {unread[0]}"
    return f"No measurements (*{SUFFIX}) in {where}. Make some: edgesr bench ARTIFACT -o runs"
