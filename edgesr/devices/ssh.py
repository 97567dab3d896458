"""A device reached by the OpenSSH client: its configuration, keys, agents and jump hosts are the user's own.

One master connection is opened with the first command and carries all others (ssh_config(5), ControlMaster). Its remote
command waits for the end of its input, so it ends with this process whatever ends this process. Nothing asks for a
password, and a host key that is unknown or has changed is reported, never accepted.
"""

import contextlib
import os
import selectors
import shlex
import shutil
import subprocess
import tempfile
import time
import weakref
from collections.abc import Sequence
from pathlib import Path

from edgesr.devices import process
from edgesr.devices.address import SshAddress
from edgesr.devices.facts import Facts, collect
from edgesr.devices.guard import guarded
from edgesr.devices.paths import existing, last_line, make_room, received, remote_path, transfer_failed
from edgesr.devices.protocol import Done, OnLine
from edgesr.errors import ConnectionLost, DeviceError

CONFIG_VARIABLE = "EDGESR_SSH_CONFIG"
"""Names another configuration file for `ssh -F`, for labs and tests; ~/.ssh/config without it."""
CONNECT_S = 15
READY = "edgesr-ready"
COPY_S = 3600.0
ADVICE = (
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", "its host key is not the one known before. If that is right, remove the "
     "old one with ssh-keygen -R HOST and connect once by hand"),
    ("Host key verification failed", "its host key is not known here. Connect once by hand with ssh and compare it"),
    ("Permission denied", "it accepts none of your keys. Try ssh -v by hand; a key with a passphrase needs ssh-agent"),
    ("Too many authentication failures", "it gave up after too many keys. Name one in ~/.ssh/config (IdentitiesOnly)"),
    ("Could not resolve hostname", "there is no host of that name. Check the address and ~/.ssh/config"),
    ("Connection refused", "nothing listens on that port. Is it on, with sshd running?"),
    ("timed out", "it does not answer. Is it on, and in this network?"),
    ("No route to host", "it cannot be reached. Is it on, and in this network?"),
    ("Network is unreachable", "it cannot be reached from this network"),
    ("Bad configuration option", "ssh refuses its configuration file"),
    ("Can't open user config file", "ssh cannot read its configuration file"),
)  # fmt: skip
"""What ssh says -> what it means and what to do; the first that fits."""


class SshDevice:
    folder = ".edgesr"

    def __init__(self, address: str, parsed: SshAddress) -> None:
        self._address, self._parsed = address, parsed
        self._master: subprocess.Popen[bytes] | None = None
        self._sockets = ""
        self._cleanup: weakref.finalize[..., SshDevice] | None = None

    @property
    def address(self) -> str:
        return self._address

    def facts(self) -> Facts:
        return collect(self)

    def push(self, local: Path, remote: str) -> None:
        make_room(self, remote_path(remote))
        done = self._copy([str(existing(local).absolute()), f"{self._for_scp}:{remote}"])
        if done.returncode != 0:
            raise transfer_failed(self, remote, done.stderr)

    def pull(self, remote: str, local: Path) -> None:
        def fetch(new: Path) -> None:
            done = self._copy([f"{self._for_scp}:{remote_path(remote)}", str(new.absolute())])
            if done.returncode != 0:
                raise DeviceError(
                    f"{self.address}: cannot read {remote!r}: {last_line(done.stderr)}",
                    (),
                    done.returncode,
                    done.stderr,
                )

        received(local, fetch)

    def run(self, argv: Sequence[str], *, timeout_s: float, on_line: OnLine | None = None) -> Done:
        self._connect()
        # ssh joins its arguments with spaces and gives them to the login shell.
        client = [*self._ssh(), "-T", self._parsed.destination, shlex.join(guarded(argv, timeout_s))]
        done, heard = process.run_guarded(client, argv, timeout_s, on_line, self.address)
        if heard.code is None:
            self.close()
            raise self._lost(argv, done, heard.started)
        return done

    def close(self) -> None:
        if self._cleanup is not None:
            self._cleanup()
        self._master = self._cleanup = None

    def _lost(self, argv: Sequence[str], done: Done, started: bool) -> DeviceError:
        if not started and done.code in (126, 127):  # the device's shell: no sh there
            return DeviceError(f"{self.address}: no POSIX shell: {last_line(done.stderr_tail)}", argv, done.code)
        said = f" ({last_line(done.stderr_tail)})" if done.stderr_tail.strip() else ""
        return ConnectionLost(
            f"{self.address}: the connection was lost while {argv[0]!r} ran{said}.", argv, done.code, done.stderr_tail
        )

    @property
    def _for_scp(self) -> str:
        user, _, host = self._parsed.destination.rpartition("@")
        host = f"[{host}]" if ":" in host else host
        return f"{user}@{host}" if user else host

    def _options(self) -> list[str]:
        """What ssh and scp share. Options on the command line win over those of the configuration file."""
        config = os.environ.get(CONFIG_VARIABLE)
        wanted = {
            "BatchMode": "yes",
            "ConnectTimeout": str(CONNECT_S),
            "ServerAliveInterval": "10",
            "ServerAliveCountMax": "3",
            "ClearAllForwardings": "yes",
            "ControlPath": f"{self._sockets}/%C",
            "ControlPersist": "no",
        }
        return [*(["-F", config] if config else []), *(f"-o{name}={value}" for name, value in wanted.items())]

    def _ssh(self, *, master: bool = False) -> list[str]:
        port = ["-p", str(self._parsed.port)] if self._parsed.port else []
        return ["ssh", *self._options(), f"-oControlMaster={'yes' if master else 'no'}", *port]

    def _copy(self, ends: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        self._connect()
        port = ["-P", str(self._parsed.port)] if self._parsed.port else []
        command = ["scp", "-q", "-r", "-p", *self._options(), "-oControlMaster=no", *port, "--", *ends]
        try:
            return subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=COPY_S
            )
        except FileNotFoundError as error:
            raise DeviceError(f"Cannot start {command[0]!r} here: is the OpenSSH client installed?") from error
        except subprocess.TimeoutExpired as error:
            raise ConnectionLost(f"{self.address}: a copy took longer than {COPY_S:.0f} s and was ended.") from error

    def _connect(self) -> None:
        """Open the master connection unless there is one. Raises ConnectionLost or DeviceError, with advice."""
        if self._master is not None and self._master.poll() is None:
            return
        self.close()
        # Not in $TMPDIR, which may be too long for the path of a socket (104 bytes on macOS).
        self._sockets = tempfile.mkdtemp(prefix="edgesr-", dir="/tmp")
        wait = f"echo {READY}; read -r end"
        command = [*self._ssh(master=True), "-T", self._parsed.destination, shlex.join(["sh", "-c", wait])]
        self._master = process.start(command)
        # Also when nobody calls close(): at the end of this object or of the interpreter.
        self._cleanup = weakref.finalize(self, _give_up, self._master, self._sockets)
        if _first_line(self._master, CONNECT_S + 15) != READY:
            raise self._refused(command)

    def _refused(self, command: Sequence[str]) -> DeviceError:
        assert self._master is not None
        master, answered = self._master, self._master.poll() is not None
        said = _said(master)
        self.close()
        meaning = next((text for words, text in ADVICE if words in said), None)
        if meaning is None:
            meaning = (
                last_line(said) if answered or said.strip() else "it does not answer. Is it on, and in this network?"
            )
        for_ever = any(word in said for word in ("Permission denied", "Host key", "HOST IDENT", "config"))
        kind = DeviceError if for_ever else ConnectionLost
        sentence = f"{self.address}: {meaning.rstrip('.')}"
        return kind(sentence if sentence.endswith("?") else f"{sentence}.", command, master.returncode, said.strip())


def _give_up(master: "subprocess.Popen[bytes]", sockets: str) -> None:
    _said(master)
    shutil.rmtree(sockets, ignore_errors=True)


def _said(master: "subprocess.Popen[bytes]") -> str:
    """End it; what it said on stderr, the first time."""
    process.end(master)
    assert master.stdout is not None
    assert master.stderr is not None
    if master.stderr.closed:
        return ""
    with master.stdout, master.stderr:
        return master.stderr.read().decode("utf-8", "replace")


def _first_line(master: "subprocess.Popen[bytes]", seconds: float) -> str:
    """What the device says first, apart from the greetings of its login shell; empty if it says nothing in time."""
    assert master.stdout is not None
    deadline, text = time.monotonic() + seconds, b""
    with selectors.DefaultSelector() as selector:
        selector.register(master.stdout, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                break
            got = os.read(master.stdout.fileno(), 4096)
            text += got
            if f"{READY}\n".encode() in text:
                return READY
            if not got:
                break
    with contextlib.suppress(subprocess.TimeoutExpired):
        master.wait(2)
    return ""
