"""What torch runs faster computes the same."""

import pytest
import torch
from test_models import photo_like, relative_error
from test_window_networks import network
from torch import nn

from edgesr.models.eager import InPieces, PhasedDepthwise, PointwiseProduct, faster, for_torch

TOLERANCE = 1e-5
"""Of float32, relative to the largest value."""


@pytest.mark.parametrize("name", ["ditn-real", "ditn"])
@pytest.mark.parametrize("size", [(72, 88), (61, 77), (8, 16)])
def test_it_computes_what_the_folded_network_computes(name: str, size: tuple[int, int]) -> None:
    folded = network(name).fold()
    eager = for_torch(folded)
    kinds = {type(module) for module in eager.modules()}
    assert kinds >= {PointwiseProduct, PhasedDepthwise, InPieces}
    with torch.inference_mode():
        x = photo_like(*size)
        assert relative_error(eager(x), folded(x)) < TOLERANCE


def test_it_shares_no_memory_with_the_folded_network() -> None:
    folded = network("ditn-real").fold()
    before = {name: tensor.clone() for name, tensor in folded.state_dict().items()}
    with torch.no_grad():
        for parameter in for_torch(folded).parameters():
            parameter.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in folded.state_dict().items())


@pytest.mark.parametrize("name", ["elan-light", "hat"])
def test_a_network_that_names_no_such_form_is_taken_as_it_is(name: str) -> None:
    folded = network(name).fold()
    assert for_torch(folded) is folded


@pytest.mark.parametrize(("side", "dilation"), [(3, 2), (5, 3), (7, 3)])
@pytest.mark.parametrize("size", [(7, 5), (12, 18), (20, 31)])
def test_a_dilated_convolution_in_phases(side: int, dilation: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 4, side, padding=side // 2 * dilation, dilation=dilation, groups=4)
    x = torch.rand(2, 4, *size)
    with torch.inference_mode():
        found, expected = faster(conv)(x), conv(x)
    assert isinstance(faster(conv), PhasedDepthwise)
    assert torch.allclose(found, expected, atol=TOLERANCE)


def test_convolutions_that_are_neither_stay() -> None:
    for conv in (
        nn.Conv2d(4, 8, 3, padding=1),
        nn.Conv2d(4, 8, 1, stride=2),
        nn.Conv2d(4, 8, 1, groups=4),
        nn.Conv2d(4, 4, 5, padding=2, groups=4),
        nn.Conv2d(4, 8, 3, padding=2, dilation=2),
    ):
        assert faster(conv) is conv
