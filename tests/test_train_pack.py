"""Packed photos: decoded once, mapped into memory, whole or refused; and the batches drawn from them ahead."""

import resource
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_train import RECIPE_8, SPEC, assert_equal_bits, ignore, write_photos

from edgesr.cli import main
from edgesr.errors import DataError, OutputError
from edgesr.train.batches import Batches
from edgesr.train.loop import train
from edgesr.train.machine import Machine
from edgesr.train.pack import open_pack
from edgesr.train.pairs import Pair
from edgesr.train.photos import Batch, Photos, draw_batch, load_photos, random_batch


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = write_photos(tmp_path_factory.mktemp("photos"), 4)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    return folder


@pytest.fixture(scope="module")
def photos(data: Path) -> Photos:
    return load_photos(data, 4, 8)


@pytest.fixture
def pack(data: Path, tmp_path: Path) -> Path:
    main(["pack", str(data), "-o", str(tmp_path / "photos.pack"), "--patch", "8"])
    return tmp_path / "photos.pack"


def names_of(photos: Photos) -> list[str]:
    return [pair.name for pair in (*photos.train, *photos.held_out)]


def assert_same_photos(found: Photos, expected: Photos) -> None:
    assert (found.fingerprint, found.skipped) == (expected.fingerprint, expected.skipped)
    assert names_of(found) == names_of(expected)
    for one, other in zip(found.train, expected.train, strict=True):
        np.testing.assert_array_equal(one.low, other.low)
        np.testing.assert_array_equal(one.high, other.high)


# ------------------------------------------------------------------------------------------------------------- a file


def test_a_packed_file_holds_what_the_folder_holds(pack: Path, photos: Photos) -> None:
    assert_same_photos(load_photos(pack, 4, 8), photos)
    assert isinstance(load_photos(pack, 4, 8).train[0].high.base, np.memmap)
    assert len(photos.skipped) == 1


def test_packing_says_what_it_skipped(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["pack", str(data), "-o", str(tmp_path / "p"), "--patch", "8"])
    out, said = capsys.readouterr()
    assert out == f"{tmp_path / 'p'}\n"
    assert "Skipped 1 unreadable photos: " in said
    assert "broken.jpg" in said


def test_a_limit_cuts_every_photo_to_a_centre_of_equal_size(data: Path, tmp_path: Path) -> None:
    main(["pack", str(data), "-o", str(tmp_path / "p"), "--patch", "8", "--limit-mb", "0.03"])
    found = load_photos(tmp_path / "p", 4, 8)
    whole = load_photos(data, 4, 8)
    assert (tmp_path / "p").stat().st_size < 30_000 + 2_000
    assert len(found.train) == len(whole.train)
    side = found.train[0].low.shape[0]
    assert 8 <= side < 12
    for one, other in zip(found.train, whole.train, strict=True):
        top = (12 - side) // 2
        np.testing.assert_array_equal(one.low, other.low[top : top + side, top : top + side])
        np.testing.assert_array_equal(one.high, other.high[4 * top :, 4 * top :][: 4 * side, : 4 * side])


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--limit-mb", "0.001"), 10, "5 photos do not fit into 0.0 MB with a patch of 8 px from each"),
        (("--patch", "99"), 10, "of which 0 are at least 396 px"),
        (("--scale", "0"), 2, "--scale must be in 1..16"),
        (("--limit-mb", "0"), 2, "--limit-mb"),
    ],
)
def test_photos_that_cannot_be_packed_leave_no_file(
    data: Path, tmp_path: Path, options: tuple[str, ...], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["pack", str(data), "-o", str(tmp_path / "p"), "--patch", "8", *options])
    assert ended.value.code == code
    assert words in capsys.readouterr().err.replace("\n", " ")
    assert list(tmp_path.iterdir()) == []


def damages() -> dict[str, Callable[[bytes], bytes]]:
    return {
        "empty": lambda content: b"",
        "short": lambda content: content[:9],
        "cut": lambda content: content[: len(content) // 2],
        "a pixel": lambda content: bytes([content[0] ^ 1]) + content[1:],
        "the table": lambda content: content.replace(b'"height":48', b'"height":44'),
        "more sides": lambda content: content.replace(b'"height":48', b'"height":-4'),
        "other scale": lambda content: content.replace(b'"scale":4', b'"scale":5'),
        "no table": lambda content: content.replace(b'{"scale"', b'["scale"'),
        "deep table": lambda content: content[:-16] + b"[" * 99_999 + content[-16:],
        "a place outside": lambda content: content[:-16] + b"\xff" * 8 + content[-8:],
        "a photo": lambda content: b"\x89PNG" + bytes(99),
    }


@pytest.mark.parametrize("kind", damages())
def test_a_damaged_pack_is_refused_in_words(pack: Path, kind: str) -> None:
    content = damages()[kind](pack.read_bytes())
    assert content != pack.read_bytes()
    pack.write_bytes(content)
    with pytest.raises(DataError, match=r"is damaged: .*edgesr pack|is no file of packed photos|not x4") as refused:
        load_photos(pack, 4, 8)
    assert "\n" not in str(refused.value)


def test_a_pack_of_another_scale_or_of_too_small_photos_is_refused(pack: Path) -> None:
    with pytest.raises(DataError, match=r"holds photos for x4, not x2. Pack them again with --scale 2"):
        load_photos(pack, 2, 8)
    with pytest.raises(DataError, match=r"holds 5 photos .*of which 0 are at least 52 px"):
        load_photos(pack, 4, 13)


def test_a_run_goes_on_from_a_folder_to_its_pack(data: Path, tmp_path: Path, pack: Path) -> None:
    run = tmp_path / "run"
    options = ["--batch", "1", "--patch", "8", "--steps", "1", "--threads", "1", "--run", str(run)]
    for source in (data, pack):
        main(["train", SPEC.name, "--data", str(source), *options])
    assert len((run / "log.jsonl").read_text().splitlines()) == 1, "the second found the run finished"


# ---------------------------------------------------------------------------------------------------------- the cache


def test_a_folder_is_decoded_once_and_again_when_a_file_changed(data: Path, tmp_path: Path) -> None:
    folder, cache = tmp_path / "photos", tmp_path / "cache"
    shutil.copytree(data, folder)
    decoded: list[int] = []

    def load() -> Photos:
        return load_photos(folder, 4, 8, lambda done, total: decoded.append(done), cache)

    first = load()
    assert_same_photos(first, load_photos(folder, 4, 8))
    assert len(decoded) == 5
    assert_same_photos(load(), first)
    assert len(decoded) == 5, "from the cache"
    Image.fromarray(np.full((48, 48, 3), 9, np.uint8)).save(folder / "01.png")
    changed = load()
    assert (len(decoded), len(list(cache.iterdir()))) == (10, 1)
    assert changed.fingerprint == load_photos(folder, 4, 8).fingerprint != first.fingerprint
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[:-30])
    assert_same_photos(load(), changed)
    assert len(decoded) == 15, "what was cut is made again"


def test_a_full_disk_leaves_no_half_cache_and_says_the_option(data: Path, tmp_path: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limit[1]))  # as a full disk: no byte beyond it can be written
    try:
        with pytest.raises(OutputError, match=r"Cannot write .*\.pack: .*--cache"):
            load_photos(data, 4, 8, cache=tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert list((tmp_path / "cache").iterdir()) == []


def test_photos_in_the_layout_of_div2k_and_flickr2k_are_their_training_images_alone(data: Path, tmp_path: Path) -> None:
    for place in ("DIV2K_train_HR", "DIV2K_valid_HR", "DIV2K_train_LR_bicubic/X4", "Flickr2K/Flickr2K_HR"):
        (tmp_path / place).mkdir(parents=True)
        shutil.copy(data / "00.png", tmp_path / place / f"{place.replace('/', '-')}.png")
    found = load_photos(tmp_path, 4, 8)
    assert names_of(found) == ["DIV2K_train_HR.png", "Flickr2K-Flickr2K_HR.png"]


# -------------------------------------------------------------------------------------------------------------- ahead


def test_the_same_draws_as_ever() -> None:
    """What step 3 of seed 7 has drawn since the first release: a run of then must go on with the same patches."""
    rows, columns = np.mgrid[:20, :24]
    highs = [np.stack([4 * rows + index, 4 * columns, rows ^ columns], axis=-1).astype(np.uint8) for index in range(2)]
    pairs = tuple(Pair("", high[::4, ::4], high) for high in highs)
    low, high = random_batch(pairs, 3, 2, (7, 3))
    assert (low[:, :, 0, 0] * 255).round().int().tolist() == [[17, 32, 12], [1, 48, 12]]
    assert (high[:, :, 5, 7] * 255).round().int().tolist() == [[37, 16, 13], [21, 32, 13]]


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_no_bit(photos: Photos, tmp_path: Path, workers: int) -> None:
    alone = train(SPEC, RECIPE_8, photos, tmp_path / "alone", ignore)
    found = train(SPEC, RECIPE_8, photos, tmp_path / "ahead", ignore, machine=Machine(workers=workers))
    assert_equal_bits(found, alone)


def test_batches_are_drawn_ahead_and_no_further_than_the_last_step(photos: Photos) -> None:
    drawn: list[int] = []

    def draw(step: int) -> Batch:
        drawn.append(step)
        return draw_batch(photos.train, 8, 2, (0, step))

    with Batches(draw, steps=4, workers=1, samples=1) as batches:
        for step in range(4):
            assert torch.equal(batches.at(step).low, draw_batch(photos.train, 8, 2, (0, step)).low)
    assert drawn == [0, 1, 2, 3]


def test_a_run_that_goes_back_gets_the_batches_of_the_steps_it_does_again(photos: Photos) -> None:
    with Batches(lambda step: draw_batch(photos.train, 8, 1, (0, step)), steps=9, workers=2, samples=1) as batches:
        order = [0, 1, 2, 3, 1, 2, 3, 4, 0, 8]
        found = [batches.at(step).high for step in order]
    expected = [draw_batch(photos.train, 8, 1, (0, step)).high for step in order]
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_what_a_worker_raises_reaches_the_step_and_no_thread_is_left() -> None:
    def draw(step: int) -> Batch:
        raise DataError(f"no batch {step}")

    with pytest.raises(DataError, match="no batch 0"), Batches(draw, 5, 2, 1) as batches:
        batches.at(0)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("patches")] == []


def test_the_loader_tells_its_speed_and_how_long_it_was_waited_for(photos: Photos) -> None:
    with Batches(lambda step: draw_batch(photos.train, 8, 4, (0, step)), steps=20, workers=0, samples=4) as batches:
        for step in range(20):
            batches.at(step)
        speed = batches.speed()
    assert speed.samples_per_second > 0
    assert 0.5 < speed.waited <= 1, "nothing else was done"


def test_a_share_of_a_batch_is_cut_from_the_whole(photos: Photos) -> None:
    for degradation in ("bicubic", "real-world"):
        whole = draw_batch(photos.train, 8, 6, (1, 2), degradation)
        parts = [draw_batch(photos.train, 8, 6, (1, 2), degradation, slice(at, at + 3)) for at in (0, 3)]
        assert torch.equal(torch.cat([part.low for part in parts]), whole.low)
        assert torch.equal(torch.cat([part.high for part in parts]), whole.high)


def test_open_pack_tells_how_far_it_is(pack: Path) -> None:
    told: list[tuple[int, int]] = []
    open_pack(pack, 4, lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] > 0
