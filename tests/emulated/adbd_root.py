"""A real adbd: that of Debian 13, on this processor, in a network namespace because it listens on every interface.

Not Android: a Linux with Python behind adbd, as some boards are. What only Android has (getprop, dumpsys) are programs
put into /usr/local/bin that print recorded answers.
"""

import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from emulated import debian_root

ROOT = debian_root.Root("trixie", "amd64", ("python3", "adbd"))
HERE, THERE, PORT = "10.213.7.1", "10.213.7.2", 5555
LINK = "edgesr-adb0"


@dataclass(frozen=True)
class Adbd:
    serial: str
    root: Path
    process: "subprocess.Popen[bytes]"


def missing() -> str | None:
    return debian_root.missing("ip", "nsenter", "adb")


@contextmanager
def serve() -> Iterator[Adbd]:
    """Run adbd until the block ends; its network ends with it."""
    root = debian_root.make(ROOT)
    log = root / "edgesr" / "adbd.log"
    with log.open("wb") as file:
        process = subprocess.Popen(debian_root.entering(root, ["/usr/sbin/adbd"], network=False), stderr=file)
    try:
        _join_networks(process.pid)
        _wait(process, log)
        yield Adbd(f"{THERE}:{PORT}", root, process)
    finally:
        process.kill()
        process.wait(20)


def _join_networks(pid: int) -> None:
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
        assert time.monotonic() < deadline, "unshare made no network namespace"
        time.sleep(0.05)
    inside = ["nsenter", "--net", "--target", str(pid)]
    for command in (
        ["ip", "link", "add", LINK, "type", "veth", "peer", "name", "edgesr-adb1", "netns", str(pid)],
        ["ip", "address", "add", f"{HERE}/30", "dev", LINK],
        ["ip", "link", "set", LINK, "up"],
        [*inside, "ip", "address", "add", f"{THERE}/30", "dev", "edgesr-adb1"],
        [*inside, "ip", "link", "set", "edgesr-adb1", "up"],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"


def _wait(process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((THERE, PORT)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError(f"adbd does not listen: {log.read_text()}")


@contextmanager
def programs(adbd: Adbd, answers: Mapping[str, str]) -> Iterator[None]:
    """Programs on the device: name -> shell text."""
    places = [adbd.root / "usr" / "local" / "bin" / name for name in answers]
    places[0].parent.mkdir(parents=True, exist_ok=True)
    for place, text in zip(places, answers.values(), strict=True):
        place.write_text(f"#!/bin/sh\n{text}\n")
        place.chmod(0o755)
    try:
        yield
    finally:
        for place in places:
            place.unlink()
