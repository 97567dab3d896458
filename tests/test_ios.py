"""The iOS bundle: a project that parsers of Xcode's files take, and sources that a parser of Swift takes.

There is no Mac here: nothing is built with Xcode or run on a device. EdgeSRKit is compiled and tested with Debian's
Swift where that is asked for: EDGESR_SWIFT=1 (as root on Linux; 3.3 GB, two minutes).
"""

import json
import os
import plistlib
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import ios_cases
import pytest
from small_bundles import artifact, builder_words, content

from edgesr.artifact import read_manifest, write_manifest
from edgesr.bench.records import Closed, End, Opened, Samples, Start, read
from edgesr.bundles import bundle, ios, xcode
from edgesr.bundles.options import Options
from edgesr.errors import ArtifactError, Unsupported, UsageError

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "apps" / "ios"
SWIFT = sorted(path.relative_to(SOURCES).as_posix() for path in SOURCES.rglob("*.swift") if ".build" not in path.parts)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("ios")
    bundle([artifact(place, "coreml", precision) for precision in ("int8", "fp16")], "ios", place / "out")
    return place / "out"


@pytest.fixture(scope="module")
def project(made: Path) -> Any:
    pbxproj = pytest.importorskip("pbxproj", reason="needs edgesr[dev]")
    return pbxproj.XcodeProject.load(str(made / "edgesr.xcodeproj" / "project.pbxproj"))


def test_the_project_has_one_app_with_the_package_and_every_source(project: Any) -> None:
    targets = project.objects.get_objects_in_section("PBXNativeTarget")
    assert [(target.name, target.productType) for target in targets] == [
        ("edgesr", "com.apple.product-type.application")
    ]
    dependency = project.objects[targets[0].packageProductDependencies[0]]
    assert dependency.productName == "EdgeSRKit"
    package = project.objects.get_objects_in_section("XCLocalSwiftPackageReference")[0]
    assert package.relativePath == "EdgeSRKit"
    built = {phase: names(project, phase) for phase in ("PBXSourcesBuildPhase", "PBXResourcesBuildPhase")}
    assert {*built["PBXSourcesBuildPhase"], ios.ENGINE} == {path.name for path in (SOURCES / "App").glob("*.swift")}
    assert ios.ENGINE not in built["PBXSourcesBuildPhase"]
    assert sorted(built["PBXResourcesBuildPhase"]) == [
        *("Assets.xcassets", "NOTICE.txt", "PrivacyInfo.xcprivacy", "models")
    ]


def names(project: Any, phase: str) -> list[str]:
    found = project.objects.get_objects_in_section(phase)[0].files
    return [project.objects[project.objects[one].fileRef].path for one in found]


def test_every_reference_leads_to_an_object_and_every_file_to_a_file(made: Path, project: Any) -> None:
    known = set(project.objects.get_keys())
    text = (made / "edgesr.xcodeproj" / "project.pbxproj").read_text()
    mentioned = set(re.findall(r"\b[0-9A-F]{24}\b", text))
    assert mentioned == known
    main = project.objects[project.objects.get_objects_in_section("PBXProject")[0].mainGroup]
    missing = [place for place in placed(project, main, made) if not place.exists()]
    assert missing == []


def placed(project: Any, group: Any, folder: Path) -> list[Path]:
    found: list[Path] = []
    for key in group.children:
        child = project.objects[key]
        if child.isa == "PBXGroup":
            found += placed(project, child, folder / getattr(child, "path", "") if "path" in child else folder)
        elif child.sourceTree == "<group>":
            found.append(folder / child.path)
    return [place for place in found if place.suffix != ".app"]


def test_the_settings_are_for_an_app_on_ios_17(project: Any) -> None:
    settings = [one.buildSettings for one in project.objects.get_objects_in_section("XCBuildConfiguration")]
    of_target = [one for one in settings if "PRODUCT_BUNDLE_IDENTIFIER" in one]
    assert len(of_target) == 2
    for one in of_target:
        assert one.IPHONEOS_DEPLOYMENT_TARGET == "17.0"
        assert one.INFOPLIST_FILE == "App/Info.plist"
        assert "DEVELOPMENT_TEAM" not in one
    assert all("SDKROOT" in one for one in settings if one not in of_target)


def test_the_text_is_quoted_so_that_it_can_be_read_back() -> None:
    for text in ("plain", "with space", 'quo"te', "back\\slash", "//x", "$(TARGET_NAME)", "", "a-b", "line\nbreak"):
        written = xcode._word(text)
        assert written == text or (written.startswith('"') and json.loads(written) == text)
    assert xcode._word("App/Info.plist") == "App/Info.plist"


def test_property_lists_are_whole_and_ask_only_for_saving(made: Path) -> None:
    info = plistlib.loads((made / "App" / "Info.plist").read_bytes())
    assert [key for key in info if key.endswith("UsageDescription")] == ["NSPhotoLibraryAddUsageDescription"]
    privacy = plistlib.loads((made / "App" / "PrivacyInfo.xcprivacy").read_bytes())
    assert privacy["NSPrivacyTracking"] is False
    assert privacy["NSPrivacyCollectedDataTypes"] == []
    for file in (made / "App" / "Assets.xcassets").rglob("*.json"):
        json.loads(file.read_text())


def test_executorch_is_linked_where_an_artifact_needs_it(tmp_path: Path, made: Path, project: Any) -> None:
    pbxproj = pytest.importorskip("pbxproj", reason="needs edgesr[dev]")
    places = [artifact(tmp_path, "coreml"), artifact(tmp_path, "executorch", sizes=((64, 64), (96, 128)))]
    bundle(places, "ios", tmp_path / "out")
    found = pbxproj.XcodeProject.load(str(tmp_path / "out" / "edgesr.xcodeproj" / "project.pbxproj"))
    (remote,) = found.objects.get_objects_in_section("XCRemoteSwiftPackageReference")
    assert (remote.repositoryURL, remote.requirement.branch) == (ios.EXECUTORCH.address, ios.EXECUTORCH.branch)
    products = found.objects.get_objects_in_section("XCSwiftPackageProductDependency")
    assert {one.productName for one in products} == {"EdgeSRKit", *ios.EXECUTORCH.products}
    assert {one.package for one in products if "package" in one} == {remote.get_id()}
    (target,) = found.objects.get_objects_in_section("PBXNativeTarget")
    assert len(target.packageProductDependencies) == len(products)
    (frameworks,) = found.objects.get_objects_in_section("PBXFrameworksBuildPhase")
    assert {found.objects[one].productRef for one in frameworks.files} == {one.get_id() for one in products}
    (whole,) = found.objects.get_objects_in_section("PBXProject")
    assert remote.get_id() in whole.packageReferences
    settings = [one.buildSettings for one in found.objects.get_objects_in_section("XCBuildConfiguration")]
    assert sum("OTHER_LDFLAGS" in one and "-all_load" in one.OTHER_LDFLAGS for one in settings) == 2
    assert "ExecuTorch" in (tmp_path / "out" / "NOTICE.txt").read_text()
    assert sorted(names(found, "PBXSourcesBuildPhase")) == sorted(one.name for one in (SOURCES / "App").glob("*.swift"))
    assert content(tmp_path / "out" / "models" / places[1].name) == content(places[1])
    assert (tmp_path / "out" / "App" / "Runtimes.swift").read_text() == (SOURCES / "App/Runtimes.swift").read_text()
    without = {name: body.lower() for name, body in content(made).items() if name.startswith(("App/", "edgesr."))}
    assert [name for name, body in without.items() if b"executorch" in body] == []
    assert b'"coreml": coreML,' in (made / "App" / "Runtimes.swift").read_bytes()
    assert not list(project.objects.get_objects_in_section("XCRemoteSwiftPackageReference"))
    known = set(found.objects.get_keys())
    text = (tmp_path / "out" / "edgesr.xcodeproj" / "project.pbxproj").read_text()
    assert set(re.findall(r"\b[0-9A-F]{24}\b", text)) == known


@pytest.mark.parametrize("name", SWIFT)
def test_sources_are_swift(name: str) -> None:
    tree_sitter = pytest.importorskip("tree_sitter", reason="needs edgesr[dev]")
    import tree_sitter_swift

    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_swift.language()))
    source = (SOURCES / name).read_bytes()
    assert not parser.parse(source).root_node.has_error
    assert parser.parse(source + b"\nfunc (").root_node.has_error


def test_the_app_opens_no_address_and_needs_apple_s_frameworks_alone() -> None:
    app = {name: (SOURCES / name).read_text() for name in SWIFT if name.startswith("App/")}
    imported = {line.split()[1] for text in app.values() for line in text.splitlines() if line.startswith("import ")}
    assert imported == {
        *("CoreGraphics", "CoreML", "CryptoKit", "EdgeSRKit", "Foundation", "ImageIO", "Observation", "PhotosUI"),
        "ExecuTorch",  # in the one file that the project has if an artifact needs it
        *("SwiftUI", "UIKit", "UniformTypeIdentifiers"),
    }
    assert not [
        word for text in app.values() for word in ("URLSession", "http://", "https://", "WKWebView") if word in text
    ]


def test_a_saved_result_names_the_artifact_by_the_hash_of_all_its_files() -> None:
    code = (SOURCES / "App" / "Work.swift").read_text()
    assert "sha256 \\(artifact.identity(sha256: sha256Hex))" in code
    assert "files[0]" not in code


def test_photos_are_decoded_apart_from_the_screen_and_old_work_shows_nothing() -> None:
    code = (SOURCES / "App" / "Work.swift").read_text()
    (take,) = re.findall(r"    func take\(.*?\n    }\n", code, re.DOTALL)
    assert take.index("Task.detached") < take.index("openPhoto")
    told = re.findall(r"    private func (\w+)\([^\n]*_ number: Int\) {\n        guard number == self.number", code)
    assert sorted(told) == ["benched", "fail", "progress", "show", "show", "tell"]
    assert set(re.findall(r"await self\.(\w+)\(", code)) <= set(told)
    assert "artifacts.map(\\.manifest.scale).max()" in code


def test_the_cases_of_the_package_are_those_of_this_code() -> None:
    assert ios_cases.FILE.read_text() == ios_cases.text(), "run: cd tests && PYTHONPATH=.. python -m ios_cases"
    cases = ios_cases.cases()
    assert sum(one["boxes"] is None for one in cases["tiling"]) >= 5
    assert sum(len(one["boxes"] or ()) > 1 for one in cases["tiling"]) >= 10


def test_it_holds_the_artifacts_the_notices_and_three_steps(made: Path, tmp_path: Path) -> None:
    found = content(made)
    for place in (artifact(tmp_path, "coreml", precision) for precision in ("int8", "fp16")):
        for name, body in content(place).items():
            assert found[f"models/{place.name}/{name}"] == body
    readme = found["README.md"].decode()
    assert all(f"\n{step}. " in readme for step in (1, 2, 3))
    assert "never built with Xcode" in readme
    assert "MIT License" in found["NOTICE.txt"].decode()
    assert found["App/NOTICE.txt"] == found["NOTICE.txt"]


def test_the_same_artifacts_give_the_same_bytes_with_nothing_of_the_builder(made: Path, tmp_path: Path) -> None:
    places = [artifact(tmp_path / "else" / "where", "coreml", precision) for precision in ("int8", "fp16")]
    bundle(places, "ios", tmp_path / "out")
    found = content(tmp_path / "out")
    assert found == content(made)
    for word in builder_words(tmp_path):
        assert [name for name, body in found.items() if word.encode() in body] == []


def test_what_the_app_cannot_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        Unsupported, match=r"onnxruntime, which ios does not run. Convert to coreml or executorch.*--target coreml"
    ):
        bundle([artifact(tmp_path)], "ios", tmp_path / "out")
    place = artifact(tmp_path, "coreml")
    manifest = read_manifest(place)
    write_manifest(place, replace(manifest, inputs=(replace(manifest.inputs[0], dtype="uint8"),)))
    with pytest.raises(Unsupported, match="does not take and give float32"):
        bundle([place], "ios", tmp_path / "out")
    (place / "model.mlpackage" / "Data" / "weights").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="was changed"):
        bundle([place], "ios", tmp_path / "out")
    with pytest.raises(UsageError, match="--keystore is for android, not for ios"):
        bundle([place], "ios", tmp_path / "out", options=Options(keystore=tmp_path / "k"))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_package_passes_its_own_tests_in_debian_s_swift(tmp_path: Path) -> None:
    if "EDGESR_SWIFT" not in os.environ:
        pytest.skip("NO SWIFT: EdgeSRKit is not compiled. EDGESR_SWIFT=1 fetches Debian 13's swiftlang (3.3 GB)")
    from emulated import debian_root

    lacks = debian_root.missing()
    assert lacks is None, f"needs {lacks}"
    packages = ("swiftlang", "libc6-dev", "libstdc++-14-dev", "tzdata")
    root = debian_root.make(debian_root.Root("trixie", "amd64", packages, "swift"))
    place = root / "root" / "ios"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(SOURCES, place, ignore=shutil.ignore_patterns(".build"))
    program = "cd /root/ios/App && swiftc -parse *.swift && cd ../EdgeSRKit && swift test"
    environment = [
        "HOME=/root",
        "EDGESR_RECORDS=/root/ios",
        f"PATH=/usr/libexec/swift/bin:{debian_root.PATH}",
    ]
    done = subprocess.run(
        debian_root.entering(root, ["sh", "-c", program], environment, network=False), capture_output=True, text=True
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-4000:]
    assert "with 0 failures" in said
    for target in ios.TARGETS:
        records = read(place / f"{target}.jsonl")
        assert [type(record) for record in records] == [Start, *[Opened, Samples, Closed] * 2, End]
        assert isinstance(records[0], Start)
        assert records[0].subject.target == target
