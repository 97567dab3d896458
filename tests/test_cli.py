"""The command line from the outside: real commands, exit codes, nothing half-made."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file

from edgesr.artifact import latest
from edgesr.cli import cli, main
from edgesr.datasets import generated_pictures
from edgesr.errors import ArtifactError
from edgesr.models.registry import find
from edgesr.targets import TARGETS

MODEL = "plainusr-t"
KEYS = {
    *("slug", "model", "scale", "target", "precision", "status", "bytes", "seconds"),
    *("parity_max_abs", "psnr_db", "psnr_fp32_db", "psnr_drop_db", "weights"),
}


def edgesr(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgesr.cli", *arguments], cwd=folder, capture_output=True, text=True, timeout=300
    )


def run(*arguments: str | Path, code: int = 0, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """stdout and stderr of a command in this process; checks the exit code."""
    with pytest.raises(SystemExit) if code else _nothing() as caught:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    if code:
        assert caught.value.code == code, (out, err)
    return out, err


class _nothing:
    value = SystemExit(0)

    def __enter__(self) -> "_nothing":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        return isinstance(error, SystemExit) and error.code in (0, None)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with artifacts/ for both targets, made by the command line from the shipped weights."""
    folder = tmp_path_factory.mktemp("work")
    done = edgesr("convert", MODEL, "-t", "onnxruntime", "-t", "openvino", "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["target"] for row in rows] == ["onnxruntime", "openvino"]
    assert all(row["status"] == "done" and row["parity_max_abs"] <= 1 and row.keys() >= KEYS for row in rows)
    assert all(row["weights"] == "edgesr-trained" for row in rows)
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    file = tmp_path / "photo.png"
    Image.fromarray(generated_pictures(1, 64)[0][:40, :50]).save(file)
    return file


def test_convert_leaves_one_verified_folder_per_request(artifacts: Path) -> None:
    names = sorted(path.name for path in (artifacts / "artifacts").iterdir())
    assert names == [f"{MODEL}_x4_{target}_fp32_dynamic" for target in ("onnxruntime", "openvino")]
    for name in names:
        manifest = json.loads((artifacts / "artifacts" / name / "manifest.json").read_text())
        assert manifest["proof"]["sets"][0]["images"] == 4
        assert manifest["weights"]["sha256"]
        assert manifest["halo_px"] == find(MODEL).halo_px


def test_verify_agrees_with_convert(artifacts: Path) -> None:
    slug = f"{MODEL}_x4_openvino_fp32_dynamic"
    done = edgesr("verify", f"artifacts/{slug}", "--json", folder=artifacts)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    stored = json.loads((artifacts / "artifacts" / slug / "manifest.json").read_text())["proof"]["sets"][0]
    assert row["psnr_db"] == pytest.approx(stored["psnr_db"], abs=1e-3)


def test_verify_refuses_a_changed_file(artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = artifacts / "artifacts" / f"{MODEL}_x4_onnxruntime_fp32_dynamic"
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in source.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    content = bytearray((copy / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "model.onnx").write_bytes(content)
    _, err = run("verify", copy, code=8, capsys=capsys)
    assert "model.onnx was changed" in err


def test_verify_says_whose_weights_are_missing(
    artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.safetensors"

    save_file(find(MODEL).forms()["deploy"].state_dict(), other)
    slug = f"{MODEL}_x4_onnxruntime_fp32_dynamic"
    _, err = run("verify", artifacts / "artifacts" / slug, "--weights", other, code=4, capsys=capsys)
    assert "edgesr-trained" in err
    assert "--weights" in err


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_upscale_writes_a_photo_four_times_as_large(artifacts: Path, photo: Path, target: str) -> None:
    artifact = f"artifacts/{MODEL}_x4_{target}_fp32_dynamic"
    done = edgesr("upscale", str(photo), "-a", artifact, "--json", folder=artifacts)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert row["output"] == str(photo.with_name("photo_x4.png"))
    with Image.open(row["output"]) as image:
        assert image.size == (200, 160)


def test_upscale_takes_the_latest_artifact_and_says_so(artifacts: Path, photo: Path) -> None:
    done = edgesr("upscale", str(photo), "-o", "out", folder=artifacts)
    assert done.returncode == 0, done.stderr
    assert "artifacts/plainusr-t_x4_openvino_fp32_dynamic (weights: edgesr-trained)" in done.stderr
    assert (artifacts / "out" / "photo.png").is_file()


def test_tiles_change_nothing_that_can_be_seen(artifacts: Path, photo: Path) -> None:
    results = []
    for name, tile in (("whole", ()), ("tiled", ("--tile", "24"))):
        done = edgesr("upscale", str(photo), "-o", f"{name}.png", *tile, "--json", folder=artifacts)
        assert done.returncode == 0, done.stderr
        results.append(json.loads(done.stdout)[0])
    pixels = [np.asarray(Image.open(artifacts / row["output"])).astype(int) for row in results]
    assert [row["tiles"] > 1 for row in results] == [False, True]
    assert int(np.abs(pixels[0] - pixels[1]).max()) <= 1


def test_one_broken_photo_does_not_stop_the_others(artifacts: Path, photo: Path) -> None:
    folder = photo.parent / "photos"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.png").write_bytes(b"not a picture")
    (folder / "inner" / "b.png").write_bytes(photo.read_bytes())
    done = edgesr("upscale", str(folder), "-o", str(photo.parent / "out"), "--json", folder=artifacts)
    assert done.returncode == 9
    assert [row["status"] for row in json.loads(done.stdout)] == ["failed", "done"]
    assert "a.png" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in (photo.parent / "out").rglob("*") if path.is_file()] == ["b.png"]


def test_a_single_pixel_is_upscaled(artifacts: Path, tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (200, 30, 90)).save(tmp_path / "dot.png")
    done = edgesr("upscale", str(tmp_path / "dot.png"), folder=artifacts)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "dot_x4.png") as image:
        assert image.size == (4, 4)


def test_skip_existing_goes_on_where_it_stopped(artifacts: Path, photo: Path) -> None:
    out = photo.parent / "out"
    first = edgesr("upscale", str(photo), "-o", str(out), folder=artifacts)
    before = (out / "photo.png").stat().st_mtime_ns
    second = edgesr("upscale", str(photo), "-o", str(out), "--skip-existing", "--json", folder=artifacts)
    assert (first.returncode, second.returncode) == (0, 0)
    assert json.loads(second.stdout)[0]["status"] == "skipped"
    assert (out / "photo.png").stat().st_mtime_ns == before


def test_files_of_an_artifact_for_a_device_are_verified_where_it_does_not_run(
    artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / f"{MODEL}_x4_executorch-vulkan_fp32_dynamic"
    shutil.copytree(artifacts / "artifacts" / f"{MODEL}_x4_openvino_fp32_dynamic", place)
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["request"]["target"] = "executorch-vulkan"
    (place / "manifest.json").write_text(json.dumps(manifest))
    assert (
        "are whole. executorch-vulkan artifacts run on their device" in run("verify", place, code=2, capsys=capsys)[1]
    )
    (place / manifest["files"][0]["name"]).write_bytes(b"changed")
    assert "was changed" in run("verify", place, code=8, capsys=capsys)[1]
    assert f"Do you mean one in it, as {place}?" in run("verify", tmp_path, code=8, capsys=capsys)[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-o", "x.heic"), "Cannot write files like x.heic"),
        (("-o", "x.png", "--format", "jpg"), "contradict each other"),
    ],
)
def test_a_name_that_cannot_be_meant_is_refused(
    artifacts: Path, photo: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], words: str
) -> None:
    artifact = artifacts / "artifacts" / f"{MODEL}_x4_openvino_fp32_dynamic"
    _, err = run("upscale", photo, *options, "-a", artifact, code=2, capsys=capsys)
    assert words in err


def test_a_damaged_artifact_is_passed_over_where_none_is_named(artifacts: Path, tmp_path: Path) -> None:
    shutil.copytree(artifacts / "artifacts" / f"{MODEL}_x4_openvino_fp32_dynamic", tmp_path / "whole")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "manifest.json").write_text("{")
    assert latest(tmp_path) == tmp_path / "whole"
    shutil.rmtree(tmp_path / "whole")
    with pytest.raises(ArtifactError, match=r"or name one with -a\. Damaged: .*not valid JSON"):
        latest(tmp_path)


def test_an_input_is_never_overwritten(artifacts: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = artifacts / "artifacts" / f"{MODEL}_x4_openvino_fp32_dynamic"
    _, err = run("upscale", photo, "-o", photo.parent, "-a", artifact, code=2, capsys=capsys)
    assert "would overwrite an input" in err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("convert", "bsnr-s", "-t", "openvino"), 2, "Did you mean 'bsrn-s'?"),
        (("convert", "bsrn-s", "-t", "openvno"), 2, "Did you mean 'openvino'?"),
        (("convert", "bsrn-s", "-t", "ORT"), 2, "Did you mean 'onnxruntime'?"),
        (("convert", "bsrn-s", "-t", "openvino", "--scale", "3"), 2, "bsrn-s does not exist at x3"),
        (("convert", "bsrn-s", "-t", "openvino", "-p", "int4"), 2, "no precision named 'int4'"),
        (("convert", "bsrn-s", "-t", "openvino", "--size", "64"), 2, "HEIGHTxWIDTH"),
        (("convert", "bsrn-s"), 2, "--target"),
        (("convert", MODEL, "-t", "openvino", "--weights", "missing.pth"), 4, "missing.pth does not exist"),
        (("convert", MODEL, "-t", "openvino", "--data", "missing"), 10, "missing is not a folder"),
        (("convrt", "bsrn-s"), 2, "Did you mean 'convert'?"),
        (("upscale", "missing.png"), 8, "edgesr convert"),
        (("verify", "missing"), 8, "missing is not an artifact"),
        (("quantize", MODEL, "-o", "recipe.txt"), 2, "A recipe is a .json file"),
        (("quantize", "nonet", "-o", "recipe.json"), 2, "no model named 'nonet'"),
        (("quantize", MODEL, "-o", "recipe.json", "--calib", "missing"), 10, "missing is not a folder"),
        (("quantize", MODEL, "-o", "recipe.json", "--max-drop", "0"), 2, "--max-drop"),
        (("quantize", MODEL, "-o", "recipe.json", "--effort", "0"), 2, "0 is not in the range"),
        (("convert", MODEL, "-t", "openvino", "--int8", "--recipe", "recipe.json"), 8, "Cannot read the recipe"),
        (("convert", MODEL, "-t", "openvino", "--recipe", "recipe.json"), 2, "--recipe: for INT8 only"),
        (("convert", MODEL, "-t", "openvino", "--max-drop", "0.1"), 2, "--max-drop: for INT8 only"),
        (("convert", MODEL, "-t", "openvino", "--max-worst-drop", "1"), 2, "--max-worst-drop: for INT8 only"),
        (("convert", MODEL, "-t", "openvino", "--calib", "."), 2, "--calib: for INT8 only"),
        (("convert", MODEL, "-t", "openvino", "--size", "100000x64"), 2, "is too large: at most 8192 px"),
        (("convert", MODEL, "-t", "openvino", "--size", "2x64"), 2, "both sides must be at least 3 px"),
        (("convert", MODEL, "-t", "openvino", "--scale", "0"), 2, "does not exist at x0"),
        (("bench", "missing.onnx"), 2, "There is no artifact or model file missing.onnx"),
        (
            ("convert", MODEL, "-t", "openvino", "--int8", "--recipe", "r.json", "--calib", "."),
            2,
            "--recipe or --calib",
        ),
        (("train", "bsrn-s", "--data", "missing", "--run", "run"), 10, "missing"),
        (("train", "bsrn-s", "--data", ".", "--run", "run", "--steps", "0"), 2, "steps must be at least 1"),
    ],
)
def test_a_wrong_request_is_one_clear_line(
    arguments: tuple[str, ...],
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    _, err = run(*arguments, code=code, capsys=capsys)
    assert words in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_size_below_the_minimum_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, err = run("convert", "bsrn-s", "-t", "openvino", "--size", "8x64", "-o", tmp_path / "out", code=2, capsys=capsys)
    assert "at least 15 px" in err
    assert not (tmp_path / "out").exists()


def test_convert_into_a_folder_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    _, err = run("convert", MODEL, "-t", "onnxruntime", "-o", tmp_path / "file" / "out", code=12, capsys=capsys)
    assert "Cannot write" in err


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_leaves_nothing_half_made(tmp_path: Path, sent: signal.Signals) -> None:
    """Ctrl-C, and what `timeout` and `docker stop` send, to the command alone: its children end with it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "edgesr.cli", "convert", "bsrn-s", "-t", "onnxruntime", "-p", "fp32", "-p", "int8"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not any((tmp_path / "artifacts").glob(".*.tmp")) and time.monotonic() < deadline:
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, sent)
    _, err = process.communicate(timeout=120)
    # CPython ends with the signal itself if Ctrl-C fell into an exec of source text (an import): 130 to every shell.
    assert process.returncode in (130, -signal.SIGINT), err
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert "Traceback" not in err
    assert [path.name for path in (tmp_path / "artifacts").iterdir() if path.name.startswith(".")] == []


def test_json_lists_are_valid_and_complete(capsys: pytest.CaptureFixture[str]) -> None:
    models = json.loads(run("models", "--json", capsys=capsys)[0])
    assert {row["model"] for row in models} >= {"bsrn", "bsrn-s", "plainusr", "plainusr-l"}
    assert models[0].keys() >= {"scale", "params", "gmacs_720p", "halo_px", "licence", "measured_psnr_db", "weights"}
    targets = json.loads(run("targets", "--json", capsys=capsys)[0])
    assert [row["name"] for row in targets] == list(TARGETS)
    doctor = json.loads(run("doctor", "--json", capsys=capsys)[0])
    assert [state["target"] for state in doctor["targets"]] == list(TARGETS)
    assert all(state["can_convert"] or state["install"] for state in doctor["targets"])


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_every_command_explains_every_option(command: str) -> None:
    assert CliRunner().invoke(cli, [command, "--help"]).exit_code == 0
    for parameter in cli.commands[command].params:
        if parameter.param_type_name == "option" and not getattr(parameter, "show_default", False):
            assert getattr(parameter, "help", None), f"{command} {parameter.name}"


def test_a_test_image_that_the_network_cannot_take_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "data" / "small.png")
    arguments = ("convert", "bsrn-s", "-t", "onnxruntime", "--data", tmp_path / "data", "-o", tmp_path / "out")
    _, err = run(*arguments, code=10, capsys=capsys)
    assert "small is 10x10" in err
    assert list((tmp_path / "out").iterdir()) == []
