"""One process at a time in a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgesr.errors import EdgesrError
from edgesr.extras import require
from edgesr.whole_file import writing

LOCK = "lock"
"""Name of the file, which stays; the system lets the lock go however its process ends."""


@contextmanager
def alone(folder: Path, extra: str, taken: EdgesrError, advice: str) -> Iterator[None]:
    """Hold the lock of `folder`, which is made. Raises `taken` if another process holds it, OutputError with `advice`.

    `extra`: of edgesr, which brings filelock.
    """
    filelock = require("filelock", extra)
    lock = filelock.FileLock(folder / LOCK)
    with writing(folder, advice):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout as error:
            raise taken from error
    try:
        yield
    finally:
        lock.release()
