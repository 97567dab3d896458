"""Quantization-aware training: the student is the graph that targets get, it learns, and nothing is lost on the way."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs edgesr[train]")
pytest.importorskip("torchao", reason="needs edgesr[export]")

from PIL import Image  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from small_networks import MIN_SIDE_PX, SCALE, make_from, photo, psnr_db, run, source  # noqa: E402
from test_window_targets import quantized  # noqa: E402

from edgesr.cli import main  # noqa: E402
from edgesr.errors import ArtifactError, DataError, TrainingError, UsageError  # noqa: E402
from edgesr.listener import Silent  # noqa: E402
from edgesr.models.registry import find  # noqa: E402
from edgesr.models.weights import load  # noqa: E402
from edgesr.qat import loop  # noqa: E402
from edgesr.qat import run as qat_run  # noqa: E402
from edgesr.qat.loop import Progress  # noqa: E402
from edgesr.qat.photos import LowPhotos, low_photos, made_from_high  # noqa: E402
from edgesr.qat.run import Start, read_start, train_recipe  # noqa: E402
from edgesr.qat.settings import RATE_OF, Settings  # noqa: E402
from edgesr.quantization import calibration  # noqa: E402
from edgesr.quantization.prepared import part_of  # noqa: E402
from edgesr.quantization.recipe import Recipe, recipe_of, save  # noqa: E402
from edgesr.quantization.recipe_float import unrounded  # noqa: E402
from edgesr.quantization.settings import Settings as Effort  # noqa: E402
from edgesr.quantization.student import Student  # noqa: E402
from edgesr.targets.source import Source  # noqa: E402
from edgesr.train.machine import Machine  # noqa: E402
from edgesr.train.run_folder import STATE, read_log  # noqa: E402
from edgesr.types import Request  # noqa: E402

SPEC = find("plainusr-u", 4)
CPU = torch.device("cpu")
ALL_INTEGER = Effort(float_work=0.0, split_last=True, split_work=0.05)
SETTINGS = Settings(
    SPEC.name, SPEC.scale, steps=8, batch=1, patch_px=32, save_every=2, validate_every=4, warmup_steps=2, ema_decay=0.9
)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def write_photos(folder: Path, count: int = 5, side: int = 40) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        Image.fromarray(pixels(seed, side)).save(folder / f"{seed:02}.png")
    return folder


def pixels(seed: int, side: int) -> Any:
    return (photo(seed, side, side)[0].transpose(1, 2, 0) * 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def photos(folder: Path) -> LowPhotos:
    return low_photos(folder, SPEC.scale, SETTINGS.patch_px, lambda done, total: None)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    file = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_file(SPEC.forms()["train"].state_dict(), file)
    return file


@pytest.fixture(scope="module")
def recipe_file(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All on integers, from ranges alone."""
    torch.set_num_threads(1)
    loaded = load(SPEC.name, SPEC.scale, weights)
    crops = calibration.from_images([pixels(seed, 40) for seed in range(4)], count=4, side_px=40)
    given = Source(loaded.folded, name=SPEC.name, scale=SPEC.scale, min_side_px=SPEC.min_side_px, calibration=crops)
    found = given.find_recipe(ALL_INTEGER, lambda step, done, total: None)
    sha256 = loaded.provenance.sha256
    made = recipe_of(found, SPEC.name, SPEC.scale, sha256, {"fingerprint": "f"}, ALL_INTEGER)
    file = tmp_path_factory.mktemp("recipe") / "start.json"
    save(made, file)
    return file


@pytest.fixture(scope="module")
def start(weights: Path, recipe_file: Path) -> Start:
    return read_start(SPEC, weights, recipe_file, Silent())


def trained(
    start: Start,
    photos: LowPhotos,
    folder: Path,
    settings: Settings = SETTINGS,
    *,
    stop_at: int | None = None,
    stop: bool = False,
    told: list[Progress] | None = None,
) -> Recipe:
    """`train_recipe`, interrupted by its report of step `stop_at`."""

    def hear(progress: Progress) -> None:
        if told is not None:
            told.append(progress)
        if progress.step == stop_at:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qat_run, "_reporter", lambda settings, listener: hear)
        return train_recipe(start, settings, photos, folder, Silent(), Machine(), stop=stop)


@pytest.fixture(scope="module")
def whole(start: Start, photos: LowPhotos, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """Of an uninterrupted run."""
    place = tmp_path_factory.mktemp("whole")
    return content_of(trained(start, photos, place / "run"), place)


def content_of(recipe: Recipe, folder: Path) -> tuple[bytes, bytes]:
    """Both files of a recipe."""
    file = folder / "made.json"
    save(recipe, file)
    return file.read_bytes(), file.with_suffix(".safetensors").read_bytes()


# --------------------------------------------------------------------------------------------------------- the student


@pytest.fixture(scope="module")
def found() -> Callable[[str], Recipe]:
    known: dict[str, Recipe] = {}

    def find_once(name: str) -> Recipe:
        if name not in known:
            made = source(name).find_recipe(ALL_INTEGER, lambda step, done, total: None)
            known[name] = recipe_of(made, name, SCALE, "0" * 64, {"fingerprint": "f"}, ALL_INTEGER)
        return known[name]

    return find_once


def student_of(recipe: Recipe, network: Any, height: int, width: int, batch: int = 1) -> Student:
    return Student(unrounded(recipe, network, torch.zeros(batch, 3, height, width), None), recipe, CPU)


@pytest.mark.parametrize("name", ["plainusr", "bsrn-slim"])
def test_the_student_computes_what_targets_compute(found: Callable[[str], Recipe], name: str, tmp_path: Path) -> None:
    """Sums in another order round a few values to the level beside them; all else is equal."""
    recipe, x = found(name), photo(9, 40, 48)
    student = student_of(recipe, source(name).network, 40, 48)
    with torch.no_grad():
        learned = student(torch.from_numpy(x)).numpy()
    given = Source(source(name).network, name=name, scale=SCALE, min_side_px=MIN_SIDE_PX[name], recipe=recipe)
    graph = run(given.quantized, x)
    rounded_away = psnr_db(graph, run(given.network, x))
    assert psnr_db(learned, graph) > max(60.0, rounded_away + 10)
    assert np.mean(np.abs(learned - graph) > 1 / 255) < 0.001
    artifact = make_from(given, tmp_path, Request(name, SCALE, "onnxruntime", "int8"))
    assert psnr_db(learned, artifact(x)) > 60


@pytest.mark.parametrize("name", ["plainusr", "bsrn-slim"])
def test_an_untrained_student_writes_the_recipe_that_it_began_with(found: Callable[[str], Recipe], name: str) -> None:
    recipe = found(name)
    student = student_of(recipe, source(name).network, 40, 40)
    assert_same(student.recipe_of(student.values), recipe)
    with torch.no_grad():
        for value in student.values.values():
            value += 0.6
    moved = student.recipe_of(student.values)
    assert all(not torch.equal(moved.tensors[key], recipe.tensors[key]) for key in moved.tensors if ".weight" in key)


def assert_same(made: Recipe, recipe: Recipe) -> None:
    assert made.facts.layers == recipe.facts.layers
    assert made.tensors.keys() == recipe.tensors.keys()
    assert [key for key in recipe.tensors if not torch.equal(made.tensors[key], recipe.tensors[key])] == []


def test_all_that_is_rounded_learns(found: Callable[[str], Recipe]) -> None:
    recipe = found("plainusr")
    student = student_of(recipe, source("plainusr").network, 40, 40)
    with torch.no_grad():  # a weight on a level tells its step nothing
        for name, value in student.values.items():
            value += 0.3 * name.endswith(".weight")
    loss = student(torch.from_numpy(photo(9, 40, 40))).square().mean()
    torch.autograd.backward([loss])
    still = [name for name, value in student.values.items() if value.grad is None or not value.grad.any()]
    parts = {part_of(name, part) for name in recipe.facts.write_splits for part in (0, 1)}
    held = {f"{plan.writes}.log_step" for plan in student.plans.values() if plan.name in parts}
    assert held, "the two grids of a split output end at one level, and stay"
    # a zero point moves what is cut off alone
    assert {name for name in still if not name.endswith(".zero_point")} == held
    assert {group["kind"] for group in student.groups()} == RATE_OF.keys()
    assert sum(len(group["params"]) for group in student.groups()) == len(student.values) - 2 * len(held)


def test_weights_of_seven_bits_stay_within_them(found: Callable[[str], Recipe]) -> None:
    recipe, network = found("plainusr"), source("plainusr").network
    student = Student(unrounded(recipe, network, torch.zeros(1, 3, 40, 40), None), recipe, CPU, 63)
    levels = [tensor for tensor in student.recipe_of(student.values).tensors.values() if tensor.dtype == torch.int8]
    assert max(int(tensor.abs().max()) for tensor in levels) == 63
    x = photo(9, 40, 40)
    with torch.no_grad():
        assert psnr_db(student(torch.from_numpy(x)).numpy(), run(network, x)) > 25


def test_a_network_that_works_in_windows_is_a_student_at_its_patch() -> None:
    given = quantized("ditn-real")
    recipe, sized = given.recipe, given.at((32, 32))
    assert recipe is not None
    student = student_of(recipe, sized.network, 32, 32, batch=2)
    x = np.concatenate([photo(seed, 32, 32) for seed in (1, 2)])
    learned = student(torch.from_numpy(x))
    torch.autograd.backward([learned.mean()])
    for index in range(2):
        graph = run(sized.quantized, x[index : index + 1])
        away = psnr_db(graph, run(sized.network, x[index : index + 1]))
        assert psnr_db(learned.detach().numpy()[index : index + 1], graph) > away + 3
    assert_same(student.recipe_of(student.values), recipe)


@pytest.mark.parametrize(("model", "patch"), [("elan-light", 40), ("plainusr-u", 33)])
def test_a_patch_that_a_network_cannot_take_is_refused(
    start: Start, photos: LowPhotos, tmp_path: Path, model: str, patch: int
) -> None:
    spec = find(model, 4)
    fits = patch % spec.multiple_px == 0
    loaded = replace(start.loaded, spec=spec)
    if fits:
        assert qat_run._at_patch(loaded, patch) is loaded.folded
        return
    with pytest.raises(UsageError, match=rf"multiple of {spec.multiple_px} .* got {patch}. Give --patch 96"):
        train_recipe(
            replace(start, loaded=loaded), replace(SETTINGS, patch_px=patch), photos, tmp_path, Silent(), Machine()
        )


# ------------------------------------------------------------------------------------------------------------ learning


def test_from_a_rough_start_the_distance_to_the_float_network_falls(
    start: Start, photos: LowPhotos, tmp_path: Path
) -> None:
    layers = tuple(
        replace(layer, writes=layer.writes and replace(layer.writes, step=layer.writes.step * 3))
        for layer in start.recipe.facts.layers
    )
    rough = replace(start, recipe=Recipe(replace(start.recipe.facts, layers=layers), start.recipe.tensors))
    told: list[Progress] = []
    settings = replace(SETTINGS, steps=80, batch=2, learning_rate=0.1, validate_every=20, save_every=20)
    trained(rough, photos, tmp_path, settings, told=told)
    assert told[-1].loss < 0.7 * told[0].loss, [progress.loss for progress in told]
    fidelities = [progress.fidelity_db for progress in told if progress.fidelity_db is not None]
    assert fidelities[-1] > fidelities[0] + 1, fidelities


def test_the_recipe_tells_how_it_was_made(start: Start, whole: tuple[bytes, bytes], photos: LowPhotos) -> None:
    facts = json.loads(whole[0])
    assert facts["settings"]["steps_done"] == 8
    assert facts["settings"]["fit"]["weights_sha256"] == start.loaded.provenance.sha256 == facts["weights_sha256"]
    assert facts["settings"]["start"] == start.recipe.facts.settings
    assert facts["calibration"] == {
        "source": f"5 photos of {photos.source.split(' of ')[1]}", "crops": 8, "fingerprint": photos.fingerprint
    }  # fmt: skip
    assert all(layer["reads"] for layer in facts["layers"]), "every convolution is on integers"


# ------------------------------------------------------------------------------------------------------------ resuming


@pytest.mark.parametrize("stops", [[2], [4, 6], [8]])
def test_an_interrupted_run_ends_with_the_same_recipe(
    start: Start, whole: tuple[bytes, bytes], photos: LowPhotos, tmp_path: Path, stops: list[int]
) -> None:
    for step in stops:
        with pytest.raises(KeyboardInterrupt):
            trained(start, photos, tmp_path / "run", stop_at=step)
    assert content_of(trained(start, photos, tmp_path / "run"), tmp_path) == whole
    assert [entry["step"] for entry in read_log(tmp_path / "run")] == [2, 4, 6, 8]


def test_ctrl_c_loses_no_validation(start: Start, photos: LowPhotos, tmp_path: Path) -> None:
    """It comes during the report of step 2; a step that is saved has been reported and validated."""

    def hear(progress: Progress) -> None:
        if progress.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qat_run, "_reporter", lambda settings, listener: hear)
        with pytest.raises(KeyboardInterrupt):
            train_recipe(start, SETTINGS, photos, tmp_path, Silent(), Machine())
    trained(start, photos, tmp_path)
    log = read_log(tmp_path)
    assert [entry["step"] for entry in log] == [2, 4, 6, 8]
    validated = [entry["step"] for entry in log if entry["fidelity_db"] is not None]
    assert validated == [step for step in (2, 4, 6, 8) if step % SETTINGS.validate_every == 0]


def test_a_killed_run_leaves_a_good_state_and_ends_with_the_same_recipe(
    start: Start, whole: tuple[bytes, bytes], photos: LowPhotos, folder: Path, weights: Path, tmp_path: Path
) -> None:
    """SIGKILL of a real process at a random place after its first saved state."""
    place = tmp_path / "run"
    save(start.recipe, tmp_path / "start.json")
    code = """
import sys, time, torch
from pathlib import Path
import test_qat
torch.set_num_threads(1)
start = test_qat.read_start(test_qat.SPEC, Path(sys.argv[1]), Path(sys.argv[2]), test_qat.Silent())
photos = test_qat.low_photos(Path(sys.argv[3]), 4, 32, lambda done, total: None)
torch.save = lambda *given, save=torch.save: (save(*given), print("saved", flush=True), time.sleep(0.1))
test_qat.trained(start, photos, Path(sys.argv[4]))
"""
    paths = [str(found) for found in (weights, tmp_path / "start.json", folder, place)]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *paths],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(2):  # the second file is written and not yet renamed
        assert process.stdout.readline() == "saved\n"
    process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    process.stdout.close()
    assert torch.load(place / STATE, weights_only=True)["step"] == 2
    assert content_of(trained(start, photos, place), tmp_path) == whole


def test_stop_takes_what_was_reached_and_says_so(start: Start, photos: LowPhotos, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"has saved no step yet.* Leave --stop out"):
        trained(start, photos, tmp_path, stop=True)
    with pytest.raises(KeyboardInterrupt):
        trained(start, photos, tmp_path, stop_at=6)
    facts = trained(start, photos, tmp_path, stop=True).facts
    reached = torch.load(tmp_path / STATE, weights_only=True)["step"]
    assert 0 < reached <= 6
    assert (facts.settings["steps_done"], facts.calibration["crops"]) == (reached, reached)
    assert f"{reached} of 8 steps of 1 crops" in facts.notes[-1]


def test_another_run_in_the_same_folder_is_refused(start: Start, photos: LowPhotos, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(start, photos, tmp_path, stop_at=2)
    with pytest.raises(TrainingError, match=r"learning_rate: 0\.02 -> 0\.01"):
        trained(start, photos, tmp_path, replace(SETTINGS, learning_rate=0.01))
    with pytest.raises(TrainingError, match="other photos"):
        trained(start, replace(photos, fingerprint="0"), tmp_path)
    (tmp_path / STATE).write_bytes(b"no state")
    with pytest.raises(TrainingError, match="cannot be resumed"):
        trained(start, photos, tmp_path)


def test_a_recipe_of_other_weights_or_of_another_network_is_refused(recipe_file: Path, weights: Path) -> None:
    with pytest.raises(ArtifactError, match="plainusr-u x4, not for plainusr-t x4"):
        read_start(find("plainusr-t", 4), None, recipe_file, Silent())
    other = weights.with_name("other.safetensors")
    torch.manual_seed(4)
    save_file(SPEC.forms()["train"].state_dict(), other)
    with pytest.raises(ArtifactError, match="was made for other weights"):
        read_start(SPEC, other, recipe_file, Silent())


# ---------------------------------------------------------------------------------------------------------- divergence


def infinite_at(steps: set[int], patch: pytest.MonkeyPatch) -> None:
    """The loss of these calls."""
    calls = iter(range(1, 999))
    exact = loop.weighted_error
    patch.setattr(loop, "weighted_error", lambda *given: exact(*given) / (0.0 if next(calls) in steps else 1.0))


def test_a_run_that_diverges_goes_back_and_says_so(
    start: Start, photos: LowPhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    infinite_at({5}, monkeypatch)
    told: list[Progress] = []
    trained(start, photos, tmp_path, told=told)
    (back,) = [progress for progress in told if progress.rolled_back]
    assert back.rolled_back == "The loss is inf at step 6: back to step 2 with half the learning rate"
    assert told[-1].step == 8
    log = read_log(tmp_path)
    assert [entry["rollback"] for entry in log if "rollback" in entry] == [1]


def test_a_run_that_always_diverges_ends_with_a_word_and_a_finite_state(
    start: Start, photos: LowPhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    infinite_at(set(range(5, 999)), monkeypatch)
    settings = replace(SETTINGS, max_rollbacks=1)
    with pytest.raises(TrainingError, match=r"diverged. It went back 1 times.*--learning-rate \(here 0.02\)"):
        trained(start, photos, tmp_path, settings)
    state = torch.load(tmp_path / STATE, weights_only=True)
    assert all(bool(value.isfinite().all()) for value in state["values"].values())


# -------------------------------------------------------------------------------------------------------------- photos


def test_photos_unreadable_ones_and_small_ones(tmp_path: Path) -> None:
    write_photos(tmp_path, 4)
    Image.fromarray(pixels(7, 20)).save(tmp_path / "small.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "00.png").read_bytes()[:200])
    read = low_photos(tmp_path, 4, 32, lambda done, total: None)
    assert len(read.train) + len(read.held_out) == 5
    assert len(read.skipped) == 1
    assert "broken.png" in read.skipped[0]
    assert min(min(found.shape[:2]) for found in (*read.train, *read.held_out)) == 32


def test_one_photo_trains_without_held_out_ones(start: Start, tmp_path: Path) -> None:
    read = low_photos(write_photos(tmp_path / "photos", 1), 4, 32, lambda done, total: None)
    assert (len(read.train), len(read.held_out)) == (1, 0)
    told: list[Progress] = []
    trained(start, read, tmp_path / "run", replace(SETTINGS, steps=2), told=told)
    assert [progress.fidelity_db for progress in told] == [None]


def test_no_photo_and_none_that_is_readable_are_said(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        low_photos(tmp_path, 4, 32, lambda done, total: None)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"None of 1 photos in .* can be read"):
        low_photos(tmp_path, 4, 32, lambda done, total: None)


def test_high_resolution_photos_are_shrunk(tmp_path: Path) -> None:
    read = made_from_high(write_photos(tmp_path, 2, 163), 4, 32, lambda done, total: None)
    assert read.train[0].shape == (40, 40, 3)


# --------------------------------------------------------------------------------------------------------- the command


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line of a command that fails."""
    with pytest.raises(SystemExit) as exit_:
        main(["qat", SPEC.name, *map(str, arguments)])
    assert exit_.value.code not in (0, None)
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) == 1, err
    return err


def test_bad_requests_end_with_one_line_before_any_work(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "x.json"
    assert "--photos" in refused(capsys, "-o", out)
    assert "either --photos" in refused(capsys, "-o", out, "--photos", folder, "--high", folder)
    assert "x.json" in refused(capsys, "-o", tmp_path / "x.txt", "--photos", folder)
    for split in (["--split-last"], ["--split-work", "0.1"]):
        assert f"{split[0]} is of the recipe that is made first" in refused(
            capsys, "-o", out, "--photos", folder, "--recipe", tmp_path / "r.json", *split
        )
    assert "patch_px must be at least 32" in refused(capsys, "-o", out, "--photos", folder, "--patch", "8")
    assert "learning_rate" in refused(capsys, "-o", out, "--photos", folder, "--learning-rate", "nan")
    if not torch.cuda.is_available():
        assert "--device cpu" in refused(capsys, "-o", out, "--photos", folder, "--device", "cuda")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert "torchrun started 2" in refused(capsys, "-o", out, "--photos", folder)
    assert list(tmp_path.iterdir()) == []


def test_from_photos_to_an_artifact(
    weights: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`edgesr qat` with a start of its own, then `edgesr convert --recipe`."""
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(qat_run, "MEASURED_IN", ("onnxruntime",))
    data = write_photos(tmp_path / "data", 1, 128)
    out, common = tmp_path / "x.json", ["--weights", str(weights), "--data", str(data)]
    steps = ["--steps", "4", "--batch", "1", "--patch", "32", "--threads", "1", "--workers", "0", "--device", "cpu"]
    main(["qat", SPEC.name, "--photos", str(folder), "-o", str(out), *steps, *common, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert [row["target"] for row in told["runtimes"]] == ["onnxruntime"]
    assert told["runtimes"][0]["status"] == "done"
    assert all(layer["reads"] for layer in told["layers"])
    made = ["-o", str(tmp_path / "artifacts"), "--json"]
    main(["convert", SPEC.name, "-t", "onnxruntime", "-p", "int8", "--recipe", str(out), *common, *made])
    (row,) = json.loads(capsys.readouterr().out)
    assert row["psnr_drop_db"] == told["runtimes"][0]["psnr_drop_db"]
    manifest = json.loads((tmp_path / "artifacts" / row["slug"] / "manifest.json").read_text())
    assert "quantization-aware training" in json.dumps(manifest)
