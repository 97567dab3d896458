"""Every form of a float graph computes the same, and each target takes the one that was measured fastest."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs edgesr[torch]")

from edgesr import interleave  # noqa: E402
from edgesr.models import bsrn, plainusr  # noqa: E402
from edgesr.models.bsrn import DenseConvolution, FoldedBSRN  # noqa: E402
from edgesr.models.network import Network  # noqa: E402
from edgesr.targets import forms  # noqa: E402

torch.set_num_threads(1)
SIZES = ((15, 15), (16, 23), (41, 33))
TOLERANCE = 1e-5
"""Relative to the range of the output: a sum in another order."""

MATTERS = 1.03
"""Forms that differ by less, beyond the interval, are taken for equally fast."""

BENCH = Path(__file__).parents[1] / "docs" / "bench.json"

NETWORKS = {
    "bsrn": lambda: bsrn.forms(bsrn.Config(16, 2, False), 2)["train"],
    "bsrn-slim": lambda: bsrn.forms(bsrn.Config(16, 2, True), 2)["train"],
    "plainusr-2": lambda: plainusr.forms(plainusr.Config((16, 8), None), 2)["deploy"],
    "plainusr-3": lambda: plainusr.forms(plainusr.Config((16, 12, 8), 4), 3)["train"],
}


def folded(name: str) -> "torch.nn.Module":
    """Weights of a trained size, biases far from zero (a form that forgets a bias must fail)."""
    generator = torch.Generator().manual_seed(3)
    network: Network = NETWORKS[name]()
    for parameter in network.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data = noise / max(1, parameter[0].numel()) ** 0.5 if parameter.dim() > 1 else 0.3 * noise
    return network.eval().fold()


def photo_like(height: int, width: int) -> "torch.Tensor":
    """Smooth structure with edges, float32 (1, 3, H, W) in [0, 1]."""
    coarse = torch.rand(1, 3, max(2, height // 5), max(2, width // 5), generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear").round(decimals=2)


def alternatives() -> Iterator[tuple[str, "forms.Form", "forms.Form"]]:
    for name in NETWORKS:
        for choice in forms.CHOICES:
            if name.startswith(choice.family):
                for default, other in pairwise(choice.forms):
                    yield name, default, other


def kinds(network: "torch.nn.Module") -> list[str]:
    return [type(module).__name__ for module in network.modules()]


@pytest.mark.parametrize(("name", "default", "other"), list(alternatives()))
def test_forms_compute_the_same_at_borders_and_odd_sizes(name: str, default: "forms.Form", other: "forms.Form") -> None:
    network = folded(name)
    changed = other(network)
    back = default(changed)
    assert kinds(changed) != kinds(network), "the form changed nothing"
    assert kinds(back) == kinds(network), "the inverse does not lead back"
    with torch.no_grad():
        for size in SIZES:
            image = photo_like(*size)
            expected = network(image)
            span = max(1.0, float(expected.max() - expected.min()))
            for form in (changed, back):
                error = float((form(image) - expected).abs().max()) / span
                assert error <= TOLERANCE, f"{size}: {error:.2e}"


@pytest.mark.parametrize("name", NETWORKS)
def test_uint8_output_is_the_rounded_output(name: str) -> None:
    network = folded(name)
    with torch.no_grad():
        image = photo_like(41, 33)
        result = forms.uint8_output(network)(image)
        expected = (network(image) * 255).clamp(0, 255).round()
    assert result.dtype == torch.uint8
    assert torch.equal(result.float(), expected)
    assert result.unique().numel() > 2


@pytest.mark.parametrize("name", NETWORKS)
def test_forms_copy(name: str) -> None:
    network = folded(name)
    image = photo_like(20, 20)
    with torch.no_grad():
        before = network(image)
        for form in (*(form for choice in forms.CHOICES for form in choice.forms), forms.uint8_output):
            for parameter in form(network).parameters():
                parameter.zero_()
        assert torch.equal(network(image), before)


@pytest.mark.parametrize("name", NETWORKS)
def test_folding_gives_the_forms_that_the_table_says(name: str) -> None:
    network = folded(name)
    for choice in forms.CHOICES:
        default = next(form for form in choice.forms if form.__name__ in forms.FOLDED)
        assert kinds(default(network)) == kinds(network), default.__name__


@pytest.mark.parametrize("name", ["bsrn", "bsrn-slim"])
def test_integers_get_an_equal_network_that_joins_what_is_fused_and_has_a_dense_head(name: str) -> None:
    """Equal at the sides too, where the pointwise bias of BSRN-S ends."""
    network = folded(name)
    assert isinstance(network, FoldedBSRN)
    joined = network.for_integers()
    assert kinds(joined.blocks) == kinds(forms.concat_pointwise(network.blocks)) != kinds(network.blocks)
    assert isinstance(joined.head, DenseConvolution)
    assert joined.head.conv.in_channels == (4 if name == "bsrn-slim" else 3)
    image = photo_like(41, 33)
    with torch.no_grad():
        expected = network(image)
        assert float((joined(image) - expected).abs().max()) <= TOLERANCE * float(expected.max() - expected.min())
        for parameter in joined.parameters():
            parameter.zero_()
        assert torch.equal(network(image), expected)


def test_every_row_takes_one_form_of_each_choice() -> None:
    for target, taken in forms.FORMS.items():
        for choice in forms.CHOICES:
            assert len({form.__name__ for form in choice.forms} & {*taken}) == 1, target


def test_the_table_takes_what_was_measured_fastest() -> None:
    compared = set()
    for result in json.loads(BENCH.read_text())["models"]:
        raw_ns = {json.dumps(row["variant"]): row["raw_ns"] for row in result["rows"]}
        for each in result["choices"]:
            taken, instead = each["taken"], each["instead"]
            ratio = interleave.speedup(raw_ns[json.dumps(instead)], raw_ns[json.dumps(taken)])
            assert ratio.value == pytest.approx(each["speedup"]["value"])
            assert {*taken["forms"]} <= {*forms.FORMS[taken["target"]]}, "the table changed: run make bench"
            assert ratio.high * MATTERS >= 1, f"{result['model']} on {taken}: {instead['forms']} is faster, {ratio}"
            compared |= {(taken["target"], *({*taken["forms"]} - {*instead["forms"]}))}
    for form in forms.FOLDED:
        assert {("onnxruntime", form), ("openvino", form)} <= compared, form
