"""Every app from one INT8 conversion."""

import json
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("coremltools", reason="needs edgesr[coreml]")
pytest.importorskip("onnxruntime", reason="needs edgesr[onnxruntime]")

from edgesr.bundles.tools import TOOLS, version_of
from edgesr.cli import main
from edgesr.pipeline import Session, convert_all
from edgesr.planned import plan

pytestmark = pytest.mark.slow

SIZE = (96, 96)
ON_CPU, ON_IPHONE = "bsrn-s_x4_onnxruntime_int8_96x96", "bsrn-s_x4_coreml_int8_96x96"


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By the weights and the recipe in the package, as a fresh installation has them."""
    out = tmp_path_factory.mktemp("artifacts")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("EDGESR_WEIGHTS_DIR", raising=False)
        planned = plan("bsrn-s", 4, ["onnxruntime", "coreml"], ["int8"], (SIZE,))
        outcome = convert_all(Session("bsrn-s", int8=True), planned, out)
    assert outcome.first_error is None
    return out


def made(artifacts: Path, name: str, platform: str, out: Path) -> Path:
    lacking = [tool for tool in TOOLS if version_of(TOOLS[tool]) is None]
    if lacking and "EDGESR_REQUIRE_TARGETS" not in os.environ:
        pytest.skip(f"needs {', '.join(lacking)}")
    main(["bundle", str(artifacts / name), "-p", platform, "-o", str(out)])
    assert "licence" in (out / "NOTICE.txt").read_text().lower()
    assert (out / "README.md").read_text()
    return out


def test_the_web_app_holds_the_model(artifacts: Path, tmp_path: Path) -> None:
    out = made(artifacts, ON_CPU, "web", tmp_path / "web")
    assert (out / "www" / "index.html").is_file()
    models = [file for file in (out / "www").rglob("model.onnx")]
    assert [file.read_bytes() for file in models] == [(artifacts / ON_CPU / "model.onnx").read_bytes()]


def test_the_apk_holds_the_model(artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (apk,) = made(artifacts, ON_CPU, "android", tmp_path / "android").rglob("*.apk")
    with zipfile.ZipFile(apk) as inside:
        names = inside.namelist()
        (model,) = [name for name in names if name.endswith("model.onnx")]
        assert inside.read(model) == (artifacts / ON_CPU / "model.onnx").read_bytes()
    assert {"classes.dex", "AndroidManifest.xml"} <= {*names}


def test_the_xcode_project_holds_the_package(artifacts: Path, tmp_path: Path) -> None:
    out = made(artifacts, ON_IPHONE, "ios", tmp_path / "ios")
    (project,) = out.rglob("project.pbxproj")
    assert "EdgeSRKit" in project.read_text()
    assert [file for file in out.rglob("*.mlpackage") if file.is_dir()]


@pytest.mark.parametrize("platform", ["rpi", "jetson"])
def test_the_tar_of_a_board_holds_the_model(artifacts: Path, tmp_path: Path, platform: str) -> None:
    (tar,) = made(artifacts, ON_CPU, platform, tmp_path / platform).rglob("*.tar")
    with tarfile.open(tar) as inside:
        names = inside.getnames()
        (manifest,) = [name for name in names if name.endswith(f"{ON_CPU}/manifest.json")]
        stream = inside.extractfile(manifest)
        assert stream is not None
        assert json.load(stream)["precision"] == "int8"
    assert any(name.endswith("/install.sh") for name in names)


def test_the_project_for_android_studio_holds_the_model(artifacts: Path, tmp_path: Path) -> None:
    out = made(artifacts, ON_CPU, "android-studio", tmp_path / "studio")
    (model,) = out.rglob("model.onnx")
    assert model.read_bytes() == (artifacts / ON_CPU / "model.onnx").read_bytes()
