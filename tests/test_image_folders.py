"""Files and folders of photos: what is taken, where outputs go, what is left out."""

from pathlib import Path

import pytest

from edgesr.errors import ImageError, Unsupported, UsageError
from edgesr.images import expand_inputs, left_out
from edgesr.upscale import plan_outputs


def tree(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def outputs(pairs: list[tuple[Path, Path]]) -> list[str]:
    return [output.as_posix() for _, output in pairs]


def test_folders_keep_their_tree_and_junk_is_skipped(tmp_path: Path) -> None:
    tree(tmp_path, "b.JPG", "a/deep/c.png", "a/d.webp", "e.gif", "notes.txt", "Thumbs.db", ".DS_Store", "._b.jpg")
    tree(tmp_path, ".git/x.png", "__MACOSX/b.jpg", "@eaDir/b.jpg", "a/.hidden.png", "f.tiff", "g.bmp", "h")
    pairs = expand_inputs([tmp_path])
    assert outputs(pairs) == ["a/d.webp", "a/deep/c.png", "b.JPG", "e.png", "f.tiff", "g.bmp"]
    assert pairs[1][0] == tmp_path / "a" / "deep" / "c.png"


def test_files_given_by_name_keep_their_name_and_are_not_judged(tmp_path: Path) -> None:
    tree(tmp_path, "x/.hidden.png", "x/photo", "x/b.jpg")
    pairs = expand_inputs([tmp_path / "x" / ".hidden.png", tmp_path / "x" / "photo", str(tmp_path / "x" / "b.jpg")])
    assert outputs(pairs) == [".hidden.png", "b.jpg", "photo.png"]


def test_suffix_of_the_outputs_can_be_chosen(tmp_path: Path) -> None:
    tree(tmp_path, "a/b.jpg", "c.name.png")
    assert outputs(expand_inputs([tmp_path], suffix=".webp")) == ["a/b.webp", "c.name.webp"]
    with pytest.raises(Unsupported, match="suffix 'png'"):
        expand_inputs([tmp_path], suffix="png")


@pytest.mark.parametrize(
    ("names", "suffix"),
    [
        (("1/a.png", "2/a.png"), None),
        (("1/a.png", "2/A.PNG"), None),
        (("1/a.jpg", "2/a.png"), ".png"),
        (("1/a.gif", "2/a.png"), None),
    ],
)
def test_two_inputs_for_one_output_are_named(tmp_path: Path, names: tuple[str, ...], suffix: str | None) -> None:
    tree(tmp_path, *names)
    with pytest.raises(UsageError) as caught:
        expand_inputs([tmp_path / "1", tmp_path / "2"], suffix=suffix)
    assert all(str(tmp_path / name) in str(caught.value) for name in names), caught.value


def test_an_input_given_twice_is_one_input(tmp_path: Path) -> None:
    tree(tmp_path, "a.png")
    assert outputs(expand_inputs([tmp_path, tmp_path / "a.png", tmp_path])) == ["a.png"]


def test_outputs_beside_their_inputs_collide_only_where_they_would(tmp_path: Path) -> None:
    tree(tmp_path, "1/a.png", "2/a.png", "1/a.jpg")
    planned = plan_outputs([tmp_path / "1", tmp_path / "2"], None, 4, None)
    assert outputs(planned) == [(tmp_path / name).as_posix() for name in ("1/a_x4.jpg", "1/a_x4.png", "2/a_x4.png")]
    with pytest.raises(UsageError, match="would both be written to"):
        plan_outputs([tmp_path / "1"], None, 4, ".png")


@pytest.mark.parametrize("out", [None, "results"])
def test_outputs_of_a_run_before_are_no_inputs(tmp_path: Path, out: str | None) -> None:
    tree(tmp_path, "a.png", "b.png")
    folder = None if out is None else tmp_path / out
    first = plan_outputs([tmp_path], folder, 4, None)
    tree(tmp_path, *(output.relative_to(tmp_path).as_posix() for _, output in first))
    assert plan_outputs([tmp_path], folder, 4, None) == first
    made = first[0][1]
    again = [tmp_path / "a.png", made] if out is None else [made]
    with pytest.raises(UsageError, match="would overwrite an input"):
        plan_outputs(again, folder, 4, None)


def test_missing_and_empty_inputs_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no file or folder"):
        expand_inputs([tmp_path / "nowhere"])
    with pytest.raises(ImageError, match=r"No image in .*Looked for: \.png"):
        expand_inputs([tmp_path])
    with pytest.raises(ImageError, match="empty list"):
        expand_inputs([])


def test_photos_of_kinds_that_are_not_read_are_counted(tmp_path: Path) -> None:
    tree(tmp_path, "a.HEIC", "deep/b.heic", "deep/c.avif", ".hidden/d.heic", "notes.txt")
    with pytest.raises(ImageError, match=r"Left out, since such files are not read: 1 \.avif, 2 \.heic\. Export"):
        expand_inputs([tmp_path])
    assert left_out([tmp_path / "a.HEIC"]) == ""
