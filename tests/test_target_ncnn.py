"""The ncnn target: its files, its integer arithmetic, and that a hostile file is refused before ncnn reads it."""

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs edgesr[export]")
pytest.importorskip("torchao", reason="needs edgesr[export]")
pytest.importorskip("ncnn", reason="needs edgesr[ncnn]")
pytest.importorskip("pnnx", reason="needs edgesr[ncnn]")

from edgesr.errors import ArtifactError, ConversionError  # noqa: E402
from edgesr.models import bsrn, plainusr  # noqa: E402
from edgesr.quantization import calibration  # noqa: E402
from edgesr.runner.contract import Array, InputRule  # noqa: E402
from edgesr.runner.manifest import Contents  # noqa: E402
from edgesr.runner.ncnn import open_contents  # noqa: E402
from edgesr.runner.ncnn_file import Layer, read_bin, read_param, write_bin, write_param  # noqa: E402
from edgesr.runner.ncnn_shapes import blob_shapes  # noqa: E402
from edgesr.targets.ncnn import MAIN, REWRITES, WEIGHTS, convert, float_network  # noqa: E402
from edgesr.targets.ncnn_int8 import Rounding, integer_weights, match, roundings, shift_input  # noqa: E402
from edgesr.targets.source import Source  # noqa: E402
from edgesr.types import Request  # noqa: E402

torch.set_num_threads(1)
SCALE = 2
INPUT = Layer("Input", "in0", (), ("image",))
CONVOLUTION = Layer("Convolution", "conv", ("image",), ("wide",), {0: "12", 1: "3", 4: "1", 5: "0", 6: "324"})
SHUFFLE = Layer("PixelShuffle", "shuffle", ("wide",), ("upscaled",), {0: "2", 1: "0"})


def contents(param: bytes, weights: bytes, precision: str = "fp32", least: int = 7) -> Contents:
    return Contents(
        target="ncnn",
        precision=precision,
        scale=SCALE,
        accepts=InputRule((), least),
        main=MAIN,
        input_name="image",
        output_name="upscaled",
        options={},
        files={MAIN: param, WEIGHTS: weights},
    )


@pytest.fixture(scope="module")
def slim() -> Source:
    """A small BSRN-S: it has every kind of layer but soft pooling."""
    torch.manual_seed(2)
    network = bsrn.forms(bsrn.Config(16, 1, True), SCALE)["train"].eval().fold()
    images = [np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8) for seed in range(4)]
    crops = calibration.from_images(images, count=4, side_px=32)
    return Source(network, name="slim", scale=SCALE, min_side_px=15, calibration=crops)


def files(source: Source, precision: str, folder: Path) -> tuple[bytes, bytes]:
    convert(source, Request("slim", SCALE, "ncnn", precision), folder)  # type: ignore[arg-type]
    return (folder / MAIN).read_bytes(), (folder / WEIGHTS).read_bytes()


@pytest.mark.parametrize("zero_point", [0, 3, 90, 127, 128, 200, 255])
@pytest.mark.parametrize(("copies", "outputs"), [(1, 12), (1, 16), (8, 16), (8, 32)])
def test_shifted_input_rounds_like_the_quantized_graph(zero_point: int, copies: int, outputs: int) -> None:
    """Exact but for float32: image, border and weights, at every zero point.

    24 input channels (8 copies of the image) are stored in groups of eight, where ncnn on x86 spoils negative borders.
    """
    random = np.random.default_rng(zero_point)
    rounding = Rounding(
        scale=1 / 200,
        zero_point=zero_point,
        integers=random.integers(-127, 128, (outputs, 3 * copies, 3, 3)).astype(np.int8),
        steps=random.uniform(1e-4, 1e-3, outputs),
        bias=random.normal(size=outputs),
        of_image=False,
    )
    names = tuple(f"copy_{index}" for index in range(copies))
    copied = Layer("Split", "split", ("image",), names), Layer("Concat", "cat", names, ("images",), {0: "0"})
    params = {**CONVOLUTION.params, 0: str(outputs), 6: str(27 * copies * outputs)}
    convolution = replace(CONVOLUTION, inputs=("images",), params=params)
    cut = Layer("Slice", "slice", ("wide",), ("used", "rest"), {-23300: f"2,12,{outputs - 12}", 1: "0"})
    middle = () if outputs == 12 else (cut,)
    last = SHUFFLE if outputs == 12 else replace(SHUFFLE, inputs=("used",))
    layers = (INPUT, *copied, *shift_input(convolution, rounding), *middle, last)
    weights = {"conv": integer_weights(rounding)}
    runner = open_contents(contents(write_param(layers), write_bin(layers, weights), "int8"), threads=1)
    x = random.uniform(-1.3, 1.3, (1, 3, 19, 23)).astype(np.float32)
    assert np.abs(runner(x) - rounded_convolution(np.tile(x, (1, copies, 1, 1)), rounding)).max() < 1e-3


def rounded_convolution(x: Array, rounding: Rounding) -> Array:
    """uint8 affine input, 255 of its 256 levels, then the convolution of the values."""
    lowest, highest = (0, 254) if rounding.zero_point <= 127 else (1, 255)
    levels = np.clip(np.round(x.astype(np.float64) / rounding.scale) + rounding.zero_point, lowest, highest)
    values = torch.from_numpy(rounding.scale * (levels - rounding.zero_point))
    kernel = torch.from_numpy(rounding.integers * rounding.steps.reshape(-1, 1, 1, 1))
    wide = torch.nn.functional.conv2d(values, kernel, torch.from_numpy(rounding.bias), padding=1)
    upscaled: Array = torch.pixel_shuffle(wide[:, :12], 2).numpy()
    return upscaled


def test_every_rewrite_is_a_function() -> None:
    from edgesr.targets import ncnn_int8

    assert [getattr(ncnn_int8, rewrite.name).__doc__ is not None for rewrite in REWRITES] == [True]


def test_int8_takes_scales_and_weights_from_the_graph(slim: Source, tmp_path: Path) -> None:
    layers = read_param(files(slim, "int8", tmp_path)[0])
    weights = read_bin((tmp_path / WEIGHTS).read_bytes(), layers)
    depthwise = {layer.name for layer in layers if layer.kind == "ConvolutionDepthWise"}
    pairs = list(zip(weights.items(), roundings(slim.quantized), strict=True))
    for (name, found), rounding in pairs:
        if rounding.of_image or name in depthwise:
            assert found.scales is None
            assert np.array_equal(found.kernel, rounding.kernel())
            continue
        assert found.scales is not None
        assert np.allclose(1 / found.scales[0], rounding.steps)
        assert np.allclose(1 / found.scales[1], rounding.scale)
        assert np.array_equal(found.kernel, rounding.sign * rounding.integers.ravel())


def test_graph_of_another_network_is_refused(slim: Source) -> None:
    layers, weights = float_network(slim.unrounded)
    found = roundings(slim.quantized)
    assert found[3] is not None
    changed = replace(found[3], integers=found[3].integers + np.int8(1))
    with pytest.raises(ConversionError, match="pnnx wrote no weights of convolution 4 of"):
        match(layers, weights, [*found[:3], changed, *found[4:]])
    with pytest.raises(ConversionError, match=f"has {len(found) - 1} convolutions, pnnx wrote {len(found)}"):
        match(layers, weights, found[1:])


def test_convolutions_are_found_in_any_order(slim: Source) -> None:
    layers, weights = float_network(slim.unrounded)
    found = roundings(slim.quantized)
    names = [
        {id(rounding): name for name, rounding in match(layers, weights, order).items()}
        for order in (found, found[::-1])
    ]
    assert names[0] == names[1]


def test_fp16_stores_half_the_bytes_and_says_what_it_computes_in(slim: Source, tmp_path: Path) -> None:
    param, whole = files(slim, "fp32", tmp_path)
    same, half = files(slim, "fp16", tmp_path)
    assert param == same
    assert len(half) < 0.6 * len(whole)
    kinds = {each.kernel.dtype for each in read_bin(half, read_param(param)).values()}
    assert kinds == {np.dtype("<f2")}
    assert "bfloat16" in open_contents(contents(param, half, "fp16", 15), 1).describe()["precision"]


def test_weight_beyond_float16_names_the_layer(tmp_path: Path) -> None:
    network = plainusr.forms(plainusr.Config((8, 4), None), SCALE)["deploy"].eval()
    with torch.no_grad():
        network.tail[0].weight[0, 0, 0, 0] = 1e5
    source = Source(network, name="slim", scale=SCALE, min_side_px=7)
    with pytest.raises(ConversionError, match=r"'float16': a weight of conv_.* is 100000"):
        files(source, "fp16", tmp_path)


def test_unknown_operator_is_named(tmp_path: Path) -> None:
    class Spectrum(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.fft2(x).real.repeat_interleave(2, 2).repeat_interleave(2, 3)

    with pytest.raises(ConversionError, match=r"stage 'pnnx'.*fft"):
        files(Source(Spectrum(), name="slim", scale=SCALE, min_side_px=7), "fp32", tmp_path)


def test_input_is_not_written_to_and_outputs_are_separate(slim: Source, tmp_path: Path) -> None:
    runner = open_contents(contents(*files(slim, "fp32", tmp_path), least=15), threads=1)
    x = np.random.default_rng(0).random((1, 3, 17, 21), np.float32)
    before = x.copy()
    first = runner(x)
    kept = first.copy()
    runner(1 - x)
    assert np.array_equal(x, before)
    assert np.array_equal(first, kept)


def test_array_that_is_not_contiguous_gives_the_same(slim: Source, tmp_path: Path) -> None:
    runner = open_contents(contents(*files(slim, "fp32", tmp_path), least=15), threads=1)
    rows = np.random.default_rng(0).random((1, 96, 80, 3), np.float32)
    x = rows.transpose(0, 3, 1, 2)
    for _ in range(5):
        assert np.array_equal(runner(x), runner(np.ascontiguousarray(x)))


def edit(pattern: str, text: str) -> Callable[[bytes, bytes], tuple[bytes, bytes]]:
    """The param file with the first match of `pattern` replaced."""

    def change(param: bytes, weights: bytes) -> tuple[bytes, bytes]:
        changed = re.sub(pattern, text, param.decode(), count=1, flags=re.MULTILINE)
        assert changed != param.decode(), pattern
        return changed.encode(), weights

    return change


HOSTILE: dict[str, tuple[Callable[[bytes, bytes], tuple[bytes, bytes]], str]] = {
    "no magic": (edit("7767517", "7767518"), "must begin with 7767517"),
    "more layers announced": (edit(r"^(\d+) ", r"1\1 "), "announces"),
    "empty": (lambda _, w: (b"", w), "must begin with"),
    "random param": (lambda _, w: (bytes(range(256)), w), "not plain ASCII"),
    "random weights": (lambda p, _: (p, bytes(range(256)) * 40), "unknown tag"),
    "weights cut": (lambda p, w: (p, w[:-1]), "need more"),
    "no weights": (lambda p, _: (p, b""), "need more"),
    "weights too long": (lambda p, w: (p, w + bytes(4)), "its layers need"),
    "unknown layer": (edit("GELU", "Exp"), "is a Exp"),
    "constant of another shape": (edit(r"^(Split .*)$", r"MemoryData wide 0 1 wide 0=9 1=1 2=16\n\1"), "announces"),
    "huge constant": (edit(r"^GELU +(\w+) +1 1 \w+ (\w+).*$", r"MemoryData \1 0 1 \2 0=1 1=1 2=9999999"), "need more"),
    "dynamic weights": (edit(r"^(Convolution .*)$", r"\1 19=1"), "unknown options .19."),
    "kernel of other channels": (edit(r"(?<= )6=48", "6=32"), "weights"),
    "huge kernel": (edit(r"(?<= )6=48", "6=99999999"), "not a number of at most"),
    "stride of zero": (edit(r" 13=2 (.*) 3=2", r" 13=0 \1 3=0"), "stride 0"),
    "reads what is not there": (edit(r"( 1 1 )image ", r"\1elsewhere "), "out of order"),
    "writes a blob twice": (edit(r"^(PixelShuffle .* )upscaled", r"\1image"), "out of order"),
    "another output": (edit(r"^(PixelShuffle .* )upscaled", r"\1other"), "makes upscaled None"),
    "another scale": (edit(r"^(PixelShuffle .* 0=)2", r"\g<1>1"), "makes upscaled"),
    "text where a number belongs": (edit(r" 0=16", " 0=NaN"), "not key=value"),
    "activation without its slope": (edit(r"^(Convolution .*)$", r"\1 9=2"), "activation 2"),
    "option twice": (edit(r"^(Convolution .*)$", r"\1 1=3"), "option twice"),
    "endless name": (edit(r"^Convolution +\w+", "Convolution " + "c" * 300), "more than 200 characters"),
    "one more input": (edit(r"^(GELU +\w+ +)1 1 (\w+)", r"\g<1>2 1 \2 \2"), "has 2 inputs"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_file_is_refused(case: str, slim: Source, tmp_path: Path) -> None:
    change, words = HOSTILE[case]
    with pytest.raises(ArtifactError, match=words):
        open_contents(contents(*change(*files(slim, "fp32", tmp_path)), least=15), threads=1)


def test_no_blob_is_larger_than_any_tile_needs() -> None:
    """Layers that each are allowed, and together ask for the memory of a large machine."""
    shuffles = [
        layer
        for index in range(4)
        for layer in (
            Layer(
                "Convolution",
                f"c{index}",
                (f"x{index}" if index else "image",),
                (f"y{index}",),
                {0: "4096", 1: "1", 6: str(4096 * (1 if index else 3))},
            ),
            Layer("PixelShuffle", f"p{index}", (f"y{index}",), (f"x{index + 1}",), {0: "64"}),
        )
    ]
    with pytest.raises(ArtifactError, match="its output is"):
        blob_shapes((INPUT, *shuffles), "image", 64, 64)


@pytest.mark.parametrize(
    "layer",
    [
        Layer("MemoryData", "c", (), ("c",), {0: "2", 1: "1", 2: "16"}),
        Layer("MemoryData", "c", (), ("c",), {0: "1", 1: "1", 2: "0"}),
        Layer("MemoryData", "c", (), ("c",), {0: "1", 1: "1", 2: "99999"}),
        Layer("MemoryData", "c", (), ("c",), {0: "1", 1: "1", 2: "3", 21: "1"}),
        Layer("MemoryData", "c", (), ("c", "d"), {0: "1", 1: "1", 2: "3"}),
        Layer("MemoryData", "c", ("image",), ("c",), {0: "1", 1: "1", 2: "3"}),
        Layer("MemoryData", "c", (), ("c",)),
    ],
)
def test_a_constant_holds_one_value_per_channel(layer: Layer) -> None:

    with pytest.raises(ArtifactError, match="it holds"):
        blob_shapes((INPUT, layer), "image", 16, 16)
    good = Layer("MemoryData", "c", (), ("c",), {0: "1", 1: "1", 2: "3"})
    assert blob_shapes((INPUT, good), "image", 16, 16)["c"] == (3, 1, 1)


FUZZ = """
import random, sys
from pathlib import Path
import numpy as np
from edgesr.errors import ArtifactError
from edgesr.runner.contract import InputRule
from edgesr.runner.manifest import Contents
from edgesr.runner.ncnn import open_contents

folder, refused = Path(sys.argv[1]), 0
param, weights = (folder / "model.param").read_text(), (folder / "model.bin").read_bytes()
x = np.full((1, 3, 15, 17), 0.5, np.float32)
for seed in range(300):
    draw = random.Random(seed)
    lines = [line.split(" ") for line in param.split("\\n")]
    row = draw.choice([line for line in lines[2:] if len(line) > 4])
    place = draw.randrange(2, len(row))
    row[place] = draw.choice([row[place][:-1] + draw.choice("0123456789-"), draw.choice(draw.choice(lines)), "0=1"])
    files = {"model.param": "\\n".join(" ".join(line) for line in lines).encode(), "model.bin": weights}
    contents = Contents("ncnn", "fp32", 2, InputRule((), 15), "model.param", "image", "upscaled", {}, files)
    try:
        assert open_contents(contents, 1)(x).shape == (1, 3, 30, 34)
    except ArtifactError:
        refused += 1
print(refused)
"""


def test_no_damaged_param_file_crashes_the_process(slim: Source, tmp_path: Path) -> None:
    files(slim, "fp32", tmp_path)
    done = subprocess.run([sys.executable, "-c", FUZZ, str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-1000:]
    assert 150 < int(done.stdout) < 300


def test_runner_needs_numpy_and_ncnn_only() -> None:
    code = "import sys; sys.modules.update(torch=None, pnnx=None, onnx=None); import edgesr.runner.ncnn, ncnn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
