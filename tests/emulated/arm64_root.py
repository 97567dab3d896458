"""An arm64 Debian that runs here under qemu-user, and its sshd: the board that no test machine has.

    python tests/emulated/arm64_root.py            # makes the root, starts sshd, prints how to reach it, until Ctrl-C

Needs root and Debian's debootstrap and qemu-user-static. The root is made once (half a minute) in $EDGESR_EMULATED_ROOT or
the user's cache: packages are unpacked without running their scripts under emulation. Everything is mounted in a namespace
of the server's own, so nothing is left mounted.

The processor is QEMU's Cortex-A76, that of a Raspberry Pi 5. Runtimes choose kernels by /proc/cpuinfo and /sys, where the
real kernel would show this machine's own processor: both are given files that say the same as QEMU does (Debian 12's QEMU
does not do so itself). Times on it say nothing about any board.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CPU, IMPLEMENTER, PART, MIDR = "cortex-a76", 0x41, 0xD0B, 0x414FD0B1
FEATURES = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs"
PACKAGES = ("python3", "openssh-server", "libgomp1")
SUITE, MIRROR = "bookworm", ""
BINFMT = Path("/proc/sys/fs/binfmt_misc")
SERVER_CONFIG = """ListenAddress 127.0.0.1:{port}
HostKey /etc/ssh/edgesr_host
AuthorizedKeysFile /etc/ssh/edgesr_authorized
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
SetEnv QEMU_CPU={cpu}
"""
MOUNT = """set -e
mount -t proc proc "$1/proc"
mount --bind "$1/edgesr/cpuinfo" "$1/proc/cpuinfo"
mount --bind "$1/edgesr/sys" "$1/sys"
mount -t tmpfs tmpfs "$1/dev"
for name in null zero full random urandom tty; do touch "$1/dev/$name"; mount --bind "/dev/$name" "$1/dev/$name"; done
ln -s /proc/self/fd "$1/dev/fd"
mkdir "$1/dev/pts"; mount --bind /dev/pts "$1/dev/pts"
mkdir "$1/dev/shm"; mount -t tmpfs tmpfs "$1/dev/shm"
mount -t tmpfs -o size=600k tmpfs "$1/mnt"
shift_root=$1; shift
exec chroot "$shift_root" "$@"
"""
"""In a mount namespace of its own. /mnt is a disk that is soon full."""


@dataclass(frozen=True)
class Board:
    """`home`: its root user's home folder, seen from here."""

    port: int
    host_key: str
    root: Path
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def home(self) -> Path:
        return self.root / "root"


def folder() -> Path:
    default = Path(os.environ.get("HOME", "/root")) / ".cache" / "edgesr-tests" / f"arm64-{SUITE}"
    return Path(os.environ.get("EDGESR_EMULATED_ROOT", default))


def missing() -> str | None:
    """What stands in the way, in words; None if it can be run."""
    if sys.platform != "linux" or os.getuid() != 0:
        return "root on Linux (chroot, mount, binfmt_misc)"
    for program in ("debootstrap", "dpkg-deb", "qemu-aarch64-static", "unshare", "tar"):
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            return f"{program} (Debian: apt-get install qemu-user-static debootstrap)"
    return _register()


def _register() -> str | None:
    """Let the kernel start arm64 programs with QEMU, by the entry that Debian's package brings."""
    entry = BINFMT / "qemu-aarch64"
    try:
        if not (BINFMT / "register").exists():
            subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT], check=True, capture_output=True)
        if not entry.exists():
            (BINFMT / "register").write_bytes(Path("/usr/lib/binfmt.d/qemu-aarch64.conf").read_bytes().strip())
    except (OSError, subprocess.CalledProcessError) as error:
        return f"binfmt_misc ({error})"
    # F: the interpreter was opened when it was registered, so it is found inside the root too.
    flags = next(line for line in entry.read_text().splitlines() if line.startswith("flags:"))
    return None if "F" in flags else "binfmt_misc registered with the flag F"


def make(root: Path) -> None:
    """Download and unpack the packages, unless that was done before."""
    done = root / "edgesr" / "packages"
    if done.exists() and done.read_text() == " ".join(PACKAGES):
        return
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    include = f"--include={','.join(PACKAGES)}"
    command = ["debootstrap", "--foreign", "--arch=arm64", "--variant=minbase", include, SUITE, root, MIRROR]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout[-2000:]
    for package in sorted((root / "var" / "cache" / "apt" / "archives").glob("*.deb")):
        _unpack(package, root)
        package.unlink()
    for name, line in (("passwd", "sshd:x:101:65534::/run/sshd:/usr/sbin/nologin\n"), ("group", "")):
        master = (root / "usr" / "share" / "base-passwd" / f"{name}.master").read_text()
        (root / "etc" / name).write_text(master.replace("root:*:", "root:x:") + line)
    for name in ("proc", "sys", "dev", "mnt"):
        place = root / name
        if place.is_symlink():  # debootstrap's, in a container
            place.unlink()
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
    (root / "run" / "sshd").mkdir(exist_ok=True)
    (root / "edgesr").mkdir()
    done.write_text(" ".join(PACKAGES))


def _unpack(package: Path, root: Path) -> None:
    """dpkg-deb -x would put a folder in the place of the link /bin -> usr/bin."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as files:
        subprocess.run(["tar", "-x", "--keep-directory-symlink", "-C", root], stdin=files.stdout, check=True)
    assert files.returncode == 0, package


def _describe_processor(root: Path) -> None:
    """As many cores as there are here: QEMU passes sched_getaffinity on."""
    cores = os.cpu_count() or 1
    lines = [
        f"processor\t: {core}\nBogoMIPS\t: 108.00\nFeatures\t: {FEATURES}\nCPU implementer\t: {IMPLEMENTER:#04x}\n"
        f"CPU architecture: 8\nCPU variant\t: 0x4\nCPU part\t: {PART:#05x}\nCPU revision\t: 1\n"
        for core in range(cores)
    ]
    (root / "edgesr" / "cpuinfo").write_text("\n".join(lines))
    system = root / "edgesr" / "sys" / "devices" / "system" / "cpu"
    everything = "0" if cores == 1 else f"0-{cores - 1}"
    for name in ("online", "present", "possible"):
        _write(system / name, everything)
    _write(system / "kernel_max", str(cores - 1))
    for core in range(cores):
        place = system / f"cpu{core}"
        _write(place / "regs" / "identification" / "midr_el1", f"{MIDR:#018x}")
        _write(place / "topology" / "physical_package_id", "0")
        _write(place / "topology" / "core_id", str(core))
        _write(place / "topology" / "thread_siblings_list", str(core))
        _write(place / "topology" / "core_siblings_list", everything)
        _write(place / "cpufreq" / "cpuinfo_max_freq", "2400000")
        _write(place / "cpufreq" / "cpuinfo_min_freq", "1500000")


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}\n")


def _prepare_sshd(root: Path, public_key: str, port: int) -> str:
    """Returns the line of the host's public key."""
    ssh = root / "etc" / "ssh"
    for file in ssh.glob("edgesr_*"):
        file.unlink()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ssh / "edgesr_host"], check=True)
    (ssh / "edgesr_authorized").write_text(public_key)
    (ssh / "edgesr_config").write_text(SERVER_CONFIG.format(port=port, cpu=CPU))
    return (ssh / "edgesr_host.pub").read_text()


def in_root(root: Path, *command: str) -> list[str]:
    """The command line that runs `command` in the root, on the emulated processor."""
    inside = ["unshare", "--mount", "--propagation", "private", "sh", "-c", MOUNT, "sh", str(root), *command]
    return [
        "env",
        "-i",
        f"QEMU_CPU={CPU}",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        *inside,
    ]


@contextmanager
def serve(root: Path, public_key: str, port: int) -> Iterator[Board]:
    """Run the root's sshd on 127.0.0.1 until the block ends; with it end all that it started."""
    make(root)
    _describe_processor(root)
    host_key = _prepare_sshd(root, public_key, port)
    log = root / "edgesr" / "sshd.log"
    with log.open("wb") as file:
        command = in_root(root, "/usr/sbin/sshd", "-D", "-e", "-f", "/etc/ssh/edgesr_config")
        process = subprocess.Popen(command, stderr=file)
    try:
        _wait(port, process, log)
        yield Board(port, host_key, root, process, log)
    finally:
        process.terminate()
        process.wait(20)


def _wait(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError(f"the emulated sshd does not listen on {port}: {log.read_text()}")


if __name__ == "__main__":
    if (lacks := missing()) is not None:
        sys.exit(f"needs {lacks}")
    own_key = next((Path.home() / ".ssh").glob("id_*.pub"), None)
    if own_key is None:
        sys.exit("needs a key in ~/.ssh (ssh-keygen)")
    with serve(folder(), own_key.read_text(), int(os.environ.get("PORT", "2222"))) as board:
        print(f"edgesr device facts ssh:root@127.0.0.1:{board.port}\nHost key: {board.host_key}", flush=True)
        board.process.wait()
