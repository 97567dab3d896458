"""What a measurement writes down: one JSON object a line, appended as it comes. Schema 1.

A *run* is one artifact in one regime on one device, in a file of its own. Its first line is a `Start`; then, for every
cold process, an `Opened`, any number of `Samples` and a `Closed`; a `Memory` from a process that was not timed; an
`Image` for each image whose quality was measured; a `Failure` where something ended early; an `End` when all is done.
A run that has no `End` can be gone on with. Apps write the same lines.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from edgesr.errors import DataError, OutputError

SCHEMA: Final = 1
SUFFIX = ".jsonl"
MAX_FILE_BYTES = 256 << 20
MAX_FACTS_BYTES = 1 << 20

DeviceKind = Literal["device", "host", "emulated"]
"""emulated: another CPU's instructions are translated; times say nothing. host: the machine that converts, too."""


def _plain(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a device says of itself comes from outside: only what JSON can hold again, and not without end."""
    if len(json.dumps(facts, allow_nan=False)) > MAX_FACTS_BYTES:
        raise ValueError(f"more than {MAX_FACTS_BYTES >> 10} KiB")
    return facts


# Limits that every measurement keeps; a file that does not is damaged or made up, and would break what reads it.
Nanoseconds = Annotated[int, Field(gt=0, lt=1 << 60)]
Count = Annotated[int, Field(ge=0, lt=1 << 60)]
Side = Annotated[int, Field(ge=1, le=1 << 20)]
Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e12, le=1e12)]
Share = Annotated[float, Field(ge=0, le=1)]
Scale = Annotated[int, Field(ge=1, le=16)]
Facts = Annotated[Mapping[str, Any], AfterValidator(_plain)]
Text = Annotated[str, Field(max_length=10_000)]


@dataclass(frozen=True, slots=True)
class Subject:
    """The artifact. `sha256`: over names and hashes of its files, so that equal bytes are the same artifact anywhere.

    `size`: height and width that were timed. `foreign`: without a manifest of this kit. `int8_share`,
    `delegated_share`: parts of the convolutions' multiply-accumulates, 0 to 1, where the manifest says so.
    `halo_px`: None where it is not known.
    """

    sha256: Text
    name: Text
    target: Text
    precision: Text
    scale: Scale
    size: tuple[Side, Side]
    bytes: Count
    model: Text | None = None
    weights: Text | None = None
    halo_px: Count | None = None
    fixed_size: bool = False
    foreign: bool = False
    int8_share: Share | None = None
    delegated_share: Share | None = None


@dataclass(frozen=True, slots=True)
class Regime:
    """What must be equal for two latencies to be comparable, besides device and size. `cpus`: those that the process
    was bound to; None: any. `threads`: None is the runtime's choice of all."""

    profile: Text
    threads: Side | None
    cpus: tuple[Count, ...] | None = None


@dataclass(frozen=True, slots=True)
class Where:
    """The device: `name` for people, `address` as given, `kind`, and what it said of itself."""

    name: Text
    address: Text
    kind: DeviceKind
    facts: Facts = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Inputs:
    """The images that were run in turn: how many, from what, sha256 over all their pixels."""

    count: Count
    source: Text
    sha256: Text


@dataclass(frozen=True, slots=True)
class Start:
    run: Text
    started_at: Text
    edgesr: Text
    subject: Subject
    regime: Regime
    where: Where
    inputs: Inputs
    schema: Literal[1] = SCHEMA
    kind: Literal["start"] = "start"


@dataclass(frozen=True, slots=True)
class Thermal:
    """None: the device does not say."""

    temperature_c: Number | None = None
    throttled: bool | None = None
    clock_mhz: Number | None = None
    governor: Text | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A cold process has opened the artifact. `waited_s`: for the device to cool down; `hot`: it did not in time."""

    repeat: Count
    load_ns: Nanoseconds
    first_ns: Nanoseconds
    warmup_ns: tuple[Nanoseconds, ...]
    runtime: Mapping[Text, Text]
    thermal: Thermal = Thermal()
    waited_s: Number = 0.0
    hot: bool = False
    kind: Literal["opened"] = "opened"


@dataclass(frozen=True, slots=True)
class Samples:
    """Nanoseconds of consecutive inferences; `at_s`: seconds from the first of the repeat to the end of these."""

    repeat: Count
    raw_ns: tuple[Nanoseconds, ...]
    at_s: Number
    temperature_c: Number | None = None
    kind: Literal["samples"] = "samples"


@dataclass(frozen=True, slots=True)
class Closed:
    """A repeat has ended: "enough" time and samples, or the most "time" was up before there were enough."""

    repeat: Count
    reason: Literal["enough", "time"]
    thermal: Thermal = Thermal()
    kind: Literal["closed"] = "closed"


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory in MB (10^6 bytes): the largest, and that of the process before it opened the artifact."""

    peak_mb: Number
    before_mb: Number
    kind: Literal["memory"] = "memory"


@dataclass(frozen=True, slots=True)
class Image:
    """One image through the device's runtime, against the ground truth, and against the float32 network's output.

    `psnr_y_db`, `ssim_y`: protocol "paper-y"; `psnr_rgb_db`: "ntire-rgb4", None where the border leaves nothing. Of the
    reference: `reference_y_db`, `reference_rgb_db` its own PSNR; `colour_shift_255` what the artifact adds to the mean
    of R, G and B in 8-bit levels; `off_share` the part of the values that differ by more than one level; None without
    a reference. PSNR is None where two images are equal. `pair`: sha256 of what was compared, to know it again.
    """

    set_name: Text
    name: Text
    psnr_y_db: Number | None
    psnr_rgb_db: Number | None
    ssim_y: Number | None
    reference_y_db: Number | None = None
    reference_rgb_db: Number | None = None
    colour_shift_255: tuple[Number, Number, Number] | None = None
    off_share: Share | None = None
    pair: Text | None = None
    kind: Literal["image"] = "image"


@dataclass(frozen=True, slots=True)
class Failure:
    """`stage`: copy, time, memory or quality."""

    stage: Text
    message: Text
    kind: Literal["failure"] = "failure"


@dataclass(frozen=True, slots=True)
class End:
    kind: Literal["end"] = "end"


Record = Start | Opened | Samples | Closed | Memory | Image | Failure | End


def append(file: Path, *records: Record) -> None:
    """Write each record as one line. Raises OutputError; a line that a crash cut short is skipped when read."""
    lines = "".join(json.dumps(asdict(record), allow_nan=False) + "\n" for record in records)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a+b") as stream:
            if stream.tell() and not _ends_with_newline(stream):
                lines = f"\n{lines}"
            stream.write(lines.encode())
    except OSError as error:
        raise OutputError(f"Cannot write {file}: {error.strerror or error}. Choose another folder with -o.") from error


def read(file: Path) -> list[Record]:
    """Every whole record of a run. Raises DataError for a file that is no run of this schema, naming the line."""
    runs = read_several(file)
    if len(runs) > 1:
        raise DataError(f"{file} holds {len(runs)} runs. File them one by one: edgesr bench import {file} -o runs")
    return runs[0]


def read_several(file: Path) -> list[list[Record]]:
    """As `read`, of a file in which a run may follow on another, as apps export them."""
    runs: list[list[Record]] = []
    for record in _records(file):
        if isinstance(record, Start):
            runs.append([])
        runs[-1].append(record)
    return runs


def _ends_with_newline(stream: Any) -> bool:
    stream.seek(-1, 2)
    last: bool = stream.read(1) == b"\n"
    return last


def _records(file: Path) -> Iterator[Record]:
    """The first is a Start."""
    adapter: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="kind")])
    started = False
    for number, line in enumerate(_lines(file), 1):
        try:
            record = adapter.validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            if first["type"] == "json_invalid" and started:
                continue  # cut short by a crash; what came later began a line of its own
            where = ".".join(str(part) for part in first["loc"]) or "the whole"
            raise DataError(
                f"{file}, line {number} is no measurement of this kit (schema {SCHEMA}): {where}: {first['msg']}."
            ) from error
        if not started and not isinstance(record, Start):
            raise DataError(f"{file}, line {number}: a run begins with a line of kind 'start'; found '{record.kind}'.")
        started = True
        yield record
    if not started:
        raise DataError(f"{file} is empty: it is no measurement of this kit.")


def _lines(file: Path) -> list[str]:
    try:
        if file.exists() and not file.is_file():
            raise DataError(f"{file} is no file: it is no measurement of this kit.")
        if file.stat().st_size > MAX_FILE_BYTES:
            raise DataError(f"{file} is larger than {MAX_FILE_BYTES >> 20} MiB: it is no measurement of this kit.")
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}).") from error
    # Not splitlines: JSON of other languages has U+2028 and its like within strings.
    return [line for line in text.split("\n") if line.strip()]
