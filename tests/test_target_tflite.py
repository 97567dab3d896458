"""LiteRT: what stands in the written file, 8-bit pixels in and out, exactness of every rewrite, hostile bytes."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs edgesr[export]")
pytest.importorskip("torchao", reason="needs edgesr[export]")
pytest.importorskip("ai_edge_litert", reason="needs edgesr[tflite]")

from ai_edge_litert import schema_py_generated as schema  # noqa: E402
from small_networks import NETWORKS, psnr_db, run  # noqa: E402

from edgesr.errors import ArtifactError, ConversionError  # noqa: E402
from edgesr.quantization import calibration  # noqa: E402
from edgesr.runner import open_artifact  # noqa: E402
from edgesr.runner.contract import Array, Runner  # noqa: E402
from edgesr.targets import TARGETS, convert  # noqa: E402
from edgesr.targets.export import to_program  # noqa: E402
from edgesr.targets.source import Source  # noqa: E402
from edgesr.targets.tflite_convolution import Layer, keep_bias_in_range  # noqa: E402
from edgesr.targets.tflite_file import Rounding  # noqa: E402
from edgesr.targets.tflite_graph import REWRITES, RULES  # noqa: E402
from edgesr.targets.tflite_lowering import Lowering  # noqa: E402
from edgesr.types import Io, Precision, Request, Size  # noqa: E402

torch.set_num_threads(1)
SIZE = (32, 40)
NAMES = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}


def photo(seed: int, size: Size = SIZE) -> Array:
    """float32 (1, 3, H, W) in [0, 1], 8-bit values, smooth."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (3, size[0] // 8 + 2, size[1] // 8 + 2))
    image = np.kron(coarse, np.ones((1, 8, 8)))[:, : size[0], : size[1]]
    return (np.round(image)[None] / 255).astype(np.float32)


@pytest.fixture(scope="module", params=NETWORKS)
def source(request: pytest.FixtureRequest) -> Source:
    return make_source(request.param)


def make_source(name: str) -> Source:
    torch.manual_seed(1)
    images = [(photo(seed, (64, 64))[0].transpose(1, 2, 0) * 255).round().astype(np.uint8) for seed in range(4)]
    crops = calibration.from_images(images, count=4, side_px=64)
    return Source(NETWORKS[name]().eval().fold(), name=name, scale=2, min_side_px=15, calibration=crops)


def open_converted(source: Source, folder: Path, precision: Precision, io: Io = "float32") -> Runner:
    request = Request(source.name, source.scale, "tflite", precision, (SIZE,), io)
    made = convert(source, request, folder)
    return open_bytes(folder, request, (folder / made.main).read_bytes())


def open_bytes(folder: Path, request: Request, content: bytes) -> Runner:
    """Through a manifest that vouches for `content`."""
    (folder / "model.tflite").write_bytes(content)
    manifest = {
        "schema": 1,
        "request": asdict(request),
        "scale": request.scale,
        "files": [{"name": "model.tflite", "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}],
        "main": "model.tflite",
        "inputs": [{"name": "image"}],
        "outputs": [{"name": "upscaled"}],
        "runtime_options": {"min_side_px": "15"},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return open_artifact(folder, threads=1)


def operators(content: bytes) -> list[tuple[str, int]]:
    """Codes of the file's operators with the type of what each writes."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    (graph,) = model.subgraphs
    codes = [NAMES[code.builtinCode] for code in model.operatorCodes]
    return [(codes[each.opcodeIndex], graph.tensors[each.outputs[0]].type) for each in graph.operators]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_no_transpose_and_one_depth_to_space(tmp_path: Path, source: Source, precision: Precision) -> None:
    open_converted(source, tmp_path, precision)
    codes = [code for code, _ in operators((tmp_path / "model.tflite").read_bytes())]
    assert not {"TRANSPOSE", "RESHAPE", "CUSTOM"} & set(codes)
    assert codes.count("DEPTH_TO_SPACE") == 1


def test_every_convolution_is_int8(tmp_path: Path, source: Source) -> None:
    open_converted(source, tmp_path, "int8")
    found = operators((tmp_path / "model.tflite").read_bytes())
    types = {dtype for code, dtype in found if code in ("CONV_2D", "DEPTHWISE_CONV_2D")}
    assert types == {schema.TensorType.INT8}


def test_float32_equals_the_network(tmp_path: Path, source: Source) -> None:
    x = photo(9)
    assert np.abs(open_converted(source, tmp_path, "fp32")(x) - run(source.network, x)).max() < 1e-4


def test_int8_computes_the_quantized_graph(tmp_path: Path, source: Source) -> None:
    """Not exactly: sums of floats in another order turn a rounding over here and there."""
    x = photo(9)
    found = psnr_db(open_converted(source, tmp_path, "int8")(x), run(source.quantized, x))
    assert found > 48, f"{found:.1f} dB"


@pytest.mark.parametrize("io", ["uint8", "int8"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_eight_bit_pixels_are_the_rounded_result(tmp_path: Path, precision: Precision, io: Io) -> None:
    source, x = make_source("plainusr"), photo(9)
    (tmp_path / "float").mkdir()
    exact = open_converted(source, tmp_path / "float", precision)(x)
    found = open_converted(source, tmp_path, precision, io)(x)
    pixels = np.round(np.clip(exact, 0, 1) * 255)
    assert np.abs(found * 255 - pixels).max() < 1.01, np.bincount(
        np.abs(found * 255 - pixels).round().astype(int).ravel()
    )
    assert np.mean(np.abs(found * 255 - pixels) > 0.5) < 0.01


def test_enumerated_sizes_are_one_file_each(tmp_path: Path) -> None:
    request = Request("plainusr", 2, "tflite", "fp32", ((32, 40), (40, 24)))
    made = convert(make_source("plainusr"), request, tmp_path)
    assert made.files == ("model_32x40.tflite", "model_40x24.tflite")
    assert made.inputs[0].layout == "NHWC"
    assert made.inputs[0].shape == (1, "height", "width", 3)


class Wrapped(torch.nn.Module):
    def __init__(self, function: Callable[[Any], Any], *layers: Any) -> None:
        super().__init__()
        self.layers, self.function = torch.nn.ModuleList(layers), function

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return self.function(x)


def lowered(network: Any, x: Array) -> Array:
    """What the written file computes, NCHW."""
    from ai_edge_litert.interpreter import Interpreter

    size = (x.shape[2], x.shape[3])
    content = Lowering(to_program(network.eval(), size), RULES, "float32").run()
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
    interpreter.invoke()
    result: Array = interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).transpose(0, 3, 1, 2)
    return result


def same(x: Any) -> Any:
    return x


def rounded(x: Any, step: float, zero: int) -> Any:
    numbers = torch.ops.quantized_decomposed.quantize_per_tensor(x, step, zero, -128, 127, torch.int8)
    return torch.ops.quantized_decomposed.dequantize_per_tensor(numbers, step, zero, -128, 127, torch.int8)


def joined_then_rounded(x: Any) -> Any:
    """Parts with steps of their own, joined, rounded again with a third."""
    return rounded(torch.cat([rounded(x, 0.02, 3)[:, 1:], rounded(torch.relu(x), 0.01, -128)], 1), 0.015, -20)


REWRITTEN: dict[str, Callable[[], Any]] = {
    "shuffle_with_depth_to_space": lambda: Wrapped(same, torch.nn.Conv2d(3, 3 * 16, 3, 1, 1), torch.nn.PixelShuffle(4)),
    "pad_where_same_is_not": lambda: Wrapped(same, torch.nn.Conv2d(3, 5, 3, 2, 1)),
    "round_parts_before_concat": lambda: Wrapped(joined_then_rounded, torch.nn.Conv2d(3, 4, 1)),
    "resize_between_pixel_centres": lambda: Wrapped(
        lambda x: torch.nn.functional.interpolate(x, (37, 41), mode="bilinear"), torch.nn.Conv2d(3, 4, 1)
    ),
}


@pytest.mark.parametrize("name", REWRITTEN)
@pytest.mark.parametrize("size", [(16, 18), (17, 23)])
def test_rewrite_is_exact(name: str, size: Size) -> None:
    torch.manual_seed(2)
    network, x = REWRITTEN[name](), photo(3, size)
    exact = run(network, x)
    assert np.abs(lowered(network, x) - exact).max() < 1e-5 * max(1, np.abs(exact).max())


def test_coarser_weight_steps_keep_the_bias_and_the_values() -> None:
    """A dead channel: weights of a thousandth of a millionth, a bias of one."""
    weight = np.full((2, 1, 1, 1), 100, np.int8)
    layer = Layer(weight, np.array([1.0, 1.0], np.float32), np.array([1e-12, 1e-2]), (1, 1), (0, 0), (1, 1), False)
    kept = keep_bias_in_range(layer, Rounding("int8", 1 / 255, 0))
    assert layer.scales is not None
    assert kept.scales is not None
    assert (np.abs(kept.bias / (kept.scales / 255)) < 2**31).all()
    before, after = weight[:, 0, 0, 0] * layer.scales, kept.weight[:, 0, 0, 0] * kept.scales
    assert np.abs(before - after).max() < 1e-6
    assert kept.scales[1] == layer.scales[1]
    assert kept.weight[1] == 100


def test_every_rewrite_is_tested_here() -> None:
    assert {each.name for each in REWRITES} == {*REWRITTEN, "keep_bias_in_range"}


def test_unknown_operator_is_named() -> None:
    with pytest.raises(ConversionError, match=r"no rule for the operator aten\.tan"):
        lowered(Wrapped(torch.tan, torch.nn.Conv2d(3, 3, 1)), photo(3))


def test_pixel_shuffle_without_its_convolution_is_refused() -> None:
    with pytest.raises(ConversionError, match="does not follow convolutions"):
        lowered(Wrapped(lambda x: torch.pixel_shuffle(torch.relu(x), 2), torch.nn.Conv2d(3, 12, 1)), photo(3))


def test_hostile_bytes_are_refused(tmp_path: Path) -> None:
    """Cut, scrambled and mislabelled files: an ArtifactError or, where the damage is harmless, a result."""
    open_converted(make_source("plainusr"), tmp_path, "fp32")
    content = (tmp_path / "model.tflite").read_bytes()
    request = Request("plainusr", 2, "tflite", "fp32", (SIZE,))
    for broken in (
        b"",
        b"TFL3",
        b"\0" * 64,
        content[:4] + b"ABCD" + content[8:],
        content[:100],
        content[: -len(content) // 2],
    ):
        with pytest.raises(ArtifactError):
            open_bytes(tmp_path, request, broken)


def test_file_of_another_size_or_name_is_refused(tmp_path: Path) -> None:
    open_converted(make_source("plainusr"), tmp_path, "fp32")
    content = (tmp_path / "model.tflite").read_bytes()
    request = Request("plainusr", 2, "tflite", "fp32", (SIZE,))
    for wrong in (replace(request, sizes=((40, 32),)), replace(request, scale=4)):
        with pytest.raises(ArtifactError, match="does not match its manifest"):
            open_bytes(tmp_path, wrong, content)
    with pytest.raises(ArtifactError, match="does not match its manifest"):
        open_bytes(tmp_path, request, content.replace(b"upscaled", b"upscalex"))


def test_opening_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    open_converted(make_source("plainusr"), tmp_path, "int8")(photo(1))
    assert capfd.readouterr() == ("", "")


def test_16_bit_activations_are_withheld_with_a_reason() -> None:
    assert "10 times slower" in TARGETS["tflite"].withheld["int16x8"]


OLD_RUNTIME = """
import sys
from pathlib import Path
import numpy as np
from edgesr.runner import open_artifact
runner = open_artifact(Path(sys.argv[1]), threads=1)
np.save(sys.argv[3], runner(np.load(sys.argv[2])))
print(runner.describe()["runtime"])
"""


@pytest.fixture(scope="module")
def old_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python with tflite_runtime 2.14, which needs numpy 1, and nothing of a converter."""
    folder = tmp_path_factory.mktemp("tflite-runtime")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=200)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "tflite-runtime==2.14.0", "numpy<2", "pillow"]
    done = subprocess.run(install, capture_output=True, text=True, timeout=400)
    if "Failed to establish a new connection" in done.stderr or "Temporary failure in name resolution" in done.stderr:
        pytest.skip("pip reaches no package index, so tflite-runtime 2.14.0 cannot be installed")
    assert done.returncode == 0, done.stderr[-2000:]
    return python


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "io"),
    [("fp32", "float32"), ("fp16", "float32"), ("int8", "float32"), ("int8", "uint8"), ("fp32", "int8")],
)
def test_tflite_runtime_2_14_computes_the_same(
    tmp_path: Path, source: Source, old_environment: Path, precision: Precision, io: Io
) -> None:
    """INT8: XNNPACK of 2023 takes fewer operators, and the kernels in its place round sums in fixed point."""
    x = photo(9)
    here = open_converted(source, tmp_path, precision, io)(x)
    np.save(tmp_path / "x.npy", x)
    done = subprocess.run(
        [old_environment, "-c", OLD_RUNTIME, tmp_path, tmp_path / "x.npy", tmp_path / "y.npy"],
        capture_output=True,
        text=True,
        timeout=200,
        env={"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": os.environ["PATH"]},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "tflite_runtime 2.14.0"
    there = np.load(tmp_path / "y.npy")
    if precision == "int8":
        assert psnr_db(here, there) > 45, f"{psnr_db(here, there):.1f} dB"
    else:
        assert np.abs(here - there).max() < (1e-4 if io == "float32" else 1.01 / 255)
