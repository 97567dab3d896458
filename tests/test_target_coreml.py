"""Core ML: what the saved package computes, in float32 and with float16 rounding; sizes, images, tables, scales."""

import hashlib
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs edgesr[export]")
pytest.importorskip("torchao", reason="needs edgesr[export]")

from small_networks import LARGE, NETWORKS, photo, psnr_db, run, source  # noqa: E402

from edgesr.errors import ArtifactError, Unsupported  # noqa: E402
from edgesr.models import plainusr  # noqa: E402
from edgesr.quantization.toolchain import quiet  # noqa: E402
from edgesr.runner import Array, Runner, open_artifact  # noqa: E402
from edgesr.runner.mil import Interpreter  # noqa: E402
from edgesr.targets import convert  # noqa: E402
from edgesr.targets.source import Source  # noqa: E402
from edgesr.types import Request, Size  # noqa: E402

with quiet():  # coremltools logs what it has not been tested with
    pytest.importorskip("coremltools", reason="needs edgesr[coreml]")

from edgesr.targets import coreml, coreml_graph, float16_graph  # noqa: E402

torch.set_num_threads(1)
ROOT = Path(__file__).parents[1]


def make(folder: Path, network: Source, precision: Any, sizes: tuple[Size, ...], io: Any = "float32") -> Runner:
    folder.mkdir(exist_ok=True)
    request = Request(network.name, 2, "coreml", precision, sizes, io)
    made = convert(network, request, folder)
    entries = []
    for name in made.files:
        content = (folder / name).read_bytes()
        entries.append({"name": name, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)})
    manifest = {"schema": 1, "request": asdict(request), "scale": 2, "files": entries, "main": made.main}
    manifest |= {"inputs": [asdict(made.inputs[0])], "outputs": [asdict(made.outputs[0])]}
    manifest |= {"runtime_options": dict(made.runtime_options)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return open_artifact(folder)


def expected(network: Source, x: Array) -> Array:
    return run(network.network, x)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("sizes", [((21, 38),), ((33, 40), (20, 47))], ids=["fixed", "enumerated"])
def test_float32_equals_the_network(tmp_path: Path, name: str, sizes: tuple[Size, ...]) -> None:
    runner = make(tmp_path, source(name), "fp32", sizes)
    for size in sizes:
        x = photo(3, *size)
        assert np.abs(runner(x) - expected(source(name), x)).max() < 1e-4
    with pytest.raises(Unsupported, match="does not take"):
        runner(photo(3, 64, 64))
    assert "reference interpreter" in runner.describe()["runtime"]
    assert "not Apple's runtime" in runner.describe()["runtime"]


@pytest.mark.parametrize("precision", ["fp16", "palettized"])
@pytest.mark.parametrize("name", NETWORKS)
def test_float16_stays_close(tmp_path: Path, name: str, precision: str) -> None:
    runner = make(tmp_path, source(name), precision, ((32, 40),))
    x = photo(4, 32, 40)
    assert psnr_db(runner(x), expected(source(name), x)) > (55 if precision == "fp16" else 40)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_images_go_in_and_come_out_as_pixels(tmp_path: Path, precision: str) -> None:
    runner = make(tmp_path, source("plainusr"), precision, ((32, 40), (24, 30)), "image")
    for size in ((32, 40), (24, 30)):
        x = photo(4, *size)
        levels = runner(x) * 255
        assert np.abs(levels - np.round(levels)).max() < 1e-3
        wanted = np.round(np.clip(expected(source("plainusr"), x), 0, 1) * 255)
        difference = np.abs(np.round(levels) - wanted)
        assert difference.max() <= 1
        # float16 has steps of an eighth of a level near 1, so that many values beside .5 round the other way
        assert difference.mean() < (0.1 if precision == "fp16" else 0.001)


def finite(folder: Path, network: Source, x: Array) -> bool:
    """Whether every tensor of the float16 program is finite."""
    make(folder, network, "fp16", (x.shape[2:],))  # type: ignore[arg-type]
    interpreter = coreml._open(folder / coreml.MAIN)
    seen: list[bool] = []
    interpreter({"image": x}, lambda name, value: seen.append(bool(np.isfinite(value).all())))
    return all(seen)


@pytest.mark.parametrize("name", LARGE)
def test_large_activations_overflow_only_without_the_rewrites(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, x = source(name, LARGE[name]), photo(5, 32, 40)
    assert finite(tmp_path / "safe", network, x)
    runner = open_artifact(tmp_path / "safe")
    wanted = expected(network, x)
    assert np.abs(runner(x) - wanted).max() < 0.03 * np.abs(wanted).max()
    monkeypatch.setattr(float16_graph, "keep_in_range", lambda graph: None)
    assert not finite(tmp_path / "plain", network, x)


@pytest.mark.parametrize("offset", [0.0, 60.0, -60.0])
def test_soft_pool_is_the_same_quotient(offset: float) -> None:
    x = torch.randn(1, 5, 29, 41, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 4 + offset
    found = float16_graph.soft_pool(x, [7, 7], [3, 3])
    assert torch.allclose(found, plainusr.SoftPool()(x), rtol=1e-12)


def test_soft_pool_holds_where_float32_is_infinite() -> None:
    x = torch.randn(1, 2, 20, 20, generator=torch.Generator().manual_seed(0)) * 5 + 500
    found = float16_graph.soft_pool(x, [7, 7], [3, 3])
    assert torch.allclose(found, plainusr.SoftPool()(x.double()).float(), rtol=1e-5)


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e3])
def test_deviation_and_row_mean_are_the_same_numbers(factor: float) -> None:
    x = torch.randn(1, 5, 29, 41, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * factor
    mean = x.mean((2, 3), keepdim=True)
    assert torch.allclose(float16_graph.row_mean(x), mean, rtol=1e-9, atol=1e-12)
    wanted = (x - mean).square().mean((2, 3), keepdim=True).sqrt()
    assert torch.allclose(float16_graph.deviation(x - mean), wanted, rtol=1e-9)


def test_pixel_output_is_clipped_and_whole() -> None:
    x = torch.tensor([-1.0, 0.0, 0.4999 / 255, 0.6 / 255, 1.0, 2.0]).reshape(1, 1, 2, 3)
    assert coreml_graph.PixelOutput(torch.nn.Identity())(x).flatten().tolist() == [0, 0, 0, 1, 255, 255]


def test_every_rewrite_has_its_function() -> None:
    text = "".join(
        (ROOT / "targets" / f"{name}.py").read_text() for name in ("coreml", "coreml_graph", "float16_graph")
    )
    assert all(f"def {rewrite.name}(" in text or f"class {rewrite.name}(" in text for rewrite in coreml.REWRITES)


def test_int8_holds_exactly_the_scales_of_the_quantized_graph(tmp_path: Path) -> None:
    network = source("plainusr")
    runner = make(tmp_path, network, "int8", ((40, 48),))
    x = photo(6, 40, 48)
    with torch.no_grad():
        quantized = network.float_outputs(torch.from_numpy(x)).numpy()
    assert psnr_db(runner(x), quantized) > 48
    program: Interpreter = coreml._open(tmp_path / coreml.MAIN)
    found = set()
    for operation in program.program.operations:
        if operation.kind in ("quantize", "dequantize"):
            scale = operation.inputs["scale"][0]
            found.add(float(program.constants[scale] if isinstance(scale, str) else scale))
    wanted = {
        float(np.float32(node.args[1]))
        for node in network.float_outputs.graph.nodes  # type: ignore[union-attr]
        if "quantize_per_tensor" in str(node.target)
    }
    assert found == wanted


def test_int8_share_is_counted_on_the_saved_program(tmp_path: Path) -> None:
    request = Request("plainusr", 2, "coreml", "int8", ((40, 48),))
    made = convert(source("plainusr"), request, tmp_path)
    assert made.shares == {"int8_macs": 1.0}
    assert "100% of the convolution work" in made.notes[0]


def test_palettes_are_the_same_every_time_and_close() -> None:
    weight = np.random.default_rng(0).standard_t(3, (32, 16, 3, 3)).astype(np.float16)
    table, indices = coreml.palette(weight)
    assert table.dtype == weight.dtype
    assert len(table) == 2**coreml.PALETTE_BITS
    assert np.array_equal(indices, coreml.palette(weight.copy())[1])
    error = table[indices].astype(np.float64) - weight.ravel()
    assert np.mean(error**2) < 1e-3 * np.var(weight.astype(np.float64))


def test_two_conversions_give_the_same_bytes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    network = source("plainusr-lia")
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        made = convert(network, Request("plainusr-lia", 2, "coreml", "palettized", ((32, 32),)), tmp_path / name)
        contents.append({file: (tmp_path / name / file).read_bytes() for file in made.files})
        found = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        assert [path.relative_to(tmp_path / name).as_posix() for path in found] == sorted(made.files)
    assert contents[0] == contents[1]
    assert capfd.readouterr() == ("", "")
    for content in contents[0].values():
        assert not any(trace in content for trace in (b"site-packages", str(tmp_path).encode(), b"conversion_date"))


def test_apple_can_find_the_parts_of_the_package(tmp_path: Path) -> None:
    make(tmp_path, source("plainusr"), "fp32", ((32, 32),))
    table = json.loads((tmp_path / coreml.MAIN / "Manifest.json").read_text())
    root = table["itemInfoEntries"][table["rootModelIdentifier"]]
    assert root["path"] == "com.apple.CoreML/model.mlmodel"
    for entry in table["itemInfoEntries"].values():
        assert (tmp_path / coreml.MAIN / "Data" / entry["path"]).exists()


def test_a_package_without_its_program_is_refused(tmp_path: Path) -> None:
    make(tmp_path, source("plainusr"), "fp32", ((32, 32),))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["files"] = [entry for entry in manifest["files"] if "mlmodel" not in entry["name"]]
    manifest["files"] = manifest["files"] or []
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"cannot load|among its files"):
        open_artifact(tmp_path)


def test_the_runner_imports_neither_torch_nor_the_converter(tmp_path: Path) -> None:
    make(tmp_path, source("plainusr"), "fp32", ((32, 32),))
    code = """
import sys
from pathlib import Path
import numpy as np
from edgesr.runner import open_artifact
print(open_artifact(Path(sys.argv[1]))(np.zeros((1, 3, 32, 32), np.float32)).shape)
print(sorted({"torch", "coremltools", "scipy", "sklearn"} & sys.modules.keys()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.stdout.splitlines() == ["(1, 3, 64, 64)", "[]"], done.stderr
    assert done.stderr == ""
