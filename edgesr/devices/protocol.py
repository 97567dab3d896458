"""What every device can do. The rest of the kit knows nothing else of devices."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from edgesr.devices.facts import Facts

OnLine = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Done:
    """How a command on a device ended.

    `code`: its exit code; 128 + n if signal n ended it. `stdout` is empty if lines were passed on as they came.
    `stderr_tail`: its last lines.
    """

    code: int
    stdout: str
    stderr_tail: str


class Device(Protocol):
    """A machine that runs commands: this one, one reached by ssh, or one by adb.

    Seven members, because each way to a device does exactly these differently; everything else is made of them. Remote
    paths are relative to the user's home on the device (adb: to `folder`'s parent) or absolute.

    Every method raises ConnectionLost if the device does not answer, DeviceError for what it refuses.
    """

    @property
    def address(self) -> str:
        """As given: `local`, `ssh:pi@board`, `adb:SERIAL`."""
        ...

    @property
    def folder(self) -> str:
        """Where everything of this kit stands on the device, unless the user names another folder."""
        ...

    def facts(self) -> "Facts":
        """What the device is and how it stands right now."""
        ...

    def push(self, local: Path, remote: str) -> None:
        """Copy a file or folder there; makes the folders above, replaces what has that name."""
        ...

    def pull(self, remote: str, local: Path) -> None:
        """Copy a file or folder here; makes the folders above, replaces what has that name once it is complete."""
        ...

    def run(self, argv: Sequence[str], *, timeout_s: float, on_line: OnLine | None = None) -> Done:
        """Run a program (no shell) without standard input, in the home folder, until it ends.

        Its standard output is passed to `on_line`, in this thread, line by line as it comes. Whatever ends this call
        (also an exception of `on_line`, Ctrl-C or the end of this process) ends the program and its children.
        Raises TimedOut after `timeout_s`.
        """
        ...

    def close(self) -> None:
        """Give up the connection. The device may be used again and then connects anew."""
        ...
