"""The device side: hostile manifests, wrong inputs, missing runtimes, and nothing heavy imported."""

import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesr.errors import ArtifactError, MissingExtra, Unsupported
from edgesr.runner import BicubicRunner, InputRule, open_artifact
from edgesr.runner.manifest import read_contents
from edgesr.runner.opening import RUNTIMES
from edgesr.targets import TARGETS

ROOT = Path(__file__).parents[1]


def manifest_for(folder: Path, *, main: str, target: str = "onnxruntime", **changes: Any) -> dict[str, Any]:
    """A minimal manifest over the files that lie in `folder`."""
    files = [
        {"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != "manifest.json"
    ]
    request = {"model": "nearest", "scale": 2, "target": target, "precision": "fp32", "sizes": []}
    manifest: dict[str, Any] = {"schema": 1, "request": request, "scale": 2, "files": files, "main": main}
    manifest |= {"inputs": [{"name": "image"}], "outputs": [{"name": "upscaled"}], "runtime_options": {}}
    return manifest | changes


def write_manifest(folder: Path, manifest: Any) -> Path:
    text = manifest if isinstance(manifest, str) else json.dumps(manifest)
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def nearest(tmp_path: Path) -> Path:
    """An ONNX artifact that doubles every pixel, made without torch."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Resize", ["image", "", "factors"], ["upscaled"], mode="nearest")],
        "nearest",
        [value("image", 1, [1, 3, "height", "width"])],
        [value("upscaled", 1, [1, 3, "2*height", "2*width"])],
        [onnx.numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "factors")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    return write_manifest(tmp_path, manifest_for(tmp_path, main="model.onnx"))


def pixels(height: int, width: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(0).random((1, 3, height, width), dtype=np.float32)


def test_artifact_runs_and_describes_itself(nearest: Path) -> None:
    runner = open_artifact(nearest, threads=1)
    x = pixels(5, 9)
    assert np.array_equal(runner(x), x.repeat(2, axis=2).repeat(2, axis=3))
    facts = runner.describe()
    assert facts["runtime"].startswith("onnxruntime ")
    assert facts["precision"] == "float32"
    assert facts["threads"] == "1"


def test_a_model_reads_no_file_of_the_working_directory(
    nearest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """External data with a relative place: ONNX Runtime would look where the command was started."""
    import onnx

    model = onnx.load(nearest / "model.onnx")
    (factors,) = model.graph.initializer
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret.bin").write_bytes(factors.raw_data)
    onnx.external_data_helper.set_external_data(factors, "secret.bin")
    factors.ClearField("raw_data")
    (nearest / "model.onnx").write_bytes(model.SerializeToString())
    write_manifest(nearest, manifest_for(nearest, main="model.onnx"))
    monkeypatch.chdir(elsewhere)
    with pytest.raises(ArtifactError, match=r"cannot load model\.onnx"):
        open_artifact(nearest)


def test_what_a_runtime_raises_is_an_error_of_ours(nearest: Path) -> None:
    import onnx

    node = onnx.helper.make_node
    value = onnx.helper.make_tensor_value_info
    of_two = onnx.numpy_helper.from_array(np.ones((1, 1, 1, 2), np.float32), "two")
    graph = onnx.helper.make_graph(
        [node("Add", ["image", "two"], ["sum"]), node("Identity", ["sum"], ["upscaled"])],
        "fails",
        [value("image", 1, [1, 3, "height", "width"])],
        [value("upscaled", 1, [1, 3, "height", "width"])],
        [of_two],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    (nearest / "model.onnx").write_bytes(model.SerializeToString())
    write_manifest(nearest, manifest_for(nearest, main="model.onnx"))
    runner = open_artifact(nearest)
    with pytest.raises(ArtifactError, match=r"^onnxruntime .* failed on a 4x5 input: "):
        runner(pixels(4, 5))
    with pytest.raises(ArtifactError, match=r"made float32 \(1, 3, 4, 2\) of a 4x2 input .* \(1, 3, 8, 4\)"):
        runner(pixels(4, 2))


def test_result_survives_the_next_call(nearest: Path) -> None:
    runner = open_artifact(nearest)
    first = runner(pixels(4, 4))
    copy = first.copy()
    runner(np.zeros((1, 3, 4, 4), np.float32))
    assert np.array_equal(first, copy)


def test_non_contiguous_input_is_taken(nearest: Path) -> None:
    x = pixels(6, 8)
    assert np.array_equal(open_artifact(nearest)(x[..., ::-1]), open_artifact(nearest)(x[..., ::-1].copy()))


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((1, 3, 8, 8)),
        np.zeros((1, 3, 8, 8), np.uint8),
        np.zeros((3, 8, 8), np.float32),
        np.zeros((2, 3, 8, 8), np.float32),
        np.zeros((1, 1, 8, 8), np.float32),
        np.zeros((1, 3, 0, 8), np.float32),
        [[1.0]],
    ],
)
def test_wrong_input_is_refused(nearest: Path, x: Any) -> None:
    with pytest.raises(Unsupported, match=r"float32|shape|at least"):
        open_artifact(nearest)(x)


def test_too_small_input_names_the_minimum(nearest: Path) -> None:
    write_manifest(nearest, manifest_for(nearest, main="model.onnx", runtime_options={"min_side_px": "7"}))
    runner = open_artifact(nearest)
    assert runner(pixels(7, 7)).shape == (1, 3, 14, 14)
    with pytest.raises(Unsupported, match=r"6x30.*at least 7 px"):
        runner(pixels(6, 30))


def test_enumerated_sizes_are_enforced(nearest: Path) -> None:
    manifest = manifest_for(nearest, main="model.onnx")
    manifest["request"]["sizes"] = [[8, 6], [16, 12]]
    runner = open_artifact(write_manifest(nearest, manifest))
    assert runner(pixels(16, 12)).shape == (1, 3, 32, 24)
    with pytest.raises(Unsupported, match="8x6 or 16x12"):
        runner(pixels(6, 8))


@pytest.mark.parametrize("threads", [0, -1])
def test_fewer_than_one_thread_is_refused(nearest: Path, threads: int) -> None:
    with pytest.raises(Unsupported, match="at least one thread"):
        open_artifact(nearest, threads=threads)


def test_missing_folder_and_missing_manifest(tmp_path: Path) -> None:
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(ArtifactError, match=r"manifest\.json cannot be read"):
            open_artifact(folder)


def test_missing_file_is_named(nearest: Path) -> None:
    (nearest / "model.onnx").unlink()
    with pytest.raises(ArtifactError, match=r"model\.onnx is missing .* expected sha256"):
        open_artifact(nearest)


def test_changed_file_says_expected_and_found(nearest: Path) -> None:
    content = bytearray((nearest / "model.onnx").read_bytes())
    expected = hashlib.sha256(content).hexdigest()
    content[-1] ^= 1
    (nearest / "model.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match=f"expected sha256 {expected}, found {hashlib.sha256(content).hexdigest()}"):
        open_artifact(nearest)


def test_truncated_file_says_expected_and_found(nearest: Path) -> None:
    content = (nearest / "model.onnx").read_bytes()
    (nearest / "model.onnx").write_bytes(content[:-9])
    with pytest.raises(ArtifactError, match=f"of {len(content)} bytes, found {len(content) - 9} bytes"):
        open_artifact(nearest)


@pytest.mark.parametrize(
    "name",
    [
        *("../model.onnx", "/etc/passwd", "a\\b", "C:x", "..", ".", "", "a\0b", 7, None),
        *("a/../b", "a//b", "a/./b", "a/", "a/..", "a/C:x", "a/b\\c", "/", "a/\0"),
    ],
)
def test_no_name_leaves_the_folder(nearest: Path, name: Any) -> None:
    entry = {"name": name, "sha256": "0" * 64, "bytes": 1}
    with pytest.raises(ArtifactError, match=r"plain file name|must be of type"):
        open_artifact(write_manifest(nearest, manifest_for(nearest, main="model.onnx", files=[entry])))


@pytest.mark.parametrize("name", ["a" * 300, "\ud800.onnx"])
def test_a_name_that_no_file_can_have_is_named(nearest: Path, name: str) -> None:
    entry = {"name": name, "sha256": "0" * 64, "bytes": 1}
    with pytest.raises(ArtifactError, match="is missing or unreadable") as caught:
        open_artifact(write_manifest(nearest, manifest_for(nearest, main="model.onnx", files=[entry])))
    assert str(caught.value).isascii()


def test_files_in_folders_are_read_but_not_behind_links(nearest: Path) -> None:
    (nearest / "deep").mkdir()
    (nearest / "model.onnx").rename(nearest / "deep" / "model.onnx")
    content = (nearest / "deep" / "model.onnx").read_bytes()
    entry = {"name": "deep/model.onnx", "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    write_manifest(nearest, manifest_for(nearest, main="deep/model.onnx", files=[entry]))
    assert open_artifact(nearest)(pixels(4, 4)).shape == (1, 3, 8, 8)
    assert read_contents(write_manifest(nearest, manifest_for(nearest, main="deep", files=[entry]))).main == "deep"
    with pytest.raises(ArtifactError, match="not among its files"):
        read_contents(write_manifest(nearest, manifest_for(nearest, main="dee", files=[entry])))
    (nearest / "deep").rename(nearest.parent / "outside")
    (nearest / "deep").symlink_to(nearest.parent / "outside")
    with pytest.raises(ArtifactError, match="symbolic link"):
        read_contents(write_manifest(nearest, manifest_for(nearest, main="deep", files=[entry])))


def test_symbolic_link_is_refused(nearest: Path) -> None:
    (nearest / "link.onnx").symlink_to(nearest / "model.onnx")
    with pytest.raises(ArtifactError, match="symbolic link"):
        open_artifact(write_manifest(nearest, manifest_for(nearest, main="link.onnx")))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "3", '"x"', "[" * 100_000, '{"schema": 1}', "\ud800".encode("utf-16", "surrogatepass")],
)
def test_manifest_that_is_none(tmp_path: Path, text: str | bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        open_artifact(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"schema": True},
        {"schema": "1"},
        {"scale": 0},
        {"scale": 2.0},
        {"files": {}},
        {"files": ["model.onnx"]},
        {"files": []},
        {"main": "manifest.json"},
        {"main": None},
        {"inputs": []},
        {"inputs": [3]},
        {"inputs": [{"name": "picture"}]},
        {"outputs": [{"name": "a"}, {"name": "b"}]},
        {"runtime_options": []},
        {"runtime_options": {"min_side_px": "-3"}},
        {"runtime_options": {"min_side_px": "9" * 50}},
        {"request": []},
        {"request": {"target": "onnxruntime", "precision": "fp32", "sizes": [[0, 4]]}},
        {"request": {"target": "onnxruntime", "precision": "fp32", "sizes": [[4, True]]}},
        {"request": {"target": "onnxruntime", "precision": "fp32", "sizes": ["44"]}},
        {"request": {"target": 3, "precision": "fp32", "sizes": []}},
    ],
)
def test_hostile_manifest_is_refused(nearest: Path, change: dict[str, Any]) -> None:
    manifest = manifest_for(nearest, main="model.onnx") | change
    with pytest.raises(ArtifactError):
        open_artifact(write_manifest(nearest, manifest))


def test_a_target_that_does_not_run_here_lists_those_that_do(nearest: Path) -> None:
    with pytest.raises(Unsupported, match=r"onnxruntine artifacts run on their device.*What runs here: onnxruntime"):
        open_artifact(write_manifest(nearest, manifest_for(nearest, main="model.onnx", target="onnxruntine")))


def require_runtime(target: str) -> None:
    """Skip, naming what is missing; imports nothing, because some runtimes warn."""
    if importlib.util.find_spec(str(TARGETS[target].runtime)) is None:
        pytest.skip(f"needs edgesr[{target}]")


@pytest.mark.parametrize("target", RUNTIMES)
def test_garbage_behind_a_right_hash_is_an_artifact_error(tmp_path: Path, target: str) -> None:
    require_runtime(target)
    for name in ("model.xml", "model.bin"):
        (tmp_path / name).write_bytes(b"not a network")
    with pytest.raises(ArtifactError, match=r"cannot load|found|is not an|no size"):
        open_artifact(write_manifest(tmp_path, manifest_for(tmp_path, main="model.xml", target=target)))


def test_openvino_refuses_an_unknown_precision_hint(tmp_path: Path) -> None:
    for name in ("model.xml", "model.bin"):
        (tmp_path / name).write_bytes(b"x")
    options = {"INFERENCE_PRECISION_HINT": "f8; CACHE_DIR=/"}
    manifest = manifest_for(tmp_path, main="model.xml", target="openvino", runtime_options=options)
    with pytest.raises(ArtifactError, match="Known: f32, bf16"):
        open_artifact(write_manifest(tmp_path, manifest))


def test_openvino_weights_must_be_listed(tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_bytes(b"x")
    manifest = manifest_for(tmp_path, main="model.xml", target="openvino")
    with pytest.raises(ArtifactError, match=r"no \.bin"):
        open_artifact(write_manifest(tmp_path, manifest))


def test_bicubic_runner_keeps_the_contract() -> None:
    runner = BicubicRunner(3, InputRule(min_side_px=4))
    flat = np.full((1, 3, 5, 7), 0.25, np.float32)
    result = runner(flat)
    assert result.shape == (1, 3, 15, 21)
    assert result.dtype == np.float32
    assert np.allclose(result, 0.25)
    with pytest.raises(Unsupported, match="at least 4 px"):
        runner(flat[:, :, :3])


def run_isolated(code: str, *arguments: str) -> str:
    """Run `code` in a new interpreter in which `BLOCKED` names cannot be imported; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", BLOCK + code, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


BLOCK = """
import sys
sys.path.insert(0, ".")
class Blocked:
    def __init__(self, names): self.names = names
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
def block(*names): sys.meta_path.insert(0, Blocked(names))
"""

OPEN_AND_RUN = """
block("torch", "torchao", "onnx", "onnxscript", "pydantic", "rich", "click", "PIL", "openvino_telemetry")
from pathlib import Path
import numpy as np
from edgesr.runner import open_artifact
runner = open_artifact(Path(sys.argv[1]), threads=1)
print(runner(np.full((1, 3, 16, 20), 0.5, np.float32)).shape)
"""


def test_device_side_needs_only_numpy_and_the_runtime(nearest: Path) -> None:
    assert run_isolated(OPEN_AND_RUN, str(nearest)) == "(1, 3, 32, 40)"


@pytest.mark.parametrize("target", RUNTIMES)
def test_missing_runtime_names_the_extra(nearest: Path, target: str) -> None:
    write_manifest(nearest, manifest_for(nearest, main="model.onnx", target=target))
    code = f"""
block({TARGETS[target].runtime!r})
from pathlib import Path
from edgesr.errors import MissingExtra
from edgesr.runner import open_artifact
try:
    open_artifact(Path(sys.argv[1]))
except MissingExtra as error:
    print(error)
"""
    assert run_isolated(code, str(nearest)) == str(MissingExtra(str(TARGETS[target].runtime), TARGETS[target].extra))


def test_openvino_loads_without_its_telemetry() -> None:
    pytest.importorskip("openvino_telemetry", reason="nothing to keep silent")
    code = """
import socket
def refuse(*arguments): raise AssertionError("network")
socket.socket.connect = refuse
from edgesr.runner.openvino import load_openvino
load_openvino()
print(sorted(name for name in sys.modules if name.startswith("openvino_telemetry")))
import openvino_telemetry
"""
    assert run_isolated(code) == "[]"
