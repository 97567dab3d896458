"""The host's side of a guarded command: starts the client, passes lines on, keeps the guard awake, ends everything."""

import contextlib
import queue
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from edgesr.devices import guard
from edgesr.devices.protocol import Done, OnLine
from edgesr.errors import DeviceError, TimedOut

LAST_LINES = 20
LINE_LIMIT = 400
FAREWELL_S = 5.0
"""How long a client may take to end after its input was closed: the guard allows a command one second for TERM."""

WAKE_S = 0.5
"""How often a command that is followed looks whether to stop."""

Event = tuple[str, str | None]
"""("out" or "err", a line or None at the end)."""


_stopping = threading.Event()


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Commands that other threads follow end when this block is interrupted: Ctrl-C reaches the main thread alone."""
    try:
        yield
    except BaseException:
        _stopping.set()
        raise


def resume() -> None:
    """Let commands run again, once all threads that were to stop have ended."""
    _stopping.clear()


def pause(seconds: float) -> None:
    """Sleep. Raises KeyboardInterrupt where the work of all threads is to stop."""
    if _stopping.wait(seconds):
        raise KeyboardInterrupt


@dataclass(slots=True)
class Heard:
    """What came on stderr: the guard's two lines apart from the rest."""

    started: bool
    code: int | None
    tail: deque[str]


def run_guarded(
    client: Sequence[str], argv: Sequence[str], timeout_s: float, on_line: OnLine | None, where: str
) -> tuple[Done, Heard]:
    """Run `client`, which brings a guarded `argv` to a device, until it ends.

    `where`: the device's address, for messages. The command's end may be unknown (`Heard.code` is None) if the
    connection ended first: what that means, the caller knows.
    """
    process = start(client)
    try:
        stdout, heard = _follow(process, argv, timeout_s, on_line, where)
    finally:
        end(process)
    code = heard.code if heard.code is not None else process.returncode
    return Done(code, stdout, "\n".join(heard.tail)), heard


def start(client: Sequence[str]) -> "subprocess.Popen[bytes]":
    """Start a client in a session of its own: Ctrl-C reaches this process alone, which then ends the client."""
    try:
        return subprocess.Popen(
            client, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
    except OSError as error:
        raise DeviceError(f"Cannot start {client[0]!r} here: {error.strerror}. Is it installed?", client) from error


def end(process: "subprocess.Popen[bytes]") -> None:
    """Close its input, which makes the guard end the command; a client that stays is killed."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(FAREWELL_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _follow(
    process: "subprocess.Popen[bytes]", argv: Sequence[str], timeout_s: float, on_line: OnLine | None, where: str
) -> tuple[str, Heard]:
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    for name, pipe in (("out", process.stdout), ("err", process.stderr)):
        threading.Thread(target=_read, args=(name, pipe, events), daemon=True).start()
    heard, kept = Heard(False, None, deque(maxlen=LAST_LINES)), list[str]()
    deadline, open_pipes = time.monotonic() + timeout_s, 2
    beat, cleaning_up = _Beat(process), _stopping.is_set()
    while open_pipes:
        beat()
        event = _next(events, min(deadline - time.monotonic(), WAKE_S))
        if not cleaning_up:
            pause(0)
        if event is None:
            if time.monotonic() >= deadline:
                raise TimedOut(_took_too_long(argv, timeout_s, where), argv, None, "\n".join(heard.tail))
        elif event[1] is None:
            open_pipes -= 1
        elif event[0] == "err":
            _hear(event[1], heard)
        else:
            (on_line or kept.append)(event[1])
    process.wait()
    return "".join(f"{line}\n" for line in kept), heard


def _took_too_long(argv: Sequence[str], timeout_s: float, where: str) -> str:
    return f"{where}: {argv[0]!r} took longer than {timeout_s:.0f} s and was ended."


def _next(events: "queue.SimpleQueue[Event]", seconds: float) -> Event | None:
    try:
        return events.get(timeout=max(seconds, 0.0))
    except queue.Empty:
        return None


def _read(name: str, pipe: IO[bytes], events: "queue.SimpleQueue[Event]") -> None:
    with contextlib.suppress(ValueError, OSError), pipe:
        for line in pipe:
            events.put((name, line.decode("utf-8", "replace").rstrip("\r\n")))
    events.put((name, None))


def _hear(line: str, heard: Heard) -> None:
    word, _, rest = line.partition(" ")
    if word == guard.STARTED:
        heard.started = True
    elif word == guard.EXIT and rest.isdigit():
        heard.code = int(rest)
    elif line.strip():
        heard.tail.append(line[:LINE_LIMIT])


class _Beat:
    """Writes a line to the guard, at most one every BEAT_S."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._write: Callable[[bytes], object] = _writer(process)
        self._last = time.monotonic()

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self._last >= guard.BEAT_S:
            self._last = now
            with contextlib.suppress(OSError):  # the client is gone; its pipes say so next
                self._write(b"\n")


def _writer(process: "subprocess.Popen[bytes]") -> Callable[[bytes], object]:
    assert process.stdin is not None
    stdin = process.stdin

    def write(data: bytes) -> None:
        stdin.write(data)
        stdin.flush()

    return write
