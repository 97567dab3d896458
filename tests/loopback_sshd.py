"""A real OpenSSH server on 127.0.0.1 with keys made for the test, and the client's configuration file for it."""

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
START_S = 20.0


@dataclass(frozen=True)
class Server:
    """`config`: what `ssh -F` reads: the host names `board` (all is well), `stranger` (its host key is unknown) and
    `keyless` (a key that the server does not know)."""

    port: int
    config: Path
    process: "subprocess.Popen[bytes]"
    log: Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def key(file: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)
    return file


def client_config(folder: Path, port: int, host_key: str, user: str = "") -> Path:
    """Keys and known hosts of the client in `folder`; `host_key` is the line of the server's public key."""
    known = folder / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {' '.join(host_key.split()[:2])}\n")
    (folder / "no_hosts").write_text("")
    user = user or pwd.getpwuid(os.getuid()).pw_name
    common = f"  HostName 127.0.0.1\n  Port {port}\n  User {user}\n  IdentitiesOnly yes\n"
    config = folder / "config"
    config.write_text(
        f"Host board\n{common}  IdentityFile {folder / 'client'}\n  UserKnownHostsFile {known}\n"
        f"Host stranger\n{common}  IdentityFile {folder / 'client'}\n  UserKnownHostsFile {folder / 'no_hosts'}\n"
        f"Host keyless\n{common}  IdentityFile {folder / 'other'}\n  UserKnownHostsFile {known}\n"
    )
    return config


def make_client(folder: Path) -> None:
    key(folder / "client")
    key(folder / "other")


def wait_until_it_listens(port: int, process: "subprocess.Popen[bytes]", log: Path, seconds: float = START_S) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"sshd does not listen on {port}: {log.read_text()}")


@contextmanager
def serve(folder: Path, command: Sequence[str | Path] = ()) -> Iterator[Server]:
    """Run sshd until the block ends."""
    if SSHD is None:
        pytest.skip("needs sshd (Debian: apt-get install openssh-server)")
    make_client(folder)
    host = key(folder / "host")
    shutil.copy(folder / "client.pub", folder / "authorized")
    port = free_port()
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {host}\nAuthorizedKeysFile {folder / 'authorized'}\n"
        f"PidFile {folder / 'pid'}\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n"
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd's own: it refuses to start without
    log = folder / "sshd.log"
    with log.open("wb") as file:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=file)
    try:
        wait_until_it_listens(port, process, log)
        yield Server(port, client_config(folder, port, (folder / "host.pub").read_text()), process, log)
    finally:
        process.terminate()
        process.wait(10)
