"""Measurements of apps, filed."""

import json
from pathlib import Path

import pytest
from small_runs import Made, records_of, write

from edgesr.bench import records
from edgesr.bench.importing import take
from edgesr.bench.names import file_name
from edgesr.bench.runs import load
from edgesr.errors import DataError, OutputError

PHONE = Made(name="net_x4_coreml_int8", device="a phone")
OTHER = Made(name="net_x4_coreml_fp16", device="a phone", seed=1)


def exported(folder: Path, *made: Made) -> Path:
    """One file with all runs, as an app writes it: other spaces, other order of keys."""
    lines = [line for each in made for line in write(folder / "made", each).read_text().splitlines()]
    file = folder / "export.jsonl"
    file.write_text(
        "".join(json.dumps(json.loads(line), sort_keys=True, separators=(",", ":")) + "\r\n" for line in lines)
    )
    return file


def state(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_run_of_a_file_is_filed_under_its_device(tmp_path: Path) -> None:
    found = take(exported(tmp_path, PHONE, OTHER), tmp_path / "runs")
    assert [path.relative_to(tmp_path / "runs").as_posix() for path in found] == [
        "a-phone/net-x4-coreml-int8-a-phone-2-quick.jsonl",
        "a-phone/net-x4-coreml-fp16-a-phone-2-quick.jsonl",
    ]
    assert [records.read(path) for path in found] == [records_of(PHONE), records_of(OTHER)]
    assert len(load([tmp_path / "runs"]).runs) == 2


def test_taking_again_changes_nothing(tmp_path: Path) -> None:
    file, runs = exported(tmp_path, PHONE, OTHER), tmp_path / "runs"
    first = take(file, runs)
    before = state(runs)
    times = [path.stat().st_mtime_ns for path in first]
    assert take(file, runs) == first
    assert state(runs) == before
    assert [path.stat().st_mtime_ns for path in first] == times


def test_a_run_that_was_gone_on_with_replaces_its_beginning_and_not_the_other_way(tmp_path: Path) -> None:
    whole = exported(tmp_path, PHONE)
    lines = whole.read_text().splitlines(keepends=True)
    early = tmp_path / "early.jsonl"
    early.write_text("".join(lines[:-3]))
    (place,) = take(early, tmp_path / "runs")
    assert len(records.read(place)) == len(lines) - 3
    take(whole, tmp_path / "runs")
    assert records.read(place) == records_of(PHONE)
    take(early, tmp_path / "runs")
    assert records.read(place) == records_of(PHONE)


def test_nothing_is_taken_of_a_file_with_another_version_of_a_run(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    take(exported(tmp_path, PHONE), runs)
    before = state(runs)
    changed = exported(tmp_path, OTHER, Made(name=PHONE.name, device=PHONE.device, seed=77))
    with pytest.raises(DataError, match=r"another version of\. Nothing was taken"):
        take(changed, runs)
    assert state(runs) == before


def test_a_damaged_file_is_refused_whole(tmp_path: Path) -> None:
    file = exported(tmp_path, PHONE, OTHER)
    file.write_text(file.read_text().replace('"peak_mb":120.0', '"peak_mb":"much"'))
    with pytest.raises(DataError, match="peak_mb"):
        take(file, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "large.jsonl"
    with file.open("wb") as stream:
        stream.truncate(records.MAX_FILE_BYTES + 1)
    with pytest.raises(DataError, match="larger than 256 MiB"):
        take(file, tmp_path / "runs")


@pytest.mark.parametrize(
    "name", ["../../etc", "/etc/passwd", "..", "", ".hidden", "a\\..\\b", "x" * 5000, "\u6f22" * 500, "a\nb", "\0"]
)
def test_names_from_outside_stay_within_the_folder(tmp_path: Path, name: str) -> None:
    file = exported(tmp_path, PHONE)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[0]["run"] = lines[0]["where"]["name"] = name
    file.write_text("\n".join(map(json.dumps, lines)))
    (place,) = take(file, tmp_path / "runs")
    assert place.resolve().parent.parent == (tmp_path / "runs").resolve()
    assert place.exists()
    assert not place.name.startswith(".")


def test_names_of_files_keep_what_can_be_read() -> None:
    assert file_name("Pixel 7 (Müller)", "device") == "Pixel-7--Müller-"
    assert file_name("...", "device") == "device"


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(OutputError, match="Choose another folder"):
        take(exported(tmp_path, PHONE), tmp_path / "runs")
