"""A step in a process of its own: values, errors and progress come back; crashes and hangs stay there."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

psutil = pytest.importorskip("psutil", reason="needs edgesr[torch]")

from edgesr.errors import ConversionError, Crashed, MissingExtra, UnknownName  # noqa: E402
from edgesr.isolation import run  # noqa: E402
from edgesr.listener import Listener, Silent  # noqa: E402


class Heard(Silent):
    def __init__(self) -> None:
        self.lines: list[object] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def progress(self, task: str, done: int, total: int, note: str = "") -> None:
        self.lines.append((task, done, total, note))


def double(values: "np.ndarray[tuple[int], np.dtype[np.float64]]", listener: Listener) -> object:
    listener.say("doubling ÷ ×")
    print("noise of a toolchain")
    for done in range(3):
        listener.progress("double", done + 1, 3, "note")
    return os.getpid(), 2 * values


def fail(kind: str, listener: Listener) -> None:
    if kind == "extra":
        raise MissingExtra("ncnn", "ncnn")
    if kind == "name":
        raise UnknownName("target", "coreml2", ["coreml"])
    if kind == "stage":
        raise ConversionError("save", "no room")
    raise ValueError("a defect of a toolchain")


def crash(how: int, listener: Listener) -> None:
    os.write(2, b"\n".join(b"line %d" % index for index in range(20)))
    os.kill(os.getpid(), how)


def hang(seconds: float, listener: Listener) -> None:
    print("still working", flush=True)
    time.sleep(seconds)


def eat(megabytes: int, listener: Listener) -> float:
    held = np.ones(megabytes * 125_000)
    time.sleep(0.5)
    return float(held[-1])


def test_values_and_progress_come_back_from_another_process() -> None:
    heard = Heard()
    done = run(double, np.arange(3.0), heard, 60)
    pid, values = done.value  # type: ignore[misc]
    assert pid != os.getpid()
    assert values.tolist() == [0, 2, 4]
    assert heard.lines == ["doubling ÷ ×", *(("double", index, 3, "note") for index in (1, 2, 3))]
    assert done.seconds > 0


def test_nothing_that_the_child_prints_reaches_the_user(capfd: pytest.CaptureFixture[str]) -> None:
    run(double, np.arange(3.0), Silent(), 60)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("kind", "error"), [("extra", MissingExtra), ("name", UnknownName), ("stage", ConversionError)]
)
def test_errors_keep_their_class_message_and_exit_code(kind: str, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        run(fail, kind, Silent(), 60)
    with pytest.raises(error) as direct:
        fail(kind, Silent())
    assert str(caught.value) == str(direct.value)
    assert caught.value.exit_code == direct.value.exit_code  # type: ignore[attr-defined]


def test_an_unexpected_exception_shows_its_last_lines() -> None:
    with pytest.raises(Crashed, match=r"exit code 1.*ValueError: a defect of a toolchain"):
        run(fail, "other", Silent(), 60)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_crash_names_the_signal_and_the_last_lines_only() -> None:
    with pytest.raises(Crashed, match=r"signal 11 .*line 18 \| line 19") as caught:
        run(crash, signal.SIGSEGV, Silent(), 60)
    assert "line 3" not in str(caught.value)


def test_a_hang_is_ended_at_its_limit() -> None:
    start = time.monotonic()
    with pytest.raises(Crashed, match=r"longer than 5 s.*still working"):
        run(hang, 60.0, Silent(), 5)
    assert time.monotonic() - start < 20


def start_another(file: Path, listener: Listener) -> None:
    """A converter that is a program of its own, and hangs."""
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    file.write_text(str(other.pid))
    other.wait()


def test_what_the_child_started_is_ended_with_it(tmp_path: Path) -> None:
    with pytest.raises(Crashed, match="longer than 3 s"):
        run(start_another, tmp_path / "pid", Silent(), 3)
    other, deadline = int((tmp_path / "pid").read_text()), time.monotonic() + 10
    while psutil.pid_exists(other) and psutil.Process(other).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_memory_is_read() -> None:
    assert run(eat, 300, Silent(), 60).peak_mb > 300


def test_an_interrupt_ends_the_child(tmp_path: Path) -> None:
    timer = threading.Timer(1.0, signal.pthread_kill, [threading.get_ident(), signal.SIGINT])
    timer.start()
    before = _children()
    with pytest.raises(KeyboardInterrupt):
        run(hang, 60.0, Silent(), 60)
    timer.join()
    assert _children() <= before


def _children() -> set[int]:
    import psutil

    return {child.pid for child in psutil.Process().children()}


def test_a_script_without_a_main_guard_is_not_run_again(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text("def square(value, listener):\n    return value * value\n")
    script = tmp_path / "script.py"
    script.write_text(
        "from edgesr.isolation import run\nfrom edgesr.listener import Silent\nfrom steps import square\n"
        "print(run(square, 7, Silent(), 60).value)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["49"], done.stderr
