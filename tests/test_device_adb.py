"""`adb:` with the real adb client and server, against a real adbd (tests/emulated/adbd_root.py)."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulated import adbd_root
from loopback_sshd import free_port

from edgesr.devices import Device, connect, survey, thermal
from edgesr.devices.setup import Wanted, clean, set_up
from edgesr.errors import ConnectionLost, DeviceError, TimedOut

pytestmark = pytest.mark.slow

RECORDED = Path(__file__).parent / "recorded"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An adb server of our own, with a key of its own: the user's devices are left alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(free_port()))
        patch.setenv("ANDROID_USER_HOME", str(tmp_path_factory.mktemp("adb")))
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield
        subprocess.run(["adb", "kill-server"], capture_output=True, timeout=20)


@pytest.fixture(scope="module")
def adbd() -> Iterator[adbd_root.Adbd]:
    lacks = adbd_root.missing()
    if lacks is not None:
        if "EDGESR_REQUIRE_TARGETS" in os.environ and os.name == "posix" and os.getuid() == 0:
            pytest.fail(f"CI has to run adbd; it needs {lacks}")
        pytest.skip(f"NO ADBD: nothing is tried over adb, because this needs {lacks}")
    with adbd_root.serve() as running:
        yield running


@pytest.fixture(scope="module")
def device(server: None, adbd: adbd_root.Adbd) -> Device:
    return connect(f"adb:{adbd.serial}")


def left(device: Device, seconds: str) -> str:
    """How many processes sleep that long on the device. The pattern does not find itself."""
    pattern = f"{seconds[:-1]}[{seconds[-1]}]"
    program = f"cat /proc/[0-9]*/cmdline | tr '\\000' '\\n' | grep -cx '{pattern}'"
    return device.run(["sh", "-c", program], timeout_s=30).stdout.strip()


def test_a_command_ends_with_its_own_code_and_both_streams(device: Device) -> None:
    done = device.run(["sh", "-c", "echo out; pwd; printf err >&2; exit 7"], timeout_s=20)
    assert (done.code, done.stdout, done.stderr_tail) == (7, "out\n/data/local/tmp\n", "err")
    assert device.run(["sh", "-c", "exit 255"], timeout_s=20).code == 255


def test_arguments_arrive_as_they_were_given(device: Device) -> None:
    odd = ["two words", "$HOME", "a'b\"c", "", "*", "back\\slash", "ä", "; exit 3", "new\nline"]
    done = device.run(["python3", "-c", "import sys; print(ascii(sys.argv[1:]))", *odd], timeout_s=20)
    assert done.stdout.strip() == ascii(odd)


def test_lines_come_while_the_command_runs(device: Device) -> None:
    came: list[float] = []
    device.run(
        ["sh", "-c", "echo 1; sleep 1.5; echo 2"], timeout_s=20, on_line=lambda line: came.append(time.monotonic())
    )
    assert came[1] - came[0] > 1.0


def test_a_timeout_leaves_nothing_running(device: Device) -> None:
    with pytest.raises(TimedOut, match="took longer than 1 s and was ended"):
        device.run(["sh", "-c", "sleep 873.1 & sleep 873.1"], timeout_s=1)
    assert left(device, "873.1") == "0"


def test_an_error_while_lines_come_leaves_nothing_running(device: Device) -> None:
    def refuse(line: str) -> None:
        raise ValueError(line)

    with pytest.raises(ValueError, match="up"):
        device.run(["sh", "-c", "echo up; sleep 873.2"], timeout_s=30, on_line=refuse)
    assert left(device, "873.2") == "0"


def test_a_server_that_is_killed_is_a_lost_connection_and_leaves_nothing_running(device: Device) -> None:
    def kill(line: str) -> None:
        subprocess.run(["adb", "kill-server"], check=True, capture_output=True, timeout=20)

    with pytest.raises(ConnectionLost, match="the connection was lost while 'sh' ran"):
        device.run(["sh", "-c", "echo up; sleep 873.3"], timeout_s=30, on_line=kill)
    time.sleep(2)
    assert left(device, "873.3") == "0"  # connected anew


def test_files_and_folders_go_there_and_come_back(device: Device, tmp_path: Path) -> None:
    folder = tmp_path / "some folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "a b.bin").write_bytes(bytes(range(256)) * 1000)
    for _ in range(2):  # the second replaces the first, and is not put inside it
        device.push(folder, "edgesr/copy")
        device.push(folder / "inner" / "a b.bin", "edgesr/deep/er/file")
        device.pull("edgesr/copy", tmp_path / "back")
        device.pull("/data/local/tmp/edgesr/deep/er/file", tmp_path / "file")
    assert (tmp_path / "back" / "inner" / "a b.bin").read_bytes() == (tmp_path / "file").read_bytes()
    assert sorted(file.name for file in (tmp_path / "back").rglob("*")) == ["a b.bin", "inner"]


def test_what_cannot_be_copied_is_one_line(device: Device, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(900_000))
    with pytest.raises(DeviceError, match="the disk under '/mnt/x' is full"):
        device.push(tmp_path / "large", "/mnt/x")
    with pytest.raises(DeviceError, match="cannot read 'edgesr/nothing': "):
        device.pull("edgesr/nothing", tmp_path / "back")
    with pytest.raises(DeviceError, match="cannot write '/proc/x/y' there"):
        device.push(tmp_path / "large", "/proc/x/y")


def test_facts_of_a_linux_behind_adbd(device: Device) -> None:
    facts = device.facts()
    assert facts.kind == "host"  # the same kernel, and it says so
    assert facts.os.startswith("Debian GNU/Linux 13")
    assert facts.python is not None
    assert facts.python.version[:2] == (3, 13)


def test_facts_of_an_android_through_adb(device: Device, adbd: adbd_root.Adbd) -> None:
    """The recorded answers of a phone, asked for through adb; Android's own tools are stand-ins here."""
    said = survey.sections((RECORDED / "pixel-7.txt").read_text())
    dumpsys = f"case $1 in thermalservice) cat <<'END'\n{said['thermalservice']}\nEND\n;; battery) cat <<'END'\n"
    answers = {
        "getprop": f"cat <<'END'\n{said['getprop']}\nEND",
        "dumpsys": f"{dumpsys}{said['battery']}\nEND\n;; esac",
    }
    with adbd_root.programs(adbd, answers):
        facts = device.facts()
        assert (facts.kind, facts.board, facts.os) == ("device", "Google Pixel 7", "Android 14 (API 34)")
        assert facts.power == "USB powered, 85 %"
        reading = thermal(device)
        assert (reading.temperature_c, reading.throttled) == (58.0, ("thermal status moderate now",))
        with pytest.raises(DeviceError, match="Android has no Python"):
            set_up(device, Wanted(("ncnn",), device.folder), print)


def test_the_runner_is_set_up_behind_adbd(device: Device) -> None:
    there = set_up(device, Wanted(("ncnn",), device.folder), print)
    assert there.folder == "/data/local/tmp/edgesr"
    done = device.run(there.argv("ncnn", "-c", "import ncnn; print(ncnn.__file__)"), timeout_s=60)
    assert done.stdout.startswith("/data/local/tmp/edgesr/wheels/ncnn-"), done
    assert clean(device, device.folder)


def test_the_only_device_needs_no_serial_number(device: Device) -> None:
    assert connect("adb:").run(["echo", "here"], timeout_s=20).stdout == "here\n"


def test_devices_that_are_not_there_are_named(device: Device, adbd: adbd_root.Adbd) -> None:
    with pytest.raises(ConnectionLost, match=rf"adb:nope: there is no such device\. There are: {adbd.serial}"):
        connect("adb:nope").facts()


def test_without_adb_the_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="install Android's platform tools"):
        connect("adb:").facts()
