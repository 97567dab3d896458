"""A device reached by the `adb` client: an Android phone, or a board with Linux and adbd.

Android itself has no Python, so the runner of this kit does not run there: its facts are read, files are copied and
programs (such as a runtime's own benchmark) are run. A Linux board behind adbd does all that one behind ssh does.
"""

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from edgesr.devices import process
from edgesr.devices.facts import Facts, collect
from edgesr.devices.guard import guarded
from edgesr.devices.paths import existing, last_line, make_room, received, remote_path, transfer_failed
from edgesr.devices.protocol import Done, OnLine
from edgesr.errors import ConnectionLost, DeviceError

HOME = "/data/local/tmp"
"""The one folder in which Android lets adb's shell write and execute."""
ASK_S = 30.0
COPY_S = 3600.0
ADVICE = {
    "unauthorized": "allow this computer on the device's screen, then try again",
    "offline": "it does not answer adb: reconnect it, or run adb reconnect",
    "no permissions": "this user may not open its USB port: install the udev rules (android-sdk-platform-tools-common)",
}
"""State of `adb devices` -> what to do."""


class AdbDevice:
    folder = f"{HOME}/edgesr"

    def __init__(self, address: str, serial: str | None) -> None:
        self._address, self._wanted = address, serial
        self._serial: str | None = None

    @property
    def address(self) -> str:
        return self._address

    def facts(self) -> Facts:
        return collect(self)

    def push(self, local: Path, remote: str) -> None:
        make_room(self, remote_path(remote))
        done = self._adb("push", str(existing(local).absolute()), _absolute(remote))
        if done.returncode != 0:
            raise transfer_failed(self, remote, done.stderr or done.stdout)

    def pull(self, remote: str, local: Path) -> None:
        def fetch(new: Path) -> None:
            done = self._adb("pull", _absolute(remote_path(remote)), str(new.absolute()))
            if done.returncode != 0:
                said = done.stderr or done.stdout
                raise DeviceError(
                    f"{self.address}: cannot read {remote!r}: {last_line(said)}", (), done.returncode, said
                )

        received(local, fetch)

    def run(self, argv: Sequence[str], *, timeout_s: float, on_line: OnLine | None = None) -> Done:
        # adb joins its arguments with spaces and gives them to the device's shell.
        command = f"mkdir -p {HOME}; cd {HOME} && exec {shlex.join(guarded(argv, timeout_s))}"
        client = ["adb", "-s", self._chosen(), "shell", "-T", command]
        done, heard = process.run_guarded(client, argv, timeout_s, on_line, self.address)
        if heard.code is None:
            self._serial = None
            said = f" ({last_line(done.stderr_tail)})" if done.stderr_tail else ""
            raise ConnectionLost(
                f"{self.address}: the connection was lost while {argv[0]!r} ran{said}.",
                argv,
                done.code,
                done.stderr_tail,
            )
        return done

    def close(self) -> None:
        """adb's server keeps the connection, for every other program too."""

    def _chosen(self) -> str:
        if self._serial is None:
            self._serial = self._choose()
        return self._serial

    def _choose(self) -> str:
        """The serial number of the device that is meant. Raises ConnectionLost or DeviceError."""
        states = _states(self._call("devices").stdout)
        if self._wanted is not None and self._wanted not in states and ":" in self._wanted:
            self._call("connect", self._wanted)
            states = _states(self._call("devices").stdout)
        if self._wanted is None and len(states) > 1:
            raise DeviceError(f"{self.address}: there are several devices; name one: adb:{', adb:'.join(states)}.")
        serial = self._wanted or next(iter(states), None)
        if serial is None or serial not in states:
            there = f" There are: {', '.join(states)}." if states else " adb sees none: is USB debugging on?"
            raise ConnectionLost(f"{self.address}: there is no such device.{there}")
        state = states[serial]
        if state != "device":
            raise ConnectionLost(f"{self.address}: {_advice(state)}.")
        return serial

    def _adb(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self._call("-s", self._chosen(), *arguments, seconds=COPY_S)

    def _call(self, *arguments: str, seconds: float = ASK_S) -> "subprocess.CompletedProcess[str]":
        try:
            return subprocess.run(
                ["adb", *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
            )
        except FileNotFoundError as error:
            raise DeviceError(
                "Cannot start 'adb' here: install Android's platform tools (Debian: apt-get install adb)."
            ) from error
        except subprocess.TimeoutExpired as error:
            raise ConnectionLost(f"{self.address}: adb took longer than {seconds:.0f} s and was ended.") from error


def _states(devices: str) -> dict[str, str]:
    """Of `adb devices`: serial number -> state."""
    found = (line.partition("\t") for line in devices.splitlines() if "\t" in line)
    return {serial.strip(): state.strip() for serial, _, state in found}


def _advice(state: str) -> str:
    return next((text for word, text in ADVICE.items() if state.startswith(word)), f"adb calls it {state!r}")


def _absolute(remote: str) -> str:
    return remote if remote.startswith("/") else f"{HOME}/{remote}"
