"""A large file from a public address: checked, and resumed where it was cut off.

On urllib: pooch, which fetches weights, cannot resume, and would begin 3.5 GB anew after each cut.
"""

import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from edgesr.errors import DataError
from edgesr.whole_file import writing

ATTEMPTS = 5
"""In a row that bring not a byte; then it is given up."""
TIMEOUT_S = 30
CHUNK_BYTES = 2**20
ADVICE = "Make room there, or give a folder of photos instead."
OnBytes = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class RemoteFile:
    address: str
    bytes: int
    sha256: str


class _Cut(Exception):
    """The connection, for the reason that it holds; what came is kept."""


def download(remote: RemoteFile, file: Path, on_bytes: OnBytes, pause_s: float = 2.0) -> None:
    """Fetch `remote` to `file`; what an earlier call left in `file`.part is gone on with.

    `pause_s`: before the second attempt of a row, doubled with each. Raises DataError for what cannot be had or is
    another file, OutputError.
    """
    part = file.with_name(f"{file.name}.part")
    with writing(part, ADVICE):
        part.parent.mkdir(parents=True, exist_ok=True)
    failures = 0
    while (have := _size(part)) < remote.bytes:
        try:
            _fetch(remote, part, have, on_bytes)
        except _Cut as error:
            failures = failures + 1 if _size(part) <= have else 0
            if failures >= ATTEMPTS:
                raise DataError(
                    f"Could not download {remote.address}: {error}. {_size(part)} of {remote.bytes} bytes are kept in "
                    f"{part}; try again later to go on, or give a folder of photos."
                ) from error
            time.sleep(pause_s * 2**failures if failures else 0)
    _check(remote, part)
    with writing(file, ADVICE):
        os.replace(part, file)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _fetch(remote: RemoteFile, part: Path, have: int, on_bytes: OnBytes) -> None:
    """Append to the `have` bytes of `part`, or begin anew where the server cannot go on. Raises _Cut, DataError."""
    headers = {"User-Agent": "edgesr", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        response = urllib.request.urlopen(urllib.request.Request(remote.address, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        with closing(error):
            _refused(remote, part, error.code)
            raise _Cut(f"the server answered {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Cut(str(getattr(error, "reason", error)) or type(error).__name__) from error
    with closing(response):
        start = _start(remote, response, have)
        with writing(part, ADVICE):
            stream = part.open("r+b" if start else "wb")
        with closing(stream):
            stream.seek(start)
            while chunk := _read(response):
                if start + len(chunk) > remote.bytes:
                    raise DataError(f"{remote.address} has more than the {remote.bytes} bytes of the known file.")
                with writing(part, ADVICE):
                    stream.write(chunk)
                start += len(chunk)
                on_bytes(start, remote.bytes)
    if start < remote.bytes:
        raise _Cut(f"the connection ended after {start} bytes")


def _refused(remote: RemoteFile, part: Path, code: int) -> None:
    """Raise DataError where no other attempt can help."""
    if code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # the part is longer than what lies there
        part.unlink(missing_ok=True)
        return
    if 400 <= code < 500 and code not in (http.HTTPStatus.REQUEST_TIMEOUT, http.HTTPStatus.TOO_MANY_REQUESTS):
        raise DataError(f"Could not download {remote.address}: the server answered {code}. Give a folder of photos.")


def _start(remote: RemoteFile, response: http.client.HTTPResponse, have: int) -> int:
    """Where the answer begins in the file. Raises DataError if it is of a file of another size."""
    ranged = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if response.status == http.HTTPStatus.PARTIAL_CONTENT and ranged and int(ranged[1]) == have:
        start, total = have, ranged[2]
    else:
        start, total = 0, response.headers.get("Content-Length", "*")
    if total != "*" and int(total) != remote.bytes:
        raise DataError(f"{remote.address} has {total} bytes, the known file has {remote.bytes}: it is another one.")
    return start


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _Cut(f"the connection broke ({error})") from error


def _check(remote: RemoteFile, part: Path) -> None:
    with part.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != remote.sha256:
        part.unlink()
        raise DataError(
            f"What {remote.address} sent has sha256 {found}, the known file {remote.sha256}. It was deleted; try again."
        )
