"""The page that explains a recipe: its numbers are those of the graphs, its files hold nothing but them."""

import dataclasses
import functools
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs edgesr[export]")
pytest.importorskip("torchao", reason="needs edgesr[export]")
pytest.importorskip("matplotlib", reason="needs edgesr[report]")
pytest.importorskip("jinja2", reason="needs edgesr[report]")

from small_networks import SCALE, source  # noqa: E402

from edgesr import layers_page  # noqa: E402
from edgesr.artifact import Proof, SetQuality  # noqa: E402
from edgesr.cli import main  # noqa: E402
from edgesr.errors import MissingExtra, OutputError, Unsupported, UsageError  # noqa: E402
from edgesr.quantization.layers_report import CROPS, Explanation, LayerRow, explain  # noqa: E402
from edgesr.quantization.pixels import to_tensor  # noqa: E402
from edgesr.quantization.prepared import convolutions, name_of, prepare, source_of, weight_of  # noqa: E402
from edgesr.quantization.recipe import Facts, Grid, Layer, Recipe  # noqa: E402
from edgesr.quantization.recipe_float import unrounded  # noqa: E402
from edgesr.quantization.sensitivity import measure  # noqa: E402
from edgesr.quantization.settings import Settings  # noqa: E402
from edgesr.targets.export import example_input, free_sides  # noqa: E402
from edgesr.targets.source import Source  # noqa: E402

torch.set_num_threads(1)

BOTH = pytest.mark.parametrize("name", ["plainusr", "bsrn-slim"])
CHANGED = "block1.body.0"
"""What it writes goes into a LeakyReLU, so that nothing else is rounded on its grid."""
HOSTILE = "--><script>alert('x')</script>&\"$\\frac{$"


@functools.cache
def recipe_of(name: str) -> Recipe:
    settings = Settings(0.1, None)
    made = source(name).find_recipe(settings, lambda step, done, total: None)
    facts = Facts(name, SCALE, "0" * 64, {"fingerprint": "f"}, dataclasses.asdict(settings), made.layers, made.notes)
    return Recipe(facts, made.tensors)


def explained_by(recipe: Recipe) -> Explanation:
    given, calibration = source(recipe.facts.model), source(recipe.facts.model).calibration
    assert calibration is not None
    return explain(recipe, given.network, calibration, example_input(), free_sides(), lambda *_: None)


@functools.cache
def explained(name: str) -> Explanation:
    return explained_by(recipe_of(name))


def with_written(recipe: Recipe, name: str, grid: Grid) -> Recipe:
    layers = [dataclasses.replace(layer, writes=grid) if layer.name == name else layer for layer in recipe.facts.layers]
    return dataclasses.replace(recipe, facts=dataclasses.replace(recipe.facts, layers=tuple(layers)))


def named(found: Explanation, name: str = CHANGED) -> LayerRow:
    return next(row for row in found.rows if row.name == name)


def written(recipe: Recipe, name: str = CHANGED) -> Grid:
    layer: Layer = next(layer for layer in recipe.facts.layers if layer.name == name)
    assert layer.writes is not None
    return layer.writes


def float_graph(recipe: Recipe) -> Any:
    return unrounded(recipe, source(recipe.facts.model).network, example_input(), free_sides())


def crops(name: str) -> list[Any]:
    calibration = source(name).calibration
    assert calibration is not None
    return [to_tensor(crop) for crop in calibration.photos[:CROPS]]


def page(found: Explanation, facts: Facts) -> layers_page.Page:
    quality = SetQuality("Set5", 5, "paper-y", 30.0, 30.1, 0.1, "butterfly", 0.4)
    return layers_page.Page(facts, "user", Proof(9, 45.0, 40.0, (quality,), {"runtime": "torch"}), found)


def plain_page() -> layers_page.Page:
    return page(explained("plainusr"), recipe_of("plainusr").facts)


@BOTH
def test_every_convolution_has_a_row_that_says_what_it_got(name: str) -> None:
    rows, facts, graph = explained(name).rows, recipe_of(name).facts, float_graph(recipe_of(name))
    assert [row.name for row in rows] == [name_of(conv) for conv in convolutions(graph)]
    assert sum(row.work for row in rows) == pytest.approx(1)
    for row, layer, conv in zip(rows, facts.layers, convolutions(graph), strict=True):
        assert (row.outputs, row.inputs // row.groups, *row.kernel) == tuple(weight_of(graph, conv).shape)
        assert (row.weight_bits, row.reads.bits) == ((8, 8) if layer.integer else (32, 32))
        assert row.writes.bits == (8 if layer.writes else 32)
        assert (row.reads.rounding is None, row.writes.rounding is None) == (layer.reads is None, layer.writes is None)


@BOTH
def test_predicted_errors_are_those_that_are_measured(name: str) -> None:
    """To first order and without correlation: within a factor of 1.6 for activations. Of all of it, what weights add
    everywhere alike is taken away again by the last bias (edgesr.quantization.flats): there may be less."""
    found = explained(name)
    activations = sum(row.input_error + row.output_error for row in found.rows)
    assert found.predicted == pytest.approx(sum(row.error for row in found.rows))
    assert 1 / 1.6 < activations / found.rounding_error < 1.6, (activations, found.rounding_error)
    assert 1 / 1.6 < found.predicted / found.network_error < 2.5, (found.predicted, found.network_error)


@BOTH
def test_what_stays_in_float_costs_nothing_and_says_what_it_would(name: str) -> None:
    rows, kept = explained(name).rows, recipe_of(name).facts.kept_float
    assert kept
    assert tuple(row.name for row in rows if row.if_rounded is not None) == kept
    for row in rows:
        assert row.error_per_work == pytest.approx(row.error / row.work)
        if row.if_rounded is None:
            assert row.error > 0
        else:
            assert row.error == 0 < row.if_rounded


def test_a_rounding_counts_once() -> None:
    """BSRN: pointwise convolutions are read by depthwise ones as they are, and some values by several convolutions.

    What hardly clips costs a twelfth of its squared step for every unit of energy.
    """
    rows, layers = explained("bsrn-slim").rows, recipe_of("bsrn-slim").facts.layers
    graph = float_graph(recipe_of("bsrn-slim"))
    convs = convolutions(graph)
    writers = {conv for conv, layer in zip(convs, layers, strict=True) if layer.writes is not None}
    shared: dict[Any, list[LayerRow]] = {}
    for row, layer, conv in zip(rows, layers, convs, strict=True):
        if layer.integer:
            shared.setdefault(source_of(conv), []).append(row)
    rewritten = [row.input_error for node, readers in shared.items() if node in writers for row in readers]
    several = {node: readers for node, readers in shared.items() if len(readers) > 1 and node not in writers}
    flows = measure(graph, several, crops("bsrn-slim"))
    assert rewritten
    assert several
    assert set(rewritten) == {0.0}
    for node, readers in several.items():
        rounding = readers[0].reads.rounding
        assert rounding is not None
        once = 255**2 / 12 * rounding.step**2 * float(flows[node].energy.sum())
        assert sum(row.input_error for row in readers) == pytest.approx(once, rel=0.3)
        assert len({row.input_error for row in readers}) == 1


def test_a_coarser_step_shows_where_it_is_and_behind_it() -> None:
    """Four times the step without clipping is 16 times the error, 12 dB, there; less of it further on."""
    recipe, wide = recipe_of("plainusr"), written(recipe_of("plainusr"))
    wide = Grid(2 * wide.step, wide.zero_point)
    before, after = (explained_by(with_written(recipe, CHANGED, Grid(k * wide.step, wide.zero_point))) for k in (1, 4))
    index = [row.name for row in before.rows].index(CHANGED)
    (first, second) = (named(found).writes.rounding for found in (before, after))
    assert first is not None
    assert second is not None
    assert first.snr_db is not None
    assert second.snr_db == pytest.approx(first.snr_db - 20 * math.log10(4), abs=1)
    assert named(after).output_error == pytest.approx(16 * named(before).output_error, rel=0.25)
    assert named(after).input_error == named(before).input_error
    assert after.rounding_error > before.rounding_error
    for early, late in zip(before.rows, after.rows, strict=True):
        assert late.reads.rounding == early.reads.rounding
    earlier, later = (
        [(row.snr_db, row.network_snr_db) for row in (*found.rows[:index], *found.rows[index:][:2])]
        for found in (before, after)
    )
    assert earlier[:index] == later[:index]
    for (x, all_x), (y, all_y) in zip(earlier[index:], later[index:], strict=True):
        assert None not in (x, y, all_x, all_y)
        assert y < x - 3  # type: ignore[operator]
        assert all_y < all_x  # type: ignore[operator]


def test_the_clipped_share_is_the_part_beyond_the_grid() -> None:
    recipe, fine = recipe_of("plainusr"), written(recipe_of("plainusr"))
    narrow = Grid(fine.step / 4, fine.zero_point)
    low, high = -narrow.zero_point * narrow.step, (255 - narrow.zero_point) * narrow.step
    graph = float_graph(recipe)
    conv = next(conv for conv in convolutions(graph) if name_of(conv) == CHANGED)
    kept: list[Any] = []

    class Kept(torch.fx.Interpreter):
        def run_node(self, n: Any) -> Any:
            result = super().run_node(n)
            if n is conv:
                kept.append(result.flatten())
            return result

    with torch.no_grad():
        for crop in crops("plainusr"):
            Kept(graph).run(crop)
    values = torch.cat(kept)
    beyond = ((values < low - narrow.step / 2) | (values > high + narrow.step / 2)).double().mean()
    row = named(explained_by(with_written(recipe, CHANGED, narrow)))
    assert row.writes.rounding is not None
    assert 0.02 < row.writes.rounding.clipped < 0.98
    assert row.writes.rounding.clipped == pytest.approx(float(beyond), abs=1e-3)
    assert (row.writes.rounding.low, row.writes.rounding.high) == (pytest.approx(low), pytest.approx(high))
    assert (row.writes.low, row.writes.high) == (pytest.approx(float(values.min())), pytest.approx(float(values.max())))
    assert row.output_error > named(explained("plainusr")).output_error


def test_channels_at_other_scales_are_no_error() -> None:
    """The network's own features, but for the rounding, although equalization moved them by more than a tenth."""
    graph, plain = (
        float_graph(recipe_of("plainusr")),
        prepare(source("plainusr").network, example_input(), free_sides()),
    )
    conv, exact = (next(conv for conv in convolutions(each) if name_of(conv) == CHANGED) for each in (graph, plain))
    moved = weight_of(graph, conv).flatten(1).norm(dim=1) / weight_of(plain, exact).flatten(1).norm(dim=1)
    assert float((moved.detach() - 1).abs().max()) > 0.1
    assert (named(explained("plainusr")).network_snr_db or 0) > 20


def test_a_source_without_calibration_cannot_explain() -> None:
    network = source("plainusr").network
    bare = Source(network, name="plainusr", scale=SCALE, min_side_px=7, recipe=recipe_of("plainusr"))
    with pytest.raises(Unsupported, match="needs calibration images"):
        bare.explain(lambda *_: None)


def test_two_files_are_written_and_nothing_else_and_always_the_same(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "page.html"
    layers_page.write(plain_page(), place)
    first = {path.name: path.read_bytes() for path in place.parent.iterdir()}
    layers_page.write(plain_page(), place)
    assert first == {path.name: path.read_bytes() for path in place.parent.iterdir()}
    assert sorted(first) == ["page.html", "page.layers.json"]


def test_the_rows_are_written_as_json_too() -> None:
    raw = json.loads(layers_page.as_json(plain_page()))
    assert raw["layers"] == json.loads(json.dumps([dataclasses.asdict(row) for row in explained("plainusr").rows]))
    assert (raw["schema"], raw["model"], raw["mean_drop_db"]) == (1, "plainusr", 0.1)
    assert raw["proof"]["sets"][0]["worst_image"] == "butterfly"
    assert raw["int8_share"] == pytest.approx(1 - sum(row.work for row in explained("plainusr").rows if row.if_rounded))


def test_the_page_shows_every_layer_and_needs_nothing_from_outside(tmp_path: Path) -> None:
    text = layers_page.as_html(plain_page())
    assert [row.name for row in explained("plainusr").rows if f"<th>{row.name}</th>" not in text] == []
    assert text.count("<svg") == text.count("</svg>") == 2
    found = re.findall(r'https?:|\bsrc=|@import|<link|<script|href="(?!#)|url\((?!#)|\bon\w+="', text)
    assert found == []
    assert str(Path.cwd()) not in text


def test_the_page_has_a_colour_for_everything_in_light_and_in_dark() -> None:
    text = layers_page.as_html(plain_page())
    light, dark = (
        set(re.findall(r"--(\w+): #", block)) for block in re.findall(r":root \{(.*?)\}", text, flags=re.DOTALL)
    )
    assert "prefers-color-scheme: dark" in text
    assert set(re.findall(r"var\(--(\w+)\)", text)) - {"part"} == light == dark
    assert "#00000" not in text


def test_names_and_notes_are_text_and_no_markup() -> None:
    rows = tuple(dataclasses.replace(row, name=HOSTILE) for row in explained("plainusr").rows)
    facts = dataclasses.replace(recipe_of("plainusr").facts, model=HOSTILE, notes=(HOSTILE,))
    text = layers_page.as_html(page(dataclasses.replace(explained("plainusr"), rows=rows), facts))
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= len(rows) + 3


@pytest.mark.parametrize(
    ("report", "error", "words"),
    [
        ("page.htm", UsageError, "--report .*page.html"),
        ("page", UsageError, "is a .html file"),
        ("recipe.html", UsageError, "would be the recipe and the rows"),
        ("file/deep/page.html", OutputError, "file is a file"),
    ],
)
def test_a_place_that_cannot_be_is_refused_before_the_work(
    tmp_path: Path, report: str, error: type[Exception], words: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(error, match=words):
        layers_page.check_place(tmp_path / report, tmp_path / "recipe.layers.json")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_place_that_can_be_is_left_as_it_is(tmp_path: Path) -> None:
    layers_page.check_place(tmp_path / "new" / "recipe.html", tmp_path / "new" / "recipe.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("in_the_way", ["page.html", "page.layers.json"])
def test_a_page_that_cannot_be_written_leaves_nothing_half_made(tmp_path: Path, in_the_way: str) -> None:
    (tmp_path / in_the_way).mkdir()
    with pytest.raises(OutputError, match="Choose another place with --report"):
        layers_page.write(plain_page(), tmp_path / "page.html")
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".") or path.suffix == ".tmp"] == []


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_without_the_extra_the_pip_line_is_given_before_the_work(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra):
        layers_page.check_place(tmp_path / "page.html", tmp_path / "recipe.json")
    with pytest.raises(SystemExit) as caught:
        main(["quantize", "plainusr-t", "-o", str(tmp_path / "r.json"), "--report", str(tmp_path / "r.html")])
    assert caught.value.code == 3
    assert "pip install 'edgesr[report]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_another_suffix_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["quantize", "plainusr-t", "-o", str(tmp_path / "r.json"), "--report", str(tmp_path / "r.pdf")])
    assert caught.value.code == 2
    assert "A report is a .html file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_command_writes_the_page_beside_the_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = ("-o", str(tmp_path / "r.json"), "--report", str(tmp_path / "r.html"))
    main(["quantize", "plainusr-t", *places, "--max-drop", "3", "--max-worst-drop", "9", "--json"])
    printed = json.loads(capsys.readouterr().out)
    rows = json.loads((tmp_path / "r.layers.json").read_text())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("r.html", "r.json", "r.layers.json", "r.safetensors"),
    ]
    assert [row["name"] for row in rows["layers"]] == [layer["name"] for layer in printed["layers"]]
    assert rows["proof"] == printed["proof"]
    assert rows["weights"]["kind"] == "edgesr-trained"
