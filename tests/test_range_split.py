"""A range in two parts: the same function, finer steps, and every target computes it."""

import functools
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs edgesr[export]")
pytest.importorskip("torchao", reason="needs edgesr[export]")

from small_networks import MIN_SIDE_PX, NETWORKS, SCALE, check_target, crops, photo, psnr_db, run, source  # noqa: E402

from edgesr.errors import ArtifactError  # noqa: E402
from edgesr.quantization import recipe as recipes  # noqa: E402
from edgesr.quantization.graph import with_ranges  # noqa: E402
from edgesr.quantization.mixed import work_shares  # noqa: E402
from edgesr.quantization.prepared import convolutions, name_of, prepare, source_of  # noqa: E402
from edgesr.quantization.range_split import last_split, split_ranges  # noqa: E402
from edgesr.quantization.recipe import Facts, Recipe  # noqa: E402
from edgesr.quantization.recipe_graph import layers_of, tensors_of  # noqa: E402
from edgesr.quantization.sensitivity import passes  # noqa: E402
from edgesr.targets import TARGETS  # noqa: E402
from edgesr.targets.export import example_input, free_sides  # noqa: E402
from edgesr.targets.source import Source  # noqa: E402

torch.set_num_threads(1)

LAST = {"plainusr": "tail_0_0", "bsrn-slim": "upsample.0"}
X = photo(9, 40, 48)


@functools.cache
def recipe(name: str, bound: float | None) -> Recipe:
    """Ranges alone; with the last convolution's input split at `bound`."""
    bounds = {} if bound is None else {LAST[name]: bound}
    prepared = split_ranges(
        prepare(source(name).network, example_input(), free_sides()), bounds, example_input(), free_sides()
    )
    graph = with_ranges(prepared, (), crops(name), [], lambda done, total: None)
    layers = layers_of(graph, prepared, work_shares(prepared, example_input()))
    facts = Facts(name, SCALE, "0" * 64, {}, {}, layers, range_splits=bounds)
    return Recipe(facts, tensors_of(graph, prepared))


@functools.cache
def with_recipe(name: str, bound: float | None) -> Source:
    return Source(
        source(name).network, name=name, scale=SCALE, min_side_px=MIN_SIDE_PX[name], recipe=recipe(name, bound)
    )


@pytest.mark.parametrize("name", LAST)
@pytest.mark.parametrize("bound", [1e-3, 0.05, 50.0])
def test_a_split_changes_no_value(name: str, bound: float) -> None:
    graph = prepare(source(name).network, example_input(), free_sides())
    exact = run(graph, X)
    split = split_ranges(graph, {LAST[name]: bound}, example_input(), free_sides())
    names = [name_of(conv) for conv in convolutions(split)]
    part = LAST[name].replace(".", "_")
    assert [each for each in names if each.startswith(part)] == [f"{part}_0", f"{part}_1"]
    assert abs(run(split, X) - exact).max() < 1e-5


@pytest.mark.parametrize(("name", "gain_db"), [("plainusr", -0.1), ("bsrn-slim", 0.2)])
def test_a_split_comes_nearer_to_the_network(name: str, gain_db: float) -> None:
    """In the small PlainUSR hardly any error comes from there."""
    exact = run(source(name).network, X)
    whole, split = (psnr_db(run(with_recipe(name, bound).quantized, X), exact) for bound in (None, 0.05))
    assert split > whole + gain_db, f"{whole:.2f} -> {split:.2f} dB"
    layers = {layer.name: layer for layer in recipe(name, 0.05).facts.layers}
    part = LAST[name].replace(".", "_")
    inside, rest = layers[f"{part}_0"].reads, layers[f"{part}_1"].reads
    assert inside is not None
    assert rest is not None
    assert inside.step == pytest.approx(0.1 / 255, rel=0.2)
    assert rest.step > inside.step


@pytest.mark.parametrize("target", [name for name, row in TARGETS.items() if "int8" in row.precisions])
@pytest.mark.parametrize("name", LAST)
def test_every_target_computes_a_split(tmp_path: Path, target: str, name: str) -> None:
    check_target(with_recipe(name, 0.05), name, target, tmp_path, X)


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


def test_a_split_outlives_its_file_and_a_senseless_one_is_refused(tmp_path: Path) -> None:
    made = recipe("plainusr", 0.05)
    recipes.save(made, tmp_path / "recipe.json")
    read = recipes.load(tmp_path / "recipe.json")
    assert read.facts.range_splits == {LAST["plainusr"]: 0.05}
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
