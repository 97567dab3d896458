"""Measurements that an app exported, into a folder of measurements."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from edgesr.bench.names import file_name
from edgesr.bench.records import SUFFIX, Record, Start, read_several
from edgesr.errors import DataError
from edgesr.whole_file import write_whole

ELSEWHERE = "Choose another folder with -o."


def take(file: Path, folder: Path) -> list[Path]:
    """File every run of `file` (one after another, each beginning with its start) as `folder`/DEVICE/RUN.jsonl.

    What is there already is left as it is, unless it is only the beginning of the new one.
    Raises DataError, before anything is written, for a file that is none, and for a run that would overwrite another.
    """
    wanted: dict[Path, bytes] = {}
    for records in read_several(file):
        target = _place(records, folder)
        held = wanted.get(target) or _held(target)
        wanted[target] = _longer(held, _lines(records), target, file)
    for target, content in wanted.items():
        if _held(target) != content:
            write_whole(target, partial(_write, content), ELSEWHERE)
    return list(wanted)


def _place(records: Sequence[Record], folder: Path) -> Path:
    start = records[0]
    assert isinstance(start, Start)
    return folder / file_name(start.where.name, "device") / f"{file_name(start.run, 'run')}{SUFFIX}"


def _lines(records: Sequence[Record]) -> bytes:
    """As `records.append` writes them, so that equal runs are equal files."""
    return "".join(json.dumps(asdict(record), allow_nan=False) + "\n" for record in records).encode()


def _held(target: Path) -> bytes:
    return b"" if not target.exists() else b"".join(_lines(records) for records in read_several(target))


def _longer(held: bytes, new: bytes, target: Path, file: Path) -> bytes:
    """Of two states of one run, of which one goes on where the other stopped."""
    if new.startswith(held):
        return new
    if held.startswith(new):
        return held
    raise DataError(
        f"{file} holds a run that {target} holds another version of. Nothing was taken. Move that file away first, or "
        "choose another folder with -o."
    )


def _write(content: bytes, target: Path) -> None:
    target.write_bytes(content)
