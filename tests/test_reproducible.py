"""INT8 that is the same to the bit everywhere: what activation functions read and write; the recipe in the package."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs edgesr[export]")
pytest.importorskip("torchao", reason="needs edgesr[export]")

from small_networks import MIN_SIDE_PX, SCALE, make_from, photo, psnr_db, run, source  # noqa: E402
from test_qat import CPU, assert_same  # noqa: E402

from edgesr.errors import Unsupported  # noqa: E402
from edgesr.models.registry import find  # noqa: E402
from edgesr.models.weights import load  # noqa: E402
from edgesr.quantization import kept, range_split, recipe_graph, reproducible  # noqa: E402
from edgesr.quantization.prepared import ADD, CLAMP, CONVOLUTION, GELU, MULTIPLY, SIGMOID  # noqa: E402
from edgesr.quantization.range_split import SUBTRACT  # noqa: E402
from edgesr.quantization.recipe import Grid, Recipe, recipe_of  # noqa: E402
from edgesr.quantization.recipe_float import unrounded  # noqa: E402
from edgesr.quantization.reconstruction import DEQUANTIZE  # noqa: E402
from edgesr.quantization.reproducible import ERROR, check, doubts, settled  # noqa: E402
from edgesr.quantization.settings import Settings  # noqa: E402
from edgesr.quantization.student import Student  # noqa: E402
from edgesr.targets.source import Source  # noqa: E402
from edgesr.types import Request  # noqa: E402

NAME = "bsrn-slim"
SETTINGS = Settings(float_work=0.0, split_last=True, split_work=0.1, reproducible=True)
EXAMPLE = torch.zeros(1, 3, 40, 48)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def recipe_for(name: str, settings: Settings = SETTINGS) -> Recipe:
    made = source(name).find_recipe(settings, lambda step, done, total: None)
    return recipe_of(made, name, SCALE, "0" * 64, {"fingerprint": "f"}, settings)


@pytest.fixture(scope="module")
def begun() -> Recipe:
    """From ranges alone: functions read rounded values, roundings behind them may be in doubt."""
    torch.set_num_threads(1)
    return recipe_for(NAME)


@pytest.fixture(scope="module")
def done(begun: Recipe) -> Recipe:
    return settled(begun, prepared(begun))


def prepared(recipe: Recipe) -> Any:
    return unrounded(recipe, source(NAME).network, EXAMPLE, None)


def quantized(recipe: Recipe) -> Source:
    return Source(source(NAME).network, name=NAME, scale=SCALE, min_side_px=MIN_SIDE_PX[NAME], recipe=recipe)


def test_activation_functions_read_rounded_values_alone(begun: Recipe) -> None:
    free = replace(begun.facts, reproducible=False)
    assert _read_by_functions(begun) == {DEQUANTIZE}
    assert GELU in _read_by_functions(Recipe(free, begun.tensors))


def _read_by_functions(recipe: Recipe) -> set[Any]:
    """What makes the values at the ends of the arithmetic that the arguments of GELU and sigmoid are made with."""
    graph = recipe_graph.apply(recipe, source(NAME).network, EXAMPLE, None)
    found: set[Any] = set()
    waiting = [value for node in graph.graph.nodes if node.target in (GELU, SIGMOID) for value in node.all_input_nodes]
    while waiting:
        node = waiting.pop()
        if node.target in (ADD, SUBTRACT, MULTIPLY, CLAMP):
            waiting += [value for value in node.all_input_nodes if value.op != "get_attr"]
        else:
            found.add(node.target)
    return found


def test_reading_rounded_values_costs_little(begun: Recipe) -> None:
    x = photo(9, 40, 48)
    exact = run(source(NAME).network, x)
    free = Recipe(replace(begun.facts, reproducible=False), begun.tensors)
    assert psnr_db(run(quantized(begun).quantized, x), exact) > psnr_db(run(quantized(free).quantized, x), exact) - 1


def test_settling_leaves_no_doubt_and_moves_little(begun: Recipe, done: Recipe) -> None:
    assert sum(doubts(begun, prepared(begun)).values()) > 0
    assert set(doubts(done, prepared(done)).values()) == {0}
    for before, after in zip(begun.facts.layers, done.facts.layers, strict=True):
        assert before.writes == after.writes
        assert before.reads is not None
        assert after.reads is not None
        assert before.reads.zero_point == after.reads.zero_point
        assert after.reads.step == pytest.approx(before.reads.step, rel=0.007)
    for name, tensor in begun.tensors.items():
        if name.startswith("factor_"):
            torch.testing.assert_close(done.tensors[name], tensor, rtol=0.007, atol=0)
        else:
            assert torch.equal(done.tensors[name], tensor)


def test_a_result_in_the_middle_between_two_levels_is_in_doubt(done: Recipe) -> None:
    """The step that puts GELU's largest result at 200.5 levels."""
    graph = prepared(done)
    conv = next(node for node in graph.graph.nodes if node.target is CONVOLUTION and node.args[0].target is GELU)
    name = str(conv.args[1].target).removesuffix(".weight")
    layers = {layer.name: layer for layer in done.facts.layers}
    highest = _largest_result(done, graph, conv.args[0])
    worse = [
        replace(layer, reads=Grid(highest / 200.5, 20)) if layer.reads == layers[name].reads else layer
        for layer in done.facts.layers
    ]
    found = doubts(Recipe(replace(done.facts, layers=tuple(worse)), done.tensors), graph)
    assert found[conv.args[0].name] > 0


def _largest_result(recipe: Recipe, graph: Any, function: Any) -> float:
    layers = {layer.name: layer for layer in recipe.facts.layers}
    (rounded,) = (
        each for each in reproducible._behind_functions(graph, layers, recipe.tensors) if each.source is function
    )
    return max(float(result.values.max()) for result in rounded.results())


@pytest.mark.parametrize(
    ("kind", "function", "size"),
    [("Gelu", torch.nn.functional.gelu, torch.abs), ("Sigmoid", torch.sigmoid, torch.ones_like)],
)
def test_the_runtime_is_as_near_to_the_functions_as_is_assumed(kind: str, function: Any, size: Any) -> None:
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    x = torch.linspace(-12, 12, 1_000_003)
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node(kind, ["x"], ["y"])], kind, ends[:1], ends[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x.numpy()})
    errors = (torch.from_numpy(found).double() - function(x.double())).abs()
    assert (errors <= ERROR * size(x.double())).all()
    assert (errors > ERROR * size(x.double()) / 8).any()


def test_the_student_computes_what_targets_compute(done: Recipe, tmp_path: Path) -> None:
    x = photo(9, 40, 48)
    student = Student(prepared(done), done, CPU)
    with torch.no_grad():
        learned = student(torch.from_numpy(x)).numpy()
    assert_same(student.recipe_of(student.values), done)
    graph = run(quantized(done).quantized, x)
    assert psnr_db(learned, graph) > 60
    artifact = make_from(quantized(done), tmp_path, Request(NAME, SCALE, "onnxruntime", "int8"))
    assert psnr_db(learned, artifact(x)) > 60


def test_two_grids_are_not_given_to_what_a_function_reads_with_something_else(
    begun: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """65536 results for each more level would leave some in doubt with any step."""
    check(prepared(begun), begun)
    monkeypatch.setattr(range_split, "LEAST_GAIN_WRITTEN", 0.0)
    everywhere = replace(SETTINGS, split_work=9.0)
    free = recipe_for(NAME, replace(everywhere, reproducible=False))
    among = {*free.facts.write_splits} - {*recipe_for(NAME, everywhere).facts.write_splits}
    assert among == {f"blocks.0.{name}" for name in ("refine.0.1", "refine.1.1", "refine.2.1", "esa.conv4")}
    made = Recipe(replace(free.facts, reproducible=True), free.tensors)
    with pytest.raises(Unsupported, match="two grids of one convolution count as two"):
        check(prepared(made), made)


def test_what_cannot_be_reproducible_says_why(begun: Recipe) -> None:
    for name in ("plainusr", "bsrn"):
        recipe = recipe_for(name)
        graph = unrounded(recipe, source(name).network, EXAMPLE, None)
        with pytest.raises(Unsupported, match="which is not known to be the same everywhere"):
            check(graph, recipe)
    unwritten = tuple(
        replace(layer, writes=None) if layer.name == "blocks.0.distil.0" else layer for layer in begun.facts.layers
    )
    with pytest.raises(Unsupported, match="which is not rounded"):
        check(prepared(begun), Recipe(replace(begun.facts, layers=unwritten), begun.tensors))
    layers = (replace(begun.facts.layers[0], reads=None, writes=None), *begun.facts.layers[1:])
    with pytest.raises(Unsupported, match="in float: "):
        check(prepared(begun), Recipe(replace(begun.facts, layers=layers), begun.tensors))


def test_the_recipe_of_bsrn_s_in_the_package_is_reproducible() -> None:
    loaded = load("bsrn-s", 4)
    recipe = kept.shipped(find("bsrn-s", 4), loaded.provenance.sha256)
    assert recipe is not None
    assert recipe.facts.reproducible
    found = doubts(recipe, unrounded(recipe, loaded.folded.eval(), EXAMPLE, None))
    assert len(found) > 20
    assert set(found.values()) == {0}
