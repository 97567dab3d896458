"""Artifact folders: whole or not there, and manifests that are read only if they are what they should be."""

import errno
import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from edgesr.artifact import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    FileEntry,
    Manifest,
    Proof,
    SetQuality,
    WeightsEntry,
    building,
    file_entries,
    latest,
    read_manifest,
    write_manifest,
)
from edgesr.errors import ArtifactError, OutputError, QualityError
from edgesr.types import Request, TensorSpec

QUALITY = SetQuality("Set5", 5, "paper-y", 30.1, 30.25, 0.15, "bird", 0.31)
FULL = Manifest(
    slug="bsrn-s_x4_openvino_int8_64x48+128x96",
    request=Request("bsrn-s", 4, "openvino", "int8", ((64, 48), (128, 96))),
    scale=4,
    main="model.xml",
    files=(FileEntry("model.bin", "0" * 64, 10), FileEntry("model.xml", "1" * 64, 20)),
    inputs=(TensorSpec("image", (1, 3, "height", "width"), "float32"),),
    outputs=(TensorSpec("upscaled", (1, 3, 256, 192), "float32", value_range=(0.0, 255.0), colour="BGR"),),
    min_side_px=15,
    halo_px=32,
    peak_bytes_per_px=2304,
    weights=WeightsEntry("official", "net_g.pth", "2" * 64),
    toolchain={"edgesr": "0.1.0", "openvino": "2026.1"},
    runtime_options={"INFERENCE_PRECISION_HINT": "f32"},
    notes=("naïve – “quoted”", "二"),
    calibration={"source": "10 images", "crops": 10, "fingerprint": "3" * 64},
    recipe={"layers": {"head": {"weight_bits": 8, "ranges": [0.5, None]}}},
    proof=Proof(3, 41.5, None, (QUALITY,), {"openvino": "2026.1"}, 0.125),
)
PLAIN = replace(FULL, calibration=None, recipe=None, proof=None, notes=(), runtime_options={})


def content_of(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def make(place: Path, text: str) -> None:
    with building(place) as folder:
        (folder / "model.bin").write_text(text)


# ------------------------------------------------------------------------------------------------- whole or not there


def test_an_artifact_appears_when_it_is_whole(tmp_path: Path) -> None:
    place = tmp_path / "new" / "out" / "slug"
    with building(place) as folder:
        (folder / "model.bin").write_text("new")
        assert not place.exists()
        assert folder.parent == place.parent, "a rename is only atomic within one file system"
    assert content_of(tmp_path) == {"new/out/slug/model.bin": "new"}
    assert os.listdir(place.parent) == ["slug"]
    assert place.stat().st_mode & 0o555 == 0o555, "others may read it"


@pytest.mark.parametrize(
    "error", [QualityError("too bad"), RuntimeError("a defect"), KeyboardInterrupt(), SystemExit(1)]
)
@pytest.mark.parametrize("old", [False, True])
def test_nothing_is_left_of_one_that_fails_and_an_older_one_stays(
    tmp_path: Path, error: BaseException, old: bool
) -> None:
    if old:
        make(tmp_path / "slug", "old")

    def fail() -> None:
        with building(tmp_path / "slug") as folder:
            (folder / "model.bin").write_text("new")
            raise error

    with pytest.raises(type(error)) as raised:
        fail()
    assert raised.value is error
    assert content_of(tmp_path) == ({"slug/model.bin": "old"} if old else {})
    assert os.listdir(tmp_path) == (["slug"] if old else [])


def test_an_older_artifact_is_replaced_only_at_the_end(tmp_path: Path) -> None:
    place = tmp_path / "slug"
    with building(place) as folder:
        (folder / "model.bin").write_text("old")
        (folder / "left-over").write_text("old")
    with building(place) as folder:
        (folder / "model.bin").write_text("new")
        assert content_of(place) == {"model.bin": "old", "left-over": "old"}
    assert content_of(tmp_path) == {"slug/model.bin": "new"}


def test_what_a_crash_left_behind_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".slug.old").mkdir()
    (tmp_path / ".slug.old" / "model.bin").write_text("older")
    make(tmp_path / "slug", "old")
    make(tmp_path / "slug", "new")
    assert content_of(tmp_path) == {"slug/model.bin": "new"}


def test_two_builds_of_one_artifact_do_not_mix(tmp_path: Path) -> None:
    with building(tmp_path / "slug") as one:
        make(tmp_path / "slug", "two")
        (one / "other.bin").write_text("one")
    assert content_of(tmp_path) == {"slug/other.bin": "one"}


def test_a_full_disk_is_an_output_error_and_keeps_the_older_artifact(tmp_path: Path) -> None:
    make(tmp_path / "slug", "old")
    with pytest.raises(OutputError, match=r"slug: No space left on device\. .*-o"), building(tmp_path / "slug"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "model.bin")
    assert content_of(tmp_path) == {"slug/model.bin": "old"}
    elsewhere = "/tmp-of-another-disk/edgesr-1/job"
    with pytest.raises(OutputError, match=f"Cannot write {elsewhere}: No space"), building(tmp_path / "slug"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), elsewhere)
    with pytest.raises(BrokenPipeError), building(tmp_path / "slug"):  # whoever read what was printed has gone
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def test_an_older_artifact_comes_back_when_the_new_one_cannot_take_its_place(tmp_path: Path) -> None:
    make(tmp_path / "slug", "old")
    with pytest.raises(OutputError), building(tmp_path / "slug") as folder:
        folder.rename(tmp_path / "stolen")  # the last rename has nothing to move
    assert content_of(tmp_path / "slug") == {"model.bin": "old"}


@pytest.mark.parametrize("place", ["file/slug", "file/deeper/slug", "file"])
def test_a_place_that_cannot_be_written_is_said_before_any_work(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("keep me")
    with pytest.raises(OutputError, match=r"Cannot write .*file.*-o"), building(tmp_path / place):
        pytest.fail("work was begun")
    assert content_of(tmp_path) == {"file": "keep me"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into a read-only folder")
def test_a_read_only_folder_is_said_before_any_work(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(OutputError, match="Permission denied"), building(tmp_path / "slug"):
            pytest.fail("work was begun")
    finally:
        tmp_path.chmod(0o755)


# ---------------------------------------------------------------------------------------------------------- manifests


@pytest.mark.parametrize("manifest", [FULL, PLAIN], ids=["full", "plain"])
def test_a_manifest_comes_back_as_it_was(tmp_path: Path, manifest: Manifest) -> None:
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    assert os.listdir(tmp_path) == [MANIFEST]


def test_a_proof_written_before_colour_was_measured_can_be_read(tmp_path: Path) -> None:
    write_manifest(tmp_path, FULL)
    raw = json.loads((tmp_path / MANIFEST).read_text())
    del raw["proof"]["colour_shift_255"]
    (tmp_path / MANIFEST).write_text(json.dumps(raw))
    assert FULL.proof is not None
    assert read_manifest(tmp_path).proof == replace(FULL.proof, colour_shift_255=None)


def test_equal_manifests_are_equal_bytes_whatever_the_order(tmp_path: Path) -> None:
    write_manifest(tmp_path, FULL)
    first = (tmp_path / MANIFEST).read_bytes()
    write_manifest(tmp_path, replace(FULL, toolchain=dict(reversed(FULL.toolchain.items()))))
    assert (tmp_path / MANIFEST).read_bytes() == first


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_manifest_that_json_cannot_hold_is_not_written(tmp_path: Path, value: float) -> None:
    write_manifest(tmp_path, FULL)
    before = content_of(tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        write_manifest(tmp_path, replace(FULL, proof=Proof(0, value, None, (), {})))
    assert content_of(tmp_path) == before


def test_files_are_listed_with_their_hashes_but_without_the_manifest(tmp_path: Path) -> None:
    for name in (MANIFEST, "b.bin", "a/c.bin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert file_entries(tmp_path) == (FileEntry("a/c.bin", digest, 3), FileEntry("b.bin", digest, 3))


def refusal(folder: Path, content: bytes) -> str:
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(ArtifactError) as refused:
        read_manifest(folder)
    assert str(folder) in str(refused.value)
    assert len(str(refused.value)) < 1000
    return str(refused.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not JSON",
        b'{"schema": 1',
        b"\xff\xfe\xfa",
        b'{"slug": "\xe9"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 10_000,
        b'{"schema": NaN}',
    ],
    ids=["empty", "text", "cut", "binary", "latin-1", "nested lists", "nested objects", "a huge number", "NaN"],
)
def test_what_is_not_json_is_said(tmp_path: Path, content: bytes) -> None:
    assert "not valid JSON" in refusal(tmp_path, content)


@pytest.mark.parametrize("content", [b"[]", b"null", b"3", b'"text"', b"{}", b'{"schema": 2}', b'{"schema": "1"}'])
def test_another_schema_is_said(tmp_path: Path, content: bytes) -> None:
    assert "this edgesr reads schema 1" in refusal(tmp_path, content)


def test_a_huge_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    assert "larger than" in refusal(tmp_path, b" " * (MAX_MANIFEST_BYTES + 1))


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero, a file without an end")
def test_a_manifest_without_an_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).symlink_to("/dev/zero")
    with pytest.raises(ArtifactError, match="larger than"):
        read_manifest(tmp_path)


def test_a_folder_without_a_manifest_is_no_artifact(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ArtifactError, match=f"{folder} is not an artifact"):
            read_manifest(folder)
    (tmp_path / MANIFEST).mkdir()
    with pytest.raises(ArtifactError, match="not an artifact"):
        read_manifest(tmp_path)


REQUIRED = ("slug", "request", "scale", "main", "files", "inputs", "outputs", "min_side_px", "halo_px", "weights")


@pytest.mark.parametrize("field", REQUIRED)
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    raw = asdict(FULL)
    del raw[field]
    message = refusal(tmp_path, json.dumps(raw).encode())
    assert f"field '{field}'" in message
    assert "required" in message


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("scale", "four", "scale"),
        ("scale", [4], "scale"),
        ("files", {"a": 1}, "files"),
        ("files", [{"name": "a", "sha256": 3, "bytes": 1}], "files.0.sha256"),
        ("request", {**asdict(FULL.request), "precision": "int4"}, "request.precision"),
        ("request", {**asdict(FULL.request), "sizes": [[1, 2, 3]]}, "request.sizes.0"),
        ("inputs", [{"name": "x"}], "inputs.0.shape"),
        ("proof", {"parity_max_abs": 1}, "proof."),
        ("weights", None, "weights"),
        ("notes", "text", "notes"),
        ("calibration", [1], "calibration"),
        ("toolchain", {"edgesr": {}}, "toolchain.edgesr"),
        ("halo_px", -1, "halo_px"),
        ("multiple_px", 0, "multiple_px"),
        ("min_side_px", 0, "min_side_px"),
        ("scale", 0, "scale"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, field: str, value: Any, named: str) -> None:
    assert f"field '{named}" in refusal(tmp_path, json.dumps({**asdict(FULL), field: value}).encode())


# ------------------------------------------------------------------------------------------------------------- latest


def test_the_latest_artifact_is_the_one_converted_last(tmp_path: Path) -> None:
    for age, name in enumerate(("b", "c", "a")):
        (tmp_path / name).mkdir()
        write_manifest(tmp_path / name, PLAIN)
        os.utime(tmp_path / name / MANIFEST, (1000 + age, 1000 + age))
    assert latest(tmp_path).name == "a"


def test_a_half_made_artifact_is_never_the_latest(tmp_path: Path) -> None:
    make_whole = tmp_path / "whole"
    with building(make_whole) as folder:
        write_manifest(folder, PLAIN)
    with building(tmp_path / "half") as folder:
        write_manifest(folder, PLAIN)
        assert latest(tmp_path) == make_whole


@pytest.mark.parametrize("name", [".", "none"])
def test_without_artifacts_the_error_says_how_to_make_one(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match="edgesr convert"):
        latest(tmp_path / name)
