"""The ways to a device, `local` and `ssh:`, with the real ssh, scp and sshd: the same promises for both."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from loopback_sshd import Server, free_port, serve

from edgesr.devices import Device, connect, guard, thermal
from edgesr.devices.ssh import CONFIG_VARIABLE
from edgesr.errors import ConnectionLost, DeviceError, TimedOut, UsageError

ROOT = Path(__file__).parents[1]
SLEEP = (
    "import subprocess, sys, time; subprocess.Popen(['sleep', sys.argv[1]]); print('up', flush=True); time.sleep(600)"
)
"""Prints a line, then hangs with a child of its own."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture
def config(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv(CONFIG_VARIABLE, str(server.config))
    return server


@pytest.fixture(params=["local", "ssh"])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    if request.param == "ssh":
        request.getfixturevalue("config")
    opened = connect("local" if request.param == "local" else "ssh:board")
    yield opened
    opened.close()


@pytest.fixture
def there(device: Device) -> Iterator[str]:
    """A folder for this test on the device, which is this machine."""
    folder = f".edgesr-test-{os.getpid()}"
    yield folder
    device.run(["rm", "-rf", folder], timeout_s=20)


def marker() -> str:
    """A number of seconds that no other process sleeps."""
    return f"{600 + os.getpid() % 1000}.{time.monotonic_ns() % 10**9:09d}"


def sleeping(seconds: str) -> list[int]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if seconds in (process.info["cmdline"] or ()):
            found.append(process.pid)
    return found


def gone(seconds: str, within_s: float = 8.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not sleeping(seconds):
            return True
        time.sleep(0.1)
    return False


def test_a_command_ends_with_its_own_code_and_both_streams(device: Device) -> None:
    done = device.run(["sh", "-c", "echo out; printf err >&2; exit 7"], timeout_s=20)
    assert (done.code, done.stdout, done.stderr_tail) == (7, "out\n", "err")


def test_code_255_is_the_command_s_own(device: Device) -> None:
    assert device.run(["sh", "-c", "exit 255"], timeout_s=20).code == 255


def test_arguments_arrive_as_they_were_given(device: Device) -> None:
    odd = ["two words", "$HOME", "a'b\"c", "", "*", "back\\slash", "ä", "-n", "; exit 3", "new\nline"]
    code = "import sys; print(ascii(sys.argv[1:]))"
    assert device.run([sys.executable, "-c", code, *odd], timeout_s=20).stdout.strip() == ascii(odd)


def test_lines_come_while_the_command_runs(device: Device) -> None:
    came: list[tuple[str, float]] = []
    start = time.monotonic()
    device.run(
        ["sh", "-c", "echo first; sleep 1.5; echo second"],
        timeout_s=20,
        on_line=lambda line: came.append((line, time.monotonic() - start)),
    )
    assert [line for line, _ in came] == ["first", "second"]
    assert came[1][1] - came[0][1] > 1.0, came


def test_a_program_has_no_input(device: Device) -> None:
    assert device.run(["cat"], timeout_s=20).stdout == ""


def test_a_program_that_does_not_exist_is_127(device: Device) -> None:
    done = device.run(["no-such-program"], timeout_s=20)
    assert done.code == 127
    assert "no-such-program" in done.stderr_tail


def test_a_killed_program_ends_with_128_and_the_signal(device: Device) -> None:
    assert device.run(["sh", "-c", "kill -KILL $$"], timeout_s=20).code == 137


def test_a_long_output_comes_whole(device: Device) -> None:
    done = device.run([sys.executable, "-c", "for i in range(50000): print(i)"], timeout_s=60)
    assert done.stdout.split() == [str(i) for i in range(50000)]


def test_a_timeout_ends_the_program_and_its_children(device: Device) -> None:
    seconds = marker()
    with pytest.raises(TimedOut, match=r"took longer than 1 s and was ended"):
        device.run([sys.executable, "-c", SLEEP, seconds], timeout_s=1)
    assert gone(seconds), sleeping(seconds)


def test_an_error_while_lines_come_ends_the_program(device: Device) -> None:
    def refuse(line: str) -> None:
        raise UsageError(line)

    seconds = marker()
    with pytest.raises(UsageError, match="up"):
        device.run([sys.executable, "-c", SLEEP, seconds], timeout_s=60, on_line=refuse)
    assert gone(seconds), sleeping(seconds)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_when_this_process_is_ended(device: Device, sent: signal.Signals) -> None:
    """Ctrl-C, and an end that leaves no time to clean up."""
    code = (
        "import sys; from edgesr.devices import connect; "
        "connect(sys.argv[1]).run(sys.argv[2:], timeout_s=60, on_line=lambda line: print(line, flush=True))"
    )
    seconds = marker()
    argv = [sys.executable, "-c", code, device.address, sys.executable, "-c", SLEEP, seconds]
    host = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert host.stdout is not None
    with host.stdout:
        assert host.stdout.readline() == b"up\n"
        assert sleeping(seconds)
        host.send_signal(sent)
        host.wait(20)
    assert gone(seconds), sleeping(seconds)


def test_a_child_that_was_forgotten_ends_with_its_parent(device: Device) -> None:
    seconds = marker()
    done = device.run(["sh", "-c", f"sleep {seconds} >/dev/null 2>&1 & echo started"], timeout_s=20)
    assert done.stdout == "started\n"
    assert gone(seconds), sleeping(seconds)


def test_files_and_folders_go_there_and_come_back(device: Device, there: str, tmp_path: Path) -> None:
    folder = tmp_path / "some folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "a b.bin").write_bytes(bytes(range(256)) * 1000)
    (folder / "empty").touch()
    device.push(folder, f"{there}/copy")
    device.push(folder / "empty", f"{there}/deep/er/file")
    device.pull(f"{there}/copy", tmp_path / "back")
    device.pull(f"{there}/deep/er/file", tmp_path / "new" / "file")
    assert (tmp_path / "back" / "inner" / "a b.bin").read_bytes() == bytes(range(256)) * 1000
    assert sorted(file.name for file in (tmp_path / "back").rglob("*")) == ["a b.bin", "empty", "inner"]
    assert (tmp_path / "new" / "file").read_bytes() == b""


def test_a_second_push_replaces_the_first(device: Device, there: str, tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / f"file{number}").write_text(str(number))
        device.push(tmp_path / str(number), f"{there}/x")
        device.pull(f"{there}/x", tmp_path / "back")
    assert [file.name for file in (tmp_path / "back").iterdir()] == ["file2"]


def test_what_does_not_exist_cannot_be_copied(device: Device, there: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        device.push(tmp_path / "nothing", f"{there}/x")
    with pytest.raises(DeviceError, match=f"{device.address}: .*nothing"):
        device.pull(f"{there}/nothing", tmp_path / "back")
    assert not (tmp_path / "back").exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["", ".", "/", "..", "a/../b", "-rf", "~/x", "a b", "$(x)", "a;b", "a\nb", "x*"])
def test_a_path_that_a_shell_could_read_otherwise_is_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be a path on a device"):
        connect("local").push(tmp_path, path)


def test_a_folder_that_cannot_be_written_is_one_line(device: Device, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DeviceError) as caught:
        device.push(tmp_path / "file", "/proc/edgesr/x")
    assert "/proc/edgesr" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_facts_are_those_of_this_machine(device: Device) -> None:
    facts = device.facts()
    assert facts.address == device.address
    assert facts.kind == "host"
    assert facts.emulator is None
    assert facts.cores == os.cpu_count()
    assert facts.arch == os.uname().machine
    assert facts.kernel == f"{os.uname().sysname} {os.uname().release}"
    assert facts.ram_mb == pytest.approx(psutil.virtual_memory().total / 1e6, rel=0.01)
    assert facts.python is not None
    assert facts.python.version >= (3, 9, 0)


def test_a_thermal_reading_is_one_round_trip(device: Device) -> None:
    device.run(["true"], timeout_s=20)  # connected
    start = time.monotonic()
    reading = thermal(device)
    assert time.monotonic() - start < 3
    assert reading.temperature_c is None or -40 < reading.temperature_c < 150


def one_line(caught: "pytest.ExceptionInfo[DeviceError]") -> str:
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.exit_code == 13
    return text


def test_a_closed_port_is_an_unreachable_device(config: Server) -> None:
    address = f"ssh:127.0.0.1:{free_port()}"
    with pytest.raises(ConnectionLost) as caught:
        connect(address).facts()
    assert one_line(caught) == f"{address}: nothing listens on that port. Is it on, with sshd running?"


def test_a_host_that_does_not_exist_is_named(config: Server) -> None:
    with pytest.raises(ConnectionLost, match=r"ssh:no-such-host.invalid: there is no host of that name"):
        connect("ssh:no-such-host.invalid").facts()


def test_a_key_that_the_server_does_not_know(config: Server) -> None:
    with pytest.raises(DeviceError, match="accepts none of your keys") as caught:
        connect("ssh:keyless").facts()
    assert not isinstance(caught.value, ConnectionLost)
    one_line(caught)


def test_an_unknown_host_key_is_reported_and_not_accepted(config: Server) -> None:
    with pytest.raises(DeviceError, match="its host key is not known here") as caught:
        connect("ssh:stranger").facts()
    one_line(caught)
    assert (config.config.parent / "no_hosts").read_text() == ""


def test_a_changed_host_key_is_reported(config: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = (config.config.parent / "other.pub").read_text().split()
    known = tmp_path / "known"
    known.write_text(f"[127.0.0.1]:{config.port} {other[0]} {other[1]}\n")
    changed = tmp_path / "config"
    changed.write_text(config.config.read_text().replace(str(config.config.parent / "known_hosts"), str(known)))
    monkeypatch.setenv(CONFIG_VARIABLE, str(changed))
    with pytest.raises(DeviceError, match="not the one known before"):
        connect("ssh:board").facts()


def test_a_configuration_file_that_is_missing(config: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "none"))
    with pytest.raises(DeviceError, match="cannot read its configuration file"):
        connect("ssh:board").facts()


def _while_it_runs(server: Server, what: Callable[[], None]) -> tuple[str, pytest.ExceptionInfo[ConnectionLost]]:
    seconds = marker()
    device = connect("ssh:board")
    try:
        with pytest.raises(ConnectionLost, match="the connection was lost while") as caught:
            device.run(
                [sys.executable, "-c", SLEEP, seconds],
                timeout_s=60,
                on_line=lambda line: threading.Timer(0.2, what).start(),
            )
    finally:
        device.close()
    return seconds, caught


def _sessions(server: Server) -> list[psutil.Process]:
    """The server's processes for its connections; not those that the connections run."""
    return [child for child in psutil.Process(server.process.pid).children(recursive=True) if child.name() == "sshd"]


def test_a_connection_cut_by_the_server_is_lost_and_nothing_runs_on(config: Server) -> None:
    def cut() -> None:
        for session in _sessions(config):
            with contextlib.suppress(psutil.NoSuchProcess):
                session.kill()

    seconds, caught = _while_it_runs(config, cut)
    one_line(caught)
    assert gone(seconds), sleeping(seconds)


def test_after_a_lost_connection_the_device_is_connected_anew(config: Server) -> None:
    device = connect("ssh:board")
    assert device.run(["echo", "1"], timeout_s=20).stdout == "1\n"
    for session in _sessions(config):
        with contextlib.suppress(psutil.NoSuchProcess):
            session.kill()
    time.sleep(0.5)
    assert device.run(["echo", "2"], timeout_s=20).stdout == "2\n"
    device.close()


def test_commands_share_one_connection_and_close_ends_it(config: Server) -> None:
    device = connect("ssh:board")
    for _ in range(3):
        device.run(["true"], timeout_s=20)
    assert len({session.pid for session in _sessions(config)}) == 1
    device.close()
    deadline = time.monotonic() + 5
    while _sessions(config) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _sessions(config) == []


def test_a_host_that_falls_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard alone, with its patience cut to two seconds: its input stays open, but nothing comes."""
    program = guard.PROGRAM.replace(f'"$quiet" -lt {guard.QUIET_S}', '"$quiet" -lt 2')
    program = program.replace(f"sleep {guard.TICK_S} ", "sleep 1 ").replace(f"+{guard.TICK_S}", "+1")
    seconds = marker()
    process = subprocess.Popen(
        ["sh", "-c", program, "edgesr", "1000", "sleep", seconds], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stderr is not None
    with process.stdin, process.stderr:
        for _ in range(4):
            time.sleep(1)
            process.stdin.write(b"\n")
            process.stdin.flush()
        assert process.poll() is None
        assert process.wait(10) in (137, 143)
    assert sleeping(seconds) == []


@pytest.mark.parametrize(
    "address",
    [
        *("", "pi", "ssh:", "ssh:-oProxyCommand=x", "ssh:a b", "ssh:pi:0", "ssh:pi:70000", "ssh:pi:x", "ssh:@pi"),
        *("adb:-s", "adb:a b", "http://pi", "local:", "ssh:user@-x", "LOCAL"),
    ],
)
def test_a_bad_address_names_the_forms(address: str) -> None:
    with pytest.raises(UsageError, match=r"ssh:\[USER@\]HOST\[:PORT\]"):
        connect(address)


@pytest.mark.parametrize(
    "address", ["ssh:pi", "ssh:me@pi.local:2222", "ssh:a.b@10.0.0.1", "ssh:u@[fe80::1%eth0]:22", "adb:"]
)
def test_addresses_keep_their_text(address: str) -> None:
    assert connect(address).address == address
