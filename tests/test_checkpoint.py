"""Hostile checkpoints: nothing in them is run, and none makes the reader hang or fill the memory."""

import io
import os
import pickle
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from edgesr.errors import WeightsError
from edgesr.models.registry import find
from edgesr.models.weights import load

NAME = "plainusr-u"


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def said_of(path: Path) -> str:
    """The message with which `path` is refused as weights; it always names the file."""
    with pytest.raises(WeightsError) as refused:
        load(NAME, 4, path)
    assert str(path) in str(refused.value)
    return str(refused.value)


class RunsCode:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (os.system, (f"touch {self.marker}",))


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("form", ["archive", "plain pickle", "legacy"])
def test_code_in_a_checkpoint_is_never_run(tmp_path: Path, form: str, protocol: int) -> None:
    marker, path = tmp_path / "ran", tmp_path / "w.pth"
    content = {**find(NAME, 4).forms()["train"].state_dict(), "code": RunsCode(marker)}
    if form == "plain pickle":
        path.write_bytes(pickle.dumps(RunsCode(marker), protocol))
    else:
        torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=form == "archive")
    message = said_of(path)
    assert not marker.exists()
    if (form, protocol) == ("archive", 2):
        assert "holds more than tensors" in message
        assert "system" in message


def test_the_hostile_object_of_these_tests_does_run_code_when_unpickled(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(RunsCode(tmp_path / "ran")))  # noqa: S301
    assert (tmp_path / "ran").exists()


def checkpoint_of(pickled: bytes, path: Path) -> Path:
    """An archive as torch.save writes it, with a pickle of one's own."""
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(4)}, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w") as new:
        for record in old.infolist():
            content = pickled if record.filename.endswith("data.pkl") else old.read(record)
            new.writestr(record.filename, content)
    return path


def doubled(levels: int) -> bytes:
    """A tuple of 2**levels parts in a few bytes: each level holds the one below it twice."""
    return b")q\x00" + b"".join(b"h%c\x86q%c" % (level, level + 1) for level in range(levels))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "pickled",
    [
        pytest.param(b"\x80\x02}" + doubled(60) + b"K\x01s.", id="a key of 2**60 parts"),
        pytest.param(b"\x80\x02" + doubled(60) + b"Q.", id="a storage name of 2**60 parts"),
        pytest.param(b"\x80\x02}" + b")" + b"\x85" * 300_000 + b"K\x01s.", id="a key 300 000 deep"),
        pytest.param(b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.", id="2 GB of zeros"),
        pytest.param(b"\x80\x02ctorch\nTensor\nJ\xff\xff\xff\x7f\x85\x81.", id="a tensor of 8 GB"),
    ],
)
def test_a_small_pickle_that_asks_for_endless_work_is_refused_at_once(tmp_path: Path, pickled: bytes) -> None:
    start = time.monotonic()
    assert "holds more than tensors" in said_of(checkpoint_of(pickled, tmp_path / "w.pth"))
    assert time.monotonic() - start < 10


def test_a_packed_archive_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    buffer, path = io.BytesIO(), tmp_path / "w.pth"
    torch.save({"a": torch.zeros(10**6)}, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for record in old.infolist():
            new.writestr(record.filename, old.read(record))
    assert path.stat().st_size < 10**5
    assert "unpack to more bytes" in said_of(path)


def test_a_tensor_that_claims_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    claimed = torch.zeros(1).expand(10**6, 10**6)  # four bytes in the file, 4 TB when it is worked with
    assert "claim more bytes" in said_of(saved({"a": claimed}, tmp_path / "w.pth"))


def test_sparse_tensors_are_refused(tmp_path: Path) -> None:
    sparse = torch.sparse_coo_tensor(
        torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1), (10**9,), check_invariants=True
    )
    assert "holds more than tensors" in said_of(saved({"a": sparse}, tmp_path / "w.pth"))


def test_names_from_a_file_are_cut_and_made_harmless(tmp_path: Path) -> None:
    name = "\x1b[2J" + "x" * 10_000
    message = said_of(saved(OrderedDict({name: torch.zeros(3)}), tmp_path / "w.pth"))
    assert "\x1b" not in message
    assert len(message) < 1000
