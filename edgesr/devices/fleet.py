"""A list of devices in a TOML file:

[[device]]
name = "pi5"                        # how rows and files call it
address = "ssh:pi@pi5.local"
threads = [1, 2, 4]                 # optional: what to sweep
runtimes = ["onnxruntime", "ncnn"]  # optional: what to set up
folder = ".edgesr"                  # optional: where on the device
python = "python3"                  # optional: its interpreter
host = "bench-2"                    # optional: which host of a lab reaches it (edgesr bench --lab)
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesr.devices.address import connect
from edgesr.devices.paths import remote_path
from edgesr.devices.setup import RUNTIMES
from edgesr.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from pydantic import ValidationError

KEYS = ("name", "address", "threads", "runtimes", "folder", "python", "host")
LIMIT_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Member:
    """One device of a fleet. `threads`: empty for all cores; `folder`: None for where the device keeps it."""

    name: str
    address: str
    threads: tuple[int, ...]
    runtimes: tuple[str, ...]
    folder: str | None
    python: str
    host: str | None = None


def read_fleet(file: Path) -> tuple[Member, ...]:
    """At least one device, each name once. Raises UsageError with what is wrong and where."""
    found = tuple(_members(_content(file), file))
    for index, member in enumerate(found):
        _check(member, f"{file}, device {index + 1} ({member.name!r})")
    names = [member.name for member in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{file}: two devices are named {twice!r}; rows could not be told apart.")
    return found


def _content(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > LIMIT_BYTES:
            raise UsageError(f"{file} has {file.stat().st_size} bytes: too large for a list of devices.")
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"Cannot read the list of devices {file}: {error.strerror}.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{file} is not TOML: {error}.") from error


def _members(content: dict[str, Any], file: Path) -> list[Member]:
    from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError

    class Entry(BaseModel):
        model_config = ConfigDict(extra="forbid")
        name: StrictStr = Field(pattern=r"^\w[\w.-]{0,63}$")
        address: StrictStr
        threads: list[StrictInt] = Field(default=[], max_length=64)
        runtimes: list[StrictStr] = ["onnxruntime"]
        folder: StrictStr | None = None
        python: StrictStr = "python3"
        host: StrictStr | None = None

    class Fleet(BaseModel):
        model_config = ConfigDict(extra="forbid")
        device: list[Entry] = Field(min_length=1)

    try:
        entries = Fleet.model_validate(content).device
    except ValidationError as error:
        raise UsageError(f"{file}: {_sentence(error)}") from error
    return [
        Member(one.name, one.address, tuple(one.threads), tuple(one.runtimes), one.folder, one.python, one.host)
        for one in entries
    ]


def _sentence(error: "ValidationError") -> str:
    """The first thing that is wrong, with its place: "device 2, thread: unknown key ..."."""
    first = error.errors()[0]
    place = [str(part + 1) if isinstance(part, int) else part for part in first["loc"]]
    where = " ".join(place[:2]) + "".join(f", {part}" for part in place[2:])
    if first["type"] == "extra_forbidden":
        known = ", ".join(KEYS) if len(place) > 1 else "[[device]] tables only"
        return f"{where}: unknown key. Known: {known}."
    return f"{where}: {first['msg']}, got {str(first['input'])[:80]!r}."


def _check(member: Member, where: str) -> None:
    try:
        connect(member.address).close()
        if member.folder is not None:
            remote_path(member.folder)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    if any(count < 1 for count in member.threads):
        raise UsageError(f"{where}: threads are at least 1, got {list(member.threads)}.")
    unknown = next((name for name in member.runtimes if name not in RUNTIMES), None)
    if unknown is not None:
        raise UsageError(f"{where}: {UnknownName('runtime', unknown, RUNTIMES)}")
