"""The ONNX file for TensorRT and its build script; no TensorRT is needed, and none runs."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs edgesr[export]")
onnx = pytest.importorskip("onnx", reason="needs edgesr[export]")
runtime = pytest.importorskip("onnxruntime", reason="needs edgesr[onnxruntime]")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from edgesr.models import bsrn, plainusr  # noqa: E402
from edgesr.quantization import calibration  # noqa: E402
from edgesr.targets import onnx_graph, tensorrt  # noqa: E402
from edgesr.targets.source import Source  # noqa: E402
from edgesr.types import Request  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def source() -> Source:
    torch.manual_seed(2)
    network = plainusr.forms(plainusr.Config((8, 4), 4, 1), 2)["deploy"].eval()
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (48, 48, 3)).astype(np.uint8) for _ in range(4)]
    crops = calibration.from_images(images, count=4, side_px=48)
    return Source(network, name="small", scale=2, min_side_px=7, calibration=crops)


def run(content: bytes, x: "np.ndarray") -> "np.ndarray":
    options = runtime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {session.get_inputs()[0].name: x})[0]
    return result


def image(seed: int, side: int) -> "np.ndarray":
    """float32 (1, 3, side, side), 8-bit values."""
    return (np.random.default_rng(seed).integers(0, 256, (1, 3, side, side)) / 255).astype(np.float32)


def test_gelu_in_its_erf_form_is_equal_at_opset_17() -> None:
    node = helper.make_node("Gelu", ["x"], ["y"], name="gelu")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [64]) for name in "xy"]
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    x = np.linspace(-6, 6, 64, dtype=np.float32)
    expected = run(model.SerializeToString(), x)
    tensorrt.decompose_gelu(model.graph)
    tensorrt.to_opset_17(model)
    assert [n.op_type for n in model.graph.node] == ["Div", "Erf", "Add", "Mul", "Mul"]
    np.testing.assert_allclose(run(onnx_graph.save(model), x), expected, atol=1e-6)


@pytest.mark.parametrize("slim", [True, False])
def test_opset_17_computes_what_opset_20_does(slim: bool) -> None:
    torch.manual_seed(3)
    network = bsrn.forms(bsrn.Config(16, 1, slim), 2)["train"].eval().fold()
    content = Source(network, name="b", scale=2, min_side_px=15).float_onnx
    model = onnx_graph.load(content)
    tensorrt.decompose_gelu(model.graph)
    tensorrt.to_opset_17(model)
    changed = onnx_graph.save(model)
    assert [each.version for each in model.opset_import] == [17]
    x = image(1, 33)
    np.testing.assert_allclose(run(changed, x), run(content, x), atol=1e-4)


def test_exact_int8_rewrites_change_no_8_bit_photo(source: Source) -> None:
    model = onnx_graph.load(source.float_outputs_onnx)
    tensorrt.unround_image(model.graph)
    tensorrt.store_weights_as_floats(model.graph)
    x = image(2, 40)
    difference = np.abs(run(onnx_graph.save(model), x) - run(source.float_outputs_onnx, x))
    # The first layer's float sums end a rounding on its other side now and then; later layers spread it.
    assert np.mean(difference**2) < 1e-5, np.percentile(difference, (50, 99, 100))


def test_int8_file_is_what_tensorrt_takes(source: Source, tmp_path: Path) -> None:
    tensorrt.convert(source, Request("small", 2, "tensorrt", "int8"), tmp_path)
    model = onnx.load(tmp_path / "model.onnx")
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    made = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert constants[node.input[2]].dtype == np.int8
            assert not constants[node.input[2]].any()
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    for node in convolutions:
        weight = made[made[node.input[1]].input[0]]
        assert (weight.op_type, helper.get_attribute_value(weight.attribute[0])) == ("QuantizeLinear", 0)
        assert constants[weight.input[0]].dtype == np.float32
        assert node.input[2] in constants, "a bias is not quantized"
    rounded = [made[node.input[0]].op_type == "DequantizeLinear" for node in convolutions[1:]]
    assert all(rounded)
    assert convolutions[0].input[0] == "image"


def test_symmetric_scale_covers_the_affine_range(source: Source) -> None:
    before = onnx_graph.load(source.float_outputs_onnx)
    after = onnx_graph.load(source.float_outputs_onnx)
    tensorrt.make_symmetric(after.graph)
    old, new = onnx_graph.initializers(before.graph), onnx_graph.initializers(after.graph)
    seen = 0
    for first, second in zip(before.graph.node, after.graph.node, strict=True):
        if first.op_type == "QuantizeLinear":
            scale, zero = float(old[first.input[1]]), int(old[first.input[2]])
            reach = float(new[second.input[1]]) * 127
            assert reach == pytest.approx(max(zero, 255 - zero) * scale, rel=1e-6)
            seen += 1
    assert seen > 5


FAKE = '#!/usr/bin/env bash\nprintf "%s\\n" "$@" > "$RECORD"\n'


def record(folder: Path, *arguments: str) -> list[str]:
    """Run the script with a trtexec that writes down its arguments."""
    tools = folder / "tools"
    tools.mkdir()
    (tools / "trtexec").write_text(FAKE)
    (tools / "trtexec").chmod(0o755)
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "RECORD": str(folder / "record")}
    script = folder / tensorrt.SCRIPT
    subprocess.run(["bash", "-n", script], check=True, timeout=30)
    subprocess.run(["bash", script, *arguments], check=True, env=environment, timeout=30)
    return (folder / "record").read_text().splitlines()


def test_script_hands_trtexec_free_sizes_and_float32_layers(source: Source, tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    folder.mkdir()
    tensorrt.convert(source, Request("small", 2, "tensorrt", "int8"), folder)
    found = record(folder)
    assert found[:5] == [
        f"--onnx={folder}/model.onnx",
        f"--saveEngine={folder}/model.engine",
        "--minShapes=image:1x3x7x7",
        "--optShapes=image:1x3x256x256",
        "--maxShapes=image:1x3x512x512",
    ]
    assert found[5:8] == ["--int8", "--fp16", "--precisionConstraints=obey"]
    layers = found[8].removeprefix("--layerPrecisions=").split(",")
    names = {f"{node.name}:fp32": node.op_type for node in onnx.load(folder / "model.onnx").graph.node}
    assert {names[layer] for layer in layers} >= {"Exp", "Div", "AveragePool"}
    assert len(found) == 9


@pytest.mark.parametrize(
    ("precision", "sizes", "expected"),
    [
        ("fp32", ((32, 48),), []),
        ("fp32", ((32, 48), (64, 24)), ["minShapes=image:1x3x32x24", "optShapes", "maxShapes=image:1x3x64x48"]),
    ],
)
def test_script_at_other_sizes(tmp_path: Path, precision: str, sizes: tuple, expected: list[str]) -> None:  # type: ignore[type-arg]
    request = Request("small", 2, "tensorrt", precision, sizes)  # type: ignore[arg-type]
    (tmp_path / tensorrt.SCRIPT).write_text(tensorrt.build_script(request, [], 7))
    found = record(tmp_path, "/elsewhere/e.engine")
    assert found[1] == "--saveEngine=/elsewhere/e.engine"
    assert len(found) == 2 + len(expected)
    for argument, part in zip(found[2:], expected, strict=True):
        assert part in argument


def test_script_without_trtexec_says_where_it_looked(tmp_path: Path) -> None:
    if Path("/usr/src/tensorrt/bin/trtexec").exists():
        pytest.skip("needs a machine without TensorRT")
    path = tmp_path / tensorrt.SCRIPT
    path.write_text(tensorrt.build_script(Request("small", 2, "tensorrt", "fp32"), [], 7))
    done = subprocess.run(["bash", path], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}, timeout=30)
    assert done.returncode == 1
    assert "/usr/src/tensorrt/bin" in done.stderr


def test_notes_say_that_no_engine_was_built(source: Source, tmp_path: Path) -> None:
    made = tensorrt.convert(source, Request("small", 2, "tensorrt", "int8"), tmp_path)
    text = " ".join(made.notes)
    assert "No TensorRT engine was built" in text
    assert "/ 127" in text
