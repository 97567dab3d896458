"""The quantized graph of runtimes whose integer convolutions write floats: fewer roundings, less work, nearer."""

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs edgesr[export]")
pytest.importorskip("torchao", reason="needs edgesr[export]")

import numpy as np  # noqa: E402
from small_networks import MIN_SIDE_PX, NETWORKS, SCALE, photo, psnr_db, run, source  # noqa: E402
from test_range_split import WRITES, recipe, split_at  # noqa: E402
from torch import nn  # noqa: E402

from edgesr.quantization.float_outputs import with_float_outputs  # noqa: E402
from edgesr.quantization.prepared import CLAMP, CONVOLUTION  # noqa: E402
from edgesr.quantization.range_split import Splits  # noqa: E402
from edgesr.quantization.reconstruction import QUANTIZE  # noqa: E402
from edgesr.quantization.scheme import Scheme  # noqa: E402
from edgesr.targets.source import Source  # noqa: E402

torch.set_num_threads(1)
X = photo(9, 40, 48)


def nodes(graph: nn.Module, target: Any) -> list[Any]:
    return [node for node in graph.graph.nodes if node.target is target]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", NETWORKS)
def test_only_what_convolutions_read_is_rounded(name: str) -> None:
    before, after = source(name).quantized, source(name).float_outputs
    for node in nodes(after, QUANTIZE):
        readers = [reader for dequantized in node.users for reader in dequantized.users]
        assert any(reader.target is CONVOLUTION for reader in readers)
    for node in nodes(after, CONVOLUTION):
        assert node.args[0].args[0].target is QUANTIZE
    assert 0 < len(nodes(after, QUANTIZE)) < len(nodes(before, QUANTIZE))


@pytest.mark.parametrize("name", NETWORKS)
def test_fewer_roundings_come_nearer_to_the_network(name: str) -> None:
    exact = run(source(name).network, X)
    before, after = (psnr_db(run(graph, X), exact) for graph in (source(name).quantized, source(name).float_outputs))
    assert after > before + 0.2


def test_a_graph_that_rounds_no_output_stays_as_it_is() -> None:
    given = source("plainusr")
    inputs = Source(
        given.network,
        name="plainusr",
        scale=SCALE,
        min_side_px=MIN_SIDE_PX["plainusr"],
        calibration=given.calibration,
        scheme=Scheme(placement="inputs"),
    )
    assert np.array_equal(run(inputs.float_outputs, X), run(inputs.quantized, X))


@pytest.mark.parametrize("name", WRITES)
def test_no_convolution_is_there_for_a_second_grid_of_what_it_writes(name: str) -> None:
    splits = split_at(name, 0.05)
    made = recipe(name, splits)
    given = Source(source(name).network, name=name, scale=SCALE, min_side_px=MIN_SIDE_PX[name], recipe=made)
    before, after = given.quantized, given.float_outputs
    gone = len(nodes(before, CONVOLUTION)) - len(nodes(after, CONVOLUTION))
    assert gone == len(WRITES[name])
    assert len(nodes(after, CLAMP)) == len(nodes(before, CLAMP)) - 2 * gone
    exact = run(given.network, X)
    assert psnr_db(run(after, X), exact) > psnr_db(run(before, X), exact)
    assert len(nodes(given.unrounded, CONVOLUTION)) == len(nodes(after, CONVOLUTION))


@pytest.mark.parametrize("name", WRITES)
def test_a_split_of_what_is_read_stays(name: str) -> None:
    made = recipe(name, Splits(reads=split_at(name, 0.05).reads))
    given = Source(source(name).network, name=name, scale=SCALE, min_side_px=MIN_SIDE_PX[name], recipe=made)
    assert len(nodes(given.float_outputs, CONVOLUTION)) == len(nodes(given.quantized, CONVOLUTION))


def test_it_is_a_copy() -> None:
    graph = source("bsrn-slim").quantized
    before = len(nodes(graph, QUANTIZE))
    assert with_float_outputs(graph) is not graph
    assert len(nodes(graph, QUANTIZE)) == before
