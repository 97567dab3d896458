"""Files that are old or new, never half."""

import threading
from pathlib import Path

import pytest

from edgesr.errors import OutputError
from edgesr.whole_file import write_whole


def test_of_two_writers_at_once_each_leaves_a_whole_file(tmp_path: Path) -> None:
    """The second begins when the first has written half, and ends first."""
    file, half, go_on = tmp_path / "file", threading.Event(), threading.Event()
    seen: list[bytes] = []

    def slowly(temporary: Path) -> None:
        with temporary.open("wb") as stream:
            stream.write(b"a" * 500)
            stream.flush()
            half.set()
            assert go_on.wait(30)
            stream.write(b"a" * 500)

    first = threading.Thread(target=write_whole, args=(file, slowly, "Wait."))
    first.start()
    assert half.wait(30)
    write_whole(file, lambda temporary: temporary.write_bytes(b"b" * 800), "Wait.")
    seen.append(file.read_bytes())
    go_on.set()
    first.join(30)
    seen.append(file.read_bytes())
    assert seen == [b"b" * 800, b"a" * 1000]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"Cannot write .*file: No space left on device. Make room."):
        write_whole(file, fail, "Make room.")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert file.read_text() == "old"
