"""Losses, schedules and degradations that a recipe names; curves that a run leaves."""

import json
import struct
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_train import RECIPE_8, SPEC, assert_equal_bits, ignore, interrupt_at, write_photos

from edgesr.cli import main
from edgesr.datasets import generated_pictures
from edgesr.errors import UsageError
from edgesr.models.registry import find
from edgesr.resize import downscale
from edgesr.train.curves import Events, draw_curve
from edgesr.train.degradation import _blurred, real_world
from edgesr.train.loop import Progress, train
from edgesr.train.losses import LOSSES, frequency_l1
from edgesr.train.photos import Photos, degraded, draw_batch, load_photos
from edgesr.train.run_folder import RECIPE, read_log
from edgesr.train.schedule import learning_rate


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def photos(data: Path) -> Photos:
    return load_photos(data, 4, 8)


# ------------------------------------------------------------------------------------------------ losses and schedule


def test_every_loss_is_nothing_for_equal_images_and_grows_with_the_difference() -> None:
    image, other = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    for loss in LOSSES.values():
        assert loss(image, image) == 0
        assert 0 < loss(image, torch.lerp(image, other, 0.5)) < loss(image, other)


def test_the_frequency_loss_is_that_of_the_whole_spectrum() -> None:
    difference = torch.rand(1, 1, 6, 8)
    spectrum = np.fft.rfft2(difference.numpy().astype(np.float64), norm="ortho")
    expected = np.stack([spectrum.real, spectrum.imag]).__abs__().mean()
    assert frequency_l1(difference, torch.zeros(1, 1, 6, 8)).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("finish", ["l2", "fft"])
def test_the_last_steps_have_the_finish_loss(photos: Photos, tmp_path: Path, finish: str) -> None:
    recipe = replace(RECIPE_8, save_every=1, finish_loss=finish, finish_steps=3)
    assert [recipe.loss_at(step) for step in range(8)] == ["l1"] * 5 + [finish] * 3
    train(SPEC, recipe, photos, tmp_path / "finish", ignore)
    train(SPEC, replace(RECIPE_8, save_every=1), photos, tmp_path / "l1", ignore)
    with_finish, without = (read_log(tmp_path / name) for name in ("finish", "l1"))
    assert with_finish[:5] == without[:5]
    ratios = [one["loss"] / other["loss"] for one, other in zip(with_finish[5:], without[5:], strict=True)]
    assert all(ratio < 0.8 for ratio in ratios), ratios


def test_multi_step_halves_four_times() -> None:
    recipe = replace(RECIPE_8, steps=100, warmup_steps=10, schedule="multi-step", learning_rate=1.0)
    rates = [learning_rate(recipe, step) for step in (0, 9, 10, 49, 50, 79, 80, 89, 90, 94, 95, 99)]
    assert rates == [0.1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625, 0.0625]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--finish-steps", "3"), "finish_steps is 3, but there is no finish_loss. Add --finish-loss l2 or fft"),
        (("--finish-loss", "l2"), "finish_loss is l2, but for no step. Add --finish-steps N"),
        (("--schedule", "cosin"), "schedule must be one of cosine, multi-step, got 'cosin'"),
        (("--degradation", "jpeg"), "degradation must be one of bicubic, real-world, got 'jpeg'"),
        (("--learning-rate", "1e-7"), "Give --final-learning-rate"),
    ],
)
def test_choices_that_do_not_exist_are_refused(
    options: tuple[str, ...], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", SPEC.name, "--data", str(tmp_path), "--run", str(tmp_path / "run"), *options])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_recipe_is_printed_and_saved(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--steps", "4", "--batch", "1", "--patch", "8", "--finish-loss", "fft", "--finish-steps", "2"]
    run = tmp_path / "run"
    options += ["--degradation", "real-world", "--schedule", "multi-step", "--device", "cpu"]
    main(["train", SPEC.name, "--data", str(data), "--run", str(run), *options])
    said = capsys.readouterr().err
    assert "schedule multi-step, finish_loss fft, finish_steps 2, degradation real-world, max_rollbacks 3" in said
    assert "samples/s (the loader could draw " in said
    saved = json.loads((run / RECIPE).read_text())
    assert (saved["finish_loss"], saved["degradation"], saved["schedule"]) == ("fft", "real-world", "multi-step")


# -------------------------------------------------------------------------------------------------------- degradation


def test_a_degradation_depends_on_its_random_numbers_alone_and_differs_each_time() -> None:
    (high,) = generated_pictures(1, 64)
    made = [real_world(high, 4, np.random.default_rng((1, index))) for index in range(8)]
    again = real_world(high, 4, np.random.default_rng((1, 3)))
    np.testing.assert_array_equal(made[3], again)
    assert len({image.tobytes() for image in made}) == 8
    assert {(image.shape, image.dtype.name) for image in made} == {((16, 16, 3), "uint8")}


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_degraded_image_is_worse_than_bicubic_and_shows_the_same_place(scale: int) -> None:
    (high,) = generated_pictures(1, 36 * scale)
    clean = downscale(high, scale).astype(float)
    worse = [real_world(high, scale, np.random.default_rng(index)).astype(float) for index in range(12)]
    assert all(np.abs(image - clean).mean() > 0.5 for image in worse)
    mean = np.mean(worse, axis=0)  # noise and blocks even out
    shifts = {(y, x): np.abs(np.roll(mean, (y, x), (0, 1)) - clean).mean() for y in (-1, 0, 1) for x in (-1, 0, 1)}
    assert min(shifts, key=lambda shift: shifts[shift]) == (0, 0), shifts


@pytest.mark.parametrize("side", [4, 30])
def test_blurring_keeps_flat_colours_and_the_light_of_a_point(side: int) -> None:
    flat = np.full((side, side, 3), 77.0)
    np.testing.assert_allclose(_blurred(flat, np.random.default_rng(0)), flat, atol=1e-3)
    point = np.zeros((31, 43, 3))
    point[15, 21] = 1000
    found = _blurred(point, np.random.default_rng(4))
    assert found.sum() == pytest.approx(3000, rel=1e-3)
    rows, columns = np.mgrid[:31, :43]
    centre = [float((found[..., 0] * axis).sum() / found[..., 0].sum()) for axis in (rows, columns)]
    assert centre == pytest.approx([15, 21], abs=0.01)


def test_a_run_of_real_world_photos_resumes_to_the_bit(photos: Photos, tmp_path: Path) -> None:
    recipe = replace(RECIPE_8, degradation="real-world")
    whole = train(SPEC, recipe, photos, tmp_path / "whole", ignore)
    with pytest.raises(KeyboardInterrupt):
        train(SPEC, recipe, photos, tmp_path / "cut", interrupt_at(4))
    assert_equal_bits(train(SPEC, recipe, photos, tmp_path / "cut", ignore), whole)
    assert read_log(tmp_path / "cut") == read_log(tmp_path / "whole")
    clean = train(SPEC, RECIPE_8, photos, tmp_path / "clean", ignore)
    assert any(not torch.equal(clean[name], whole[name]) for name in whole)


def test_held_out_photos_are_degraded_too_and_high_patches_stay(photos: Photos) -> None:
    (before,), (after,) = photos.held_out, degraded(photos.held_out, 5)
    assert after.low.shape == before.low.shape
    assert (after.low != before.low).mean() > 0.5
    np.testing.assert_array_equal(after.high, before.high)
    clean, real = (draw_batch(photos.train, 8, 2, (0, 0), kind) for kind in ("bicubic", "real-world"))
    assert torch.equal(clean.high, real.high)
    assert not torch.equal(clean.low, real.low)


# ------------------------------------------------------------------------------------------------------------- curves


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Of the events files, in order of time: (step, value) by name. Records: length, checksum, bytes, checksum."""
    event_of = pytest.importorskip("tensorboardX.proto.event_pb2", reason="needs edgesr[train]").Event
    found: dict[str, list[tuple[int, float]]] = {}
    for file in sorted((folder / "tensorboard").iterdir(), key=lambda path: path.stat().st_mtime_ns):
        content = file.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            event = event_of.FromString(content[12 : 12 + length])
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
            content = content[16 + length :]
    return found


def test_tensorboard_shows_what_the_log_holds(photos: Photos, tmp_path: Path) -> None:
    with Events(tmp_path) as events:
        train(SPEC, RECIPE_8, photos, tmp_path, events.add)
    log = read_log(tmp_path)
    found = scalars(tmp_path)
    assert [step for step, _ in found["loss"]] == [2, 4, 6, 8]
    assert [value for _, value in found["loss"]] == pytest.approx([entry["loss"] for entry in log])
    assert [step for step, _ in found["held_out_psnr_db"]] == [4, 8]
    assert [value for _, value in found["learning_rate"]] == pytest.approx([entry["learning_rate"] for entry in log])
    assert min(value for _, value in found["steps_per_second"]) > 0


def test_a_run_that_never_reported_leaves_no_events(tmp_path: Path) -> None:
    with Events(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_picture_shows_the_log_and_needs_an_extra(
    photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(SPEC, RECIPE_8, photos, tmp_path, ignore)
    assert draw_curve(tmp_path, "a run") is None
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.size == (800, 600)
        assert len(picture.convert("RGB").getcolors(100_000) or ()) > 10
    (tmp_path / "curve.png").unlink()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    missing = draw_curve(tmp_path, "a run")
    assert missing is not None
    assert "pip install 'edgesr[report]'" in missing
    assert not (tmp_path / "curve.png").exists()


# ----------------------------------------------------------------------------------------------------- running means


def test_what_a_batch_norm_saw_is_in_the_trained_weights(photos: Photos, tmp_path: Path) -> None:
    spec = find("elan-light", 4)
    recipe = replace(RECIPE_8, model=spec.name, steps=2, batch=1, patch_px=9, validate_every=99)
    found = train(spec, recipe, photos, tmp_path, ignore)
    name = next(name for name in found if name.endswith("running_var"))
    network = torch.load(tmp_path / "state.pt", weights_only=True)["network"]
    assert torch.equal(found[name], network[name])
    assert not torch.equal(found[name], torch.ones_like(found[name]))


def test_progress_tells_the_learning_rate_and_the_loader(photos: Photos, tmp_path: Path) -> None:
    told: list[Progress] = []
    train(SPEC, RECIPE_8, photos, tmp_path, told.append)
    assert told[0].learning_rate == learning_rate(RECIPE_8, 1)
    assert all(progress.loader.samples_per_second > 0 and 0 <= progress.loader.waited <= 1 for progress in told)


def test_a_name_is_refused_by_its_value() -> None:
    with pytest.raises(UsageError, match="finish_loss must be one of l2, fft, got 'l1'"):
        replace(RECIPE_8, finish_loss="l1", finish_steps=1)
