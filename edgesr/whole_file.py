"""Files that are old or new, never half."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgesr.errors import OutputError


def write_whole(file: Path, write: Callable[[Path], object], advice: str) -> None:
    """`write` to a temporary name beside `file`, then rename. `advice`: what to do if that fails, as a sentence.

    Makes the folder. Each call has a name of its own, so that of two writers at once one is last. Raises OutputError.
    """
    temporary = file.with_name(f".edgesr-{secrets.token_hex(8)}.part")
    with writing(file, advice):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            os.replace(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def writing(place: Path, advice: str) -> Iterator[None]:
    """Turns what cannot be written into OutputError."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        reason = getattr(error, "strerror", None) or (str(error).splitlines() or [""])[0]
        raise OutputError(f"Cannot write {place}: {reason}. {advice}") from error
