"""Flat images: a bias that is off is mended, one that is not is left alone."""

import copy

import pytest

torch = pytest.importorskip("torch", reason="needs edgesr[export]")
pytest.importorskip("torchao", reason="needs edgesr[export]")

from small_networks import crops, source  # noqa: E402
from torch import Tensor, fx  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from edgesr.quantization.flats import ALLOWED, LEVELS, flatten  # noqa: E402
from edgesr.quantization.graph import with_ranges  # noqa: E402
from edgesr.quantization.prepared import bias_of, convolutions, prepare  # noqa: E402
from edgesr.quantization.range_split import last_convolutions  # noqa: E402
from edgesr.targets.export import example_input, free_sides  # noqa: E402

torch.set_num_threads(1)

SIDE_PX = 48


def rounded(name: str) -> tuple[fx.GraphModule, fx.GraphModule, Tensor]:
    """The graph by ranges alone, its float form, the last bias of the graph, without which nothing could be mended."""
    prepared = prepare(source(name).network, example_input(), free_sides())
    graph = with_ranges(prepared, (), crops(name), [], lambda done, total: None)
    last = last_convolutions(prepared)
    pairs = zip(convolutions(graph), convolutions(prepared), strict=True)
    (bias,) = (found for conv, exact in pairs if exact in last and (found := bias_of(graph, conv)) is not None)
    return graph, prepared, bias


@torch.no_grad()
def errors(graph: fx.GraphModule, prepared: fx.GraphModule) -> Tensor:
    """Of each phase, the largest in the middle."""
    found = []
    for level in LEVELS:
        image = torch.full((1, 3, SIDE_PX, SIDE_PX), level)
        difference = graph(image).clamp(0, 1) - prepared(image).clamp(0, 1)
        found.append(F.pixel_unshuffle(difference.abs(), difference.shape[2] // SIDE_PX)[..., 20:28, 20:28])
    return torch.cat(found).amax((0, 2, 3))


@pytest.mark.parametrize("name", ["plainusr", "bsrn-slim"])
def test_a_bias_that_is_off_is_mended(name: str) -> None:
    graph, prepared, bias = rounded(name)
    before = errors(graph, prepared)
    with torch.no_grad():
        bias[::2] += 0.75 / 255
        bias[1::4] -= 0.5 / 255
    disturbed = errors(graph, prepared)
    flatten(graph, prepared, SIDE_PX)
    after = errors(graph, prepared)
    assert disturbed.mean() > before.mean()
    assert after.mean() < disturbed.mean()
    assert (after <= torch.maximum(before, torch.tensor(ALLOWED)) + 1e-6).all()


@pytest.mark.parametrize("name", ["plainusr", "bsrn-slim"])
def test_channels_that_are_flat_keep_their_bias(name: str) -> None:
    graph, prepared, bias = rounded(name)
    good = errors(graph, prepared) <= ALLOWED
    before = copy.deepcopy(bias.detach())
    flatten(graph, prepared, SIDE_PX)
    assert good.any()
    torch.testing.assert_close(bias[good], before[good], rtol=0, atol=0)
    assert ((bias - before).abs() <= 1 / 255 + 1e-6).all()
