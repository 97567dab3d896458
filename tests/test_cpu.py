"""What the runner makes of a processor: which of its 8-bit kernels are exact."""

import platform

import numpy as np
import pytest

from edgesr.runner import cpu


def pretend(monkeypatch: pytest.MonkeyPatch, machine: str, flags: set[str] | None) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(cpu, "processor", lambda: ("a processor", None if flags is None else frozenset(flags)))


@pytest.mark.parametrize(
    ("machine", "flags", "saturate"),
    [
        ("x86_64", {"avx2", "fma"}, True),
        ("x86_64", {"avx2", "avx512f"}, True),
        ("x86_64", {"avx2", "avx_vnni"}, False),
        ("x86_64", {"avx512f", "avx512_vnni"}, False),
        ("AMD64", None, True),
        ("aarch64", {"asimd"}, False),
        ("arm64", None, False),
    ],
)
def test_x86_without_vnni_saturates(
    monkeypatch: pytest.MonkeyPatch, machine: str, flags: set[str] | None, saturate: bool
) -> None:
    pretend(monkeypatch, machine, flags)
    assert cpu.products_saturate() is saturate


def test_this_processor_has_a_name() -> None:
    name, _ = cpu.processor()
    assert name


def saturating_network() -> bytes:
    """A 1x1 convolution whose products sum to 4 * 255 * 127: 129540, where 16 bits end at 32767."""
    pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    node = helper.make_node
    values = {
        "one": np.float32(1),
        "zero": np.uint8(0),
        "w": np.full((1, 4, 1, 1), 127, np.int8),
        "w_scale": np.ones(1, np.float32),
        "w_zero": np.zeros(1, np.int8),
        "wide": np.float32(1024),
    }
    nodes = [
        node("QuantizeLinear", ["image", "one", "zero"], ["q"]),
        node("DequantizeLinear", ["q", "one", "zero"], ["x"]),
        node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["weight"], axis=0),
        node("Conv", ["x", "weight"], ["y"]),
        node("QuantizeLinear", ["y", "wide", "zero"], ["y_q"]),
        node("DequantizeLinear", ["y_q", "wide", "zero"], ["upscaled"]),
    ]
    graph = helper.make_graph(
        nodes,
        "saturates",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 4, 8, 8])],
        [helper.make_tensor_value_info("upscaled", TensorProto.FLOAT, [1, 1, 8, 8])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


def test_exact_kernels_sum_in_32_bits() -> None:
    runtime = pytest.importorskip("onnxruntime")
    from edgesr.runner.onnxruntime import EXACT_PRODUCTS

    x = np.full((1, 4, 8, 8), 255, np.float32)
    options = runtime.SessionOptions()
    options.add_session_config_entry(EXACT_PRODUCTS, "1")
    session = runtime.InferenceSession(saturating_network(), options, providers=["CPUExecutionProvider"])
    found = session.run(None, {"image": x})[0]
    assert np.unique(found).tolist() == [round(4 * 255 * 127 / 1024) * 1024]
