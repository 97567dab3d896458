"""This machine, as a device like any other: the same guard, copies instead of transfers."""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from edgesr.devices.facts import Facts, collect
from edgesr.devices.guard import guarded
from edgesr.devices.paths import existing, received, remote_path
from edgesr.devices.process import run_guarded
from edgesr.devices.protocol import Done, OnLine
from edgesr.errors import DeviceError, OutputError, Unsupported


class LocalDevice:
    """Commands run in the home folder of this user. Needs a POSIX shell."""

    address = "local"
    folder = ".edgesr"

    def __init__(self) -> None:
        if os.name != "posix":
            raise Unsupported(f"Measuring on this machine needs a POSIX shell; {sys.platform} has none.")

    def facts(self) -> Facts:
        return collect(self, python=sys.executable)

    def push(self, local: Path, remote: str) -> None:
        try:
            _copy(existing(local), Path.home() / remote_path(remote))
        except OutputError as error:
            raise DeviceError(f"local: {error}") from error

    def pull(self, remote: str, local: Path) -> None:
        source = Path.home() / remote_path(remote)
        if not source.exists():
            raise DeviceError(f"local: {remote!r} does not exist there.")
        _copy(source, local)

    def run(self, argv: Sequence[str], *, timeout_s: float, on_line: OnLine | None = None) -> Done:
        in_home = ["sh", "-c", 'cd -- "$0" && exec "$@"', str(Path.home()), *guarded(argv, timeout_s)]
        done, heard = run_guarded(in_home, argv, timeout_s, on_line, self.address)
        if not heard.started:
            raise DeviceError(f"local: cannot start {argv[0]!r}: {done.stderr_tail}", argv, done.code)
        return done

    def close(self) -> None:
        pass


def _copy(source: Path, target: Path) -> None:
    def fetch(new: Path) -> None:
        if source.is_dir():
            shutil.copytree(source, new)
        else:
            shutil.copy2(source, new)

    try:
        received(target, fetch)
    except shutil.Error as error:  # copytree's own, a list of what failed
        raise OutputError(f"Cannot copy {source} to {target}: {error.args[0][0][2]}") from error
