"""DIV2K over a local server that cuts, lies and refuses; archives that are hostile."""

import functools
import hashlib
import http.server
import io
import struct
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from PIL import Image

from edgesr.datasets import generated_pictures
from edgesr.errors import DataError, OutputError
from edgesr.listener import Silent
from edgesr.train import download as downloading
from edgesr.train.div2k import ARCHIVE, PLACE, photo_source, unpack
from edgesr.train.download import RemoteFile
from edgesr.train.photos import load_photos

CONTENT = bytes(range(256)) * 4000


@dataclass
class Behaviour:
    """`cut_after`: bytes of each answer, then the connection is closed, for the first `cuts` answers. `status`: an
    answer without content, for the first `failures`."""

    content: bytes = CONTENT
    ranges: bool = True
    cut_after: int = 0
    cuts: int = 0
    status: int = 0
    failures: int = 0
    wrong_start: bool = False
    says_length: bool = True
    asked: list[str | None] = field(default_factory=list)


class Handler(http.server.BaseHTTPRequestHandler):
    behaviour: Behaviour

    def __init__(self, behaviour: Behaviour, *arguments: object) -> None:
        self.behaviour = behaviour
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        behaviour, asked = self.behaviour, self.headers.get("Range")
        behaviour.asked.append(asked)
        if behaviour.failures > 0:
            behaviour.failures -= 1
            self.send_error(behaviour.status)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and behaviour.ranges else 0
        if start >= len(behaviour.content):
            self.send_error(416)
            return
        self._send(start)

    def _send(self, start: int) -> None:
        behaviour = self.behaviour
        rest = behaviour.content[start:]
        self.send_response(206 if start else 200)
        if start:
            first = 0 if behaviour.wrong_start else start
            self.send_header("Content-Range", f"bytes {first}-{len(behaviour.content) - 1}/{len(behaviour.content)}")
        if behaviour.says_length:
            self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if behaviour.cuts > 0:
            behaviour.cuts -= 1
            rest = rest[: behaviour.cut_after]
        self.wfile.write(rest)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def behaviour() -> Behaviour:
    return Behaviour()


@pytest.fixture
def address(behaviour: Behaviour) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, behaviour)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/file.zip"
        server.shutdown()
        thread.join()


def remote_of(address: str, content: bytes = CONTENT) -> RemoteFile:
    return RemoteFile(address, len(content), hashlib.sha256(content).hexdigest())


def get(address: str, folder: Path) -> bytes:
    downloading.download(remote_of(address), folder / "file.zip", lambda done, total: None, pause_s=0)
    assert [path.name for path in folder.iterdir()] == ["file.zip"]
    return (folder / "file.zip").read_bytes()


# ----------------------------------------------------------------------------------------------------------- resuming


def test_a_file_is_fetched_and_its_progress_told(address: str, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    downloading.download(remote_of(address), tmp_path / "new" / "file", lambda *done: told.append(done))
    assert (tmp_path / "new" / "file").read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))


def test_a_connection_that_is_cut_is_gone_on_with_by_ranges(address: str, behaviour: Behaviour, tmp_path: Path) -> None:
    behaviour.cuts, behaviour.cut_after = 8, 100_000  # more cuts than attempts in a row: each brings something
    assert get(address, tmp_path) == CONTENT
    assert behaviour.asked == [None, *(f"bytes={100_000 * count}-" for count in range(1, 9))]


def test_what_an_earlier_call_left_is_gone_on_with(address: str, behaviour: Behaviour, tmp_path: Path) -> None:
    (tmp_path / "file.zip.part").write_bytes(CONTENT[:777])
    assert get(address, tmp_path) == CONTENT
    assert behaviour.asked == ["bytes=777-"]


@pytest.mark.parametrize("change", [{"ranges": False}, {"says_length": False}])
def test_a_server_without_ranges_or_lengths_sends_all_again(
    address: str, behaviour: Behaviour, tmp_path: Path, change: dict[str, bool]
) -> None:
    for name, value in change.items():
        setattr(behaviour, name, value)
    behaviour.cuts, behaviour.cut_after = 1, 1000
    assert get(address, tmp_path) == CONTENT
    assert len(behaviour.asked) == 2


def test_a_part_that_is_too_long_is_thrown_away(address: str, behaviour: Behaviour, tmp_path: Path) -> None:
    """The server answers 416 to what it cannot continue."""
    behaviour.content = CONTENT[:500]
    (tmp_path / "file.zip.part").write_bytes(bytes(600))
    with pytest.raises(DataError, match=f"has 500 bytes, the known file has {len(CONTENT)}: it is another one"):
        get(address, tmp_path)
    assert behaviour.asked == ["bytes=600-", None]


def test_a_whole_part_needs_no_server(tmp_path: Path) -> None:
    (tmp_path / "file.zip.part").write_bytes(CONTENT)
    assert get("http://127.0.0.1:9/never", tmp_path) == CONTENT


# ------------------------------------------------------------------------------------------------------------ refusing


@pytest.mark.parametrize("content", [CONTENT + b"x", CONTENT[:-1]])
def test_a_file_of_another_size_is_refused_before_it_is_fetched(
    address: str, behaviour: Behaviour, tmp_path: Path, content: bytes
) -> None:
    behaviour.content = content
    with pytest.raises(DataError, match=rf"has {len(content)} bytes, the known file has {len(CONTENT)}"):
        get(address, tmp_path)
    assert not (tmp_path / "file.zip").exists()


def test_a_longer_file_without_a_length_is_stopped(address: str, behaviour: Behaviour, tmp_path: Path) -> None:
    behaviour.content, behaviour.says_length = CONTENT * 3, False
    with pytest.raises(DataError, match="has more than the 1024000 bytes"):
        get(address, tmp_path)


def test_other_bytes_of_the_same_size_are_deleted(address: str, behaviour: Behaviour, tmp_path: Path) -> None:
    behaviour.content = b"?" + CONTENT[1:]
    with pytest.raises(DataError, match=r"sent has sha256 \w{64}, the known file \w{64}. It was deleted"):
        get(address, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_range_that_is_not_the_one_asked_for_is_not_appended(
    address: str, behaviour: Behaviour, tmp_path: Path
) -> None:
    behaviour.wrong_start = True
    (tmp_path / "file.zip.part").write_bytes(CONTENT[:1000])
    with pytest.raises(DataError, match="it is another one"):
        get(address, tmp_path)


def test_a_server_that_recovers_is_asked_again_and_one_that_does_not_is_given_up(
    address: str, behaviour: Behaviour, tmp_path: Path
) -> None:
    behaviour.status, behaviour.failures = 503, 3
    assert get(address, tmp_path) == CONTENT
    (tmp_path / "file.zip").unlink()
    behaviour.failures = 99
    with pytest.raises(DataError, match=r"the server answered 503.*0 of 1024000 bytes are kept.*try again later"):
        get(address, tmp_path)
    assert behaviour.failures == 99 - downloading.ATTEMPTS


def test_what_is_not_there_is_said_at_once(address: str, behaviour: Behaviour, tmp_path: Path) -> None:
    behaviour.status, behaviour.failures = 404, 99
    with pytest.raises(DataError, match=r"the server answered 404\. Give a folder of photos"):
        get(address, tmp_path)
    assert len(behaviour.asked) == 1


def test_no_server_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Could not download http://127.0.0.1:9/.*refused"):
        get("http://127.0.0.1:9/file.zip", tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_full_disk_is_said(address: str, tmp_path: Path) -> None:
    (tmp_path / "file.zip.part").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"Cannot write .*file.zip.part: No space left"):
        get(address, tmp_path)


# ----------------------------------------------------------------------------------------------------------- archives


def archive_of(names: list[str]) -> bytes:
    (picture,) = generated_pictures(1, 48)
    png = io.BytesIO()
    Image.fromarray(picture).save(png, "PNG")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, png.getvalue())
    return file.getvalue()


GOOD = [f"{PLACE}/{number:04}.png" for number in (1, 2, 3)]


def test_div2k_is_downloaded_once_and_found_afterwards(
    address: str, behaviour: Behaviour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    behaviour.content = archive_of(GOOD)
    behaviour.cuts, behaviour.cut_after = 1, 300
    remote = remote_of(address, behaviour.content)
    places = [photo_source(Path("div2k"), Silent(), remote) for _ in range(2)]
    assert places[0] == places[1] == tmp_path / "edgesr" / "data" / "DIV2K"
    assert len(behaviour.asked) == 2, "once, and once more for the rest"
    assert [path.name for path in places[0].iterdir()] == [PLACE], "the archive is deleted"
    assert len(load_photos(places[0], 4, 8).train) == 2
    (tmp_path / "div2k").mkdir()
    assert photo_source(Path("div2k"), Silent(), remote) == Path("div2k"), "a folder of that name comes first"


def test_a_disk_without_room_for_it_is_said_before_the_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match=r"DIV2K needs 2000000.0 GB in .*, where \d"):
        photo_source(Path("div2k"), Silent(), replace(ARCHIVE, bytes=10**15))


@pytest.mark.parametrize(
    "name", [f"{PLACE}/../../evil.png", "/etc/0001.png", f"{PLACE}/a/0001.png", "..\\0001.png", f"{PLACE}/0001.sh"]
)
def test_a_name_that_leads_elsewhere_is_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.zip").write_bytes(archive_of([*GOOD, name]))
    with pytest.raises(DataError, match="is not the archive of DIV2K: it holds"):
        unpack(tmp_path / "in" / "a.zip", tmp_path / "in")
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "a.zip"]


def test_bombs_and_crowds_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(GOOD[0], bytes(33 * 2**20))
    with pytest.raises(DataError, match=r"it holds 'DIV2K_train_HR/0001\.png'"):
        unpack(file, tmp_path)
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(1001):
            archive.writestr(f"{PLACE}/{number:04}.png", b"")
    with pytest.raises(DataError, match="it holds 1001 files"):
        unpack(file, tmp_path)
    assert list(tmp_path.iterdir()) == [file]


def lied_about(content: bytes) -> bytes:
    """The archive says of its first photo that it unpacks to 100 bytes."""
    at = content.index(b"PK\x01\x02")
    content = content[: at + 24] + struct.pack("<I", 100) + content[at + 28 :]
    return content[:22] + struct.pack("<I", 100) + content[26:]


@pytest.mark.parametrize("kind", ["cut", "a byte", "another size", "no zip", "twice"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_damaged_archive_leaves_no_photos(tmp_path: Path, kind: str) -> None:
    content = archive_of([*GOOD, GOOD[0]] if kind == "twice" else GOOD)
    changed = {
        "cut": content[:-40],
        "a byte": content[:200] + bytes([content[200] ^ 255]) + content[201:],
        "another size": lied_about(content),
        "no zip": b"<html>",
        "twice": content,
    }
    (tmp_path / "a.zip").write_bytes(changed[kind])
    with pytest.raises((DataError, OutputError)):
        unpack(tmp_path / "a.zip", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
