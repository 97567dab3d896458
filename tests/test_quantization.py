"""Scheme, calibration, ranges and the quantized graph."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs edgesr[export]")
pytest.importorskip("torchao", reason="needs edgesr[export]")
onnx = pytest.importorskip("onnx", reason="needs edgesr[export]")

from edgesr.errors import ArtifactError, ConversionError, DataError  # noqa: E402
from edgesr.models import plainusr  # noqa: E402
from edgesr.quantization import calibration  # noqa: E402
from edgesr.quantization.ranges import ActivationObserver  # noqa: E402
from edgesr.quantization.scheme import Scheme  # noqa: E402
from edgesr.runner.onnxruntime import EXACT_PRODUCTS  # noqa: E402
from edgesr.targets import onnx_graph  # noqa: E402
from edgesr.targets.source import Source  # noqa: E402

torch.set_num_threads(1)


def photo(seed: int, height: int = 72, width: int = 80) -> calibration.Pixels:
    """uint8 (H, W, 3) with the spectrum of a photo: coarse shapes, fine noise, an edge."""
    random = np.random.default_rng(seed)
    image = np.zeros((height, width, 3))
    for cell, strength in ((24, 90), (8, 40), (2, 12)):
        coarse = random.normal(size=(height // cell + 2, width // cell + 2, 3)) * strength
        image += np.kron(coarse, np.ones((cell, cell, 1)))[:height, :width]
    image[:, width // 2 :] += random.normal(size=3) * 60
    return np.clip(image + 120, 0, 255).astype(np.uint8)


PHOTOS = [photo(seed) for seed in range(5)]


@functools.cache
def tiny_source(placement: Any = "inputs+outputs") -> Source:
    torch.manual_seed(0)
    network = plainusr.PlainUSR(plainusr.Config((16, 8), None), 2, train_form=True).fold()
    crops = calibration.from_images(PHOTOS, count=5, side_px=48)
    scheme = Scheme(placement=placement)
    return Source(network, name="tiny", scale=2, min_side_px=7, calibration=crops, scheme=scheme)


def test_scheme_survives_json() -> None:
    scheme = Scheme(ranges="minmax", placement="inputs", patch_weight=0.25)
    assert Scheme.from_json(scheme.to_json()) == scheme


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"ranges": "mse", "placement": "inputs", "patch_weight": 0, "bits": 8}',
        '{"ranges": "max", "placement": "inputs", "patch_weight": 0}',
        '{"ranges": ["mse"], "placement": "inputs", "patch_weight": 0}',
        '{"ranges": "mse", "placement": "outputs", "patch_weight": 0}',
        '{"ranges": "mse", "placement": "inputs", "patch_weight": NaN}',
        '{"ranges": "mse", "placement": "inputs", "patch_weight": "0"}',
    ],
)
def test_scheme_refuses_what_it_did_not_write(text: str) -> None:
    with pytest.raises(ArtifactError, match="scheme"):
        Scheme.from_json(text)


def test_calibration_is_reproducible_and_its_fingerprint_sees_every_change() -> None:
    first, again = (calibration.from_images(PHOTOS, count=6, side_px=40) for _ in range(2))
    assert first.fingerprint == again.fingerprint
    assert all(np.array_equal(a, b) for a, b in zip(first.photos, again.photos, strict=True))
    changed = [PHOTOS[0].copy(), *PHOTOS[1:]]
    changed[0][...] ^= 1
    others = [
        calibration.from_images(PHOTOS, count=6, side_px=40, seed=1),
        calibration.from_images(PHOTOS, count=7, side_px=40),
        calibration.from_images(PHOTOS, count=6, side_px=41),
        calibration.from_images(changed, count=6, side_px=40),
    ]
    assert len({first.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_calibration_takes_small_images_whole_and_uses_every_image() -> None:
    images = [photo(seed, 33 + seed, 40) for seed in range(6)]
    crops = calibration.from_images(images, count=2, side_px=64).photos
    assert [crop.shape for crop in crops] == [(33 + seed, 40, 3) for seed in range(6)]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "at least 4 different photos; found 0"),
        (PHOTOS[:3], "at least 4 different photos; found 3"),
        ([np.zeros((64, 64, 3), np.uint8)] * 5, "found 5, of which 5 show a single value"),
        ([*PHOTOS[:3], np.full((64, 64, 3), 200, np.uint8)], "found 4, of which 1 show"),
        ([photo(0, 20, 20)] * 4, "at least 32 px"),
        ([np.zeros((64, 64), np.uint8)] * 4, "must be uint8"),
        ([np.zeros((64, 64, 3), np.float32)] * 4, "must be uint8"),
    ],
)
def test_calibration_refuses_images_that_show_no_ranges(images: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        calibration.from_images(images)


def test_minmax_keeps_the_whole_range_and_zero_exact() -> None:
    observer = ActivationObserver(search=False)
    observer(torch.tensor([-1.0, 4.1]))
    scale, zero_point = observer.calculate_qparams()
    assert scale.item() == pytest.approx(5.1 / 255)
    assert zero_point.item() == 50


def test_search_clips_a_lone_outlier() -> None:
    values = torch.randn(8192, generator=torch.Generator().manual_seed(0))
    values[5] = 400.0
    wide, clipped = ActivationObserver(search=False), ActivationObserver(search=True)
    for observer in (wide, clipped):
        observer(values)
    assert clipped.calculate_qparams()[0] <= wide.calculate_qparams()[0]
    body = values[values < 10]
    error = [_rounding_error(body, *observer.calculate_qparams()) for observer in (wide, clipped)]
    assert error[1] <= error[0]


def test_search_sees_through_the_activation_function() -> None:
    """Behind LeakyReLU negative errors shrink to a twentieth, so that the levels go to the positive side."""
    values = torch.randn(8192, generator=torch.Generator().manual_seed(1)) * 3
    blind = ActivationObserver()
    knowing = ActivationObserver(activation=functools.partial(torch.nn.functional.leaky_relu, negative_slope=0.05))
    for observer in (blind, knowing):
        observer(values)
    assert knowing.calculate_qparams()[0] < blind.calculate_qparams()[0]


def test_constant_zero_has_a_scale() -> None:
    observer = ActivationObserver()
    observer(torch.zeros(100))
    scale, zero_point = observer.calculate_qparams()
    assert scale > 0
    assert zero_point == 0


def _rounding_error(values: Any, scale: Any, zero_point: Any) -> float:
    levels = (values / scale + zero_point).round().clamp(0, 255)
    return float(((levels - zero_point) * scale - values).square().mean())


@pytest.mark.parametrize("placement", ["inputs", "inputs+outputs"])
def test_every_quantized_weight_is_an_int8_constant_per_channel(placement: str) -> None:
    model = onnx_graph.load(tiny_source(placement).quantized_onnx)
    made, constants = onnx_graph.producers(model.graph), onnx_graph.initializers(model.graph)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert list(onnx_graph.quantized_convolutions(model.graph)) == convolutions
    assert len(convolutions) == 9
    for conv in convolutions:
        weight = made[conv.input[1]]
        stored = constants[weight.input[0]]
        assert weight.op_type == "DequantizeLinear"
        assert stored.dtype == np.int8
        assert stored.min() >= -127
        assert constants[weight.input[1]].shape == (len(stored),)


def test_image_keeps_all_of_its_256_values() -> None:
    model = onnx_graph.load(tiny_source("inputs").quantized_onnx)
    (first,) = [node for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == "image"]
    constants = onnx_graph.initializers(model.graph)
    assert constants[first.input[1]] == pytest.approx(1 / 255)
    assert constants[first.input[2]] == 0


def test_placements_share_their_input_scales() -> None:
    """One set of scales: what ONNX Runtime needs on top changes nothing of what OpenVINO uses."""
    scales = []
    for placement in ("inputs", "inputs+outputs"):
        graph = onnx_graph.load(tiny_source(placement).quantized_onnx).graph
        made, constants = onnx_graph.producers(graph), onnx_graph.initializers(graph)
        scales.append(
            [float(constants[made[conv.input[0]].input[1]]) for conv in onnx_graph.quantized_convolutions(graph)]
        )
    assert scales[0] == scales[1]


def test_input_placement_rounds_nothing_but_what_convolutions_read() -> None:
    graph = onnx_graph.load(tiny_source("inputs").quantized_onnx).graph
    made = onnx_graph.producers(graph)
    rounded = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    readers = [node.op_type for node in graph.node for name in node.input if name in rounded]
    assert set(readers) == {"Conv"}
    both = onnx_graph.load(tiny_source("inputs+outputs").quantized_onnx).graph
    assert sum(node.op_type == "QuantizeLinear" for node in both.node) > sum(
        node.op_type == "QuantizeLinear" for node in graph.node
    )
    known = {*made, *onnx_graph.initializers(graph), "image", ""}
    assert [name for node in graph.node for name in node.input if name not in known] == []


def test_progress_is_reported_and_may_print(capsys: pytest.CaptureFixture[str]) -> None:
    source = tiny_source()
    calls: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        print("step")
        calls.append((done, total))

    fresh = Source(
        source.network, name="tiny", scale=2, min_side_px=7, calibration=source.calibration, progress=progress
    )
    assert isinstance(fresh.quantized, torch.nn.Module)
    assert calls == [(done, 5) for done in range(1, 6)]
    assert capsys.readouterr().out == "step\n" * 5


def test_nan_weight_stops_before_any_toolchain() -> None:
    network = plainusr.PlainUSR(plainusr.Config((16, 8), None), 2, train_form=False)
    with torch.no_grad():
        network.tail[0].weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(ConversionError, match=r"'check'.*tail\.0\.weight"):
        Source(network, name="tiny", scale=2, min_side_px=7)


@pytest.mark.parametrize("placement", ["inputs", "inputs+outputs"])
def test_fast_mode_of_onnxruntime_equals_its_unoptimised_mode(placement: str) -> None:
    """Float weights on the int8 grid would be quantized a second time: that cost 0.15 dB and must not come back."""
    runtime = pytest.importorskip("onnxruntime")
    content = tiny_source(placement).quantized_onnx
    x = np.ascontiguousarray(photo(9).transpose(2, 0, 1)[None], dtype=np.float32) / 255
    with torch.no_grad():
        exact = tiny_source().network(torch.from_numpy(x)).numpy()
    psnr = []
    for level in (runtime.GraphOptimizationLevel.ORT_ENABLE_ALL, runtime.GraphOptimizationLevel.ORT_DISABLE_ALL):
        options = runtime.SessionOptions()
        options.graph_optimization_level, options.intra_op_num_threads = level, 1
        options.add_session_config_entry(EXACT_PRODUCTS, "1")
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        psnr.append(10 * np.log10(1 / np.mean((session.run(None, {"image": x})[0] - exact) ** 2)))
    assert psnr[0] == pytest.approx(psnr[1], abs=0.1), "PSNR against float, dB: fast, unoptimised"
    assert psnr[0] > 30


def test_folder_holds_no_script_that_shadows_a_package() -> None:
    names = {path.stem for path in (Path(__file__).parents[1] / "quantization").glob("*.py")}
    assert not names & {"torch", "torchao", "onnx", "types", "json"}


class DeadChannel(torch.nn.Module):
    """Its second channel is its bias alone; the third's weights are next to nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = torch.nn.Conv2d(3, 3, 1), torch.nn.Conv2d(3, 12, 1)
        with torch.no_grad():
            self.first.weight[1], self.first.weight[2] = 0, 1e-12
            self.first.bias.copy_(torch.tensor([0.1, 0.5, -0.25]))  # type: ignore[union-attr]

    def forward(self, x: Any) -> Any:
        return torch.nn.functional.pixel_shuffle(self.last(self.first(x)), 2)


def test_a_channel_that_is_its_bias_alone_fits_the_accumulator() -> None:
    runtime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    network, crops = DeadChannel(), calibration.from_images(PHOTOS, count=5, side_px=48)
    source = Source(network, name="dead", scale=2, min_side_px=1, calibration=crops)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    x = PHOTOS[0].transpose(2, 0, 1)[None].astype(np.float32) / 255
    options = runtime.SessionOptions()
    options.add_session_config_entry(EXACT_PRODUCTS, "1")
    session = runtime.InferenceSession(source.quantized_onnx, options, providers=["CPUExecutionProvider"])
    exact = network(torch.from_numpy(x)).detach().numpy()
    assert np.abs(session.run(None, {"image": x})[0] - exact).max() < 0.03
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
