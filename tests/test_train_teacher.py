"""Distillation: a teacher's output takes a share of the loss, and is part of what a run is."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_train import RECIPE_8, SPEC, assert_equal_bits, ignore, interrupt_at, steps_of, write_photos
from torch import Tensor, nn

from edgesr.cli import main
from edgesr.errors import TrainingError, UsageError, WeightsError
from edgesr.listener import Silent
from edgesr.models.files import sha256_of, shipped_file
from edgesr.models.network import padded
from edgesr.models.registry import SPECS, ModelSpec, find
from edgesr.models.weights import Provenance, load
from edgesr.train.loop import train
from edgesr.train.photos import Photos, load_photos, random_batch
from edgesr.train.recipe import Recipe
from edgesr.train.run import train_model
from edgesr.train.run_folder import RECIPE, read_log
from edgesr.train.teacher import Teacher, read_teacher

TEACHER = find("plainusr-t", 4)
TAUGHT = replace(RECIPE_8, teacher=TEACHER.name, teacher_share=0.5)


class Half(nn.Module):
    """A teacher that sees grey everywhere."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.full((x.shape[0], 3, 4 * x.shape[2], 4 * x.shape[3]), 0.5)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def photos(data: Path) -> Photos:
    return load_photos(data, 4, 8)


def taught(recipe: Recipe) -> tuple[Recipe, Teacher]:
    """`recipe` with the sha256 of its teacher, as a run makes it, and the teacher: the weights in the package."""
    teacher = read_teacher(recipe, None, Silent())
    assert teacher is not None
    return replace(recipe, teacher_sha256=teacher.provenance.sha256), teacher


def grey(share: float) -> tuple[Recipe, Teacher]:
    recipe = replace(RECIPE_8, teacher="grey", teacher_sha256="0", teacher_share=share)
    return recipe, Teacher("grey", Half(), Provenance("user", "grey", "0"))


def train_taught(data: Path, folder: Path, recipe: Recipe = TAUGHT, weights: Path | None = None) -> dict[str, object]:
    return train_model(
        SPEC, recipe, data, folder, start=None, teacher_weights=weights, threads=1, evaluate_on=None, listener=Silent()
    )


def first_loss(recipe: Recipe, photos: Photos, folder: Path, teacher: Teacher | None) -> float:
    train(SPEC, replace(recipe, steps=1), photos, folder, ignore, None, teacher)
    loss = read_log(folder)[0]["loss"]
    assert isinstance(loss, float)
    return loss


# -------------------------------------------------------------------------------------------------------------- loss


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_teacher_takes_its_share_of_the_loss(photos: Photos, tmp_path: Path, share: float) -> None:
    torch.manual_seed(RECIPE_8.seed)
    student = SPEC.forms()["train"]
    low, high = random_batch(photos.train, RECIPE_8.patch_px, RECIPE_8.batch, (RECIPE_8.seed, 0))
    with torch.no_grad():
        output = student(low)
    truth, grey_ = ((output - target).abs().mean().item() for target in (high, torch.full_like(high, 0.5)))
    recipe, teacher = grey(share)
    found = first_loss(recipe, photos, tmp_path, teacher)
    assert found == pytest.approx((1 - share) * truth + share * grey_, rel=1e-5)


def test_a_student_of_one_teacher_alone_becomes_like_it(photos: Photos, tmp_path: Path) -> None:
    recipe, teacher = grey(1.0)
    losses: list[float] = []
    recipe = replace(recipe, steps=40, batch=4, learning_rate=4e-3, validate_every=40)
    train(SPEC, recipe, photos, tmp_path, lambda progress: losses.append(progress.loss), None, teacher)
    assert np.mean(losses[-3:]) < 0.5 * losses[0], losses


def test_a_teacher_gives_what_its_network_gives_and_what_autograd_may_keep() -> None:
    recipe, teacher = taught(TAUGHT)
    low = torch.rand(3, 3, 8, 8)
    found = teacher.outputs(low)
    with torch.no_grad():
        expected = load(TEACHER.name, TEACHER.scale, None, Silent().say).network(low)
    assert (found - expected).abs().max() < 1e-4
    assert not found.requires_grad
    assert not found.is_inference()
    assert not teacher.network.training
    assert recipe.teacher_sha256 == sha256_of(shipped())


def shipped() -> Path:
    file = shipped_file(TEACHER)
    assert file is not None
    return file


def test_without_a_teacher_a_run_is_what_it_was(photos: Photos, tmp_path: Path) -> None:
    recipe, teacher = grey(0.0)
    alone = train(SPEC, RECIPE_8, photos, tmp_path / "alone", ignore)
    with_one = train(SPEC, recipe, photos, tmp_path / "taught", ignore, None, teacher)
    far = [float((alone[name] - with_one[name]).abs().max()) for name in alone]
    assert max(far) < 1e-4, "a share of nothing changes nothing but rounding"


# ---------------------------------------------------------------------------------------------------------- resuming


@pytest.mark.parametrize("bf16", [False, True])
def test_an_interrupted_run_with_a_teacher_ends_with_the_same_bits_and_losses(
    photos: Photos, tmp_path: Path, bf16: bool
) -> None:
    recipe, teacher = taught(replace(TAUGHT, bf16=bf16))
    whole = train(SPEC, recipe, photos, tmp_path / "whole", ignore, None, teacher)
    for step in (2, 6):
        with pytest.raises(KeyboardInterrupt):
            train(SPEC, recipe, photos, tmp_path / "cut", interrupt_at(step), None, teacher)
    assert_equal_bits(train(SPEC, recipe, photos, tmp_path / "cut", ignore, None, teacher), whole)
    assert read_log(tmp_path / "cut") == read_log(tmp_path / "whole")
    assert steps_of(tmp_path / "cut") == [2, 4, 6, 8]


def written(file: Path, name: str, scale: int = 4) -> Path:
    torch.manual_seed(5)
    save_file(find(name, scale).forms()["train"].state_dict(), file)
    return file


@pytest.mark.parametrize(
    ("change", "weights_of", "words"),
    [
        ({"teacher": "plainusr-u"}, "plainusr-u", "teacher: plainusr-t -> plainusr-u; teacher_sha256: "),
        ({}, "plainusr-t", r"recipe \(teacher_sha256: \w+ -> \w+\)"),
        ({"teacher": None, "teacher_share": None}, None, "teacher: plainusr-t -> None"),
        ({"teacher_share": 0.75}, None, r"recipe \(teacher_share: 0.5 -> 0.75\)"),
    ],
)
def test_another_teacher_in_the_same_folder_is_refused(
    data: Path, tmp_path: Path, change: dict[str, object], weights_of: str | None, words: str
) -> None:
    recipe = replace(TAUGHT, steps=2)
    train_taught(data, tmp_path / "run", recipe)
    weights = None if weights_of is None else written(tmp_path / "other.safetensors", weights_of)
    with pytest.raises(TrainingError, match=words):
        train_taught(data, tmp_path / "run", replace(recipe, **change), weights)  # type: ignore[arg-type]


def test_a_run_of_before_teachers_can_be_resumed(photos: Photos, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(SPEC, RECIPE_8, photos, tmp_path, interrupt_at(2))
    saved = json.loads((tmp_path / RECIPE).read_text())
    old = {name: value for name, value in saved.items() if not name.startswith("teacher")}
    assert len(old) == len(saved) - 3
    (tmp_path / RECIPE).write_text(json.dumps(old))
    train(SPEC, RECIPE_8, photos, tmp_path, ignore)
    assert steps_of(tmp_path) == [2, 4, 6, 8]


# ------------------------------------------------------------------------------------------------ request and result


def test_the_card_and_the_recipe_name_the_teacher(data: Path, tmp_path: Path) -> None:
    card = train_taught(data, tmp_path / "run")
    assert card["teacher"] == {
        "model": "plainusr-t",
        "weights": "edgesr-trained",
        "file": "plainusr-t_x4.safetensors",
        "weights_sha256": sha256_of(shipped()),
    }
    recipe = json.loads((tmp_path / "run" / RECIPE).read_text())
    assert card["recipe"] == {name: value for name, value in recipe.items() if name != "photos_sha256"}
    assert (recipe["teacher"], recipe["teacher_share"]) == ("plainusr-t", 0.5)
    assert recipe["teacher_sha256"] == sha256_of(shipped())


def test_the_teacher_may_have_weights_of_its_own(data: Path, tmp_path: Path) -> None:
    weights = written(tmp_path / "own.safetensors", "plainusr-t")
    card = train_taught(data, tmp_path / "run", replace(TAUGHT, steps=1), weights)
    assert card["teacher"] == {
        "model": "plainusr-t",
        "weights": "user",
        "file": "own.safetensors",
        "weights_sha256": sha256_of(weights),
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"teacher": "hat"}, "patch_px must be at least 9 for the teacher hat, got 8. Give --patch 9 or more"),
        ({"teacher": "bsrn-s"}, "patch_px must be at least 15 for the teacher bsrn-s, got 8"),
        ({"teacher": "bsrn-s", "model": "bsrn", "scale": 2}, "bsrn-s does not exist at x2"),
        ({"teacher": "nonet"}, "no model named 'nonet'"),
    ],
)
def test_a_teacher_that_cannot_teach_is_refused_before_any_work(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        train_taught(tmp_path / "no photos", tmp_path / "run", replace(TAUGHT, **change))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.multiple_px > 1], ids=lambda spec: str(spec.key))
def test_what_a_network_in_windows_takes_it_can_reflect(spec: ModelSpec) -> None:
    for side in range(spec.min_side_px, 3 * spec.multiple_px):
        assert padded(torch.zeros(1, 1, side, side), spec.multiple_px).shape[2] % spec.multiple_px == 0
    with pytest.raises(RuntimeError, match="Padding size"):
        padded(torch.zeros(1, 1, spec.min_side_px - 1, spec.min_side_px - 1), spec.multiple_px)


def test_a_network_in_windows_teaches_at_its_smallest_patch(data: Path, tmp_path: Path) -> None:
    weights = written(tmp_path / "ditn.safetensors", "ditn-tiny")
    recipe = replace(TAUGHT, teacher="ditn-tiny", patch_px=5, steps=2)
    assert train_taught(data, tmp_path / "run", recipe, weights)["teacher"]["model"] == "ditn-tiny"  # type: ignore[index]


def test_weights_of_another_scale_are_named(tmp_path: Path) -> None:
    weights = written(tmp_path / "x2.safetensors", "plainusr-t", 2)
    with pytest.raises(WeightsError, match=r"teacher cannot be loaded: .* It looks like plainusr-t x2.*--teacher-weig"):
        train_taught(tmp_path / "no photos", tmp_path / "run", weights=weights)


def test_a_teacher_whose_weights_are_nowhere_says_its_option(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"The weights of hat x4 have no direct address.*--teacher-weights"):
        train_taught(tmp_path / "no photos", tmp_path / "run", replace(TAUGHT, teacher="hat", patch_px=16))


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), None])
def test_a_share_is_between_nothing_and_all(share: float | None) -> None:
    with pytest.raises(UsageError, match=rf"teacher_share must be in \[0, 1\], got {share}"):
        replace(RECIPE_8, teacher="plainusr-t", teacher_share=share)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--teacher-weights", "hat.pth"), "hat.pth belong to no teacher. Add --teacher NAME"),
        (("--teacher-share", "0.3"), "teacher_share is 0.3, but there is no teacher. Add --teacher NAME"),
        (("--teacher", "plainusr-t", "--teacher-share", "2"), "teacher_share must be in [0, 1], got 2.0"),
        (("--teacher", "hatt"), "no model named 'hatt'. Did you mean 'hat'?"),
    ],
)
def test_options_that_say_nothing_are_refused(
    options: tuple[str, ...], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", SPEC.name, "--data", str(tmp_path), "--run", str(tmp_path / "run"), *options])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_from_the_command_line_half_of_the_loss_is_the_teachers(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--steps", "1", "--batch", "1", "--patch", "8", "--teacher", "plainusr-t", "--json")
    main(["train", SPEC.name, "--data", str(data), "--run", str(tmp_path), *options])
    card = json.loads(capsys.readouterr().out)
    assert card["recipe"]["teacher_share"] == 0.5
    assert card["teacher"]["model"] == "plainusr-t"
