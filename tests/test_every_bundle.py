"""Every app from one INT8 conversion of BSRN-S, by the weights and the recipe in the package."""

import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from browser import chromium, driver, program, served
from PIL import Image
from test_web_app import by_python, levels, opened, run, saved, take

pytest.importorskip("coremltools", reason="needs edgesr[coreml]")
pytest.importorskip("onnxruntime", reason="needs edgesr[onnxruntime]")

from edgesr.bundles import bundle
from edgesr.pipeline import Session, convert_all
from edgesr.planned import plan
from edgesr.verify import Limit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SIZE = (96, 96)
ON_CPU, LITERT, ON_IPHONE = (f"bsrn-s_x4_{target}_int8_96x96" for target in ("onnxruntime", "tflite", "coreml"))


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the artifacts."""
    out = tmp_path_factory.mktemp("artifacts")
    planned = plan("bsrn-s", 4, ["onnxruntime", "tflite", "coreml"], ["int8"], (SIZE,))
    outcome = convert_all(Session("bsrn-s", int8=True), planned, out, Limit())
    assert outcome.first_error is None
    return out


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of both apps that hold the page, and of the key that signs."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def one_cache(cache: Path, own_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(cache))


def made(platform: str, out: Path, *artifacts: Path) -> Path:
    for tool in {"web": ["npm"], "android": ["npm", "aapt", "zipalign", "apksigner"]}.get(platform, []):
        program(tool)
    bundle(artifacts, platform, out)
    (notice,) = {file.read_text() for file in out.rglob("NOTICE.txt")}
    assert "licence" in notice.lower()
    assert (out / "README.md").read_text()
    return out


def test_the_web_app_computes_what_the_python_runner_computes(artifacts: Path, tmp_path: Path) -> None:
    """To the bit: no rounding of the recipe in the package is in doubt (edgesr.quantization.reproducible)."""
    data = pytest.importorskip("skimage.data", reason="needs edgesr[demo]")
    out = made("web", tmp_path / "web", artifacts / ON_CPU)
    photos = {
        "shapes": Image.effect_mandelbrot((120, 70), (-2, -1, 1, 1), 50).convert("RGB"),
        "face": Image.fromarray(data.astronaut()[:160, 150:310]),
        "cup": Image.fromarray(data.coffee()[100:260, 200:400]),
    }
    for name, image in photos.items():
        image.save(tmp_path / f"{name}.png")
    with driver() as playwright, chromium(playwright) as browser, served(out / "www") as address:
        for name in photos:
            page = opened(browser.new_context(), address)
            take(page, tmp_path / f"{name}.png")
            facts = run(page)
            assert int(facts["tiles"]) > 1
            found = levels(saved(page, tmp_path))
            expected = by_python(artifacts / ON_CPU, tmp_path / f"{name}.png")
            np.testing.assert_array_equal(found[..., :3], expected[..., :3], err_msg=name)


def test_the_apk_holds_the_model(artifacts: Path, tmp_path: Path) -> None:
    (apk,) = made("android", tmp_path / "android", artifacts / ON_CPU).rglob("*.apk")
    with zipfile.ZipFile(apk) as inside:
        names = inside.namelist()
        (model,) = [name for name in names if name.endswith("model.onnx")]
        assert inside.read(model) == (artifacts / ON_CPU / "model.onnx").read_bytes()
    assert {"classes.dex", "AndroidManifest.xml"} <= {*names}


def test_the_project_for_android_studio_holds_the_model(artifacts: Path, tmp_path: Path) -> None:
    out = made("android-studio", tmp_path / "studio", artifacts / ON_CPU, artifacts / LITERT)
    for slug, name in ((ON_CPU, "model.onnx"), (LITERT, "model.tflite")):
        (model,) = out.rglob(name)
        assert model.read_bytes() == (artifacts / slug / name).read_bytes()


def test_the_xcode_project_holds_the_package(artifacts: Path, tmp_path: Path) -> None:
    out = made("ios", tmp_path / "ios", artifacts / ON_IPHONE)
    (project,) = out.rglob("project.pbxproj")
    assert "EdgeSRKit" in project.read_text()
    (package,) = [file for file in out.rglob("*.mlpackage") if file.is_dir()]
    assert _files(package) == _files(artifacts / ON_IPHONE / "model.mlpackage")


def _files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("platform", ["rpi", "jetson"])
def test_the_tar_of_a_board_holds_the_models(artifacts: Path, tmp_path: Path, platform: str) -> None:
    out = made(platform, tmp_path / platform, artifacts / ON_CPU, artifacts / LITERT)
    (tar,) = out.rglob("*.tar")
    with tarfile.open(tar) as inside:
        names = inside.getnames()
        for slug in (ON_CPU, LITERT):
            (manifest,) = [name for name in names if name.endswith(f"{slug}/manifest.json")]
            stream = inside.extractfile(manifest)
            assert stream is not None
            assert json.load(stream)["slug"] == slug
    assert any(name.endswith("/install.sh") for name in names)
