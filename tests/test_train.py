"""Training: learns, resumes to the bit, and keeps what it has."""

import contextlib
import copy
import hashlib
import json
import math
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from edgesr.datasets import generated_pictures
from edgesr.errors import DataError, OutputError, TrainingError, UsageError, WeightsError
from edgesr.listener import Silent
from edgesr.lock import LOCK
from edgesr.models.network import Network
from edgesr.models.registry import find
from edgesr.models.weights import load
from edgesr.train.loop import Progress, learning_rate, train
from edgesr.train.photos import Pair, Photos, load_photos
from edgesr.train.recipe import Recipe
from edgesr.train.run import train_model
from edgesr.train.run_folder import LOG, RECIPE, STATE, claimed, read_log

SPEC = find("plainusr-u", 4)
RECIPE_8 = Recipe(
    SPEC.name, SPEC.scale, steps=8, batch=2, patch_px=8, warmup_steps=2, save_every=2, validate_every=4, ema_decay=0.9
)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def write_photos(folder: Path, count: int = 3, side: int = 48) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (picture,) = generated_pictures(1, side)
    for index in range(count):
        Image.fromarray(np.roll(picture, 7 * index, axis=index % 2)).save(folder / f"{index:02}.png")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def photos(data: Path) -> Photos:
    return load_photos(data, 4, 8)


@pytest.fixture(scope="module")
def whole(photos: Photos, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The weights of an uninterrupted run of RECIPE_8."""
    torch.set_num_threads(1)
    return train(SPEC, RECIPE_8, photos, tmp_path_factory.mktemp("whole"), ignore)


def ignore(progress: Progress) -> None:
    pass


def interrupt_at(step: int) -> Callable[[Progress], None]:
    def on_progress(progress: Progress) -> None:
        if progress.step == step:
            raise KeyboardInterrupt

    return on_progress


def assert_equal_bits(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    different = [name for name in expected if not torch.equal(found[name], expected[name])]
    assert found.keys() == expected.keys()
    assert not different, f"{len(different)} of {len(expected)} tensors differ, first {different[0]}"


def steps_of(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / LOG).read_text().splitlines()]


# ---------------------------------------------------------------------------------------------------------- learning


def test_the_loss_falls(photos: Photos, tmp_path: Path) -> None:
    losses: list[float] = []
    recipe = replace(RECIPE_8, steps=40, batch=4, learning_rate=4e-3, save_every=4, validate_every=40)
    train(SPEC, recipe, photos, tmp_path, lambda progress: losses.append(progress.loss))
    assert np.mean(losses[-3:]) < 0.7 * losses[0], losses


def test_the_weights_change_and_every_number_is_finite(whole: dict[str, Tensor]) -> None:
    torch.manual_seed(RECIPE_8.seed)
    start = SPEC.forms()["train"].state_dict()
    assert whole.keys() == start.keys()
    assert all(torch.isfinite(tensor).all() for tensor in whole.values())
    assert sum(not torch.equal(whole[name], start[name]) for name in start) > len(start) / 2


def test_equal_runs_give_equal_weights_and_another_seed_does_not(
    whole: dict[str, Tensor], photos: Photos, tmp_path: Path
) -> None:
    assert_equal_bits(train(SPEC, RECIPE_8, photos, tmp_path / "again", ignore), whole)
    other = train(SPEC, replace(RECIPE_8, seed=1), photos, tmp_path / "other", ignore)
    assert any(not torch.equal(other[name], whole[name]) for name in whole)


def test_bfloat16_trains_too(photos: Photos, tmp_path: Path) -> None:
    found = train(SPEC, replace(RECIPE_8, steps=2, bf16=True), photos, tmp_path, ignore)
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}


def test_progress_tells_steps_and_validations(photos: Photos, tmp_path: Path) -> None:
    told: list[Progress] = []
    train(SPEC, RECIPE_8, photos, tmp_path, told.append)
    assert [(progress.step, progress.steps) for progress in told] == [(2, 8), (4, 8), (6, 8), (8, 8)]
    assert [progress.psnr_db is not None for progress in told] == [False, True, False, True]
    assert all(0 < progress.loss < 1 and progress.steps_per_second > 0 for progress in told)
    assert steps_of(tmp_path) == [2, 4, 6, 8]


# ---------------------------------------------------------------------------------------------------------- resuming


@pytest.mark.parametrize("steps", [[2], [6], [8], [2, 4, 6]])
def test_an_interrupted_run_ends_with_the_same_bits(
    whole: dict[str, Tensor], photos: Photos, tmp_path: Path, steps: list[int]
) -> None:
    for step in steps:
        with pytest.raises(KeyboardInterrupt):
            train(SPEC, RECIPE_8, photos, tmp_path, interrupt_at(step))
    assert_equal_bits(train(SPEC, RECIPE_8, photos, tmp_path, ignore), whole)
    assert steps_of(tmp_path) == [2, 4, 6, 8]


@pytest.mark.parametrize("keep_state", [True, False])
def test_a_run_killed_between_saves_does_those_steps_again(
    whole: dict[str, Tensor], photos: Photos, tmp_path: Path, keep_state: bool
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(SPEC, RECIPE_8, photos, tmp_path, interrupt_at(2))
    early = (tmp_path / STATE).read_bytes()
    with pytest.raises(KeyboardInterrupt):
        train(SPEC, RECIPE_8, photos, tmp_path, interrupt_at(6))
    with (tmp_path / LOG).open("a") as log:
        log.write('{"step": 8, "lo')  # killed while it wrote this line
    if keep_state:
        (tmp_path / STATE).write_bytes(early)
    else:
        (tmp_path / STATE).unlink()
    assert_equal_bits(train(SPEC, RECIPE_8, photos, tmp_path, ignore), whole)
    assert steps_of(tmp_path) == [2, 4, 6, 8]


def test_a_finished_run_is_not_trained_again(whole: dict[str, Tensor], photos: Photos, tmp_path: Path) -> None:
    for _ in range(2):
        told: list[Progress] = []
        assert_equal_bits(train(SPEC, RECIPE_8, photos, tmp_path, told.append), whole)
    assert told == []
    assert steps_of(tmp_path) == [2, 4, 6, 8]


def test_ctrl_c_waits_for_the_end_of_the_step_and_saves_it(
    whole: dict[str, Tensor], photos: Photos, tmp_path: Path
) -> None:
    recipe = replace(RECIPE_8, save_every=100, validate_every=100)  # nothing is saved but on the way out
    before = signal.getsignal(signal.SIGINT)
    sent = 0

    class Train(tuple[Pair, ...]):
        """Photos whose third batch is interrupted while it is drawn, in the middle of a step."""

        def __len__(self) -> int:
            nonlocal sent
            sent += 1
            if sent == 3:
                os.kill(os.getpid(), signal.SIGINT)
            return super().__len__()

    with pytest.raises(KeyboardInterrupt):
        train(SPEC, recipe, replace(photos, train=Train(photos.train)), tmp_path, ignore)
    assert torch.load(tmp_path / STATE, weights_only=True)["step"] == 3
    assert signal.getsignal(signal.SIGINT) is before
    assert_equal_bits(train(SPEC, recipe, photos, tmp_path, ignore), whole)


class Signalling(tuple[Pair, ...]):
    """Photos that send Ctrl-C `signals` times when they are counted (to draw a batch) or gone through (to validate) for
    the `at`-th time."""

    def __new__(cls, pairs: tuple[Pair, ...], counted: bool, at: int, signals: int) -> "Signalling":
        made = super().__new__(cls, pairs)
        made.counted, made.left, made.signals = counted, at, signals
        return made

    def _look(self, counted: bool) -> None:
        self.left -= counted == self.counted
        while self.left == 0 and self.signals:
            self.signals -= 1
            os.kill(os.getpid(), signal.SIGINT)

    def __len__(self) -> int:
        self._look(True)
        return super().__len__()

    def __iter__(self) -> Iterator[Pair]:
        self._look(False)
        return super().__iter__()


@pytest.mark.parametrize(("when", "at", "signals"), [("train", 4, 1), ("held_out", 1, 1), ("held_out", 1, 2)])
def test_ctrl_c_at_a_step_that_is_validated_loses_no_validation(
    photos: Photos, tmp_path: Path, when: str, at: int, signals: int
) -> None:
    """Within step 4 or its validation; a second one does not wait, and the next run does step and validation again."""
    interrupted = replace(photos, **{when: Signalling(getattr(photos, when), when == "train", at, signals)})
    with pytest.raises(KeyboardInterrupt):
        train(SPEC, RECIPE_8, interrupted, tmp_path, ignore)
    assert torch.load(tmp_path / STATE, weights_only=True)["step"] == (4 if signals == 1 else 2)
    train(SPEC, RECIPE_8, photos, tmp_path, ignore)
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [line["step"] for line in lines if line["psnr_db"] is not None] == [4, 8]


def test_a_second_ctrl_c_comes_at_once_and_saves_no_half_step(
    whole: dict[str, Tensor], photos: Photos, tmp_path: Path
) -> None:
    sent = 0

    class Train(tuple[Pair, ...]):
        def __len__(self) -> int:
            nonlocal sent
            sent += 1
            if sent == 4:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
            return super().__len__()

    with pytest.raises(KeyboardInterrupt):
        train(SPEC, RECIPE_8, replace(photos, train=Train(photos.train)), tmp_path, ignore)
    assert torch.load(tmp_path / STATE, weights_only=True)["step"] == 2
    assert_equal_bits(train(SPEC, RECIPE_8, photos, tmp_path, ignore), whole)


def test_a_run_works_outside_the_main_thread(whole: dict[str, Tensor], photos: Photos, tmp_path: Path) -> None:
    found: list[dict[str, Tensor]] = []
    thread = threading.Thread(target=lambda: found.append(train(SPEC, RECIPE_8, photos, tmp_path, ignore)))
    thread.start()
    thread.join()
    assert_equal_bits(found[0], whole)


def test_another_recipe_in_the_same_folder_is_refused_by_its_changes(photos: Photos, tmp_path: Path) -> None:
    train(SPEC, replace(RECIPE_8, steps=1), photos, tmp_path, ignore)
    with pytest.raises(TrainingError) as refused:
        train(SPEC, replace(RECIPE_8, batch=3), photos, tmp_path, ignore)
    assert "steps: 1 -> 8; batch: 2 -> 3" in str(refused.value)
    assert str(tmp_path) in str(refused.value)
    assert "--run" in str(refused.value)
    assert steps_of(tmp_path) == [1]


def test_a_folder_that_another_process_trains_in_is_refused_and_free_afterwards(photos: Photos, tmp_path: Path) -> None:
    with (
        claimed(tmp_path, RECIPE_8, photos.fingerprint),
        pytest.raises(TrainingError, match=r"Another process is training in .* choose another --run folder\."),
    ):
        train(SPEC, RECIPE_8, photos, tmp_path, ignore)
    assert not (tmp_path / STATE).exists()
    train(SPEC, RECIPE_8, photos, tmp_path, ignore)


def test_other_photos_in_the_same_folder_are_refused(photos: Photos, tmp_path: Path) -> None:
    recipe = replace(RECIPE_8, steps=1)
    train(SPEC, recipe, photos, tmp_path, ignore)
    with pytest.raises(TrainingError, match=r"\(other photos\)"):
        train(SPEC, recipe, replace(photos, fingerprint="0" * 64), tmp_path, ignore)


@pytest.mark.parametrize("content", [b"", b"no state", b"{", b"[]", b"\xff"])
def test_a_damaged_recipe_is_said(photos: Photos, tmp_path: Path, content: bytes) -> None:
    (tmp_path / RECIPE).write_bytes(content)
    with pytest.raises(TrainingError, match=r"recipe.json is damaged .* --run"):
        train(SPEC, RECIPE_8, photos, tmp_path, ignore)


def damaged_states() -> dict[str, Callable[[Path], object]]:
    return {
        "empty": lambda file: file.write_bytes(b""),
        "text": lambda file: file.write_text("no state"),
        "cut": lambda file: file.write_bytes(file.read_bytes()[:2000]),
        "of another network": lambda file: torch.save(
            {**torch.load(file, weights_only=True), "network": find("plainusr-t", 4).forms()["train"].state_dict()},
            file,
        ),
        "without a step": lambda file: torch.save({"network": {}}, file),
        "no dict": lambda file: torch.save([1], file),
    }


@pytest.mark.parametrize("kind", damaged_states())
def test_a_damaged_state_is_said_and_left_alone(photos: Photos, tmp_path: Path, kind: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(SPEC, RECIPE_8, photos, tmp_path, interrupt_at(4))
    damaged_states()[kind](tmp_path / STATE)
    before = (tmp_path / STATE).read_bytes()
    with pytest.raises(TrainingError, match=r"state.pt cannot be resumed .*Delete it") as refused:
        train(SPEC, RECIPE_8, photos, tmp_path, ignore)
    assert "\n" not in str(refused.value)
    assert (tmp_path / STATE).read_bytes() == before
    assert steps_of(tmp_path) == [2, 4]


# --------------------------------------------------------------------------------------------------------- divergence


def scale_saved_weights(folder: Path, factor: float) -> None:
    state = torch.load(folder / STATE, weights_only=True)
    for tensor in state["network"].values():
        tensor.mul_(factor)
    torch.save(state, folder / STATE)


def saved_state(folder: Path) -> tuple[int, bool]:
    """Its step, and whether all its weights are finite."""
    state = torch.load(folder / STATE, weights_only=True)
    tensors = [*state["network"].values(), *state["average"].values()]
    return state["step"], all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


@pytest.mark.parametrize("power", [1, 4, 9, 18])
def test_a_run_that_diverges_stops_and_never_saves_what_is_not_finite(
    photos: Photos, tmp_path: Path, power: int
) -> None:
    recipe = replace(RECIPE_8, steps=12, save_every=1, max_rollbacks=0)
    with pytest.raises(KeyboardInterrupt):
        train(SPEC, recipe, photos, tmp_path, interrupt_at(4))
    scale_saved_weights(tmp_path, 10.0**power)
    expected = (
        pytest.raises(TrainingError, match=r"at step \d+: training diverged.* --learning-rate \(now 0.001\)")
        if power > 1  # activations beyond float32
        else contextlib.nullcontext()
    )
    with expected:
        train(SPEC, recipe, photos, tmp_path, ignore)
    assert saved_state(tmp_path)[1]


class RootOfZero(Network):
    """The loss of its first step is finite, the gradient is not."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.interpolate(x, scale_factor=4.0) + self.offset.sqrt()

    def fold(self) -> nn.Module:
        return copy.deepcopy(self).eval()


def test_a_gradient_that_overflows_although_the_loss_does_not_is_never_saved(
    photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = SimpleNamespace(Config=dict, forms=lambda config, scale: {"train": RootOfZero()})
    monkeypatch.setitem(sys.modules, "edgesr.models.root_of_zero", family)
    spec = replace(SPEC, family="root_of_zero", config={})
    with pytest.raises(TrainingError, match="The weights' norm is nan at step 0: training diverged"):
        train(spec, replace(RECIPE_8, save_every=1), photos, tmp_path, ignore)
    assert not (tmp_path / STATE).exists()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_resumed_state_that_is_not_finite_stops_at_its_first_step(
    photos: Photos, tmp_path: Path, value: float
) -> None:
    recipe = replace(RECIPE_8, max_rollbacks=0)
    with pytest.raises(KeyboardInterrupt):
        train(SPEC, recipe, photos, tmp_path, interrupt_at(4))
    scale_saved_weights(tmp_path, value)
    with pytest.raises(TrainingError, match=r"The loss is (nan|inf) at step 4"):
        train(SPEC, recipe, photos, tmp_path, ignore)


# ------------------------------------------------------------------------------------------------- schedule and recipe


def test_the_learning_rate_warms_up_and_falls_like_a_cosine() -> None:
    recipe = replace(RECIPE_8, steps=110, warmup_steps=10, learning_rate=1.0, final_learning_rate=0.2)
    assert [learning_rate(recipe, step) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert [learning_rate(recipe, step) for step in (10, 35, 60, 85, 110)] == pytest.approx(
        [1.0, 0.6 + 0.4 * math.sqrt(0.5), 0.6, 0.6 - 0.4 * math.sqrt(0.5), 0.2]
    )
    rates = [learning_rate(recipe, step) for step in range(10, 111)]
    assert rates == sorted(rates, reverse=True)


def test_the_learning_rate_needs_no_warm_up_and_may_be_all_of_it() -> None:
    assert learning_rate(replace(RECIPE_8, warmup_steps=0), 0) == pytest.approx(RECIPE_8.learning_rate)
    assert learning_rate(replace(RECIPE_8, steps=5, warmup_steps=10), 4) == pytest.approx(RECIPE_8.learning_rate / 2)


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 0},
        {"batch": 0},
        {"patch_px": 0},
        {"save_every": 0},
        {"validate_every": 0},
        {"ema_decay": 1.0},
        {"ema_decay": -0.1},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"learning_rate": 1.5},
        {"seed": -1},
        {"warmup_steps": -1},
        {"max_rollbacks": -1},
        {"gradient_clip": 0.0},
        {"gradient_clip": math.nan},
        {"final_learning_rate": 0.1},
        {"final_learning_rate": math.nan},
        {"finish_steps": 9},
        {"finish_loss": "l3"},
        {"schedule": "linear"},
        {"degradation": "fog"},
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused_by_its_value(change: dict[str, float]) -> None:
    ((name, value),) = change.items()
    with pytest.raises(UsageError, match=rf"{name} must .*{value}"):
        replace(RECIPE_8, **change)


def test_a_patch_below_the_size_that_the_network_needs_is_refused(photos: Photos, tmp_path: Path) -> None:
    spec = find("bsrn-s", 4)
    with pytest.raises(UsageError, match="patch_px must be at least 15 for bsrn-s, got 8"):
        train(spec, replace(RECIPE_8, model="bsrn-s"), photos, tmp_path / "run", ignore)
    assert not (tmp_path / "run").exists()


# -------------------------------------------------------------------------------------------------------------- result


def train_tiny(
    data: Path, folder: Path, evaluate_on: Path | None = None, start: Path | None = None
) -> dict[str, object]:
    return train_model(
        SPEC,
        RECIPE_8,
        data,
        folder,
        start=start,
        teacher_weights=None,
        threads=1,
        evaluate_on=evaluate_on,
        listener=Silent(),
    )


def test_a_run_ends_with_weights_and_a_card_that_belong_together(
    whole: dict[str, Tensor], photos: Photos, data: Path, tmp_path: Path
) -> None:
    card = train_tiny(data, tmp_path / "run", evaluate_on=data)
    files = ["card.json", "curve.png", LOCK, LOG, RECIPE, STATE, "tensorboard", "weights.safetensors"]
    assert sorted(os.listdir(tmp_path / "run")) == files
    file = tmp_path / "run" / "weights.safetensors"
    assert json.loads((tmp_path / "run" / "card.json").read_text()) == card
    assert file.stat().st_mode == (file.parent / "card.json").stat().st_mode, (
        "safetensors writes files for their owner alone"
    )
    assert card["weights_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert card["photos_sha256"] == photos.fingerprint
    assert card["recipe"] == RECIPE_8.to_json()
    assert (card["photos"], card["photos_held_out"]) == (2, 1)
    assert card["held_out_psnr_db"] == round(read_log(tmp_path / "run")[-1]["psnr_db"], 3)
    assert list(card["psnr_db"]) == [data.name]  # type: ignore[call-overload]
    loaded = load(SPEC.name, SPEC.scale, file)
    assert loaded.provenance.kind == "user"
    assert_equal_bits(dict(loaded.network.state_dict()), whole)


def test_a_finished_run_can_be_finished_again(data: Path, tmp_path: Path) -> None:
    first = train_tiny(data, tmp_path)
    (tmp_path / "weights.safetensors").unlink()
    assert train_tiny(data, tmp_path) == first


def test_image_sets_that_are_not_there_are_said_before_training(data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        train_tiny(data, tmp_path / "run", evaluate_on=tmp_path / "empty")
    assert not (tmp_path / "run").exists()


def test_a_run_may_begin_with_the_weights_of_another_and_tells_their_story(data: Path, tmp_path: Path) -> None:
    first = train_tiny(data, tmp_path / "first")
    start = tmp_path / "first" / "weights.safetensors"
    second = train_tiny(data, tmp_path / "second", start=start)
    assert (second["start_model"], second["start"]) == (SPEC.name, first)
    assert second["recipe"]["start_sha256"] == first["weights_sha256"]  # type: ignore[index]
    losses = [read_log(tmp_path / name)[0]["loss"] for name in ("first", "second")]
    assert losses[1] < losses[0], "the first steps of the second run must be better than those from scratch"
    with pytest.raises(TrainingError, match="start_sha256"):
        train_tiny(data, tmp_path / "second")


def test_folded_weights_cannot_be_trained_on(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "folded.safetensors"
    save_file(SPEC.forms()["deploy"].state_dict(), file)
    with pytest.raises(WeightsError, match="folded form"):
        train_tiny(data, tmp_path / "run", start=file)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("place", ["file", "file/run"])
def test_a_run_folder_that_cannot_be_made_is_said(photos: Photos, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"Cannot write .*file.*--run"):
        train(SPEC, RECIPE_8, photos, tmp_path / place, ignore)


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """As a disk with no more room than that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_said_and_the_state_before_it_is_kept(photos: Photos, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(SPEC, RECIPE_8, photos, tmp_path, interrupt_at(4))
    room = (tmp_path / STATE).stat().st_size // 2
    with pytest.raises(OutputError, match=r"Cannot write .*state.pt.*--run"), largest_file(room):
        train(SPEC, RECIPE_8, photos, tmp_path, ignore)
    assert saved_state(tmp_path) == (4, True)
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []
