"""ONNX Runtime's two files, OpenVINO's layers, and whether INT8 is the same numbers wherever it runs."""

import json
import platform
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs edgesr[export]")
onnx = pytest.importorskip("onnx", reason="needs edgesr[export]")
runtime = pytest.importorskip("onnxruntime", reason="needs edgesr[onnxruntime]")

from small_networks import run_in_openvino  # noqa: E402

from edgesr.errors import ConversionError  # noqa: E402
from edgesr.models import plainusr  # noqa: E402
from edgesr.quantization import calibration  # noqa: E402
from edgesr.runner.contract import InputRule  # noqa: E402
from edgesr.runner.manifest import Contents  # noqa: E402
from edgesr.runner.onnxruntime import EXACT_PRODUCTS, X86_LEVEL, open_contents, optimization_level  # noqa: E402
from edgesr.targets import onnx_graph  # noqa: E402
from edgesr.targets import onnxruntime as target  # noqa: E402
from edgesr.targets.source import Source  # noqa: E402
from edgesr.types import Request  # noqa: E402

torch.set_num_threads(1)
AGREEMENT_DB = 48.0


def photo(seed: int, side: int) -> "np.ndarray":
    """uint8 (side, side, 3): coarse shapes and fine noise."""
    random = np.random.default_rng(seed)
    result = np.full((side, side, 3), 120.0)
    for cell, strength in ((24, 60), (8, 30), (2, 8)):
        coarse = random.normal(size=(side // cell + 1, side // cell + 1, 3)) * strength
        result += np.kron(coarse, np.ones((cell, cell, 1)))[:side, :side]
    return np.clip(result.round(), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def source() -> Source:
    torch.manual_seed(5)
    network = plainusr.forms(plainusr.Config((16, 8), None), 2)["train"].eval().fold()
    crops = calibration.from_images([photo(seed, 64) for seed in range(4)], count=4, side_px=64)
    return Source(network, name="small", scale=2, min_side_px=7, calibration=crops)


def tensor(seed: int) -> "np.ndarray":
    return (photo(seed, 72).transpose(2, 0, 1)[None] / 255).astype(np.float32)


def run(content: bytes, x: "np.ndarray", level: str = "ORT_ENABLE_ALL") -> "np.ndarray":
    options = runtime.SessionOptions()
    options.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, level)
    options.intra_op_num_threads = 1
    options.add_session_config_entry(EXACT_PRODUCTS, "1")
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {"image": x})[0]
    return result


def psnr_db(a: "np.ndarray", b: "np.ndarray") -> float:
    return float(10 * np.log10(1 / max(float(np.mean((np.clip(a, 0, 1) - np.clip(b, 0, 1)) ** 2)), 1e-12)))


def histogram(a: "np.ndarray", b: "np.ndarray") -> str:
    levels = [np.round(np.clip(each, 0, 1) * 255).astype(int) for each in (a, b)]
    return (
        f"{psnr_db(a, b):.1f} dB; values by difference in 1/255: {np.bincount(np.abs(levels[0] - levels[1]).ravel())}"
    )


def quantized(source: Source, x: "np.ndarray") -> "np.ndarray":
    with torch.no_grad():
        result: np.ndarray = source.quantized(torch.from_numpy(x)).numpy()
    return result


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_ALL"])
def test_int8_agrees_with_the_quantized_graph(source: Source, level: str) -> None:
    for seed in (11, 12, 13):
        found, exact = run(source.quantized_onnx, tensor(seed), level), quantized(source, tensor(seed))
        assert psnr_db(found, exact) >= AGREEMENT_DB, histogram(found, exact)


class Repeated(torch.nn.Module):
    """A convolution, one of as many channels four times, as the shifts of ELAN are, and a last one."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 3, 3, padding=1)
        self.again, self.last = torch.nn.Conv2d(3, 3, 3, padding=1), torch.nn.Conv2d(3, 12, 1)

    def forward(self, x: "torch.Tensor") -> "torch.Tensor":
        x = self.first(x)
        for _ in range(4):
            x = self.again(x).relu()
        return torch.nn.functional.pixel_shuffle(self.last(x), 2)


def test_a_weight_that_many_convolutions_read_is_copied_for_each() -> None:
    torch.manual_seed(7)
    crops = calibration.from_images([photo(seed, 48) for seed in range(4)], count=4, side_px=48)
    many = Source(Repeated().eval(), name="many", scale=2, min_side_px=3, calibration=crops)
    graph = onnx_graph.load(many.quantized_onnx).graph
    weights = [node.input[1] for node in graph.node if node.op_type == "Conv"]
    assert len(weights) == len({*weights}) == 6
    found, exact = run(many.quantized_onnx, tensor(11)), quantized(many, tensor(11))
    assert psnr_db(found, exact) >= AGREEMENT_DB, histogram(found, exact)


def test_what_is_joined_is_rounded_before(source: Source) -> None:
    """The same numbers to the last bit, and no concatenation of floats is left in front of a rounding."""
    before = source.quantized_onnx
    after = onnx_graph.round_parts_before_concat(before)
    counts = []
    for content in (before, after):
        model = onnx_graph.load(content)
        read = onnx_graph.readers(model.graph)
        joins = [node for node in model.graph.node if node.op_type == "Concat"]
        counts.append(sum(read[node.output[0]][0].op_type == "QuantizeLinear" for node in joins))
    assert counts[0] > counts[1] == 0
    for seed in (11, 12):
        outputs = [run(content, tensor(seed), "ORT_DISABLE_ALL") for content in (before, after)]
        assert np.array_equal(*outputs)


def test_int8_in_openvino_agrees_with_onnxruntime(source: Source) -> None:
    for seed in (11, 12, 13):
        first, second = (each(source.float_outputs_onnx, tensor(seed)) for each in (run, run_in_openvino))
        assert psnr_db(first, second) >= AGREEMENT_DB, histogram(first, second)


def test_integer_kernels_cost_no_quality(source: Source) -> None:
    """The fast mode against the same file unoptimised, both against float32."""
    fast, exact = [], []
    for seed in range(20, 26):
        with torch.no_grad():
            wanted = source.network(torch.from_numpy(tensor(seed))).numpy()
        fast.append(psnr_db(run(source.quantized_onnx, tensor(seed)), wanted))
        exact.append(psnr_db(run(source.quantized_onnx, tensor(seed), "ORT_DISABLE_ALL"), wanted))
    assert abs(np.mean(fast) - np.mean(exact)) <= 0.02, (fast, exact)


def test_quantizing_leaves_the_float_network_alone() -> None:
    torch.manual_seed(6)
    network = plainusr.forms(plainusr.Config((8, 4), None), 2)["deploy"].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    crops = calibration.from_images([photo(seed, 48) for seed in range(4)], count=4, side_px=48)
    _ = Source(network, name="n", scale=2, min_side_px=7, calibration=crops).quantized
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_ort_format_opens_as_main_and_equals_the_onnx_file(
    source: Source, tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the same kernels: the ORT format has chosen them, and on a CPU without VNNI they are not the exact ones."""
    monkeypatch.setattr("edgesr.runner.onnxruntime.products_saturate", lambda: False)
    made = target.convert(source, Request("small", 2, "onnxruntime", precision), tmp_path)  # type: ignore[arg-type]
    files = {name: (tmp_path / name).read_bytes() for name in made.files}
    assert set(files) == {"model.onnx", "model.ort"}
    x, results = tensor(3), []
    for main in made.files:
        accepts = InputRule((), 7)
        contents = Contents("onnxruntime", precision, 2, accepts, main, "image", "upscaled", {}, files)
        results.append(open_contents(contents, 1)(x))
    assert np.abs(results[0] - results[1]).max() <= 1 / 255
    assert any("model.ort" in note for note in made.notes)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_ort_format_is_the_same_every_time(source: Source, precision: str) -> None:
    content = source.quantized_onnx if precision == "int8" else source.float_onnx
    assert len({target.to_ort_format(content) for _ in range(6)}) == 1


def test_ort_format_keeps_integer_convolutions_and_no_layout_of_one_cpu(source: Source) -> None:
    assert b"QLinearConv" in target.to_ort_format(source.quantized_onnx)
    assert b"ReorderInput" not in target.to_ort_format(source.float_onnx)


def test_ort_format_of_another_network_is_refused(source: Source) -> None:
    other = plainusr.forms(plainusr.Config((16, 8), None), 2)["train"].eval().fold()
    with torch.no_grad():
        other.tail[0].bias += 0.1
    wrong = target.to_ort_format(Source(other, name="o", scale=2, min_side_px=7).float_onnx)
    with pytest.raises(ConversionError, match=r"model\.ort differs from model\.onnx"):
        target.check_equal(source.float_onnx, wrong, (32, 32))


def test_int8_share_is_a_number_too(source: Source, tmp_path: Path) -> None:
    made = target.convert(source, Request("small", 2, "onnxruntime", "int8"), tmp_path)
    assert made.shares["int8_macs"] == pytest.approx(1.0)
    assert made.runtime_options[X86_LEVEL] == "all"


def test_with_much_in_float_the_artifact_asks_for_no_layout_of_integers(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "integer_share", lambda *_: 0.94)
    made = target.convert(source, Request("small", 2, "onnxruntime", "int8"), tmp_path)
    assert made.runtime_options[X86_LEVEL] == "extended"
    floats = target.convert(source, Request("small", 2, "onnxruntime", "fp32"), tmp_path)
    assert X86_LEVEL not in floats.runtime_options


@pytest.mark.parametrize(
    ("machine", "precision", "options", "level"),
    [
        ("x86_64", "int8", {}, "EXTENDED"),
        ("x86_64", "int8", {X86_LEVEL: "extended"}, "EXTENDED"),
        ("x86_64", "int8", {X86_LEVEL: "all"}, "ALL"),
        ("x86_64", "fp32", {}, "ALL"),
        ("aarch64", "int8", {X86_LEVEL: "extended"}, "ALL"),
    ],
)
def test_level_of_optimisation_is_what_an_artifact_asks_for_on_x86(
    monkeypatch: pytest.MonkeyPatch, machine: str, precision: str, options: dict[str, str], level: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    contents = Contents("onnxruntime", precision, 2, InputRule(()), "model.onnx", "image", "upscaled", options, {})
    assert optimization_level(runtime, contents) == getattr(runtime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_openvino_lists_the_precision_of_every_layer(source: Source, tmp_path: Path, precision: str) -> None:
    from edgesr.targets import openvino

    made = openvino.convert(source, Request("small", 2, "openvino", precision), tmp_path)  # type: ignore[arg-type]
    assert "layers.json" in made.files
    layers = json.loads((tmp_path / "layers.json").read_text())["layers"]
    convolutions = [layer for layer in layers if layer["type"] == "Convolution"]
    assert len(convolutions) == 9
    assert sum(layer["macs_share"] for layer in convolutions) == pytest.approx(1, abs=1e-4)
    assert {layer["precision"] for layer in convolutions} == ({"u8"} if precision == "int8" else {"f32"})
    assert made.notes[-1].startswith("Execution precision that OpenVINO chooses on this CPU")
