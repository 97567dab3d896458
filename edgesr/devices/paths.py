"""Paths on a device, and copies that are complete or not there."""

import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from edgesr.devices.protocol import Device
from edgesr.errors import DeviceError, OutputError, UsageError

_SAFE = re.compile(r"(?!-)[A-Za-z0-9._+@=,/-]+")
"""scp of OpenSSH 8 lets the device's shell read a remote path, later ones do not: only what both take alike."""
SHORT_S = 60.0


def remote_path(text: str) -> str:
    """`text` if it is a path that every way to a device takes literally. Raises UsageError."""
    path = PurePosixPath(text)
    if not _SAFE.fullmatch(text) or ".." in path.parts or not path.name:
        raise UsageError(
            f"{text!r} cannot be a path on a device: letters, digits and . _ + @ = , - / only, without '..', relative "
            "to the home folder or from the root."
        )
    return text


def make_room(device: Device, remote: str) -> None:
    """Remove `remote` on the device and make the folders above it."""
    above = str(PurePosixPath(remote).parent)
    program = 'rm -rf -- "$1" && mkdir -p -- "$2"'
    done = device.run(["sh", "-c", program, "edgesr", remote, above], timeout_s=SHORT_S)
    if done.code != 0:
        raise DeviceError(
            f"{device.address}: cannot write {remote!r} there: {last_line(done.stderr_tail)}", (), done.code
        )


def existing(local: Path) -> Path:
    if not local.exists():
        raise UsageError(f"{local} does not exist, so it cannot be copied to a device.")
    return local


def received(local: Path, fetch: Callable[[Path], object]) -> None:
    """Let `fetch` write to a new path beside `local`, then give it that name. Raises OutputError."""
    try:
        local.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".edgesr-", dir=local.parent) as folder:
            fetched = Path(folder) / local.name
            fetch(fetched)
            _remove(local)
            fetched.rename(local)
    except OSError as error:
        raise OutputError(f"Cannot write {local}: {error.strerror}. Choose another place.") from error


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def transfer_failed(device: Device, remote: str, said: str) -> DeviceError:
    """Why a copy to `remote` failed. The sftp protocol knows no word for a full disk, so the device is asked."""
    program = 'd=$1; while [ ! -d "$d" ]; do d=$(dirname -- "$d"); done; df -Pk -- "$d"'
    done = device.run(["sh", "-c", program, "edgesr", remote], timeout_s=SHORT_S)
    free_kb = free_kilobytes(done.stdout)
    if free_kb is not None and free_kb < 64:
        return DeviceError(
            f"{device.address}: the disk under {remote!r} is full ({free_kb} KB free). Free some space there, or name "
            "another folder.",
            (),
            done.code,
            said,
        )
    return DeviceError(f"{device.address}: cannot write {remote!r}: {last_line(said)}", (), done.code, said)


def free_kilobytes(df: str) -> int | None:
    """Of `df -Pk PATH`: available kilobytes; None if it says something else."""
    words = df.splitlines()[-1].split() if df.strip() else []
    numbers = [index for index, word in enumerate(words) if word.endswith("%")]
    if not numbers or numbers[0] == 0 or not words[numbers[0] - 1].isdigit():
        return None
    return int(words[numbers[0] - 1])


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing."
