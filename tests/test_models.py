"""The networks: equal to the official implementations, folding exact, the table of facts true."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from edgesr.datasets import eval_sets
from edgesr.errors import UnknownName, Unsupported
from edgesr.listener import Silent
from edgesr.models import bsrn, plainusr
from edgesr.models.files import card_of
from edgesr.models.network import Network
from edgesr.models.registry import SPECS, ModelSpec, find, names
from edgesr.models.weights import load, read_state
from edgesr.verify import references

FOLD_TOLERANCE = 1e-5
GOLDEN_TOLERANCE = 1e-4
SIZES = ((15, 15), (16, 23), (41, 33))
BY_KEY = {spec.key: spec for spec in SPECS}


def specs(*, only_x4: bool = False, windowed: bool = False) -> list[pytest.param]:
    """Networks of convolutions, and those with attention in windows where small ones cannot stand for them."""
    chosen = [spec for spec in SPECS if windowed or spec.multiple_px == 1]
    return [pytest.param(spec, id=spec.key) for spec in chosen if spec.scale == 4 or not only_x4]


def randomized(network: Network, seed: int = 0) -> Network:
    """Weights of a trained size, biases far from zero (a fold that forgets a bias must fail)."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data = noise / max(1, parameter[0].numel()) ** 0.5 if parameter.dim() > 1 else 0.3 * noise
    return network.eval()


def photo_like(height: int, width: int, seed: int = 0) -> Tensor:
    """Smooth structure with edges, float32 (1, 3, H, W) in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, max(2, height // 5), max(2, width // 5), generator=generator)
    return nn.functional.interpolate(coarse, (height, width), mode="bilinear").round(decimals=2)


def relative_error(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    found, expected = found.detach(), expected.detach()
    return float((found - expected).abs().max() / max(1.0, float(expected.max() - expected.min())))


@pytest.mark.parametrize("spec", specs())
def test_folding_changes_nothing_at_borders_and_odd_sizes(spec: ModelSpec) -> None:
    for form, network in spec.forms().items():
        randomized(network)
        folded = network.fold()
        for height, width in SIZES:
            image = photo_like(height, width)
            with torch.no_grad():
                error = relative_error(folded(image), network(image))
            assert error <= FOLD_TOLERANCE, f"{spec.key} {form} {height}x{width}: {error:.2e}"


@pytest.mark.parametrize("spec", specs(only_x4=True))
def test_folding_leaves_the_source_untouched(spec: ModelSpec) -> None:
    network = randomized(next(iter(spec.forms().values())))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    folded = network.fold()
    with torch.no_grad():
        for parameter in folded.parameters():
            parameter.fill_(7.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_collapsed_training_form_has_the_same_output_and_gradient() -> None:
    plain, collapsed = (randomized(find("plainusr-t").forms()["train"]) for _ in range(2))
    collapsed.collapse_in_training()
    image = photo_like(19, 24)
    outputs = [network(image) for network in (plain, collapsed)]
    assert relative_error(outputs[1], outputs[0]) <= FOLD_TOLERANCE
    for output in outputs:
        output.square().mean().backward()
    for (name, a), b in zip(plain.named_parameters(), collapsed.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-4 * float(a.grad.abs().max() + 1e-6)), name


@pytest.mark.parametrize("spec", specs(windowed=True))
def test_facts_in_the_table_are_those_of_the_network(spec: ModelSpec) -> None:
    with torch.device("meta"):
        forms = spec.forms()
        official = forms.get("deploy") or forms["train"]
        assert sum(parameter.numel() for parameter in official.parameters()) == spec.params
        assert gmacs(official.fold(), spec.scale) == pytest.approx(spec.gmacs_720p, abs=6e-4)


@pytest.mark.parametrize("spec", specs(windowed=True))
def test_smallest_side_runs_and_one_less_does_not(spec: ModelSpec) -> None:
    folded = next(iter(spec.forms().values())).fold()
    side = spec.min_side_px
    assert folded(torch.rand(1, 3, side, side)).shape == (1, 3, side * spec.scale, side * spec.scale)
    if side > 1:
        with pytest.raises(RuntimeError):
            folded(torch.rand(1, 3, side - 1, side - 1))


@pytest.mark.parametrize("name", ["plainusr-u", "plainusr-t"])
def test_receptive_field_of_the_small_networks_is_the_halo(name: str) -> None:
    spec = find(name)
    assert spec.receptive_field_px == spec.halo_px == receptive_field_px(randomized(spec.forms()["deploy"]).fold(), 41)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side"), [("bsrn-s", 420), ("plainusr-m", 300), ("plainusr-l", 300)])
def test_receptive_field_of_the_networks_with_attention(name: str, side: int) -> None:
    spec = find(name)
    network = next(iter(spec.forms().values())).fold()
    assert receptive_field_px(network, side) == spec.receptive_field_px


def test_bsrn_reads_the_whole_image() -> None:
    network = randomized(bsrn.BSRN(bsrn.Config(16, 1, slim=False), 2)).fold()
    image = photo_like(80, 80)
    changed = image.clone()
    changed[..., -1, -1] = 1 - changed[..., -1, -1]
    with torch.no_grad():
        difference = (network(image) - network(changed)).abs()
    assert float(difference[..., 0, 0].max()) > 0
    assert find("bsrn").receptive_field_px is None


@pytest.mark.parametrize("spec", specs())
def test_golden_vectors_of_the_official_implementation(spec: ModelSpec, shared: Path) -> None:
    golden = "plainusr-base" if spec.name == "plainusr" else spec.name
    vectors = np.load(shared / "golden" / f"{golden}_x{spec.scale}.npz")
    loaded = load(spec.name, spec.scale, next((shared / "weights").glob(f"*/{spec.weights.file}")))
    assert loaded.provenance.kind == "official"
    compare_with_golden(loaded.network, loaded.folded, vectors)


@pytest.mark.parametrize(
    ("golden", "config", "scale"),
    [
        ("plainusr-train-t", plainusr.Config((32, 16), None), 4),
        ("plainusr-train-s", plainusr.Config((32, 16, 8), 4), 2),
        ("plainusr-train-l", plainusr.Config((40, 32, 24), 8, convs=3), 4),
    ],
)
def test_golden_vectors_of_the_training_form(golden: str, config: plainusr.Config, scale: int, shared: Path) -> None:
    vectors = np.load(shared / "golden" / f"{golden}.npz")
    network = plainusr.forms(config, scale)["train"]
    network.load_state_dict(read_state(shared / "golden" / f"{golden}.safetensors"), strict=True)
    compare_with_golden(network.eval(), network.fold(), vectors)


def compare_with_golden(network: nn.Module, folded: nn.Module, vectors: np.lib.npyio.NpzFile) -> None:
    for case in ("b56", "odd61x77"):
        image = torch.from_numpy(vectors[f"input_{case}"]).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            own, deployed = network(image)[0], folded(image)[0]
        expected = torch.from_numpy(vectors[f"output_{case}"])
        assert relative_error(own, expected) <= GOLDEN_TOLERANCE
        assert float((deployed - own).abs().max()) <= FOLD_TOLERANCE
        if f"deploy_output_{case}" in vectors:
            assert relative_error(deployed, torch.from_numpy(vectors[f"deploy_output_{case}"])) <= GOLDEN_TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("spec", specs())
def test_official_weights_reach_the_psnr_in_the_table(spec: ModelSpec, shared: Path) -> None:
    """On Set5; on every set, which takes a quarter of an hour, with EDGESR_LONG_TESTS=1."""
    table = spec.measured_psnr_db if "EDGESR_LONG_TESTS" in os.environ else {"Set5": spec.measured_psnr_db["Set5"]}
    loaded = load(spec.name, spec.scale, next((shared / "weights").glob(f"*/{spec.weights.file}")))
    sets = [images for images in eval_sets(shared / "data" / "eval", spec.scale) if images.name in table]

    def network(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return loaded.folded(torch.from_numpy(image)).numpy()

    found = references(network, sets, spec.scale, Silent())
    for name, expected in table.items():
        mean = np.mean([reference.psnr_db for reference in found if reference.set_name == name])
        assert mean == pytest.approx(expected, abs=0.01), f"{spec.key} on {name}"


def test_names_of_the_issue_exist_at_their_scales() -> None:
    scales = {name: {spec.scale for spec in SPECS if spec.name == name} for name in names()}
    plain = {name: {2, 4} for name in ["plainusr", *(f"plainusr-{size}" for size in "utsml")]}
    windowed = ("ditn-real", "ditn-tiny", "ditn", "elan-light", "elan", "hat-s", "hat", "hat-l")
    assert scales == {"bsrn": {2, 3, 4}, "bsrn-s": {4}, **plain, **{name: {2, 3, 4} for name in windowed}}


def test_unknown_model_gets_a_suggestion() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'bsrn-s'"):
        find("bsrns")


def test_unknown_scale_lists_those_that_exist() -> None:
    with pytest.raises(Unsupported, match="x2, x3, x4"):
        find("bsrn", 8)


def test_official_files_are_pinned_like_the_shared_list(shared: Path) -> None:
    listed = dict(line.split()[::-1] for line in (shared / "weights" / "SHA256SUMS").read_text().splitlines())
    by_name = {Path(name).name: digest for name, digest in listed.items()}
    assert {spec.weights.file: spec.weights.sha256 for spec in SPECS if spec.weights.sha256} == by_name


SHIPPED = {"bsrn-s_x4": 31.3, "ditn-real_x4": 31.3, "elan-light_x4": 31.7, "plainusr-m_x4": 31.2, "plainusr-t_x4": 30.9}
"""PSNR on Set5 in dB that they have at least; bicubic has 28.6."""


@pytest.mark.parametrize("key", SHIPPED)
def test_shipped_weights_are_those_of_their_card(key: str) -> None:
    spec = BY_KEY[key]
    loaded, card = load(spec.name, spec.scale), card_of(spec)
    assert card is not None
    assert loaded.provenance.kind == "edgesr-trained"
    assert (card["model"], card["scale"], card["weights_sha256"]) == (spec.name, spec.scale, loaded.provenance.sha256)
    assert card["recipe"]["model"] == spec.name
    assert card["photos_sha256"]


@pytest.mark.parametrize("key", SHIPPED)
def test_shipped_weights_beat_bicubic_by_far(key: str, shared: Path) -> None:
    spec = BY_KEY[key]
    loaded, card = load(spec.name, spec.scale), card_of(spec)
    assert card is not None
    set5 = [images for images in eval_sets(shared / "data" / "eval", 4) if images.name == "Set5"]
    found = references(lambda image: loaded.folded(torch.from_numpy(image)).detach().numpy(), set5, 4, Silent())
    mean = float(np.mean([reference.psnr_db for reference in found]))
    assert mean == pytest.approx(card["psnr_db"]["Set5"], abs=0.01)
    assert mean >= SHIPPED[key]


def gmacs(network: nn.Module, scale: int) -> float:
    """1e9 multiply-accumulates of convolutions and matrix products for a 1280x720 output, counted on shapes alone."""
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, round(720 / scale), round(1280 / scale), device="meta"))
    return counter.get_total_flops() / 2e9


def receptive_field_px(network: nn.Module, side: int, across: int = 48) -> int:
    """Radius of the input pixels with a non-zero gradient, over the six phases of the strided attention.

    On strips of `side` by `across`, upright and lying: along each what a square would show, in a part of the time.
    """
    return max(_reach(network.double(), (side, across), 0), _reach(network, (across, side), 1))


def _reach(network: nn.Module, size: tuple[int, int], axis: int) -> int:
    image = torch.rand(1, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    image.requires_grad_()
    output = network(image)
    scale, radius = output.shape[-1] // size[-1], 0
    for step in range(6):
        centre = [length // 2 + step for length in size]
        for phase in (0, scale - 1):
            row, column = (position * scale + phase for position in centre)
            (gradient,) = torch.autograd.grad(output[0, :, row, column].sum(), image, retain_graph=True)
            touched = (gradient[0].abs().sum(0) > 0).nonzero(as_tuple=True)[axis]
            radius = max(radius, int((touched - centre[axis]).abs().max()))
    return radius
