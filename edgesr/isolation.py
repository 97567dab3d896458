"""Runs one function in a process of its own: a toolchain that crashes, hangs or eats the memory ends itself only.

What the child prints, Python or native, goes to a file of which an error shows the last lines. What it reports through
its listener is passed on while it runs.
"""

import contextlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from edgesr.errors import Crashed, EdgesrError, restored
from edgesr.extras import require
from edgesr.listener import Listener

A = TypeVar("A", contravariant=True)
R = TypeVar("R", covariant=True)

START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from edgesr.isolation import child; child(sys.argv[2])"
)
JOB, RESULT, LOG = "job", "result", "log.txt"
SAMPLE_S = 0.1
LAST_LINES = 6
LINE_LIMIT = 300


class Step(Protocol[A, R]):
    """A function at the top of a module, so that the child can import it."""

    def __call__(self, argument: A, listener: Listener, /) -> R: ...


@dataclass(frozen=True, slots=True)
class Finished(Generic[R]):
    """`peak_mb`: the largest resident memory seen, read ten times a second."""

    value: R
    seconds: float
    peak_mb: float


def run(step: Step[A, R], argument: A, listener: Listener, timeout_s: float) -> Finished[R]:
    """`step(argument, listener)` in a new process. Both ways values are pickled, in a folder of this user alone.

    Raises the step's own EdgesrError; Crashed for any other end, or when it takes longer than `timeout_s`.
    """
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="edgesr-") as name:
        folder = Path(name)
        (folder / JOB).write_bytes(pickle.dumps((step, argument)))
        with (folder / LOG).open("wb") as log:
            process = _start(folder, log)
            watch = _Watch(process, timeout_s)
            try:
                _relay(process, listener)
            finally:
                # Also after Ctrl-C: whatever ends this call ends the child.
                _end(process)
                process.wait()
                watch.join()
                assert process.stdout is not None
                process.stdout.close()
        seconds = time.perf_counter() - start
        return Finished(_result(folder, process.returncode, watch, timeout_s), seconds, watch.peak_mb)


def _start(folder: Path, log: Any) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-P", "-c", START, json.dumps(sys.path), str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
    )


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill the child and what it started: a converter may be a program of its own."""
    psutil = require("psutil", "torch")
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:  # it has ended
        family = []
    process.kill()
    for member in family:
        with contextlib.suppress(psutil.Error):
            member.kill()


class _Watch(threading.Thread):
    """Reads the child's memory until it ends, and ends it after `timeout_s`."""

    def __init__(self, process: "subprocess.Popen[bytes]", timeout_s: float) -> None:
        super().__init__(daemon=True)
        self.process, self.deadline = process, time.monotonic() + timeout_s
        self.peak_mb, self.timed_out = 0.0, False
        self.start()

    def run(self) -> None:
        psutil = require("psutil", "torch")
        try:
            child = psutil.Process(self.process.pid)
            while self.process.returncode is None and child.status() != psutil.STATUS_ZOMBIE:
                self.peak_mb = max(self.peak_mb, child.memory_info().rss / 1e6)
                if time.monotonic() > self.deadline:
                    self.timed_out = True
                    _end(self.process)
                time.sleep(SAMPLE_S)
        except psutil.Error:
            return


def _relay(process: "subprocess.Popen[bytes]", listener: Listener) -> None:
    """Pass on what the child reports until it closes its end."""
    assert process.stdout is not None
    for line in process.stdout:
        try:
            name, arguments = json.loads(line)
        except ValueError:
            continue  # cut off in the middle by the child's end
        if name == "say":
            listener.say(*arguments)
        else:
            listener.progress(*arguments)
    process.wait()


def _result(folder: Path, code: int, watch: _Watch, timeout_s: float) -> Any:
    if watch.timed_out:
        raise Crashed(f"took longer than {timeout_s:.0f} s and was ended (limit: --timeout). {_last_lines(folder)}")
    if code != 0 or not (folder / RESULT).exists():
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise Crashed(f"the process ended with {how} at {watch.peak_mb:.0f} MB of memory. {_last_lines(folder)}")
    kind, value = pickle.loads((folder / RESULT).read_bytes())  # noqa: S301 written by our own child
    if kind is not None:
        raise restored(kind, value)
    return value


def _last_lines(folder: Path) -> str:
    text = (folder / LOG).read_text(encoding="utf-8", errors="replace")
    lines = [line.strip()[:LINE_LIMIT] for line in text.splitlines() if line.strip()]
    return "Its last lines: " + " | ".join(lines[-LAST_LINES:]) if lines else "It printed nothing."


class _Channel:
    """The child's listener."""

    def __init__(self, send: Callable[[bytes], object]) -> None:
        self._send = send

    def say(self, text: str) -> None:
        self._send(json.dumps(["say", [text]]).encode() + b"\n")

    def progress(self, task: str, done: int, total: int, note: str = "") -> None:
        self._send(json.dumps(["progress", [task, done, total, note]]).encode() + b"\n")


def child(folder: str) -> None:
    """What the new process does: the job, then its result or error into a file."""
    channel = os.dup(1)
    os.dup2(2, 1)
    place = Path(folder)
    step, argument = pickle.loads((place / JOB).read_bytes())  # noqa: S301 written by our own parent
    try:
        outcome: tuple[str | None, Any] = None, step(argument, _Channel(lambda line: os.write(channel, line)))
    except EdgesrError as error:
        outcome = type(error).__name__, str(error)
    (place / RESULT).write_bytes(pickle.dumps(outcome))
