"""What changes the weights."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_train import RECIPE_8, SPEC, assert_equal_bits, ignore, interrupt_at, write_photos
from torch import Tensor, nn

from edgesr.cli import main
from edgesr.errors import TrainingError
from edgesr.models.registry import find, names
from edgesr.train.loop import train
from edgesr.train.optimizers import MuonOfKernels, optimizers
from edgesr.train.photos import Photos, load_photos
from edgesr.train.run_folder import RECIPE, STATE, read_log

MUON_8 = replace(RECIPE_8, optimizer="muon")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def photos(data: Path) -> Photos:
    return load_photos(data, 4, 8)


def weights_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]


@pytest.mark.parametrize("name", names())
def test_every_weight_is_changed_by_one_optimizer(name: str) -> None:
    """Muon's are seen as matrices, in the same memory."""
    spec = find(name)
    network = spec.forms()["train"].to(memory_format=torch.channels_last)
    parts = optimizers(network, MUON_8, CPU)
    changed = [weight.data_ptr() for part in parts.values() for weight in weights_of(part)]
    assert sorted(changed) == sorted(weight.data_ptr() for weight in network.parameters())
    matrices = weights_of(parts["muon"])
    assert all(min(matrix.shape) > 1 for matrix in matrices)
    assert sum(matrix.numel() for matrix in matrices) > 0.5 * sum(weight.numel() for weight in network.parameters())


@pytest.mark.parametrize("name", names())
def test_what_reads_or_writes_the_image_and_depthwise_kernels_are_adams(name: str) -> None:
    spec = find(name)
    network = spec.forms()["train"]
    kernels = {
        weight.data_ptr() for weight in weights_of(optimizers(network, replace(MUON_8, model=name), CPU)["muon"])
    }
    convs = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    writes = [conv for conv in convs if conv.out_channels in (3, 3 * spec.scale**2)][-1]
    others = [conv for conv in convs if 1 in conv.weight.shape[:2] or conv.in_channels == 3]
    assert others
    assert not any(conv.weight.data_ptr() in kernels for conv in [*others, writes])


def test_a_step_is_orthogonal_and_as_large_as_one_of_adam() -> None:
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.randn(16, 4, 3, 3))
    before = kernel.detach().clone()
    kernel.grad = torch.randn(16, 4, 3, 3)
    MuonOfKernels([kernel], 0.01).step()
    step = (kernel.detach() - before).flatten(1)
    assert (step.flatten() @ kernel.grad.flatten()) < 0
    lengths = torch.linalg.svdvals(step)
    assert lengths.max() / lengths.min() < 2, "singular values near 1, as Newton-Schulz leaves them"
    assert torch.linalg.svdvals(kernel.grad.flatten(1)).max() / torch.linalg.svdvals(kernel.grad.flatten(1)).min() > 2
    assert step.square().mean().sqrt() == pytest.approx(0.2 * 0.01, rel=0.3)


def test_the_layout_in_memory_changes_nothing() -> None:
    torch.manual_seed(0)
    value, gradient = torch.randn(16, 4, 3, 3), torch.randn(16, 4, 3, 3)
    stepped = []
    for layout in (torch.contiguous_format, torch.channels_last):
        kernel = nn.Parameter(value.clone(memory_format=layout))
        kernel.grad = gradient.clone(memory_format=layout)
        MuonOfKernels([kernel], 0.01).step()
        stepped.append(kernel.detach())
    torch.testing.assert_close(*stepped, rtol=0, atol=1e-4)  # Newton-Schulz is computed in bfloat16


def test_an_interrupted_run_with_muon_goes_on_exactly(photos: Photos, tmp_path: Path) -> None:
    whole = train(SPEC, MUON_8, photos, tmp_path / "whole", ignore)
    with pytest.raises(KeyboardInterrupt):
        train(SPEC, MUON_8, photos, tmp_path / "cut", interrupt_at(4))
    assert_equal_bits(train(SPEC, MUON_8, photos, tmp_path / "cut", ignore), whole)
    assert read_log(tmp_path / "cut") == read_log(tmp_path / "whole")
    with pytest.raises(AssertionError):
        assert_equal_bits(train(SPEC, RECIPE_8, photos, tmp_path / "adam", ignore), whole)


def test_a_state_without_the_moments_of_muon_is_not_resumed(photos: Photos, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(SPEC, MUON_8, photos, tmp_path, interrupt_at(4))
    state = torch.load(tmp_path / STATE, weights_only=True)
    torch.save({name: value for name, value in state.items() if name != "optimizer_muon"}, tmp_path / STATE)
    with pytest.raises(TrainingError, match="optimizer_muon"):
        train(SPEC, MUON_8, photos, tmp_path, ignore)


def test_the_optimizer_is_an_option(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["train", SPEC.name, "--data", str(data), "--run", str(tmp_path), "--steps", "2", "--patch", "8"]
    with pytest.raises(SystemExit, match="2"):
        main([*options, "--optimizer", "sgd"])
    assert "optimizer must be one of adam, muon, got 'sgd'" in capsys.readouterr().err
    main([*options, "--optimizer", "muon", "--cache", str(tmp_path / "cache")])
    assert json.loads((tmp_path / RECIPE).read_text())["optimizer"] == "muon"
