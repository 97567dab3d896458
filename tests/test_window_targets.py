"""Networks with attention in windows, in every runtime: what the artifact computes is what torch computes."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("torchao", reason="needs edgesr[export]")
pytest.importorskip("onnxscript", reason="needs edgesr[export]")

from small_networks import make_from, photo, psnr_db, require_runtime, run
from test_window_networks import SMALL, network

from edgesr.errors import Unsupported
from edgesr.quantization import calibration
from edgesr.quantization.recipe import Recipe, recipe_of
from edgesr.quantization.settings import Fit, Settings
from edgesr.targets import TARGETS, convert
from edgesr.targets.source import Source
from edgesr.types import Precision, Request

SCALE, SIZE = 2, (32, 48)
RUNNING = ("onnxruntime", "openvino", "coreml", "executorch", "tflite", "tensorrt")


def source(name: str, crops: calibration.Calibration | None = None, recipe: Recipe | None = None) -> Source:
    folded = network(name, SCALE).fold()
    return Source(folded, name=name, scale=SCALE, min_side_px=9, multiple_px=16, calibration=crops, recipe=recipe)


def request(name: str, target: str, precision: Precision = "fp32") -> Request:
    return Request(name, SCALE, target, precision, (SIZE,))


@pytest.mark.parametrize("target", RUNNING)
@pytest.mark.parametrize("name", SMALL)
def test_every_runtime_computes_what_torch_computes(name: str, target: str, tmp_path: Path) -> None:
    require_runtime(target)
    given, x = source(name), photo(7, *SIZE)
    found = make_from(given, tmp_path, request(name, target))(x)
    assert np.abs(found - run(given.network, x)).max() < 0.5 / 255


@pytest.mark.parametrize("target", ["onnxruntime", "coreml", "tflite"])
@pytest.mark.parametrize("name", ["ditn-real", "hat"])
def test_float16_stays_near(name: str, target: str, tmp_path: Path) -> None:
    require_runtime(target)
    given, x = source(name), photo(7, *SIZE)
    found = make_from(given, tmp_path, request(name, target, "fp16"))(x)
    assert psnr_db(found, run(given.network, x)) > 50


def test_what_depends_on_the_size_is_a_constant_of_the_sized_source() -> None:
    given = source("hat")
    sized = given.at(SIZE)
    x = photo(3, *SIZE)
    assert np.array_equal(run(sized.network, x), run(given.network, x))
    assert sized.float_onnx != given.at((16, 32)).float_onnx


@pytest.mark.parametrize(
    ("sizes", "what"), [((), "one size"), (((32, 48), (16, 16)), "one size"), (((40, 48),), "multiples of 16")]
)
def test_sizes_that_windows_do_not_fit_are_refused(
    sizes: tuple[tuple[int, int], ...], what: str, tmp_path: Path
) -> None:
    require_runtime("onnxruntime")
    with pytest.raises(Unsupported, match=what):
        convert(source("hat"), Request("hat", SCALE, "onnxruntime", "fp32", sizes), tmp_path)


def test_ncnn_is_refused_with_the_reason(tmp_path: Path) -> None:
    require_runtime("ncnn")
    with pytest.raises(Unsupported, match="batch"):
        convert(source("ditn-real"), request("ditn-real", "ncnn"), tmp_path)


class Axes(nn.Module):
    """One tensor read with its axes in two orders, joined and swapped, and products of all transpositions."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.flatten(2)
        columns = rows.transpose(1, 2)
        mixed = (rows @ columns).softmax(dim=-1) @ rows + ((columns @ rows).softmax(dim=1) @ columns).transpose(1, 2)
        both = rows.softmax(dim=-1) + columns.softmax(dim=-1).transpose(1, 2)
        both = both + rows.softmax(dim=1) + columns.softmax(dim=1).transpose(1, 2)
        joined = x.permute(0, 2, 1, 3).reshape(1, 12, -1).unflatten(2, (3, 16))  # rows, channels, columns
        spread = torch.cat([joined.narrow(3, 5, 11), joined.narrow(3, 0, 5)], dim=3).transpose(1, 2)
        total = (mixed + both).view(x.shape) + spread
        return total - torch.nn.functional.pad(total, (1, 0, 0, 2)).narrow(2, 2, 12).narrow(3, 0, 16)


def test_tflite_keeps_track_of_how_axes_lie(tmp_path: Path) -> None:
    require_runtime("tflite")
    given = Source(Axes().eval(), name="axes", scale=1, min_side_px=1)
    x = photo(5, 12, 16)
    found = make_from(given, tmp_path, Request("axes", 1, "tflite", "fp32", ((12, 16),)))(x)
    assert np.abs(found - run(given.network, x)).max() < 1e-5


@functools.cache
def quantized(name: str) -> Source:
    """With the recipe of ranges alone, found on crops of another size than that of any artifact here."""
    images = [(photo(seed, 64, 96)[0].transpose(1, 2, 0) * 255).round().astype(np.uint8) for seed in range(4)]
    crops = calibration.from_images(images, count=4, side_px=96)
    given, settings = source(name, crops), Settings()
    found = given.find_recipe(settings, lambda step, done, total: None)
    assert sum(layer.work for layer in found.layers if layer.integer) > 0.9
    return source(name, recipe=recipe_of(found, name, SCALE, "", {}, settings))


INT8_AGREEMENT_DB = {"openvino": 35, "tensorrt": 34, "coreml": 42}
"""OpenVINO computes the rest in bfloat16, TensorRT's form has symmetric roundings, CoreML's interpreter breaks other
ties (44.8 or 46.0, by the number of threads of the fit); 45 elsewhere."""


@pytest.mark.parametrize("target", RUNNING)
@pytest.mark.parametrize("name", ["ditn-real", "elan-light"])
def test_int8_computes_what_the_quantized_graph_computes(name: str, target: str, tmp_path: Path) -> None:
    require_runtime(target)
    given, x = quantized(name), photo(7, *SIZE)
    graph = run(given.at(SIZE).quantized_for(target), x)
    assert psnr_db(graph, run(given.network, x)) > 35
    found = make_from(given, tmp_path, request(name, target, "int8"))(x)
    assert psnr_db(found, graph) > INT8_AGREEMENT_DB.get(target, 45)


def test_ranges_alone_are_searched_at_the_size_that_will_run(tmp_path: Path) -> None:
    require_runtime("onnxruntime")
    pixels = (photo(1, 20, 96)[0].transpose(1, 2, 0) * 255).round().astype(np.uint8)
    crops = calibration.Calibration((pixels,), (), "")
    sized = source("ditn", crops).at(SIZE)
    assert sized.calibration is not None
    (crop,) = sized.calibration.photos
    assert crop.shape == (*SIZE, 3)
    assert np.array_equal(crop[:20], pixels[:, :48])
    assert np.array_equal(crop[20], pixels[19, :48])
    x = photo(7, *SIZE)
    found = make_from(source("ditn", crops), tmp_path, request("ditn", "onnxruntime", "int8"))(x)
    assert psnr_db(found, run(sized.quantized, x)) > 45


def test_a_recipe_is_explained_layer_by_layer() -> None:
    images = [(photo(seed, 96, 96)[0].transpose(1, 2, 0) * 255).round().astype(np.uint8) for seed in range(4)]
    crops, recipe = calibration.from_images(images, count=4, side_px=96), quantized("ditn-real").recipe
    found = source("ditn-real", crops, recipe).explain(lambda step, done, total: None)
    assert recipe is not None
    assert [row.name for row in found.rows] == [layer.name for layer in recipe.facts.layers]
    assert found.predicted == pytest.approx(found.rounding_error, rel=0.5)


def test_a_fit_of_one_size_takes_its_crops_one_by_one() -> None:
    """As many pixels a step as a network that takes any size gets at once."""
    images = [(photo(seed, 96, 96)[0].transpose(1, 2, 0) * 255).round().astype(np.uint8) for seed in range(4)]
    given = source("ditn-real", calibration.from_images(images, count=4, side_px=96))
    assert Fit(batch=8, side_px=48).at(96) == Fit(batch=2, side_px=96)
    steps: list[int] = []
    fitted = given.find_recipe(
        Settings(fit=Fit(steps=2)), lambda step, done, total: steps.append(done) if step == "fit" else None
    )
    assert steps == [1, 2]
    plain = given.find_recipe(Settings(), lambda step, done, total: None)
    name = "upsample.0.bias"
    assert not torch.equal(fitted.tensors[name], plain.tensors[name])


def test_int8_of_linear_layers_is_refused_before_any_work(tmp_path: Path) -> None:
    require_runtime("onnxruntime")
    with pytest.raises(Unsupported, match="hat cannot be quantized"):
        convert(source("hat"), request("hat", "onnxruntime", "int8"), tmp_path)


def test_every_target_is_tested_here() -> None:
    """But those that only a device runs."""
    assert {name for name, info in TARGETS.items() if info.runtime} == {*RUNNING, "ncnn"}
