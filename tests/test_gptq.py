"""GPTQ: what it minimises is what a convolution's output loses, and rounding makes up for rounding."""

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs edgesr[export]")
pytest.importorskip("torchao", reason="needs edgesr[export]")

from small_networks import NETWORKS, crops, photo, psnr_db, run, source  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from edgesr.quantization import gptq  # noqa: E402
from edgesr.quantization import graph as flow  # noqa: E402
from edgesr.quantization.gptq import rounded_columns  # noqa: E402
from edgesr.quantization.prepared import bias_of, convolutions, prepare, tensor_of, weight_of  # noqa: E402
from edgesr.quantization.recipe_graph import numbers_of_integers  # noqa: E402
from edgesr.quantization.settings import Settings  # noqa: E402
from edgesr.targets.export import example_input, free_sides  # noqa: E402

torch.set_num_threads(1)


def nearest(weights: Tensor, steps: Tensor) -> Tensor:
    return (weights / steps).round().clamp(-127, 127)


def error(weights: Tensor, levels: Tensor, steps: Tensor, products: Tensor) -> float:
    off = weights - levels * steps
    return float((off @ products * off).sum())


def problem(correlated: float, *, inputs: int = 24, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (2 groups, 12, inputs), coarse steps, and products of inputs that share a part."""
    random = torch.Generator().manual_seed(seed)
    weights = torch.randn(2, 12, inputs, generator=random, dtype=torch.float64)
    own = torch.randn(2, inputs, 4000, generator=random, dtype=torch.float64)
    shared = torch.randn(2, 3, 4000, generator=random, dtype=torch.float64)
    mixed = torch.randn(2, inputs, 3, generator=random, dtype=torch.float64) @ shared
    columns = own * (1 - correlated) + mixed * correlated
    return weights, weights.abs().amax(2, keepdim=True) / 15, columns @ columns.transpose(1, 2) / 4000


def test_correlated_inputs_lose_much_less() -> None:
    weights, steps, products = problem(0.9)
    levels, _ = rounded_columns(weights, steps, products, free=False)
    assert torch.equal(levels, levels.round())
    assert levels.abs().max() <= 127
    before, after = (error(weights, each, steps, products) for each in (nearest(weights, steps), levels))
    assert after < before / 3


def test_independent_inputs_are_rounded_to_nearest() -> None:
    weights, steps, _ = problem(0.0)
    products = torch.diag_embed(torch.linspace(0.5, 2, weights.shape[2], dtype=torch.float64).expand(2, -1))
    levels, _ = rounded_columns(weights, steps, products, free=False)
    assert torch.equal(levels, nearest(weights, steps))


def test_a_pair_of_weights_is_rounded_as_trying_all_levels_would() -> None:
    """The first is rounded to nearest, the second is the best that there is beside it."""
    weights, steps, products = problem(0.8, inputs=2)
    levels, _ = rounded_columns(weights, steps, products, free=False)
    first = products.diagonal(dim1=1, dim2=2).argmax(1)
    for group in range(2):
        at = int(first[group])
        assert torch.equal(levels[group, :, at], nearest(weights, steps)[group, :, at])
        for out in range(weights.shape[1]):
            tried = levels[group, out].clone()
            errors = {}
            for level in range(-127, 128):
                tried[1 - at] = level
                off = weights[group, out] - tried * steps[group, out]
                errors[level] = float(off @ products[group] @ off)
            assert int(levels[group, out, 1 - at]) == min(errors, key=errors.__getitem__)


def test_the_bias_takes_the_mean_and_dead_inputs_do_no_harm() -> None:
    weights, steps, _ = problem(0.5)
    random = torch.Generator().manual_seed(1)
    columns = torch.rand(2, 24, 4000, generator=random, dtype=torch.float64) + 1
    columns[:, 5] = 0
    columns = torch.cat([columns, torch.ones(2, 1, 4000, dtype=torch.float64)], 1)
    products = columns @ columns.transpose(1, 2) / 4000
    with_bias = torch.cat([weights, torch.zeros(2, 12, 1, dtype=torch.float64)], 2)
    levels, bias = rounded_columns(with_bias, steps, products, free=True)
    off = torch.cat([weights - levels * steps, -bias], 2) @ columns
    assert off.mean(2).abs().max() < 1e-3 * float(steps.mean())
    only_dead = torch.zeros(2, 24, 24, dtype=torch.float64)
    assert torch.equal(rounded_columns(weights, steps, only_dead, free=False)[0], nearest(weights, steps))


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(6, 4, 1),
        nn.Conv2d(6, 4, 3, padding=1, bias=False),
        nn.Conv2d(6, 6, 3, padding=1, groups=6),
        nn.Conv2d(6, 4, (3, 1), stride=2, padding=(1, 0), groups=2),
        nn.Conv2d(6, 6, 5, padding=4, dilation=2, groups=3),
    ],
    ids=["1x1", "3x3", "depthwise", "strided", "dilated"],
)
def test_what_is_minimised_is_the_error_of_the_output(conv: nn.Conv2d, monkeypatch: pytest.MonkeyPatch) -> None:
    """For every window: (W - Q) H (W - Q)^T is the mean square of the difference of two convolutions."""
    monkeypatch.setattr(gptq, "POSITIONS", 10_000)
    graph = torch.export.export(conv, (torch.zeros(1, 6, 12, 12),)).module()
    (node,) = convolutions(graph)
    recorder = gptq._Recorder(graph, [node])
    image = torch.randn(1, 6, 12, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        recorder.run(image)
        off = torch.randn(conv.weight.shape, generator=torch.Generator().manual_seed(1))
        shift = torch.randn(len(off), generator=torch.Generator().manual_seed(2)) if conv.bias is not None else None
        lost = F.conv2d(image, off, shift, conv.stride, conv.padding, conv.dilation, conv.groups)
    rows = off.reshape(conv.groups, len(off) // conv.groups, -1).double()
    if shift is not None:
        rows = torch.cat([rows, shift.reshape(conv.groups, -1, 1)], 2)
    expected = (rows @ recorder.products[node] * rows).sum(2).flatten()
    assert torch.allclose(lost.square().mean((0, 2, 3)).double(), expected, rtol=1e-4)


def quantized(name: str) -> tuple[Any, Any]:
    """A converted graph as `find_recipe` has it before weights are chosen, and its float form."""
    graph = prepare(source(name).network, example_input(), free_sides())
    return flow.with_ranges(graph, (), crops(name), [], lambda done, total: None), graph


@pytest.mark.parametrize("name", NETWORKS)
def test_an_output_comes_nearer_to_the_network(name: str) -> None:
    x, exact = photo(9, 40, 48), run(source(name).network, photo(9, 40, 48))
    graph, prepared = quantized(name)
    before, steps = psnr_db(run(graph, x), exact), []
    ranges = [node.args for node in graph.graph.nodes]
    gptq.round_weights(
        graph, numbers_of_integers(graph, prepared), crops(name), lambda done, total: steps.append((done, total))
    )
    after = psnr_db(run(graph, x), exact)
    assert after > before + 0.5, f"{before:.2f} -> {after:.2f} dB"
    assert [node.args for node in graph.graph.nodes] == ranges
    assert steps == [(done, len(crops(name))) for done in range(1, len(crops(name)) + 1)]


def test_a_weight_moves_by_few_levels_and_a_float_convolution_not_at_all() -> None:
    network = source("plainusr").network
    graph = prepare(network, example_input(), free_sides())
    kept = ("tail_0_0",)
    converted = flow.with_ranges(graph, kept, crops("plainusr"), [], lambda done, total: None)
    gptq.round_weights(converted, numbers_of_integers(converted, graph), crops("plainusr"))
    for conv, exact in zip(convolutions(converted), convolutions(graph), strict=True):
        weight = weight_of(graph, exact)
        if conv.args[1].op == "get_attr":
            assert torch.equal(tensor_of(converted, conv.args[1]), weight)
            assert torch.equal(bias_of(converted, conv), bias_of(graph, exact))
            continue
        levels, step = (tensor_of(converted, each) for each in conv.args[1].args[:2])
        moved = levels.float() - weight / step.float().reshape(-1, 1, 1, 1)
        assert moved.abs().max() < 8


def test_recipes_are_made_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(flow, "round_weights", lambda *given: called.append(given))
    source("plainusr").find_recipe(Settings(), lambda step, done, total: None)
    assert len(called) == 1
