"""A run that begins with weights: its own network's, or those of a network that it may begin with."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from test_train import RECIPE_8, write_photos
from torch import Tensor

from edgesr.errors import WeightsError
from edgesr.listener import Silent
from edgesr.models.files import sha256_of
from edgesr.models.registry import SPECS, ModelSpec, find
from edgesr.train.machine import Machine
from edgesr.train.run import train_model
from edgesr.train.run_folder import read_log
from edgesr.train.start import _shared, read_start
from edgesr.train.state import begin

TINY, REAL = find("ditn-tiny"), find("ditn-real")
RECIPE = replace(RECIPE_8, model=REAL.name, steps=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return write_photos(tmp_path_factory.mktemp("photos"))


def written(file: Path, name: str = "ditn-tiny", scale: int = 4, form: str = "train") -> Path:
    torch.manual_seed(3)
    save_file(find(name, scale).forms()[form].state_dict(), file)
    return file


def train_real(data: Path, folder: Path, start: Path | None) -> dict[str, object]:
    return train_model(
        REAL, RECIPE, data, folder, start=start, teacher_weights=None, threads=1, evaluate_on=None, listener=Silent()
    )


def test_ditn_real_is_trained_on_from_ditn_tiny_and_its_card_says_so(data: Path, tmp_path: Path) -> None:
    start = written(tmp_path / "tiny.safetensors")
    begun = read_start(REAL, start, Silent())
    card = train_real(data, tmp_path / "run", start)
    assert card["start_model"] == "ditn-tiny"
    assert card["model"] == "ditn-real"
    assert card["recipe"]["start_sha256"] == begun.sha256  # type: ignore[index]
    assert "start" not in card, "no card lies beside the file"
    weights: dict[str, Tensor] = torch.load(tmp_path / "run" / "state.pt", weights_only=True)["network"]
    far = {name: float((weights[name] - begun.state[name]).abs().max()) for name in weights}
    assert max(far.values()) <= 2 * RECIPE.steps * RECIPE.learning_rate, "two steps of Adam lead no further"


def test_a_run_that_is_resumed_begins_with_the_same_weights(data: Path, tmp_path: Path) -> None:
    start = written(tmp_path / "tiny.safetensors")
    first = train_real(data, tmp_path / "run", start)
    assert train_real(data, tmp_path / "run", start) == first
    assert len(read_log(tmp_path / "run")) == 1


def test_the_card_of_the_weights_that_a_run_begins_with_is_kept(data: Path, tmp_path: Path) -> None:
    start = written(tmp_path / "tiny.safetensors")
    (tmp_path / "card.json").write_text(json.dumps({"model": "ditn-tiny"}))
    assert train_real(data, tmp_path / "run", start)["start"] == {"model": "ditn-tiny"}
    (tmp_path / "card.json").write_text("{")
    with pytest.raises(WeightsError, match=r"card.json, the card of tiny.safetensors, cannot be read"):
        train_real(data, tmp_path / "other", start)


def test_a_card_may_have_the_name_of_the_weights(tmp_path: Path) -> None:
    start = written(tmp_path / "tiny.safetensors")
    beside = tmp_path / "tiny.json"
    card = {"model": "ditn-tiny", "weights_sha256": sha256_of(start)}
    beside.write_text(json.dumps(card))
    assert read_start(REAL, start, Silent()).card == card
    for other in (json.dumps(card | {"weights_sha256": "0" * 64}), "[]", "{", ""):
        beside.write_text(other)
        assert read_start(REAL, start, Silent()).card is None


@pytest.mark.parametrize(
    ("name", "scale", "form", "words"),
    [
        ("ditn-tiny", 2, "train", "holds ditn-tiny x2; training of ditn-real x4 cannot begin with that"),
        ("ditn", 4, "train", "Give weights of ditn-real x4 or ditn-tiny x4"),
        ("plainusr-u", 4, "deploy", "holds plainusr-u x4"),
    ],
)
def test_weights_of_another_network_or_scale_are_refused(
    data: Path, tmp_path: Path, name: str, scale: int, form: str, words: str
) -> None:
    with pytest.raises(WeightsError, match=words):
        train_real(data, tmp_path / "run", written(tmp_path / "weights.safetensors", name, scale, form))
    assert not (tmp_path / "run").exists()


def test_weights_of_another_scale_serve_but_for_the_upsampler(tmp_path: Path) -> None:
    said: list[str] = []
    listener = Silent()
    listener.say = said.append  # type: ignore[method-assign]
    file = written(tmp_path / "x2.safetensors", "ditn-real", 2)
    begun = read_start(REAL, file, listener)
    assert begun.anew == ("upsample.0.weight", "upsample.0.bias"), begun.anew
    assert said[-1].endswith(f"but for 2 tensors that begin anew: {', '.join(begun.anew)}.")
    assert begun.facts() == {"start_model": "ditn-real", "start_scale": 2, "begun_anew": list(begun.anew)}


def test_what_another_scale_lacks_begins_with_the_seed_and_the_rest_as_it_was(data: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "x2.safetensors", "plainusr-u", 2)
    spec = find("plainusr-u", 4)
    begun = read_start(spec, file, Silent())
    states = [begin(spec, replace(RECIPE_8, seed=7), start, None, Machine()) for start in (begun.state, None)]
    taken, fresh = (state.network.state_dict() for state in states)
    assert 0 < len(begun.anew) < len(taken) / 4
    assert all(torch.equal(taken[name], fresh[name]) for name in begun.anew)
    assert all(torch.equal(taken[name], begun.state[name]) for name in taken if name not in begun.anew)


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.params < 1e6], ids=lambda spec: str(spec.key))
def test_scales_of_a_network_share_most_of_their_weights(spec: ModelSpec) -> None:
    for other in (other for other in SPECS if other.name == spec.name and other.scale != spec.scale):
        _, anew = _shared(spec, other.forms()["train"].state_dict())
        assert 0 < len(anew) <= 4, anew


def test_the_way_back_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds ditn-real x4; training of ditn-tiny x4 cannot begin with that"):
        read_start(TINY, written(tmp_path / "real.safetensors", "ditn-real"), Silent())


def test_a_file_of_no_network_is_told_in_what_it_differs(tmp_path: Path) -> None:
    save_file({"sft.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"It looks like no model of this kit.*sft.weight: \(3,\)"):
        read_start(REAL, tmp_path / "other.safetensors", Silent())
    with pytest.raises(WeightsError, match="does not exist"):
        read_start(REAL, tmp_path / "missing.safetensors", Silent())


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.begins_with], ids=lambda spec: str(spec.key))
def test_the_table_names_networks_whose_weights_become_those_of_the_network(spec: ModelSpec) -> None:
    assert spec.begins_with is not None
    source = find(spec.begins_with, spec.scale)
    assert source.family == spec.family
    spec.forms()["train"].load_state_dict(spec.begun_with(source.forms()["train"].state_dict()), strict=True)
