"""A range in two parts: the same function, finer steps, and every target computes it."""

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs edgesr[export]")
pytest.importorskip("torchao", reason="needs edgesr[export]")

from small_networks import (  # noqa: E402
    MIN_SIDE_PX,
    NETWORKS,
    SCALE,
    check_target,
    crops,
    photo,
    psnr_db,
    require_runtime,
    run,
    run_in_openvino,
    source,
)
from torch import fx  # noqa: E402

from edgesr.errors import ArtifactError  # noqa: E402
from edgesr.quantization import range_split  # noqa: E402
from edgesr.quantization import recipe as recipes  # noqa: E402
from edgesr.quantization.graph import with_ranges  # noqa: E402
from edgesr.quantization.layers_report import explain  # noqa: E402
from edgesr.quantization.mixed import work_shares  # noqa: E402
from edgesr.quantization.prepared import (  # noqa: E402
    CONVOLUTION,
    convolutions,
    is_dense,
    name_of,
    part_of,
    prepare,
    source_of,
    weight_of,
)
from edgesr.quantization.range_split import Splits, best_splits, last_split, split_ranges, written_splits  # noqa: E402
from edgesr.quantization.recipe import Facts, Grid, Recipe  # noqa: E402
from edgesr.quantization.recipe_float import unrounded  # noqa: E402
from edgesr.quantization.recipe_graph import apply, layers_of, tensors_of  # noqa: E402
from edgesr.quantization.reconstruction import DEQUANTIZE, QUANTIZE  # noqa: E402
from edgesr.quantization.sensitivity import passes  # noqa: E402
from edgesr.quantization.student import Student  # noqa: E402
from edgesr.targets import TARGETS  # noqa: E402
from edgesr.targets.export import example_input, free_sides  # noqa: E402
from edgesr.targets.source import Source  # noqa: E402

torch.set_num_threads(1)

LAST = {"plainusr": "tail_0_0", "bsrn-slim": "upsample.0"}
WRITES = {"plainusr": ("head_0", "block2.body.0"), "bsrn-slim": ("blocks.0.distil.1",)}
"""One reads the image itself, one writes for a LeakyReLU, one for a GELU."""
FINE = {
    "plainusr": {"block2.body.0": 0.01, "block1.body.2": 0.02},
    "bsrn-slim": {"blocks.0.distil.2": 0.01, "blocks.0.refine.2.0": 0.01, "blocks.0.esa.conv1": 0.05},
}
"""One is split for what it writes too; two read the same."""
X = photo(9, 40, 48)
WHOLE = Splits()


def split_at(name: str, bound: float) -> Splits:
    return Splits({LAST[name]: bound}, dict.fromkeys(WRITES[name], bound), FINE[name])


def parts_of(name: str) -> list[str]:
    part = name.replace(".", "_")
    return [f"{part}_0", f"{part}_1"]


def recipe(name: str, splits: Splits) -> Recipe:
    """Ranges alone."""
    prepared = split_ranges(
        prepare(source(name).network, example_input(), free_sides()), splits, example_input(), free_sides()
    )
    graph = with_ranges(prepared, (), crops(name), [], lambda done, total: None)
    layers = layers_of(graph, prepared, work_shares(prepared, example_input()))
    facts = Facts(
        name,
        SCALE,
        "0" * 64,
        {},
        {},
        layers,
        range_splits=splits.reads,
        write_splits=splits.writes,
        fine_reads=splits.fine,
    )
    return Recipe(recipes.with_bounds_on_grids(facts), tensors_of(graph, prepared))


@functools.cache
def with_recipe(name: str, *, split: bool) -> Source:
    found = recipe(name, split_at(name, 0.05) if split else WHOLE)
    return Source(source(name).network, name=name, scale=SCALE, min_side_px=MIN_SIDE_PX[name], recipe=found)


@pytest.mark.parametrize("name", LAST)
@pytest.mark.parametrize("bound", [1e-3, 0.05, 50.0])
def test_a_split_changes_no_value(name: str, bound: float) -> None:
    graph = prepare(source(name).network, example_input(), free_sides())
    exact = run(graph, X)
    split = split_ranges(graph, split_at(name, bound), example_input(), free_sides())
    names = [name_of(conv) for conv in convolutions(split)]
    for each in (LAST[name], *WRITES[name]):
        assert each not in names
        assert set(parts_of(each)) <= set(names)
    for each in FINE[name]:
        assert part_of(each, 2) in names
        assert (each in names) != (each in WRITES[name])
    assert abs(run(split, X) - exact).max() < 1e-5


def grids(made: Recipe, name: str) -> list[tuple[Grid, Grid]]:
    """What each part of a split convolution reads and writes."""
    layers = {layer.name: layer for layer in made.facts.layers}
    found = [(layers[part].reads, layers[part].writes) for part in parts_of(name)]
    assert all(grid is not None for pair in found for grid in pair)
    return cast("list[tuple[Grid, Grid]]", found)


@pytest.mark.parametrize(("name", "gain_db"), [("plainusr", -0.1), ("bsrn-slim", 0.2)])
def test_a_split_of_what_is_read_comes_nearer_to_the_network(name: str, gain_db: float) -> None:
    """In the small PlainUSR hardly any error comes from there."""
    made = recipe(name, Splits(reads={LAST[name]: 0.05}))
    check_gain(made, name, gain_db)
    (inside, _), (rest, _) = grids(made, LAST[name])
    assert inside.step == pytest.approx(0.1 / 255, rel=0.2)
    assert rest.step > inside.step


@pytest.mark.parametrize("name", WRITES)
def test_splits_of_what_is_written_lose_less_there(name: str) -> None:
    """Of all activations only these are rounded: in a small network most error comes from elsewhere."""
    prepared = prepare(source(name).network, example_input(), free_sides())
    writes = written_splits(prepared, crops(name), work_shares(prepared, example_input()), (), 1.0)
    made = recipe(name, Splits(writes=writes))
    for each in writes:
        (_, inside), (_, whole) = grids(made, each)
        assert inside.step < whole.step
    parts = [part for each in writes for part in parts_of(each)]
    assert loss_of_writing(made, name, parts) < 0.8 * loss_of_writing(recipe(name, WHOLE), name, list(writes))


def loss_of_writing(made: Recipe, name: str, convs: list[str]) -> float:
    """Mean squared error of the output from rounding what `convs` write and nothing else."""
    graph, places = applied(made, name)
    return loss_of(graph, {reader for conv in convs for reader in places[conv].users})


def loss_of_reading(made: Recipe, name: str, convs: list[str]) -> float:
    """The same of what they read."""
    graph, places = applied(made, name)
    return loss_of(graph, {source_of(places[conv]).args[0] for conv in convs})


def applied(made: Recipe, name: str) -> tuple[fx.GraphModule, dict[str, fx.Node]]:
    """The graph of a recipe, and its convolutions by name."""
    graph = apply(made, source(name).network, example_input(), free_sides())
    return graph, dict(zip([layer.name for layer in made.facts.layers], convolutions(graph), strict=True))


def loss_of(graph: fx.GraphModule, rounded: set[Any]) -> float:
    """Mean squared error of the output from these roundings and no others."""

    class Only(fx.Interpreter):
        def run_node(self, n: Any) -> Any:
            off = (n.target is QUANTIZE and n not in rounded) or (n.target is DEQUANTIZE and n.args[0] not in rounded)
            return self.fetch_args_kwargs_from_env(n)[0][0] if off else super().run_node(n)

    with torch.no_grad():
        x = torch.from_numpy(X)
        found = Only(graph).run(x)
        rounded.clear()
        return float((found - Only(graph).run(x)).square().mean())


def check_gain(made: Recipe, name: str, gain_db: float) -> None:
    exact = run(source(name).network, X)
    split = Source(source(name).network, name=name, scale=SCALE, min_side_px=MIN_SIDE_PX[name], recipe=made)
    before, after = (psnr_db(run(each.quantized, X), exact) for each in (with_recipe(name, split=False), split))
    assert after > before + gain_db, f"{before:.2f} -> {after:.2f} dB"


@pytest.mark.parametrize("name", WRITES)
def test_what_is_inside_ends_at_a_level_of_both_grids(name: str) -> None:
    facts = recipe(name, split_at(name, 0.05)).facts
    layers = {layer.name: layer for layer in facts.layers}
    for each, bound in facts.write_splits.items():
        for part in parts_of(each):
            written = layers[part].writes
            assert written is not None
            levels = np.float32(bound) / np.float32(written.step)
            assert round(levels) < levels < round(levels) + 1e-3, (
                "so little more that rounding it down gives that level"
            )
    again = recipes.with_bounds_on_grids(facts)
    assert again.layers == facts.layers
    assert again.write_splits == facts.write_splits


def test_openvino_clamps_where_the_graph_of_onnx_runtime_does() -> None:
    """It rounds the end of what is inside to a level; an end elsewhere shifts all that is beyond."""
    require_runtime("openvino")
    name = "plainusr"
    whole = {layer.name: cast("Grid", layer.writes) for layer in recipe(name, WHOLE).facts.layers}
    made = recipe(name, Splits(writes={each: 255 * whole[each].step / 6 for each in WRITES[name]}))
    layers = {layer.name: layer for layer in made.facts.layers}
    steps = {each: cast("Grid", layers[parts_of(each)[1]].writes).step for each in WRITES[name]}
    apart = {each: bound - steps[each] / 2 for each, bound in made.facts.write_splits.items()}
    elsewhere = Recipe(replace(made.facts, write_splits=apart), made.tensors)
    shift = []
    for each in (made, elsewhere):
        network = Source(source(name).network, name=name, scale=SCALE, min_side_px=MIN_SIDE_PX[name], recipe=each)
        found = run_in_openvino(network.quantized_onnx, X) - run(network.quantized, X)
        shift.append(float(abs(found.mean((0, 2, 3))).max()) * 255)
    assert shift[0] < 0.1, shift
    assert shift[1] > 3 * shift[0], shift


@pytest.mark.parametrize("target", [name for name, row in TARGETS.items() if "int8" in row.precisions])
@pytest.mark.parametrize("name", LAST)
def test_every_target_computes_splits(tmp_path: Path, target: str, name: str) -> None:
    check_target(with_recipe(name, split=True), name, target, tmp_path, X)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_last_rounded_convolution_is_split(name: str) -> None:
    graph = prepare(source(name).network, example_input(), free_sides())
    last = LAST["plainusr" if name.startswith("plainusr") else "bsrn-slim"]
    (read,) = [source_of(conv) for conv in convolutions(graph) if name_of(conv) == last]
    largest = max(float(passed.values[read].abs().max()) for passed in passes(graph, [read], crops(name)))
    ((chosen, bound),) = last_split(graph, crops(name), ("tail_0_1",)).items()
    assert chosen == last
    assert largest / 20 < bound < largest
    assert last_split(graph, crops(name), (last, "tail_0_1")) == {}


@pytest.mark.parametrize("name", NETWORKS)
def test_written_ranges_are_split_where_that_pays_within_the_work_allowed(name: str) -> None:
    graph = prepare(source(name).network, example_input(), free_sides())
    work = work_shares(graph, example_input())
    many = written_splits(graph, crops(name), work, (), 1.0)
    few = written_splits(graph, crops(name), work, (), 0.2)
    assert many
    assert set(few) <= set(many)
    assert sum(work[each] for each in few) <= 0.2
    depthwise = {name_of(conv): len(weight_of(graph, conv)) for conv in convolutions(graph) if not is_dense(conv)}
    assert sum(work[each] * depthwise.get(each, 1) / 9 for each in few if each in depthwise) <= 0.2
    left_out = next(iter(many))
    assert left_out not in written_splits(graph, crops(name), work, (left_out,), 1.0)
    assert written_splits(graph, crops(name), work, (), 0.0) == {}


@pytest.mark.parametrize("name", NETWORKS)
def test_of_reading_and_writing_what_saves_most_is_split_within_the_work_allowed(name: str) -> None:
    graph = prepare(source(name).network, example_input(), free_sides())
    work = work_shares(graph, example_input())
    sources = {name_of(conv): source_of(conv) for conv in convolutions(graph)}
    best = functools.partial(best_splits, graph, crops(name), crops(name), work)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(range_split, "LEAST_GAIN", 0.0)
        patch.setattr(range_split, "LEAST_SAVED", 0.0)
        every = best((), 100.0)
        assert every.fine
        assert all(sources[each].op != "placeholder" for each in every.fine), "an image has 8 bits"
        assert all(sources[each].target is not CONVOLUTION for each in every.fine), "it wrote with its own grid"
        assert every.fine.keys() & every.writes.keys()
        left_out = next(iter(every.fine))
        assert left_out not in best((left_out,), 100.0).names
    for most in (0.0, 0.2, 0.5):
        few = best((), most)
        assert sum(work[each] for each in (*few.fine, *few.writes)) <= most
    assert not best((), 0.0)


def test_all_that_read_the_same_read_the_same_coarse_and_fine_values() -> None:
    name = "bsrn-slim"
    split = split_ranges(
        prepare(source(name).network, example_input(), free_sides()),
        Splits(fine=FINE[name]),
        example_input(),
        free_sides(),
    )
    read = {name_of(conv): source_of(conv) for conv in convolutions(split)}
    upper, lower = "blocks.0.distil.2", "blocks.0.refine.2.0"
    assert read[upper] is read[lower]
    assert read[part_of(upper, 2)] is read[part_of(lower, 2)]


@pytest.mark.parametrize("name", FINE)
def test_fine_values_lose_hardly_anything(name: str) -> None:
    """Of all activations only what these convolutions read, and write for it, is rounded."""
    made = recipe(name, Splits(fine=FINE[name]))
    layers = {layer.name: layer for layer in made.facts.layers}
    for each, step in FINE[name].items():
        assert layers[each].reads == Grid(pytest.approx(step), 128)
        assert cast("Grid", layers[part_of(each, 2)].reads).step < step / 200
    before = loss_of_reading(recipe(name, WHOLE), name, [*FINE[name]])
    assert loss_of_reading(made, name, [*FINE[name], *(part_of(each, 2) for each in FINE[name])]) < before / 100


@pytest.mark.parametrize("name", FINE)
def test_what_trains_for_int8_computes_splits(name: str) -> None:
    made = recipe(name, split_at(name, 0.05))
    # One batch and size, as in training.
    student = Student(unrounded(made, source(name).network, torch.from_numpy(X), None), made, torch.device("cpu"))
    with torch.no_grad():
        learned = student(torch.from_numpy(X)).numpy()
    assert psnr_db(learned, run(with_recipe(name, split=True).quantized, X)) > 60
    steps = {grid.step for grid in student.grids.values()}
    assert steps.isdisjoint(FINE[name].values()), "a coarse grid has the step of the values that it holds"


def test_a_split_outlives_its_file_and_a_senseless_one_is_refused(tmp_path: Path) -> None:
    made = recipe("plainusr", split_at("plainusr", 0.05))
    recipes.save(made, tmp_path / "recipe.json")
    read = recipes.load(tmp_path / "recipe.json")
    assert read.facts.splits == made.facts.splits
    work = work_shares(prepare(source("plainusr").network, example_input(), free_sides()), example_input())
    twice = sum(work[name] for name in (LAST["plainusr"], *WRITES["plainusr"], *FINE["plainusr"]))
    assert read.facts.added_work == pytest.approx(twice)
    text = (tmp_path / "recipe.json").read_text()
    for wrong in ("-1.0", "0.0", "NaN", "Infinity"):
        (tmp_path / "recipe.json").write_text(
            text.replace(f'"{LAST["plainusr"]}": 0.05', f'"{LAST["plainusr"]}": {wrong}')
        )
        with pytest.raises(ArtifactError, match="is split at"):
            recipes.load(tmp_path / "recipe.json")
    (tmp_path / "recipe.json").write_text(text.replace(f'"{LAST["plainusr"]}": 0.05', '"nothing": 0.05'))
    other = recipes.load(tmp_path / "recipe.json")
    broken = Source(source("plainusr").network, name="plainusr", scale=SCALE, min_side_px=7, recipe=other)
    with pytest.raises(ArtifactError, match="does not fit"):
        _ = broken.quantized


def test_coarse_values_must_be_read_on_their_own_grid() -> None:
    """Another would round them once more."""
    made = recipe("plainusr", split_at("plainusr", 0.05))
    layers = [
        replace(layer, reads=Grid(0.0201, 128)) if layer.name == "block1.body.2" else layer
        for layer in made.facts.layers
    ]
    other = Recipe(replace(made.facts, layers=tuple(layers)), made.tensors)
    with pytest.raises(ArtifactError, match=r"block1\.body\.2 in steps of 0\.0201, and makes them in steps of 0\.02"):
        apply(other, source("plainusr").network, example_input(), free_sides())


@pytest.mark.parametrize("name", LAST)
def test_the_report_of_layers_judges_coarse_and_fine_values_together(name: str) -> None:
    """What one of them has more the other has less, which is no error."""
    made = recipe(name, Splits(fine=FINE[name]))
    calibrated = source(name).calibration
    assert calibrated is not None
    explained = explain(made, source(name).network, calibrated, example_input(), free_sides(), lambda *_: None)
    rows = {row.name: row for row in explained.rows}
    for coarse in FINE[name]:
        fine = rows[part_of(coarse, range_split.FINE)]
        assert fine.snr_db == rows[coarse].snr_db
        assert fine.snr_db is not None
        assert fine.snr_db > 25
