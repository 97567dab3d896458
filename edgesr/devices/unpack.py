"""Runs on the device, alone, with its own Python: unpacks wheels, each into a folder that is complete or not there.

    python unpack.py INCOMING WHEELS

What a wheel has in NAME.data/purelib and /platlib belongs beside the rest (PEP 427); scripts and headers are left out.
Prints the folder's full path.
"""

import os
import shutil
import sys
import zipfile


def target_name(name: str) -> str:
    """Where a member goes; empty for one that is not needed, ValueError for one that would leave the folder."""
    parts = name.split("/")
    if parts[0].endswith(".data") and len(parts) > 2:
        if parts[1] not in ("purelib", "platlib"):
            return ""
        parts = parts[2:]
    if name.startswith("/") or "\\" in name or ".." in parts:
        raise ValueError(f"a member of the wheel leaves its folder: {name!r}")
    return "/".join(parts)


def unpack(wheel: str, folder: str) -> None:
    unfinished = folder + ".unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            name = target_name(member.filename)
            if not name or member.is_dir():
                continue
            path = os.path.join(unfinished, *name.split("/"))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with archive.open(member) as source, open(path, "wb") as target:
                shutil.copyfileobj(source, target)
    os.rename(unfinished, folder)


def main(incoming: str, wheels: str) -> None:
    os.makedirs(wheels, exist_ok=True)
    for name in sorted(os.listdir(incoming)):
        if name.endswith(".whl"):
            folder = os.path.join(wheels, name[: -len(".whl")])
            if not os.path.isdir(folder):
                unpack(os.path.join(incoming, name), folder)
            os.remove(os.path.join(incoming, name))
    print(os.path.abspath(wheels))


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2])
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        sys.exit(f"{type(error).__name__}: {error}")
