"""DITN, ELAN and HAT: equal to the official implementations, folding exact, windows that keep their places."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_models import FOLD_TOLERANCE, GOLDEN_TOLERANCE, photo_like, receptive_field_px, relative_error
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.errors import Unsupported, WeightsError
from edgesr.models import ditn, elan, hat
from edgesr.models.listing import rows_of_file
from edgesr.models.network import Network
from edgesr.models.registry import find
from edgesr.models.weights import read_state
from edgesr.models.windows import join_windows, rolled, split_windows
from edgesr.tiling import plan_tiles, run_tiled

SIZES = ((16, 32), (9, 23), (41, 33))
SMALL = {
    "ditn-real": (ditn, ditn.Config(1, "tanh", 12, 1)),
    "ditn": (ditn, ditn.Config(2, "layer", 12, 1)),
    "elan": (elan, elan.Config(2, 15, 0)),
    "elan-light": (elan, elan.Config(4, 15, 1)),
    "hat": (hat, hat.Config(24, (2,), heads=3, squeeze=6)),
}
"""Every structure of the full networks, with few channels and layers."""


def network(name: str, scale: int = 2) -> Network:
    """Random weights. Those of ELAN's head take photos from 0 to 255 to values about 1, as attention needs that is no
    choice of one position each: rounding errors would decide it."""
    module, config = SMALL[name]
    made: Network = module.forms(config, scale)["train"]
    return randomized(made)


def full_ditn() -> Network:
    return randomized(ditn.forms(ditn.Config(1, "tanh"), 2)["train"])


def randomized(made: Network) -> Network:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, parameter in made.named_parameters():
            if parameter.requires_grad:
                fan_in = max(1, parameter[0].numel()) ** 0.5 if parameter.dim() > 1 else 4
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / fan_in)
            if key.endswith("temperature"):
                parameter.add_(3)
        for layer in made.modules():
            if isinstance(layer, nn.LayerNorm | nn.BatchNorm2d):
                layer.weight.add_(1)
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(generator=generator)  # type: ignore[union-attr]
                layer.running_var.uniform_(0.5, 2, generator=generator)  # type: ignore[union-attr]
        if isinstance(made, elan.ELAN):
            made.head[0].weight.div_(elan.RANGE)
    return made.eval()


@pytest.mark.parametrize("name", SMALL)
def test_folding_changes_nothing_at_borders_and_odd_sizes(name: str) -> None:
    trained = network(name)
    folded = trained.fold()
    for size in SIZES:
        image = photo_like(*size)
        with torch.no_grad():
            assert relative_error(folded(image), trained(image)) <= FOLD_TOLERANCE


@pytest.mark.parametrize("name", SMALL)
def test_folding_leaves_the_source_untouched(name: str) -> None:
    trained = network(name)
    before = {key: tensor.clone() for key, tensor in trained.state_dict().items()}
    folded = trained.fold()
    with torch.no_grad():
        for parameter in folded.parameters():
            parameter.fill_(7.0)
    assert all(torch.equal(tensor, before[key]) for key, tensor in trained.state_dict().items())


@pytest.mark.parametrize("name", SMALL)
def test_a_batch_gives_what_its_images_give_alone(name: str) -> None:
    trained = network(name)
    batch = torch.cat([photo_like(32, 16, seed) for seed in range(2)])
    for form in (trained, trained.fold()):
        with torch.no_grad():
            alone = torch.cat([form(image[None]) for image in batch])
            assert relative_error(form(batch), alone) <= FOLD_TOLERANCE


GOLDEN = {
    "ditn-real_x4_random": (ditn, ditn.Config(1, "tanh"), 4, 1.0),
    "ditn-real_x2_random": (ditn, ditn.Config(1, "tanh"), 2, 1.0),
    "hat-small_x4_random": (hat, hat.Config(60, (2, 2)), 4, 1.0),
    "elan-small-noshare_x4_random": (elan, elan.Config(4, 60, 0), 4, 255.0),
    "elan-light_x4_random": (elan, elan.Config(24, 60, 1), 4, 255.0),
}


def golden(name: str, shared: Path) -> tuple[Network, list[tuple[Tensor, Tensor]]]:
    """The network with the weights of the golden vectors, and (input in [0, 1], official output in [0, 1])."""
    module, config, scale, span = GOLDEN[name]
    made: Network = module.forms(config, scale)["train"]
    made.load_state_dict(read_state(shared / "golden" / f"{name}.safetensors"), strict=True)
    vectors = np.load(shared / "golden" / f"{name}.npz")
    cases = [key.removeprefix("input_") for key in vectors if key.startswith("input_")]
    images = [torch.from_numpy(vectors[f"input_{case}"]).permute(2, 0, 1)[None].float() / 255 for case in cases]
    outputs = [torch.from_numpy(vectors[f"output_{case}"])[None] / span for case in cases]
    return made.eval(), list(zip(images, outputs, strict=True))


@pytest.mark.parametrize("name", ["ditn-real_x4_random", "ditn-real_x2_random", "hat-small_x4_random"])
def test_golden_vectors_of_the_official_implementation(name: str, shared: Path) -> None:
    trained, cases = golden(name, shared)
    folded = trained.fold()
    for image, expected in cases:
        with torch.no_grad():
            own = trained(image)
            assert relative_error(own, expected) <= GOLDEN_TOLERANCE
            assert relative_error(folded(image), own) <= FOLD_TOLERANCE


def test_golden_vectors_of_elan_whose_random_weights_amplify_rounding(shared: Path) -> None:
    """Its scores are some 1e4, so that the attention is a choice of one position, which 1e-7 decides where two are
    almost equal: single pixels differ by 2e-4 of the range, their mean by 1e-6. Float64 is as far away."""
    trained, cases = golden("elan-small-noshare_x4_random", shared)
    for image, expected in cases:
        with torch.no_grad():
            own, folded = trained(image), trained.fold()(image)
        for found in (own, folded):
            assert float((found - expected).abs().mean() / (expected.max() - expected.min())) <= 5e-6
            assert relative_error(found, expected) <= 1e-3


def test_golden_vectors_of_elan_light_as_far_as_float32_defines_them(shared: Path) -> None:
    """24 such modules in a row: float32 and float64 of one network differ by a tenth of the range. The official output
    must be no further from either than they are from each other; one whose second modules shift otherwise is."""
    trained, cases = golden("elan-light_x4_random", shared)
    image, expected = cases[0]
    with torch.no_grad():
        single, double = trained(image), trained.double()(image.double()).float()
        chance = distance(single, double)
        assert distance(single, expected) <= 1.5 * chance
        assert distance(double, expected) <= 1.5 * chance
        wrong = trained.float()
        for block in wrong.body:
            block.modules_gmsa["gmsa_1"].shifted = not block.modules_gmsa["gmsa_1"].shifted
        assert distance(wrong(image), expected) > 2 * chance


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().mean())


@pytest.mark.parametrize(
    ("key", "name"),
    [
        *(("keys:ditn-real", "ditn-real"), ("keys:elan-light", "elan-light"), ("keys:elan", "elan")),
        *(("keys:hat-s", "hat-s"), ("keys:hat", "hat"), ("keys:hat-l", "hat-l")),
    ],
)
def test_names_and_shapes_are_those_of_the_official_checkpoints(key: str, name: str, shared: Path) -> None:
    expected = json.loads((shared / "golden" / "index.json").read_text())[key]
    with torch.device("meta"):
        (made,) = find(name, 4).forms().values()
    assert {each: list(tensor.shape) for each, tensor in made.state_dict().items()} == expected["state"]
    assert find(name, 4).params == expected["params"]


def test_windows_are_cut_row_by_row_and_put_together_again() -> None:
    for images in (1, 2):
        x = torch.arange(images * 3 * 8 * 12.0).reshape(images, 3, 8, 12)
        windows = split_windows(x, 4)
        assert torch.equal(windows[1], x[0, :, :4, 4:8])
        assert torch.equal(windows[3], x[0, :, 4:, :4])
        assert torch.equal(join_windows(windows, 4, x.shape), x)


@pytest.mark.parametrize("by", [-3, 0, 2])
def test_rolling_is_that_of_torch(by: int) -> None:
    x = torch.rand(1, 2, 8, 6)
    assert torch.equal(rolled(x, by), torch.roll(x, (by, by), (2, 3)))


@pytest.mark.parametrize("which", [0, 1])
def test_large_kernels_learn_in_bfloat16_what_they_learn_in_float32(which: int) -> None:
    """oneDNN's own bfloat16 gives the dilated one a gradient that is twice too large, or NaN, on maps 32 px wide."""
    torch.manual_seed(0)
    attention = ditn.SpatialAwareAttention(12).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    nn.init.ones_(attention.scale)
    image, probe = (torch.randn(2, 12, 32, 32).to(memory_format=torch.channels_last) for _ in range(2))
    convolution = attention.DConvs[which]
    assert isinstance(convolution, ditn.LargeDepthwise)
    gradients = []
    for bf16 in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            output = attention(image)
        gradients += torch.autograd.grad(output.float(), convolution.weight, probe)
    assert relative_error(gradients[1], gradients[0]) < 0.05


def test_ditn_is_exported_in_training_form_without_a_trace_of_autocast() -> None:
    exported = torch.export.export(network("ditn-real").train(), (photo_like(32, 32),))
    assert not [node.name for node in exported.graph.nodes if "autocast" in str(node.target)]


def test_ditn_real_begins_with_what_ditn_tiny_has_and_its_normalization_without_the_statistics() -> None:
    tiny = randomized(ditn.forms(ditn.Config(1, "layer", 12, 1), 2)["train"])
    real = ditn.forms(ditn.Config(1, "tanh", 12, 1), 2)["train"]
    begun = ditn.begun_with(tiny.state_dict())
    real.load_state_dict(begun, strict=True)
    same = tiny.state_dict().keys() & begun.keys()
    assert len(same) == len(begun) - 8, "two layers with two convolutions behind tanh, weight and bias"
    assert all(torch.equal(begun[name], tiny.state_dict()[name]) for name in same)
    before, after = tiny.get_submodule("UFONE.0.SALs.0"), real.get_submodule("UFONE.0.SALs.0")
    x = torch.randn(1, 12, 4, 4)
    standardized = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + ditn.LAYER_NORM_EPS).sqrt()
    with torch.no_grad():
        for norm, conv in ((before.norm1, after.conv1), (before.norm2, after.conv2)):  # type: ignore[union-attr]
            assert torch.allclose(conv(standardized), norm(x), atol=1e-5)  # type: ignore[operator]
            conv.weight.fill_(7.0)  # type: ignore[union-attr, operator]
    assert not any((tensor == 7).all() for tensor in tiny.state_dict().values()), "no memory may be shared"


def test_overlapping_windows_are_those_of_unfold() -> None:
    x = torch.rand(2, 32, 48, 5)
    side = hat.WINDOW + hat.OVERLAP
    unfolded = F.unfold(x.movedim(-1, 1), side, stride=hat.WINDOW, padding=hat.OVERLAP // 2)
    expected = unfolded.reshape(2, 5, side**2, -1).permute(0, 3, 2, 1).reshape(-1, side**2, 5)
    assert torch.equal(hat.overlapping(x), expected)


def test_marks_make_the_mask_that_separates_what_shifting_brought_together() -> None:
    mask = hat.shift_mask(32, 48)
    assert set(mask.unique().tolist()) == {0.0, hat.MASK}
    assert not mask[0].any()
    place = torch.arange(32 * 48.0).reshape(1, 1, 32, 48)
    rows = rolled(place, -hat.SHIFT)[0, 0] // 48
    windows = hat.windows_of(rows[None, :, :, None], hat.WINDOW)[..., 0]
    apart = (windows[:, :, None] - windows[:, None, :]).abs() > hat.WINDOW
    assert bool((mask[apart] == hat.MASK).all())


def test_an_index_in_a_file_cannot_change_where_hat_reads() -> None:
    trained, image = network("hat"), photo_like(16, 16)
    with torch.no_grad():
        before = trained(image)
        trained.relative_position_index_SA.fill_(10**6)
        assert torch.equal(trained(image), before)


def test_the_form_for_one_size_is_the_form_for_all() -> None:
    folded: Any = network("hat").fold()
    image = photo_like(32, 48)
    with torch.no_grad():
        assert torch.equal(folded.at(32, 48)(image), folded(image))


def test_tiles_of_ditn_with_enough_halo_leave_no_seam() -> None:
    """Its windows keep their places, since tiles start at multiples of 8."""
    spec, folded = find("ditn-real"), full_ditn().fold()
    assert spec.receptive_field_px is not None
    image = photo_like(120, 264).numpy()
    plan = plan_tiles(120, 264, scale=2, halo_px=spec.receptive_field_px, tile_hw=(120, 200), multiple=spec.multiple_px)
    assert len(plan.boxes) > 1

    def run(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return folded(torch.from_numpy(x)).numpy()

    assert np.abs(run_tiled(run, image, plan) - run(image)).max() < 1e-5


@pytest.mark.slow
def test_receptive_field_of_ditn() -> None:
    assert receptive_field_px(full_ditn().fold(), 160) == find("ditn-real").receptive_field_px


@pytest.mark.parametrize(("size", "what"), [((60, 64), "multiples of 8"), ((4, 8), "at least 5")])
def test_a_size_that_windows_do_not_fit_is_refused(size: tuple[int, int], what: str) -> None:
    with pytest.raises(Unsupported, match=what):
        find("ditn-real").check_sizes([size])


def test_a_file_says_which_network_it_is_for(tmp_path: Path) -> None:
    for name, scale in (("ditn-real", 4), ("ditn-tiny", 2), ("elan-light", 3)):
        (made,) = find(name, scale).forms().values()
        file = tmp_path / f"{name}.safetensors"
        save_file(made.state_dict(), file)
        (row,) = rows_of_file(file)
        assert (row["model"], row["scale"], row["form"]) == (name, scale, "train")
    save_file({"conv.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="holds no weights of a network"):
        rows_of_file(tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="does not exist"):
        rows_of_file(tmp_path / "missing.safetensors")
