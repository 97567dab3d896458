"""A run that diverges goes back to its last good state, and does the same when it was interrupted on the way."""

import copy
import json
import math
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from test_train import RECIPE_8, SPEC, assert_equal_bits, ignore, interrupt_at, steps_of, write_photos
from torch import Tensor, nn

from edgesr.errors import OutputError, TrainingError
from edgesr.listener import Silent
from edgesr.lock import LOCK
from edgesr.models.network import Network
from edgesr.models.registry import ModelSpec, find
from edgesr.train.divergence import LEAST_STEPS, Diverged, Trend
from edgesr.train.loop import Progress, train
from edgesr.train.photos import Photos, load_photos
from edgesr.train.run import train_model
from edgesr.train.run_folder import LOG, RECIPE, STATE, read_log
from edgesr.train.schedule import learning_rate


class Fragile(Network):
    """Its output is infinite once its weight has moved by more than `LIMIT` from where it began: what a learning rate
    that is too large does, at a known place."""

    LIMIT = 0.0057

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        far = (self.gain.detach() - 1).abs().max() > self.LIMIT
        x = nn.functional.interpolate(x, scale_factor=4.0) * self.gain * 0.5
        return x / torch.where(far, 0.0, 1.0)

    def fold(self) -> nn.Module:
        return copy.deepcopy(self).eval()


class Hungry(Fragile):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.empty(2**50)[0]


class Flaw(Fragile):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("shapes cannot be multiplied")


@pytest.fixture
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    torch.set_num_threads(1)
    return load_photos(write_photos(tmp_path_factory.mktemp("photos")), 4, 8)


@pytest.fixture
def fragile(monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
    return spec_of(Fragile, monkeypatch)


def spec_of(network: type[Network], monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
    family = SimpleNamespace(Config=dict, forms=lambda config, scale: {"train": network()})
    monkeypatch.setitem(sys.modules, "edgesr.models.made_up", family)
    return replace(SPEC, family="made_up", config={})


# Adam moves by the learning rate a step: at 0.001 the limit is passed with step 6, when a state is kept too. From step
# 4 on at 0.0005 it is not reached by step 8.
STEADY = replace(RECIPE_8, steps=8, learning_rate=1e-3, final_learning_rate=1e-3, warmup_steps=0, save_every=2)


def rollbacks(folder: Path) -> list[tuple[int, int]]:
    return [(entry["step"], entry["rollback"]) for entry in read_log(folder) if "rollback" in entry]


# ----------------------------------------------------------------------------------------------------------- rollback


def test_a_run_that_diverges_goes_back_and_ends_with_half_the_learning_rate(
    fragile: ModelSpec, photos: Photos, tmp_path: Path
) -> None:
    told: list[Progress] = []
    found = train(fragile, STEADY, photos, tmp_path, told.append)
    assert all(torch.isfinite(tensor).all() for tensor in found.values())
    (back,) = [progress for progress in told if progress.rolled_back]
    assert back.step == 4
    assert back.rolled_back == "The loss is inf at step 6: back to step 4 with half the learning rate"
    assert rollbacks(tmp_path) == [(4, 1)]
    rates = {entry["step"]: entry["learning_rate"] for entry in read_log(tmp_path) if "loss" in entry}
    assert rates == {2: 1e-3, 4: 1e-3, 6: 5e-4, 8: 5e-4}
    assert torch.load(tmp_path / STATE, weights_only=True)["rollbacks"] == 1


@pytest.mark.parametrize("stops", [[3], [4], [6], [7], [3, 4, 6, 7]])
def test_an_interrupted_run_goes_back_to_where_an_uninterrupted_one_does(
    fragile: ModelSpec, photos: Photos, tmp_path: Path, stops: list[int]
) -> None:
    recipe = replace(STEADY, validate_every=1)  # reports where no state is kept
    whole = train(fragile, recipe, photos, tmp_path / "whole", ignore)
    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            train(fragile, recipe, photos, tmp_path / "cut", interrupt_at(stop))
    assert_equal_bits(train(fragile, recipe, photos, tmp_path / "cut", ignore), whole)
    assert read_log(tmp_path / "cut") == read_log(tmp_path / "whole")


def test_a_run_killed_after_a_rollback_tells_of_it_once(fragile: ModelSpec, photos: Photos, tmp_path: Path) -> None:
    whole = train(fragile, STEADY, photos, tmp_path / "whole", ignore)
    with pytest.raises(KeyboardInterrupt):
        train(fragile, STEADY, photos, tmp_path / "cut", interrupt_at(4))
    early = (tmp_path / "cut" / STATE).read_bytes()

    def die(progress: Progress) -> None:
        if progress.rolled_back:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(fragile, STEADY, photos, tmp_path / "cut", die)
    (tmp_path / "cut" / STATE).write_bytes(early)  # as a kill leaves it: the rollback is in the log alone
    assert_equal_bits(train(fragile, STEADY, photos, tmp_path / "cut", ignore), whole)
    assert read_log(tmp_path / "cut") == read_log(tmp_path / "whole")


def test_a_run_that_always_diverges_ends_after_its_rollbacks(
    fragile: ModelSpec, photos: Photos, tmp_path: Path
) -> None:
    recipe = replace(STEADY, learning_rate=1e-2, final_learning_rate=1e-2, save_every=1, max_rollbacks=1)
    with pytest.raises(TrainingError, match=r"diverged. It went back 1 times, each time with half the learning rate"):
        train(fragile, recipe, photos, tmp_path, ignore)
    assert len(rollbacks(tmp_path)) == 1
    with pytest.raises(TrainingError, match=r"The loss is inf at step 1: training diverged. What was saved"):
        train(fragile, replace(recipe, max_rollbacks=0), photos, tmp_path / "none", ignore)


def test_the_card_tells_of_rollbacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of a real network: one step is repeated with weights that were made infinite."""
    data = write_photos(tmp_path / "photos")
    recipe = replace(RECIPE_8, steps=4)
    calls = iter(range(99))
    spec = find("plainusr-u", 4)
    forward = type(spec.forms()["train"]).forward

    def once_infinite(self: nn.Module, x: Tensor) -> Tensor:
        output: Tensor = forward(self, x)
        return output / 0 if self.training and next(calls) == 3 else output

    monkeypatch.setattr(type(spec.forms()["train"]), "forward", once_infinite)
    card = train_model(
        spec, recipe, data, tmp_path / "run", start=None, teacher_weights=None, threads=1, evaluate_on=None,
        listener=Silent(),
    )  # fmt: skip
    assert card["rollbacks"] == [
        {"to_step": 0, "why": "The loss is inf at step 3: back to step 0 with half the learning rate"}
    ]


# --------------------------------------------------------------------------------------------------------- what rises


def fed(losses: Iterator[float] | list[float], kind: str = "l1", trend: Trend | None = None) -> Trend:
    trend = trend or Trend()
    for loss in losses:
        trend = trend.after(kind, loss)
    return trend


def test_a_loss_that_rises_and_stays_up_is_divergence_and_one_odd_batch_is_not() -> None:
    calm = fed([0.03 + 0.02 * math.sin(step) for step in range(300)])
    assert fed([1.0], trend=calm).best == calm.best
    with pytest.raises(Diverged, match=r"The loss rose to 0\.1\d* from 0\.0\d+"):
        fed([0.5] * 30, trend=calm)


def test_the_first_steps_may_be_bad_and_another_loss_begins_anew() -> None:
    bad_start = fed([5.0 / (step + 1) for step in range(LEAST_STEPS)])
    assert bad_start.best > 0
    calm = fed([0.001] * 300)
    other = fed([0.5] * 300, "fft", calm)
    assert (other.kind, other.steps) == ("fft", 300)
    assert other.best == pytest.approx(0.5)


def test_the_mean_of_equal_losses_is_that_loss_from_the_first_step() -> None:
    for count in (1, 7, 150):
        assert fed([0.2] * count).best == pytest.approx(0.2)


def test_a_trend_is_saved_and_resumed(photos: Photos, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(SPEC, RECIPE_8, photos, tmp_path, interrupt_at(4))
    saved = torch.load(tmp_path / STATE, weights_only=True)["trend"]
    assert (saved["kind"], saved["steps"]) == ("l1", 4)
    assert Trend(**saved).to_json() == saved


def test_half_the_learning_rate_for_each_rollback() -> None:
    assert [learning_rate(STEADY, 5, count) for count in (0, 1, 3)] == [1e-3, 5e-4, 1.25e-4]


# -------------------------------------------------------------------------------------------------- memory and disk


def test_out_of_memory_suggests_a_smaller_batch(
    photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(Hungry, monkeypatch)
    with pytest.raises(TrainingError, match=r"Out of memory on cpu with a batch of 2 patches of 8 px.*--batch 1 or"):
        train(spec, RECIPE_8, photos, tmp_path / "two", ignore)
    with pytest.raises(TrainingError, match=r"with --patch 4 or less"):
        train(spec, replace(RECIPE_8, batch=1), photos, tmp_path / "one", ignore)


def test_another_error_of_a_network_is_not_taken_for_that(
    photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        train(spec_of(Flaw, monkeypatch), RECIPE_8, photos, tmp_path, ignore)


@contextmanager
def largest_file(count: int) -> Iterator[None]:
    """As a disk with so many bytes left: no file can grow beyond them."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def test_a_disk_that_fills_up_keeps_the_last_state_whole_and_the_run_goes_on_later(
    photos: Photos, tmp_path: Path
) -> None:
    whole = train(SPEC, RECIPE_8, photos, tmp_path / "whole", ignore)
    with pytest.raises(KeyboardInterrupt):
        train(SPEC, RECIPE_8, photos, tmp_path / "cut", interrupt_at(4))
    before = (tmp_path / "cut" / STATE).read_bytes()
    with largest_file(len(before) // 2), pytest.raises(OutputError, match=r"Cannot write .*state.pt: .*Make room"):
        train(SPEC, RECIPE_8, photos, tmp_path / "cut", ignore)
    assert (tmp_path / "cut" / STATE).read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == [LOCK, LOG, RECIPE, STATE]
    assert_equal_bits(train(SPEC, RECIPE_8, photos, tmp_path / "cut", ignore), whole)
    assert steps_of(tmp_path / "cut") == [2, 4, 6, 8]


# --------------------------------------------------------------------------------------------------------- older runs


def test_a_run_of_before_these_fields_can_be_resumed(photos: Photos, tmp_path: Path) -> None:
    """Its recipe has none of them, its state neither trend nor rollbacks, its log no learning rate."""
    whole = train(SPEC, RECIPE_8, photos, tmp_path / "whole", ignore)
    run = tmp_path / "old"
    with pytest.raises(KeyboardInterrupt):
        train(SPEC, RECIPE_8, photos, run, interrupt_at(4))
    new = ("schedule", "finish_loss", "finish_steps", "degradation", "max_rollbacks", "optimizer")
    recipe = {name: value for name, value in json.loads((run / RECIPE).read_text()).items() if name not in new}
    assert len(recipe) == len(RECIPE_8.to_json()) + 1 - len(new)
    (run / RECIPE).write_text(json.dumps(recipe))
    old = ("network", "average", "optimizer", "step", "best_psnr_db")
    state = torch.load(run / STATE, weights_only=True)
    torch.save({name: state[name] for name in old}, run / STATE)
    lines = [{name: entry[name] for name in ("step", "loss", "psnr_db")} for entry in read_log(run)]
    (run / LOG).write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(TrainingError, match=r"schedule: cosine -> multi-step"):
        train(SPEC, replace(RECIPE_8, schedule="multi-step"), photos, run, ignore)
    assert_equal_bits(train(SPEC, RECIPE_8, photos, run, ignore), whole)
    assert steps_of(run) == [2, 4, 6, 8]
