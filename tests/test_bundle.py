"""Bundles: which artifacts go in, and that the folder is whole, reproducible and clean.

The app is a small stand-in, put where a built one would lie; tests/test_web_app.py builds and runs the real one.
"""

import hashlib
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from small_bundles import artifact, builder_words, content, stand_in_app

from edgesr.artifact import write_manifest
from edgesr.bundles import PLATFORMS, bundle, tools, web_build
from edgesr.cli import main
from edgesr.errors import ArtifactError, BundleError, MissingTool, OutputError, UnknownName, Unsupported
from edgesr.types import Request

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def app() -> Path:
    """What the build would have left in the cache."""
    return stand_in_app()


def changed(place: Path, **changes: object) -> Path:
    from edgesr.artifact import read_manifest

    write_manifest(place, replace(read_manifest(place), **changes))  # type: ignore[arg-type]
    return place


# ------------------------------------------------------------------------------------------------- what is in it


def test_a_web_bundle_has_the_app_the_artifacts_their_hashes_and_the_notices(tmp_path: Path) -> None:
    places = [artifact(tmp_path, precision="int8"), artifact(tmp_path, precision="fp32")]
    made = bundle(places, "web", tmp_path / "out")
    found = content(tmp_path / "out")
    assert made.files == len(found)
    assert made.bytes == sum(map(len, found.values()))
    facts = json.loads(found["www/bundle.json"])
    assert [entry["path"] for entry in facts["models"]] == [f"models/{place.name}" for place in places]
    for entry, place in zip(facts["models"], places, strict=True):
        for name, body in content(place).items():
            assert found[f"www/{entry['path']}/{name}"] == body
        assert entry["manifest_sha256"] == hashlib.sha256((place / "manifest.json").read_bytes()).hexdigest()
    readme = found["README.md"].decode()
    assert all(f"{step}. " in readme for step in (1, 2, 3))
    assert places[0].name in readme
    notice = found["www/NOTICE.txt"].decode()
    assert "MIT License" in notice
    assert "Microsoft" in notice
    assert "Given by whoever made this bundle" in notice


def test_only_what_the_artifacts_need_is_copied_and_kept_offline(tmp_path: Path) -> None:
    bundle([artifact(tmp_path)], "web", tmp_path / "onnx")
    bundle([artifact(tmp_path, "tflite")], "web", tmp_path / "litert")
    onnx, litert = content(tmp_path / "onnx"), content(tmp_path / "litert")
    assert {"www/runtime/ort.wasm", "www/runtime/ort.gpu.wasm", "www/app/onnx_worker.js"} <= onnx.keys()
    assert not {"www/runtime/litert.js", "www/app/litert_worker.js"} & onnx.keys()
    assert {"www/runtime/litert.js", "www/app/litert_worker.js"} <= litert.keys()
    assert not {"www/runtime/ort.wasm", "www/app/onnx_worker.js"} & litert.keys()
    assert "Apache License" in litert["www/NOTICE.txt"].decode()
    assert "Microsoft" not in litert["www/NOTICE.txt"].decode()
    kept = json.loads(onnx["www/precache.js"].decode().removeprefix("self.EDGESR_PRECACHE = ").rstrip(";\n"))
    assert kept["later"] == ["runtime/ort.gpu.wasm"]
    assert "runtime/ort.wasm" in kept["files"]
    assert any(name.endswith("model.onnx") for name in kept["files"])
    assert "NOTICE.txt" in kept["files"]
    assert not any(name.endswith(("model.ort", "sw.js")) for name in kept["files"])
    assert all(f"www/{name}" in onnx for name in (*kept["files"], *kept["later"]))


def test_the_version_of_the_kept_files_changes_with_a_model(tmp_path: Path) -> None:
    bundle([artifact(tmp_path, precision="int8")], "web", tmp_path / "a")
    bundle([artifact(tmp_path, precision="fp32")], "web", tmp_path / "b")
    versions = {(tmp_path / name / "www" / "precache.js").read_text().splitlines()[1] for name in "ab"}
    assert len(versions) == 2


@pytest.mark.parametrize(
    ("kind", "words"),
    [("official", "licence: MIT"), ("edgesr-trained", "Trained by the edgesr authors"), ("user", "whoever made this")],
)
def test_the_notice_says_whose_weights_a_model_has(tmp_path: Path, kind: str, words: str) -> None:
    bundle([artifact(tmp_path, weights=kind)], "web", tmp_path / "out")
    assert words in (tmp_path / "out" / "www" / "NOTICE.txt").read_text()


def test_the_same_artifacts_give_the_same_bytes_wherever_they_lie(tmp_path: Path) -> None:
    first = bundle([artifact(tmp_path / "here")], "web", tmp_path / "a")
    second = bundle([artifact(tmp_path / "some" / "where" / "else")], "web", tmp_path / "deep" / "b")
    assert content(tmp_path / "a") == content(tmp_path / "deep" / "b")
    assert first.bytes == second.bytes


def test_nothing_of_the_builder_is_inside(tmp_path: Path) -> None:
    bundle([artifact(tmp_path)], "web", tmp_path / "out")
    words = builder_words(tmp_path, web_build.build_folder().parent)
    for name, body in content(tmp_path / "out").items():
        assert [word for word in words if word.encode() in body] == [], name


def test_an_older_bundle_is_replaced_whole(tmp_path: Path) -> None:
    bundle([artifact(tmp_path, precision="fp32")], "web", tmp_path / "out")
    bundle([artifact(tmp_path, precision="int8")], "web", tmp_path / "out")
    assert not any("fp32" in name for name in content(tmp_path / "out"))
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


# ------------------------------------------------------------------------------------------------- what is refused


def test_a_project_that_was_worked_on_is_replaced_only_by_force(tmp_path: Path) -> None:
    place, out = artifact(tmp_path, "tflite"), tmp_path / "project"
    for _ in range(2):  # what was not touched is replaced
        bundle([place], "android-studio", out)
    notes = out / "Notes.kt"
    notes.write_text("// mine")
    with pytest.raises(OutputError, match=r"was changed since it was made \(Notes\.kt\).*--force"):
        bundle([place], "android-studio", out)
    notes.unlink()
    (out / "README.md").write_text("mine")
    (out / "build.gradle.kts").unlink()
    with pytest.raises(OutputError, match=r"\(README\.md and 1 more\)"):
        bundle([place], "android-studio", out)
    assert (out / "README.md").read_text() == "mine"
    bundle([place], "android-studio", out, force=True)
    assert (out / "build.gradle.kts").is_file()


def test_an_artifact_of_another_platform_is_refused_with_the_target_to_convert_to(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"openvino, which web does not run.*edgesr convert bsrn-s .* --target onnxr"):
        bundle([artifact(tmp_path, "openvino")], "web", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_changed_model_file_is_refused(tmp_path: Path) -> None:
    place = artifact(tmp_path)
    (place / "model.onnx").write_bytes(b"x" * (place / "model.onnx").stat().st_size)
    with pytest.raises(ArtifactError, match=r"model\.onnx was changed"):
        bundle([place], "web", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("slug", ["../../evil", "a/b", ".hidden", "a..b", "", "a b", "x" * 300])
def test_names_that_would_leave_the_bundle_are_refused(tmp_path: Path, slug: str) -> None:
    with pytest.raises(ArtifactError, match="not a plain name"):
        bundle([changed(artifact(tmp_path), slug=slug)], "web", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_that_would_leave_the_bundle_are_refused(tmp_path: Path) -> None:
    place = artifact(tmp_path)
    raw = json.loads((place / "manifest.json").read_text())
    raw["files"][0]["name"] = "../../../evil.onnx"
    (place / "manifest.json").write_text(json.dumps(raw))
    with pytest.raises(ArtifactError, match="not a plain file name"):
        bundle([place], "web", tmp_path / "out")


def test_one_artifact_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="are both"):
        bundle([artifact(tmp_path / "a"), artifact(tmp_path / "b")], "web", tmp_path / "out")


def test_images_of_a_platform_are_refused(tmp_path: Path) -> None:
    place = artifact(tmp_path)
    request = Request("bsrn-s", 4, "onnxruntime", "int8", io="image")
    with pytest.raises(Unsupported, match="--io image"):
        bundle([changed(place, request=request)], "web", tmp_path / "out")


def test_a_bundle_above_the_limit_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"more than the 0.001 MB allowed.*--max-mb 1\b"):
        bundle([artifact(tmp_path)], "web", tmp_path / "out", max_mb=0.001)
    assert [path.name for path in tmp_path.iterdir()] == ["bsrn-s_x4_onnxruntime_int8_dynamic"]


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("precious")
    with pytest.raises(OutputError, match="no bundle of this kind"):
        bundle([artifact(tmp_path)], "web", tmp_path / "mine")
    assert content(tmp_path / "mine") == {"diary.txt": b"precious"}


def test_an_unknown_platform_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'web'"):
        bundle([artifact(tmp_path)], "wep", tmp_path / "out")
    assert "web" in PLATFORMS


def test_a_folder_without_a_manifest_ends_with_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bundle", str(tmp_path), "--platform", "web", "-o", str(tmp_path / "out")])
    assert ended.value.code == 8
    assert "is not an artifact" in capsys.readouterr().err


def test_the_command_prints_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = artifact(tmp_path)
    main(["bundle", str(place), "--platform", "web", "-o", str(tmp_path / "out"), "--json"])
    made = json.loads(capsys.readouterr().out)
    assert made == asdict(bundle([place], "web", tmp_path / "out")) | {"artifacts": [place.name]}


# ------------------------------------------------------------------------------------------------- building the app


def test_without_node_the_line_to_install_it_is_given(
    tmp_path: Path, app: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(app)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main(["bundle", str(artifact(tmp_path / "a")), "--platform", "web", "-o", str(tmp_path / "out")])
    assert ended.value.code == MissingTool.exit_code
    said = capsys.readouterr().err
    assert "apt-get install nodejs npm" in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_an_old_node_is_refused_with_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin", "node", "echo v12.1.0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(MissingTool, match=r"node 18 or newer \(found 12.1.0\)"):
        tools.need("node", "builds the web app")


def test_a_build_that_fails_shows_its_last_lines_and_keeps_nothing(
    tmp_path: Path, app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(app)
    program(tmp_path / "bin", "node", "echo v20.0.0")
    program(tmp_path / "bin", "npm", '[ "$1" = --version ] && echo 10.0.0 && exit 0; echo no such host >&2; exit 7')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    with pytest.raises(BundleError, match=r"npm ci failed with code 7(?s:.*)no such host"):
        bundle([artifact(tmp_path / "a")], "web", tmp_path / "out")
    assert not app.exists()
    assert list(app.parent.iterdir()) == []


def test_a_program_that_hangs_is_ended(tmp_path: Path) -> None:
    program(tmp_path / "bin", "slow", "exec sleep 60")
    with pytest.raises(BundleError, match=r"took longer than 0\.2 s"):
        tools.run([str(tmp_path / "bin" / "slow"), "build"], tmp_path, 0.2, "Try again.")


def test_the_licence_in_bundles_is_that_of_the_project() -> None:
    assert (ROOT / "apps/web/licences/edgesr.txt").read_text() == (ROOT / "LICENSE").read_text()


def test_npm_packages_are_pinned_with_integrity_and_name_no_registry() -> None:
    lock = json.loads((ROOT / "apps/web/package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    assert [name for name, entry in packages.items() if not entry.get("integrity", "").startswith("sha512-")] == []
    assert [name for name, entry in packages.items() if "resolved" in entry] == []
    wanted = json.loads((ROOT / "apps/web/package.json").read_text())
    ranges = {**wanted["dependencies"], **wanted["devDependencies"]}
    assert [name for name, version in ranges.items() if not version[0].isdigit()] == []


def test_every_source_of_the_app_is_shipped_with_the_package() -> None:
    import tomllib

    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["edgesr.apps"]
    shipped = {path for pattern in patterns for path in (ROOT / "apps").glob(pattern)}
    needed = set()
    for name in web_build.SOURCES:
        place = ROOT / "apps" / "web" / name
        needed |= {path for path in place.rglob("*") if path.is_file()} if place.is_dir() else {place}
    assert needed <= shipped
