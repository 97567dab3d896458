"""The reference interpreter: every operation against torch, programs as coremltools writes them, and damaged ones."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs edgesr[export]")

from edgesr.errors import ArtifactError  # noqa: E402
from edgesr.runner.mil import Interpreter, to_float16  # noqa: E402
from edgesr.runner.mil_arguments import Arguments  # noqa: E402
from edgesr.runner.mil_operations import OPERATIONS  # noqa: E402
from edgesr.runner.mil_windows import Window  # noqa: E402

torch.set_num_threads(1)
F = torch.nn.functional
DTYPE_NUMBERS = {"float16": 10, "float32": 11, "int8": 21, "int32": 23, "uint8": 31, "uint32": 33}


def values(*shape: int, seed: int = 0) -> "np.ndarray[Any, np.dtype[np.float32]]":
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32) * 3


def run(kind: str, **parameters: Any) -> Any:
    """One operation: text stays text, a list of arrays is a parameter of several values."""
    texts = {key: value for key, value in parameters.items() if isinstance(value, str)}
    arrays = {
        key: tuple(value) if isinstance(value, list) and isinstance(value[0], np.ndarray) else (np.asarray(value),)
        for key, value in parameters.items()
        if not isinstance(value, str)
    }
    return OPERATIONS[kind](Arguments(arrays, texts))


def assert_close(found: Any, expected: Any, tolerance: float = 2e-5) -> None:
    expected = np.asarray(expected)
    assert found.shape == expected.shape
    scale = max(1.0, float(np.abs(expected).max()))
    assert np.abs(found - expected).max() <= tolerance * scale


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize(
    ("kernel", "stride", "pads", "dilation"),
    [(1, 1, 0, 1), (3, 1, 1, 1), (3, 2, 0, 1), (3, 2, 1, 1), (5, 1, 2, 1), (3, 1, 2, 2), (1, 2, 0, 1), (1, 1, 1, 1)],
)
def test_convolution(groups: int, kernel: int, stride: int, pads: int, dilation: int) -> None:
    x, weight, bias = values(1, 6, 19, 23), values(12 if groups < 6 else 6, 6 // groups, kernel, kernel), values(12)
    bias = bias[: len(weight)]
    found = run(
        "conv",
        x=x,
        weight=weight,
        bias=bias,
        strides=[stride] * 2,
        pad_type="custom",
        pad=[pads] * 4,
        dilations=[dilation] * 2,
        groups=groups,
    )
    expected = F.conv2d(*map(torch.from_numpy, (x, weight, bias)), stride, pads, dilation, groups)
    assert_close(found, expected)


def test_convolution_in_more_than_one_band(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgesr.runner.mil_windows.BAND_ELEMENTS", 4000)
    x, weight = values(1, 5, 31, 17), values(4, 5, 3, 3)
    found = run("conv", x=x, weight=weight, pad_type="custom", pad=[1, 2, 3, 0])
    expected = F.conv2d(F.pad(torch.from_numpy(x), (3, 0, 1, 2)), torch.from_numpy(weight))
    assert_close(found, expected)


@pytest.mark.parametrize("lower", [False, True])
def test_same_padding_puts_the_odd_row_where_it_says(lower: bool) -> None:
    x, weight = values(1, 2, 8, 9), values(3, 2, 3, 3)
    kind = "same_lower" if lower else "same"
    found = run("conv", x=x, weight=weight, pad_type=kind, strides=[2, 2])
    pads = (1, 1, 1, 0) if lower else (1, 1, 0, 1)  # rows: 8 -> 4 needs one; columns: 9 -> 5 needs two
    expected = F.conv2d(F.pad(torch.from_numpy(x), pads), torch.from_numpy(weight), stride=2)
    assert_close(found, expected)


@pytest.mark.parametrize(("kernel", "stride", "pad"), [(7, 3, 0), (2, 2, 0), (3, 2, 1), (5, 1, 2)])
def test_pooling(kernel: int, stride: int, pad: int) -> None:
    x = values(1, 3, 20, 26)
    shape = {"kernel_sizes": [kernel] * 2, "strides": [stride] * 2, "pad_type": "custom", "pad": [pad] * 4}
    assert_close(run("max_pool", x=x, **shape), F.max_pool2d(torch.from_numpy(x), kernel, stride, pad))
    for excluded in (False, True):
        found = run("avg_pool", x=x, exclude_padding_from_average=excluded, **shape)
        assert_close(found, F.avg_pool2d(torch.from_numpy(x), kernel, stride, pad, count_include_pad=not excluded))


def test_ceil_mode_is_named() -> None:
    with pytest.raises(ArtifactError, match="ceil_mode"):
        run("max_pool", x=values(1, 1, 8, 8), kernel_sizes=[3, 3], pad_type="valid", ceil_mode=True)


@pytest.mark.parametrize("size", [(32, 48), (9, 7), (5, 40), (3, 3), (1, 2)])
@pytest.mark.parametrize("align", [False, True])
def test_bilinear_upsampling(size: tuple[int, int], align: bool) -> None:
    x = values(1, 4, 5, 7)
    factors = [(wanted + 1e-4) / side for wanted, side in zip(size, x.shape[2:], strict=True)]
    found = run(
        "upsample_bilinear",
        x=x,
        scale_factor_height=np.float32(factors[0]),
        scale_factor_width=np.float32(factors[1]),
        align_corners=align,
    )
    expected = F.interpolate(torch.from_numpy(x), size, mode="bilinear", align_corners=align)
    assert_close(found, expected)
    if not align:
        modes = {"interpolation_mode": "LINEAR", "sampling_mode": "UNALIGN_CORNERS"}
        assert_close(run("resize", x=x, shape=list(size), resized_dims=2, **modes), expected)


UNARY: Mapping[str, Callable[..., Any]] = {
    "abs": torch.abs,
    "exp": torch.exp,
    "floor": torch.floor,
    "relu": F.relu,
    "round": torch.round,
    "sigmoid": torch.sigmoid,
    "square": torch.square,
    "tanh": torch.tanh,
}


@pytest.mark.parametrize("kind", UNARY)
def test_functions_of_one_value(kind: str) -> None:
    x = np.linspace(-12, 12, 70_000, dtype=np.float32).reshape(1, 1, 7, -1)
    assert_close(run(kind, x=x), UNARY[kind](torch.from_numpy(x)), 1e-6)


@pytest.mark.parametrize(("mode", "approximate"), [("EXACT", "none"), ("TANH_APPROXIMATION", "tanh")])
def test_gelu(mode: str, approximate: str) -> None:
    x = np.linspace(-12, 12, 70_001, dtype=np.float32)
    found = run("gelu", x=x, mode=mode)
    assert np.abs(found - F.gelu(torch.from_numpy(x), approximate=approximate).numpy()).max() < 2e-6


def test_leaky_relu_clip_and_root() -> None:
    x = values(2, 3, 5)
    assert_close(run("leaky_relu", x=x, alpha=np.float32(0.05)), F.leaky_relu(torch.from_numpy(x), 0.05))
    assert_close(run("clip", x=x, alpha=np.float32(-1), beta=np.float32(2)), x.clip(-1, 2))
    assert_close(run("sqrt", x=np.abs(x)), np.sqrt(np.abs(x)))


def test_fill_makes_no_more_than_a_network_needs() -> None:
    assert_close(run("fill", shape=np.array([1, 1, 3, 5], np.int32), value=np.float32(1)), np.ones((1, 1, 3, 5)))
    for shape, said in (((2**20, 2**20), "at most"), ((1, 0), "cannot fill")):
        with pytest.raises(ArtifactError, match=said):
            run("fill", shape=np.array(shape, np.int32), value=np.float32(1))


@pytest.mark.parametrize(
    ("kind", "function"),
    [
        ("add", torch.add),
        ("sub", torch.sub),
        ("mul", torch.mul),
        ("real_div", torch.div),
        ("maximum", torch.maximum),
        ("minimum", torch.minimum),
    ],
)
def test_functions_of_two_values_broadcast(kind: str, function: Any) -> None:
    x, y = values(1, 4, 6, 5), np.abs(values(4, 1, 1, seed=1)) + 1
    assert_close(run(kind, x=x, y=y), function(torch.from_numpy(x), torch.from_numpy(y)))


@pytest.mark.parametrize("keep", [False, True])
def test_reductions(keep: bool) -> None:
    x = values(2, 4, 6, 5)
    tensor = torch.from_numpy(x)
    assert_close(run("reduce_mean", x=x, axes=[2, 3], keep_dims=keep), tensor.mean((2, 3), keepdim=keep))
    assert_close(run("reduce_sum", x=x, axes=[0], keep_dims=keep), tensor.sum(0, keepdim=keep))
    assert_close(run("reduce_max", x=x, axes=[1, -1], keep_dims=keep), tensor.amax((1, 3), keepdim=keep))


def test_matrix_product_and_softmax() -> None:
    x, y = values(2, 4, 6), values(2, 5, 6, seed=1)
    expected = torch.from_numpy(x) @ torch.from_numpy(y).transpose(1, 2)
    assert_close(run("matmul", x=x, y=y, transpose_y=True), expected)
    assert_close(run("softmax", x=x, axis=1), torch.softmax(torch.from_numpy(x), 1))


def test_pixel_shuffle() -> None:
    x = values(1, 18, 4, 5)
    assert np.array_equal(run("pixel_shuffle", x=x, upscale_factor=3), F.pixel_shuffle(torch.from_numpy(x), 3))


def test_shapes_are_cut_and_joined() -> None:
    x = values(1, 7, 6, 5)
    parts = run("split", x=x, split_sizes=[4, 3], axis=1)
    assert np.array_equal(parts[1], x[:, 4:])
    assert np.array_equal(run("concat", values=list(parts), axis=1), x)
    assert np.array_equal(run("stack", values=[x, x], axis=0), np.stack([x, x]))
    assert np.array_equal(run("transpose", x=x, perm=[0, 2, 3, 1]), x.transpose(0, 2, 3, 1))
    assert np.array_equal(run("reshape", x=x, shape=[0, -1, 5]), x.reshape(1, 42, 5))
    assert np.array_equal(run("expand_dims", x=x, axes=[1]), x[:, None])
    assert np.array_equal(run("squeeze", x=x, axes=[0]), x[0])
    assert np.array_equal(run("gather", x=run("shape", x=x), indices=np.int32(2), axis=0), 6)


def test_slices_count_from_the_end_and_step() -> None:
    x = values(1, 7, 6, 5)
    found = run(
        "slice_by_index",
        x=x,
        begin=[0, 1, 0, 2],
        end=[0, -1, 4, 0],
        stride=[1, 2, 1, 1],
        end_mask=[True, False, False, True],
        squeeze_mask=[True, False, False, False],
    )
    assert np.array_equal(found, x[0, 1:-1:2, 0:4, 2:])


def test_quantize_rounds_half_to_even_and_saturates() -> None:
    x = np.array([-1000, -1.25, -0.75, 0.25, 0.75, 1.25, 1000], np.float32)
    found = run("quantize", input=x, scale=np.float32(0.5), zero_point=np.int8(-3), output_dtype="int8")
    assert found.dtype == np.int8
    assert found.tolist() == [-128, -5, -5, -3, -1, -1, 127]
    back = run("dequantize", input=found, scale=np.float32(0.5), zero_point=np.int8(-3))
    assert back.tolist() == [-62.5, -1, -1, 0, 1, 1, 65]


def test_weights_per_channel() -> None:
    levels = np.random.default_rng(0).integers(-127, 128, (4, 2, 3, 3)).astype(np.int8)
    scale = np.array([0.5, 1, 2, 0.25], np.float32)
    found = run("constexpr_affine_dequantize", quantized_data=levels, scale=scale, zero_point=np.int8(0), axis=0)
    assert np.array_equal(found, levels * scale[:, None, None, None])


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8])
def test_palettes_of_every_width(bits: int) -> None:
    random = np.random.default_rng(bits)
    table, indices = random.normal(size=2**bits).astype(np.float32), random.integers(0, 2**bits, 35)
    packed = np.packbits((indices[:, None] >> np.arange(bits)) & 1, bitorder="little")
    found = run("constexpr_lut_to_dense", indices=packed, lut=table, shape=np.array([5, 7], np.uint32))
    assert np.array_equal(found, table[indices].reshape(5, 7))


def test_float16_rounds_to_even_and_overflows_to_infinity() -> None:
    x = np.array([1 + 2.0**-11, 1 + 3 * 2.0**-11, 65504, 65520, -1e9, 1e-9], np.float32)
    assert to_float16(x).tolist() == [1, 1 + 2.0**-9, 65504, np.inf, -np.inf, 0]


def test_casts_and_identity() -> None:
    assert run("cast", x=values(3), dtype="int32").dtype == np.int32
    assert run("cast", x=np.array([1, 2], np.uint8), dtype="fp16").dtype == np.float32
    assert np.array_equal(run("identity", x=values(3)), values(3))


def test_layer_norm_and_linear_along_the_last_axis() -> None:
    x, weight, bias = values(2, 5, 6), values(4, 6), values(4)
    gamma, beta = values(6), values(6)
    expected = F.layer_norm(torch.from_numpy(x), (6,), torch.from_numpy(gamma), torch.from_numpy(beta), 1e-3)
    assert_close(run("layer_norm", x=x, axes=[-1], gamma=gamma, beta=beta, epsilon=np.float32(1e-3)), expected)
    assert_close(run("layer_norm", x=x, axes=[2]), F.layer_norm(torch.from_numpy(x), (6,)))
    expected = F.linear(torch.from_numpy(x), torch.from_numpy(weight), torch.from_numpy(bias))
    assert_close(run("linear", x=x, weight=weight, bias=bias), expected)
    with pytest.raises(ArtifactError, match="found the shapes"):
        run("linear", x=x, weight=values(4, 5))


def test_inverse_roots_keep_clear_of_zero() -> None:
    x = np.array([0, 1e-6, 4], np.float32)
    assert_close(run("rsqrt", x=x, epsilon=np.float32(1e-4)), torch.rsqrt(torch.from_numpy(x) + 1e-4))


def test_padding_and_repeating() -> None:
    x = values(2, 3)
    assert np.array_equal(run("pad", x=x, pad=[1, 0, 0, 2]), np.pad(x, ((1, 0), (0, 2))))
    assert np.array_equal(run("pad", x=x, pad=[1, 2]), np.pad(x, ((0, 0), (1, 2))))
    assert np.array_equal(run("tile", x=x, reps=[2, 1]), np.tile(x, (2, 1)))
    for kind, parameters in (("pad", {"pad": [1, -1]}), ("pad", {"pad": [1]}), ("tile", {"reps": [0, 1]})):
        with pytest.raises(ArtifactError):
            run(kind, x=x, **parameters)


def test_convolutions_of_several_images() -> None:
    for groups, weight in ((1, values(5, 4, 3, 3)), (4, values(4, 1, 3, 3)), (2, values(6, 2, 1, 1))):
        x = values(3, 4, 7, 6)
        found = run("conv", x=x, weight=weight, groups=groups)
        assert_close(found, F.conv2d(torch.from_numpy(x), torch.from_numpy(weight), groups=groups))


def test_every_known_operation_is_tested() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert [kind for kind in OPERATIONS if f'"{kind}"' not in text] == []


# ------------------------------------------------------------------------------------------------- damaged and hostile


@functools.cache
def model() -> bytes:
    """A program that adds a stored constant to its input: y = exp(image) + weights."""
    from edgesr.runner.mil_program import messages

    specification = messages().Model()
    specification.specificationVersion = 8
    for name, ports in (("image", specification.description.input), ("y", specification.description.output)):
        feature = ports.add(name=name)
        feature.type.multiArrayType.shape.extend([1, 2, 2, 2])
    main = specification.mlProgram.functions["main"]
    main.opset = "CoreML7"
    block = main.block_specializations["CoreML7"]
    constant = block.operations.add(type="const")
    _declare(constant.outputs.add(name="weights").type, "float32", (2, 1, 1))
    value = constant.attributes["val"]
    _declare(value.type, "float32", (2, 1, 1))
    value.blobFileValue.fileName = "@model_path/weights/weight.bin"
    value.blobFileValue.offset = 64
    for kind, inputs, output in (("exp", {"x": "image"}, "e"), ("add", {"x": "e", "y": "weights"}, "y")):
        operation = block.operations.add(type=kind)
        for key, name in inputs.items():
            operation.inputs[key].arguments.add(name=name)
        _declare(operation.outputs.add(name=output).type, "float16", (1, 2, 2, 2))
    block.outputs.append("y")
    content: bytes = specification.SerializeToString(deterministic=True)
    return content


def _declare(kind: Any, dtype: str, shape: tuple[int, ...]) -> None:
    kind.tensorType.dataType = DTYPE_NUMBERS[dtype]
    kind.tensorType.rank = len(shape)
    for side in shape:
        kind.tensorType.dimensions.add().constant.size = side


def weights(sentinel: int = 0xDEADBEEF, size: int = 8, start: int = 128) -> bytes:
    header = np.array([sentinel, 2], np.uint32).tobytes() + np.array([size, start], np.uint64).tobytes()
    return bytes(64) + header.ljust(64, b"\0") + np.array([10, 20], np.float32).tobytes()


def changed(change: Callable[[Any], None]) -> bytes:
    from edgesr.runner.mil_program import messages

    specification = messages().Model()
    specification.ParseFromString(model())
    change(specification)
    content: bytes = specification.SerializeToString()
    return content


def operations(specification: Any) -> Any:
    return specification.mlProgram.functions["main"].block_specializations["CoreML7"].operations


def interpret(content: bytes, blob: bytes | None = None) -> Any:
    interpreter = Interpreter(content, {"weights/weight.bin": weights() if blob is None else blob})
    return interpreter({"image": np.zeros((1, 2, 2, 2), np.float32)})["y"]


def test_a_program_is_read_with_its_weights() -> None:
    assert interpret(model()).ravel().tolist() == [11] * 4 + [21] * 4


def test_float16_overflow_is_seen_and_float32_mode_does_not_round() -> None:
    files = {"weights/weight.bin": weights()}
    x = np.full((1, 2, 2, 2), 12, np.float32)
    assert np.isinf(Interpreter(model(), files)({"image": x})["y"]).all()
    assert np.isfinite(Interpreter(model(), files, "float32")({"image": x})["y"]).all()


@pytest.mark.parametrize("content", [b"", b"\0", b"not a model", b"\xff" * 100])
def test_what_is_no_program_is_refused(content: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"model\.mlmodel"):
        interpret(content)


def test_every_truncation_is_an_artifact_error_or_a_smaller_program() -> None:
    for length in range(0, len(model()), 7):
        with pytest.raises(ArtifactError):
            interpret(model()[:length])


@pytest.mark.parametrize(
    ("blob", "match"),
    [
        (b"", "outside"),
        (weights()[:80], "outside"),
        (weights(sentinel=1), "no weight begins"),
        (weights(size=1 << 62), "needs 8 bytes"),
        (weights(size=4), "needs 8 bytes"),
        (weights(start=1 << 62), "in a file of"),
        (weights(start=130), "in a file of"),
    ],
)
def test_weights_outside_of_their_file_are_refused(blob: bytes, match: str) -> None:
    with pytest.raises(ArtifactError, match=match):
        interpret(model(), blob)


def _unknown(specification: Any) -> None:
    operations(specification)[1].type = "lstm"


def _another_file(specification: Any) -> None:
    operations(specification)[0].attributes["val"].blobFileValue.fileName = "@model_path/../../etc/passwd"


def _huge(specification: Any) -> None:
    operations(specification)[0].attributes["val"].type.tensorType.dimensions[0].constant.size = 1 << 40


def _unmade(specification: Any) -> None:
    operations(specification)[2].inputs["x"].arguments[0].name = "nothing"


def _missing(specification: Any) -> None:
    del operations(specification)[2].inputs["y"]


def _lying(specification: Any) -> None:
    operations(specification)[2].outputs[0].type.tensorType.dimensions[1].constant.size = 3


def _no_text(specification: Any) -> None:
    operations(specification)[1].type = "cast"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (_another_file, "which the package does not hold"),
        (_huge, "elements; at most"),
        (_unmade, "nothing has made before"),
        (_missing, "'y' is missing"),
        (_lying, "declares the shape"),
        (_no_text, "is not known to this kit"),
    ],
)
def test_damage_is_named(change: Callable[[Any], None], match: str) -> None:
    with pytest.raises(ArtifactError, match=match):
        interpret(changed(change))


def test_unknown_operations_are_named() -> None:
    from edgesr.errors import Unsupported

    with pytest.raises(Unsupported, match="lstm"):
        interpret(changed(_unknown))


@pytest.mark.parametrize("kernel", [(0, 1), (-1, 3), (1 << 30, 1)])
def test_windows_are_bounded(kernel: tuple[int, int]) -> None:
    with pytest.raises(ArtifactError, match="is not a window"):
        Window(kernel)


def test_no_operation_makes_a_tensor_of_any_size() -> None:
    x = values(1, 1, 4, 4)
    modes = {"interpolation_mode": "LINEAR", "sampling_mode": "UNALIGN_CORNERS"}
    with pytest.raises(ArtifactError, match="at most"):
        run("resize", x=x, shape=[1 << 20, 1 << 20], resized_dims=2, **modes)
    with pytest.raises(ArtifactError, match="at most"):
        run("add", x=np.zeros((1 << 15, 1)), y=np.zeros((1, 1 << 15)))
    with pytest.raises(ArtifactError, match="at most"):
        run("constexpr_lut_to_dense", indices=np.zeros(8, np.uint8), lut=np.zeros(16), shape=[1 << 20, 1 << 20])
    with pytest.raises(ArtifactError, match="at most"):
        run("conv", x=x, weight=values(1, 1, 1, 1), pad_type="custom", pad=[30_000] * 4)
    with pytest.raises(ArtifactError, match="at most"):
        run("max_pool", x=x, kernel_sizes=[2, 2], pad_type="custom", pad=[30_000] * 4)
    wide = {"quantized_data": np.zeros((1 << 15, 1), np.uint8), "scale": np.ones(1 << 15, np.float32)}
    with pytest.raises(ArtifactError, match="at most"):
        run("constexpr_affine_dequantize", **wide, axis=1)
