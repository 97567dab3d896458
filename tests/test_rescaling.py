"""Factors per channel at what convolutions read and write: the same function, a step that suits every channel."""

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs edgesr[export]")
pytest.importorskip("torchao", reason="needs edgesr[export]")

from small_networks import (  # noqa: E402
    MIN_SIDE_PX,
    SCALE,
    check_target,
    crops,
    photo,
    psnr_db,
    require_runtime,
    run,
    source,
)
from torch import fx  # noqa: E402

from edgesr.errors import ArtifactError  # noqa: E402
from edgesr.quantization import recipe as recipes  # noqa: E402
from edgesr.quantization.equalization import MOST_BEYOND, Reach, equalize, measure_reaching  # noqa: E402
from edgesr.quantization.graph import with_ranges  # noqa: E402
from edgesr.quantization.mixed import work_shares  # noqa: E402
from edgesr.quantization.prepared import (  # noqa: E402
    CONVOLUTION,
    bias_of,
    convolutions,
    factors,
    name_of,
    prepare,
    source_of,
    tensor_of,
    weight_of,
)
from edgesr.quantization.range_split import last_convolutions  # noqa: E402
from edgesr.quantization.recipe import Facts, Recipe  # noqa: E402
from edgesr.quantization.recipe_float import factor_name  # noqa: E402
from edgesr.quantization.recipe_graph import apply, layers_of, tensors_of  # noqa: E402
from edgesr.quantization.rescaling import (  # noqa: E402
    Rescaled,
    rescale,
    rescaled_where_it_pays,
    without_float,
    worth_rescaling,
)
from edgesr.targets import TARGETS, onnx_graph  # noqa: E402
from edgesr.targets import openvino as openvino_target  # noqa: E402
from edgesr.targets.export import example_input, free_sides  # noqa: E402
from edgesr.targets.source import Source  # noqa: E402
from edgesr.types import Request  # noqa: E402

torch.set_num_threads(1)

NAME = "bsrn-slim"
SITES = Rescaled(reads=("blocks.0.distil.1", "blocks.0.refine.1.0", "upsample.0"), writes=("blocks.0.distil.1",))
"""Two convolutions that read one tensor behind a GELU, the last one; one that writes for a GELU."""
X = photo(9, 40, 48)


def graph_of(rescaled: Rescaled = SITES) -> fx.GraphModule:
    return rescale(
        prepare(source(NAME).network, example_input(), free_sides()), rescaled, example_input(), free_sides()
    )


def uneven() -> fx.GraphModule:
    """The same function, with factors that are not one."""
    graph = graph_of()
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for factor in factors(graph):
            name = factor_name(factor)
            if "read_" not in name and "written_" not in name:
                continue
            by = torch.rand(tensor_of(graph, factor.args[1]).shape, generator=random) + 0.5
            tensor_of(graph, factor.args[1]).mul_(by)
            if "read_" in name:
                for reader in factor.users:
                    weight_of(graph, reader).div_(by)
            else:
                conv = factor.args[0]
                weight_of(graph, conv).div_(by.reshape(-1, 1, 1, 1))
                bias = bias_of(graph, conv)
                assert bias is not None
                bias.div_(by.flatten())
    return graph


def added(graph: fx.GraphModule) -> list[str]:
    return [name for name in map(factor_name, factors(graph)) if "read_" in name or "written_" in name]


def test_factors_of_one_change_no_value_and_are_shared() -> None:
    exact = run(prepare(source(NAME).network, example_input(), free_sides()), X)
    graph = graph_of()
    assert added(graph) == [
        "factor_read_blocks_0_distil_1",
        "factor_written_blocks_0_distil_1",
        "factor_read_upsample_0",
    ]
    assert abs(run(graph, X) - exact).max() < 1e-6


def test_nothing_to_rescale_is_the_same_graph() -> None:
    graph = prepare(source(NAME).network, example_input(), free_sides())
    assert rescale(graph, Rescaled(), example_input(), free_sides()) is graph


def test_what_only_float_meets_goes_into_the_weights() -> None:
    graph = uneven()
    exact = run(graph, X)
    left = without_float(graph, SITES, ("blocks.0.distil.1", "upsample.0"))
    assert left == Rescaled(reads=("blocks.0.distil.1", "blocks.0.refine.1.0"))
    assert added(graph) == ["factor_read_blocks_0_distil_1"]
    assert abs(run(graph, X) - exact).max() < 1e-5
    assert without_float(graph, left, ("blocks.0.refine.1.0", "blocks.0.distil.1")) == Rescaled()
    assert not added(graph)
    assert abs(run(graph, X) - exact).max() < 1e-5


def test_sites_are_where_channels_differ_and_nowhere_between_convolutions() -> None:
    graph = prepare(source(NAME).network, example_input(), free_sides())
    few = crops(NAME)
    reach = Reach(few, [])
    equalize(graph, few, (), reach)
    found = worth_rescaling(graph, few, reach)
    assert found.reads
    assert found.writes
    alone = {name_of(conv) for conv in convolutions(graph) if all(user.target is CONVOLUTION for user in conv.users)}
    assert alone
    assert not alone & {*found.writes}
    between = {name_of(user) for conv in convolutions(graph) if name_of(conv) in alone for user in conv.users}
    assert not between & {*found.reads}


def test_factors_let_equalization_lose_less() -> None:
    few = crops(NAME)
    reach = Reach(few, [])
    graph = prepare(source(NAME).network, example_input(), free_sides())
    exact = run(graph, X)
    before = equalize(graph, few, (), reach).after
    graph = rescale(graph, worth_rescaling(graph, few, reach), example_input(), free_sides())
    assert equalize(graph, few, (), reach).after < 0.9 * before
    assert abs(run(graph, X) - exact).max() < 1e-4


def test_factors_that_pay_too_little_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights have few uneven channels: a fifth is saved."""
    few = crops(NAME)

    def tried() -> tuple[fx.GraphModule, Rescaled] | None:
        graph = prepare(source(NAME).network, example_input(), free_sides())
        return rescaled_where_it_pays(graph, few, Reach(few, []), example_input(), free_sides())

    assert tried() is None
    monkeypatch.setattr("edgesr.quantization.rescaling.MOST_LEFT", 0.9)
    found = tried()
    assert found is not None
    graph, rescaled = found
    assert len(added(graph)) >= len(rescaled.writes)
    assert rescaled.names
    exact = run(prepare(source(NAME).network, example_input(), free_sides()), X)
    assert abs(run(graph, X) - exact).max() < 1e-4


def test_rare_crops_count_where_no_layer_can_make_up_and_not_without_end() -> None:
    graph = prepare(source(NAME).network, example_input(), free_sides())
    few = crops(NAME)
    nodes = [source_of(conv) for conv in convolutions(graph)][1:]
    plain, wide = (measure_reaching(graph, nodes, few, reach) for reach in (None, Reach(few, [9 * few[0]])))
    last = {source_of(conv) for conv in last_convolutions(graph)}
    assert last < {*nodes}
    for node in nodes:
        high, reached = plain[node].high, wide[node].high
        if node not in last:
            assert torch.equal(reached, high)
            continue
        assert (reached > high).any()
        assert (reached <= MOST_BEYOND * high + 1e-6).all()


def recipe() -> Recipe:
    graph = uneven()
    quantized = with_ranges(graph, (), crops(NAME), [], lambda done, total: None)
    layers = layers_of(quantized, graph, work_shares(graph, example_input()))
    return Recipe(Facts(NAME, SCALE, "0" * 64, {}, {}, layers, rescaled=SITES), tensors_of(quantized, graph))


def test_a_recipe_keeps_its_factors(tmp_path: Path) -> None:
    made = recipe()
    recipes.save(made, tmp_path / "r.json")
    again = recipes.load(tmp_path / "r.json")
    assert again.facts.rescaled == SITES
    first, second = (apply(each, source(NAME).network, example_input(), free_sides()) for each in (made, again))
    assert abs(run(first, X) - run(second, X)).max() == 0
    exact = run(prepare(source(NAME).network, example_input(), free_sides()), X)
    assert psnr_db(run(first, X), exact) > 30


def test_a_recipe_with_factors_elsewhere_is_refused() -> None:
    made = recipe()
    elsewhere = Recipe(replace(made.facts, rescaled=Rescaled(writes=("blocks.0.distil.0",))), made.tensors)
    with pytest.raises(ArtifactError, match="does not fit the network"):
        apply(elsewhere, source(NAME).network, example_input(), free_sides())


@pytest.mark.parametrize("target", [name for name, row in TARGETS.items() if "int8" in row.precisions])
def test_every_target_computes_factors(target: str, tmp_path: Path) -> None:
    made = Source(source(NAME).network, name=NAME, scale=SCALE, min_side_px=MIN_SIDE_PX[NAME], recipe=recipe())
    check_target(made, NAME, target, tmp_path, X)


def test_openvino_counts_the_work_of_convolutions_that_take_a_factor_in() -> None:
    """They go by the name of the factor in its execution graph."""
    require_runtime("openvino")
    made = Source(source(NAME).network, name=NAME, scale=SCALE, min_side_px=MIN_SIDE_PX[NAME], recipe=recipe())
    content = made.onnx(Request(NAME, SCALE, "openvino", "int8"))
    assert onnx_graph.convolutions_by_factor(content)
    layers = openvino_target.execution_layers(content, SCALE, "f32")
    assert sum(layer.macs_share for layer in layers) == pytest.approx(1, abs=1e-6)
