"""Debian roots in which tests run a device's server: unpacked packages, own namespaces, nothing left behind."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MOUNT = """set -e
mount -t proc proc "$1/proc"
[ ! -e "$1/edgesr/cpuinfo" ] || mount --bind "$1/edgesr/cpuinfo" "$1/proc/cpuinfo"
[ ! -e "$1/edgesr/sys" ] || mount --bind "$1/edgesr/sys" "$1/sys"
mount -t tmpfs tmpfs "$1/dev"
for name in null zero full random urandom tty; do touch "$1/dev/$name"; mount --bind "/dev/$name" "$1/dev/$name"; done
ln -s /proc/self/fd "$1/dev/fd"
mkdir "$1/dev/pts"; mount --bind /dev/pts "$1/dev/pts"
mkdir "$1/dev/shm"; mount -t tmpfs tmpfs "$1/dev/shm"
mount -t tmpfs -o size=600k tmpfs "$1/mnt"
place=$1; shift
exec chroot "$place" "$@"
"""
"""In a mount namespace of its own. /mnt is a disk that is soon full."""


@dataclass(frozen=True)
class Root:
    """Which packages of which Debian; `folder`: where they are unpacked, with `purpose` in its name."""

    suite: str
    arch: str
    packages: tuple[str, ...]
    purpose: str = ""

    @property
    def folder(self) -> Path:
        default = Path(os.environ.get("HOME", "/root")) / ".cache" / "edgesr-tests"
        return Path(os.environ.get("EDGESR_EMULATED_ROOT", default)) / "-".join(
            filter(None, (self.suite, self.arch, self.purpose))
        )


def missing(*programs: str) -> str | None:
    """What stands in the way of making and entering a root, in words; None if nothing does."""
    if sys.platform != "linux" or os.getuid() != 0:
        return "root on Linux (chroot, mount)"
    for program in ("debootstrap", "dpkg-deb", "unshare", "tar", *programs):
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            return f"{program} (.ci/run has the Debian packages)"
    return None


def make(root: Root) -> Path:
    """Download and unpack the packages, unless that was done before; their scripts are not run."""
    folder = root.folder
    done = folder / "edgesr" / "packages"
    if done.exists() and done.read_text() == " ".join(root.packages):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    options = ["--foreign", f"--arch={root.arch}", "--variant=minbase", f"--include={','.join(root.packages)}"]
    built = subprocess.run(["debootstrap", *options, root.suite, folder], capture_output=True, text=True)
    assert built.returncode == 0, built.stdout[-2000:]
    for package in sorted((folder / "var" / "cache" / "apt" / "archives").glob("*.deb")):
        _unpack(package, folder)
        package.unlink()
    for name, line in (("passwd", "sshd:x:101:65534::/run/sshd:/usr/sbin/nologin\n"), ("group", "")):
        master = (folder / "usr" / "share" / "base-passwd" / f"{name}.master").read_text()
        (folder / "etc" / name).write_text(master.replace("root:*:", "root:x:") + line)
    for name in ("proc", "sys", "dev", "mnt"):
        place = folder / name
        if place.is_symlink():  # debootstrap's, in a container
            place.unlink()
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
    (folder / "run" / "sshd").mkdir(exist_ok=True)
    (folder / "edgesr").mkdir()
    done.write_text(" ".join(root.packages))
    return folder


def _unpack(package: Path, folder: Path) -> None:
    """dpkg-deb -x would put a folder in the place of the link /bin -> usr/bin."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as files:
        subprocess.run(["tar", "-x", "--keep-directory-symlink", "-C", folder], stdin=files.stdout, check=True)
    assert files.returncode == 0, package


def entering(
    folder: Path, command: Sequence[str], environment: Sequence[str] = (), *, network: bool = True
) -> list[str]:
    """The command line that runs `command` in the root. Without `network` it has a namespace with no way out."""
    namespaces = ["unshare", "--mount", "--propagation", "private", *([] if network else ["--net"])]
    return ["env", "-i", f"PATH={PATH}", *environment, *namespaces, "sh", "-c", MOUNT, "sh", str(folder), *command]
