"""Every target at every precision: what the artifact computes is what the network computes."""

import functools
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs edgesr[export]")
pytest.importorskip("torchao", reason="needs edgesr[export]")
onnx = pytest.importorskip("onnx", reason="needs edgesr[export]")

from small_networks import MIN_SIDE_PX, NETWORKS, SCALE, make_from, photo, psnr_db, require_runtime, run, source  # noqa: E402

from edgesr.errors import ConversionError, UnknownName, Unsupported  # noqa: E402
from edgesr.models import bsrn, plainusr  # noqa: E402
from edgesr.quantization.toolchain import stage  # noqa: E402
from edgesr.runner import Array, Runner  # noqa: E402
from edgesr.targets import BASIC, TARGETS, convert, find, onnx_graph  # noqa: E402
from edgesr.targets.export import to_onnx  # noqa: E402
from edgesr.targets.source import Source  # noqa: E402
from edgesr.types import Request, Size  # noqa: E402

torch.set_num_threads(1)
ROOT = Path(__file__).parents[1]
RUNNING = [name for name, row in TARGETS.items() if row.runtime is not None]
"""Targets whose artifacts run in Python; tests/test_target_executorch.py looks into those of the other ones."""
PAIRS = [(target, precision) for target, row in TARGETS.items() for precision in BASIC if precision in row.precisions]

FLOORS_DB = {"fp16": 50.0, "int8": 28.0}
"""PSNR against float32 with random weights: bfloat16 keeps 8 bits of a number, INT8 is a sanity check."""


@functools.cache
def twin() -> Source:
    """The same network and pixels, exported anew."""
    original = source("plainusr")
    return Source(original.network, name="plainusr", scale=SCALE, min_side_px=7, calibration=original.calibration)


def expected(name: str, x: Array) -> Array:
    return run(source(name).network, x)


def make(folder: Path, name: str, target: str, precision: Any, sizes: Iterable[Size] = ()) -> Runner:
    """Convert, write a minimal manifest, open."""
    require_runtime(target)
    return make_from(source(name), folder, Request(name, SCALE, target, precision, tuple(sizes)))


def bytes_of(image: Array) -> "np.ndarray[Any, np.dtype[np.int64]]":
    return np.round(np.clip(image, 0, 1) * 255).astype(np.int64)


@pytest.mark.parametrize("target", RUNNING)
@pytest.mark.parametrize("name", NETWORKS)
def test_fp32_equals_the_network_at_free_sizes(tmp_path: Path, name: str, target: str) -> None:
    least = MIN_SIDE_PX[name]
    sizes = ((least, least), (33, 47), (64, 31), (least, 50), (97, 80))
    free = find(target).free_sizes
    if not free:
        sizes = sizes[:3]
    runner = make(tmp_path, name, target, "fp32", () if free else sizes)
    for height, width in sizes:
        x = photo(height, height, width)
        result = runner(x)
        assert result.shape == (1, 3, SCALE * height, SCALE * width)
        difference = np.abs(bytes_of(result) - bytes_of(expected(name, x)))
        assert difference.max() <= 1, f"{height}x{width}: {np.bincount(difference.ravel())}"
    with pytest.raises(Unsupported, match=f"at least {least} px" if free else f"does not take {least - 1}x40"):
        runner(photo(0, least - 1, 40))


@pytest.mark.parametrize("target", RUNNING)
@pytest.mark.parametrize("name", ["plainusr-lia", "bsrn-slim"])
def test_fixed_size_takes_that_size_only(tmp_path: Path, name: str, target: str) -> None:
    runner = make(tmp_path, name, target, "fp32", [(21, 38)])
    x = photo(3, 21, 38)
    assert np.abs(bytes_of(runner(x)) - bytes_of(expected(name, x))).max() <= 1
    with pytest.raises(Unsupported, match="21x38"):
        runner(photo(3, 38, 21))


@pytest.mark.parametrize("target", RUNNING)
def test_enumerated_sizes_take_each_of_them_only(tmp_path: Path, target: str) -> None:
    runner = make(tmp_path, "plainusr", target, "fp32", [(7, 9), (40, 24)])
    for size in ((7, 9), (40, 24), (7, 9)):
        x = photo(4, *size)
        assert np.abs(bytes_of(runner(x)) - bytes_of(expected("plainusr", x))).max() <= 1
    with pytest.raises(Unsupported, match="7x9 or 40x24"):
        runner(photo(4, 24, 40))


def lower_precisions() -> Iterable[Any]:
    for (target, precision), name in itertools.product(PAIRS, NETWORKS):
        slow = precision == "int8" and name.startswith("bsrn")
        if target in RUNNING and precision != "fp32":
            yield pytest.param(name, precision, target, marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize(("name", "precision", "target"), list(lower_precisions()))
def test_lower_precision_stays_close_at_any_size(tmp_path: Path, name: str, precision: str, target: str) -> None:
    sizes = ((MIN_SIDE_PX[name], 33), (61, 77))
    runner = make(tmp_path, name, target, precision, () if find(target).free_sizes else sizes)
    for height, width in sizes:
        x = photo(height, height, width)
        found = psnr_db(runner(x), expected(name, x))
        assert found > FLOORS_DB[precision], f"{height}x{width}: {found:.1f} dB"


@pytest.mark.parametrize("target", RUNNING)
def test_int8_at_a_fixed_size(tmp_path: Path, target: str) -> None:
    runner = make(tmp_path, "plainusr-lia", target, "int8", [(32, 48)])
    x = photo(5, 32, 48)
    assert psnr_db(runner(x), expected("plainusr-lia", x)) > FLOORS_DB["int8"]


def test_float16_keeps_soft_pooling_in_float32() -> None:
    """exp(12) is infinite in float16; a network whose attention sees 20 must still give numbers."""
    runtime = pytest.importorskip("onnxruntime")
    from edgesr.targets.float16 import to_float16

    network = plainusr.forms(plainusr.Config((16, 8), 4), SCALE)["deploy"].eval()
    with torch.no_grad():
        for block in (network.block1, network.blockm, network.block2):
            block.body[-1].body[0].bias += 20
    content = to_float16(to_onnx(network))
    types = {tensor.data_type for tensor in onnx_graph.load(content).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in types
    x = photo(6, 40, 40)
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        assert psnr_db(session.run(None, {"image": x})[0], network(torch.from_numpy(x)).numpy()) > 50


@pytest.mark.parametrize(("target", "precision"), PAIRS)
def test_conversion_is_silent_reproducible_and_tells_nothing_of_this_machine(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], precision: Any, target: str
) -> None:
    require_runtime(target)
    contents = []
    for index, each in enumerate((source("plainusr"), twin())):
        folder = tmp_path / str(index)
        folder.mkdir()
        made = convert(each, Request("plainusr", SCALE, target, precision, find(target).sizes(())), folder)
        files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        assert sorted(files) == sorted(made.files)
        contents.append([(folder / name).read_bytes() for name in made.files])
    assert contents[0] == contents[1]
    assert capfd.readouterr() == ("", "")
    for trace in (b"stack_trace", b"site-packages", b"torch/", str(tmp_path).encode(), os.fsencode(ROOT)):
        assert not any(trace in content for content in contents[0]), trace


@pytest.mark.parametrize("target", TARGETS)
def test_conversion_says_what_it_made(tmp_path: Path, target: str) -> None:
    require_runtime(target)
    made = convert(source("plainusr"), Request("plainusr", SCALE, target, "int8", ((20, 30),)), tmp_path)
    channels_last = made.inputs[0].layout == "NHWC"
    assert made.inputs[0].shape == ((1, 20, 30, 3) if channels_last else (1, 3, 20, 30))
    assert made.outputs[0].shape == ((1, 40, 60, 3) if channels_last else (1, 3, 40, 60))
    assert (made.inputs[0].name, made.outputs[0].name) == ("image", "upscaled")
    assert any(name == made.main or name.startswith(f"{made.main}/") for name in made.files)
    assert made.runtime_options["min_side_px"] == "7"
    assert {"torch", "torchao"} <= made.toolchain.keys()
    assert re.search(r"\b(9\d|100)% of the convolution work", made.notes[0])


def test_gelu_is_one_node() -> None:
    operators = [node.op_type for node in onnx_graph.load(source("bsrn-slim").float_onnx).graph.node]
    assert "Gelu" in operators
    assert "Erf" not in operators


@pytest.mark.parametrize("target", TARGETS)
def test_size_below_the_minimum_names_both(tmp_path: Path, target: str) -> None:
    require_runtime(target)
    with pytest.raises(Unsupported, match=r"14x40.*at least 15 px"):
        convert(source("bsrn-slim"), Request("bsrn-slim", SCALE, target, "fp32", ((14, 40),)), tmp_path)


def test_int8_without_calibration_says_what_to_give(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    bare = Source(source("plainusr").network, name="plainusr", scale=SCALE, min_side_px=7)
    with pytest.raises(Unsupported, match="at least four low-resolution photos"):
        convert(bare, Request("plainusr", SCALE, "onnxruntime", "int8"), tmp_path)


def test_source_of_another_network_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(Unsupported, match="plainusr x2; asked for bsrn x2"):
        convert(source("plainusr"), Request("bsrn", SCALE, "onnxruntime", "fp32"), tmp_path)


def test_toolchain_failure_names_the_stage() -> None:
    class Impossible(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x * 2 if x.sum() > 0 else x

    with pytest.raises(ConversionError, match="stage 'export'") as caught:
        to_onnx(Impossible())
    assert caught.value.__cause__ is not None
    with pytest.raises(ConversionError, match="ValueError: bad thing"), stage("save"):
        raise ValueError("bad\n  thing")


def test_unknown_target_suggests_the_closest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'openvino'"):
        find("openvno")


def test_every_row_names_an_existing_module_and_extra() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for row in TARGETS.values():
        assert row.extra in extras
        assert (ROOT / "targets" / f"{row.module.rpartition('.')[2]}.py").exists()
        assert row.name in (ROOT / "targets" / "README.md").read_text()


def test_reading_the_table_imports_nothing_heavy() -> None:
    heavy = {"torch", "onnx", "numpy", "openvino", "onnxruntime"}
    code = f"import sys, edgesr.targets as t; t.find('openvino'); print(sorted(sys.modules.keys() & {heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


SHARED = Path(os.environ.get("EDGESR_SHARED", ROOT.parent / "shared"))


@pytest.mark.slow
@pytest.mark.parametrize("target", RUNNING)
@pytest.mark.parametrize(
    ("name", "file", "config"),
    [
        ("plainusr-t", "PlainUSR/PlainUSRT_Rep_x4.pth", plainusr.Config((32, 16), None)),
        ("bsrn-s", "BSRN/net_g_BSRN-S.pth", bsrn.Config(48, 5, True)),
    ],
)
def test_official_weights_at_full_size(tmp_path: Path, name: str, file: str, config: Any, target: str) -> None:
    path = SHARED / "weights" / file
    if not path.exists():
        pytest.skip(f"needs the official weights at {path}")
    require_runtime(target)
    state = torch.load(path, weights_only=True)
    state = state.get("params_ema", state.get("params", state))
    module = (bsrn if isinstance(config, bsrn.Config) else plainusr).forms(config, 4)
    network = next(form for form in module.values() if form.state_dict().keys() == state.keys())
    network.load_state_dict(state, strict=True)
    full = Source(network.eval().fold(), name=name, scale=4, min_side_px=15)
    runner = make_from(full, tmp_path, Request(name, 4, target, "fp32", ((180, 320),)))
    x = photo(8, 180, 320)
    with torch.no_grad():
        exact = full.network(torch.from_numpy(x)).numpy()
    assert np.abs(bytes_of(runner(x)) - bytes_of(exact)).max() <= 1
