"""The project for Android Studio: its logic on a JVM against cases of the Python code, its Kotlin read by a parser.

Nothing is built with Gradle: there is no Android SDK here.
"""

import copy
import json
import os
import random
import re
import subprocess
import tarfile
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ios_cases
import numpy as np
import pytest
from browser import program
from small_bundles import artifact, builder_words, content

from edgesr.artifact import read_manifest, write_manifest
from edgesr.bench.records import Closed, End, Opened, Samples, Start, read
from edgesr.bundles import bundle, ios
from edgesr.bundles.android_studio import LIBRARIES
from edgesr.errors import Unsupported
from edgesr.tiling import tile_for_budget
from edgesr.types import Size

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "apps" / "android" / "native"
KOTLIN = sorted(path.relative_to(SOURCES).as_posix() for path in SOURCES.rglob("*.kt"))
MANIFEST = copy.deepcopy(ios_cases.MANIFEST)
MANIFEST["request"]["target"] = "onnxruntime"
MANIFEST["main"] = "model.onnx"
MANIFEST["files"][0]["name"] = "model.onnx"
Ask = Callable[[Sequence[Sequence[object]]], list[str]]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Lines of words to the answers of the app's own code."""
    javac, java = program("javac"), program("java")
    out = tmp_path_factory.mktemp("classes")
    files = [*sorted((SOURCES / "core").rglob("*.java")), ROOT / "tests" / "java" / "CoreCheck.java"]
    made = subprocess.run([javac, "-Xlint:all", "-Werror", "--release", "11", "-d", out, *files], capture_output=True)
    assert made.returncode == 0, made.stderr.decode()

    def asked(lines: Sequence[Sequence[object]]) -> list[str]:
        text = "".join("\x1f".join(map(str, line)) + "\n" for line in lines)
        command = [java, "-Xshare:auto", "-cp", str(out), "org.edgesr.core.CoreCheck"]
        done = subprocess.run(command, input=text, capture_output=True, text=True, encoding="utf-8", timeout=60)
        assert done.returncode == 0, done.stderr
        answers = done.stdout.splitlines()
        assert len(answers) == len(lines)
        return answers

    return asked


def encoded(value: Any) -> list[object]:
    """For CoreCheck.value."""
    if isinstance(value, dict):
        return ["{", len(value), *(word for key, each in value.items() for word in (key, *encoded(each)))]
    if isinstance(value, list | tuple):
        return ["[", len(value), *(word for each in value for word in encoded(each))]
    if isinstance(value, str):
        return ["s", value]
    return ["z"] if value is None else ["n", value]


def test_plans_are_those_of_the_python_code(ask: Ask) -> None:
    cases = ios_cases.cases()["tiling"]
    keys = ("height", "width", "haloPx", "minSidePx", "multiplePx", "scale")
    answers = ask([("plan", *(one[key] for key in keys), *one["tile"]) for one in cases])
    for one, answer in zip(cases, answers, strict=True):
        expected = one["boxes"] and " ".join(str(number) for box in one["boxes"] for number in box)
        assert answer.startswith("refused ARTIFACT") if expected is None else answer == expected, one


def test_tiles_for_a_budget_are_those_of_the_python_code(ask: Ask) -> None:
    rng = random.Random(0)
    lines, expected = [], []
    for _ in range(200):
        height, width, halo, least = (
            rng.randint(1, 900),
            rng.randint(1, 1300),
            rng.choice([0, 9, 32]),
            rng.choice([1, 15]),
        )
        bytes_px, budget = rng.choice([500, 2380, 3264, 40000]), rng.choice([1, 20, 200])
        lines.append(("budget", height, width, halo, least, 1, bytes_px, budget))
        try:
            rule = {"halo_px": halo, "min_side_px": least}
            tile = tile_for_budget(height, width, bytes_per_pixel=bytes_px, budget_mb=budget, **rule)
            expected.append("null" if tile is None else f"{tile[0]}x{tile[1]}")
        except Unsupported:
            expected.append("refused")
    answers = [answer.partition(" ")[0] for answer in ask(lines)]
    assert answers == expected
    assert {"null", "refused"} < set(expected)


@pytest.mark.parametrize("word", ["pixels", "pixels, channels last"])
def test_pixels_are_those_of_the_python_code(ask: Ask, word: str) -> None:
    cases = ios_cases.cases()["pixels"]

    def argb(rgba: Sequence[int]) -> np.ndarray:
        r, g, b, a = np.asarray(rgba, np.uint32).reshape(-1, 4).T
        packed: np.ndarray = a << 24 | r << 16 | g << 8 | b
        return packed

    lines = [
        (word, one["width"], one["height"], *argb(one["rgba"]), one["haloPx"], 1, 1, *one["tile"]) for one in cases
    ]
    for one, answer in zip(cases, ask(lines), strict=True):
        found = np.array(answer.split(), np.uint32)
        expected = argb(one["expected"])
        for shift in (24, 16, 8, 0):
            off = np.abs((found >> shift & 255).astype(int) - (expected >> shift & 255))
            assert off.max() <= 1, one["name"]


@pytest.mark.parametrize(
    ("value", "count", "goes_on", "said"),
    [
        ("0.5", 192, "on", "16x16"),
        ("0.5", 192, "off", "stopped"),
        ("NaN", 192, "on", "refused OUTPUT The network returned NaN"),
        ("Infinity", 192, "on", "refused OUTPUT The network returned NaN or infinity"),
        ("0", 192, "on", "refused OUTPUT The network returned a black image"),
        ("0.5", 191, "on", "refused ARTIFACT The model gave 191 numbers, not 192"),
    ],
)
def test_what_must_not_be_shown_is_refused(ask: Ask, value: str, count: int, goes_on: str, said: str) -> None:
    assert ask([("output", value, count, goes_on)])[0].startswith(said)


@pytest.mark.parametrize(
    ("colour", "alpha", "said"),
    [
        ("0.5", "0.5", "made 8"),
        ("0", "0.5", "refused OUTPUT The network returned a black image"),
        ("0.5", "0", "refused OUTPUT The network returned a black image"),
        ("NaN", "0.5", "refused OUTPUT The network returned NaN"),
        ("0.5", "NaN", "refused OUTPUT The network returned NaN"),
    ],
)
def test_colour_and_alpha_are_checked_each(ask: Ask, colour: str, alpha: str, said: str) -> None:
    assert ask([("colour and alpha", colour, alpha)])[0].startswith(said)


def test_the_manifest_is_read_and_what_is_wrong_is_named(ask: Ask) -> None:
    wrong = [
        ("request.target", ["request", "target"], "coreml") if field == "request.target" else (field, path, value)
        for field, path, value in ios_cases._WRONG
        if value != []  # any size is good here
    ]
    manifests = [MANIFEST]
    for _, path, value in wrong:
        one = copy.deepcopy(MANIFEST)
        place: Any = one
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        manifests.append(one)
    answers = ask([("manifest", *encoded(one)) for one in manifests])
    assert answers[0] == f"{MANIFEST['slug']} [64x64, 96x128] 96x128 model.onnx"
    for (field, _, value), answer in zip(wrong, answers[1:], strict=True):
        assert answer.startswith(f"refused ARTIFACT This model cannot be used: in its manifest.json, {field}"), value


def manifest_of(folder: Path, target: str, sizes: tuple[Size, ...]) -> dict[str, Any]:
    raw: dict[str, Any] = json.loads((artifact(folder, target, sizes=sizes) / "manifest.json").read_text())
    return raw


@pytest.mark.parametrize(("target", "ending"), [("tflite", ".tflite"), ("executorch", ".pte")])
def test_every_tile_is_computed_by_the_file_of_its_size(ask: Ask, tmp_path: Path, target: str, ending: str) -> None:
    """CoreCheck plans for a photo of 96x128."""
    one, several = ((96, 128),), ((72, 72), (96, 128))
    made = [manifest_of(tmp_path / str(len(sizes)), target, sizes) for sizes in (one, several)]
    lacking, free, other_layout = copy.deepcopy(made[1]), copy.deepcopy(made[0]), copy.deepcopy(made[0])
    del lacking["files"][0 if lacking["main"] != lacking["files"][0]["name"] else 1]
    free["request"]["sizes"] = []
    other_layout["inputs"][0]["layout"] = "NCHW" if target == "tflite" else "NHWC"
    answers = ask([("manifest", *encoded(each)) for each in (*made, lacking, free, other_layout)])
    assert answers[0].endswith(f"[96x128] 96x128 model{ending}")
    assert answers[1].endswith(f"[72x72, 96x128] 96x128 model_96x128{ending}")
    assert "in its manifest.json, files has no model_" in answers[2]
    assert f"request.sizes is empty; {target} needs sizes" in answers[3]
    assert f"inputs.layout is not {'NHWC' if target == 'tflite' else 'NCHW'}" in answers[4]


@pytest.mark.parametrize("target", LIBRARIES)
def test_records_are_the_kit_s_own_and_name_the_target(ask: Ask, tmp_path: Path, target: str) -> None:
    lines = ask([("records", *encoded(manifest_of(tmp_path, target, ((64, 64),))))])[0].split("\x1f")
    (tmp_path / "run.jsonl").write_text("\n".join(lines) + "\n")
    records = read(tmp_path / "run.jsonl")
    assert [type(record) for record in records] == [Start, *[Opened, Samples, Closed] * 2, End]
    assert isinstance(records[0], Start)
    assert records[0].subject.target == target


@pytest.mark.parametrize("name", KOTLIN)
def test_sources_are_kotlin(name: str) -> None:
    tree_sitter = pytest.importorskip("tree_sitter", reason="needs edgesr[dev]")
    import tree_sitter_kotlin

    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_kotlin.language()))
    source = (SOURCES / name).read_bytes()
    assert not parser.parse(source).root_node.has_error
    assert parser.parse(source + b"\nfun (").root_node.has_error


def test_what_the_code_names_is_in_the_layout_and_nothing_is_permitted() -> None:
    main = SOURCES / "app" / "src" / "main"
    layout = ElementTree.parse(main / "res" / "layout" / "main.xml")
    key = "{http://schemas.android.com/apk/res/android}id"
    known = {node.get(key, "").removeprefix("@+id/") for node in layout.iter() if node.get(key)}
    code = "".join((SOURCES / name).read_text() for name in KOTLIN)
    used = {part.split(")")[0].split(",")[0].split(".")[0] for part in code.split("R.id.")[1:]}
    assert used == known
    manifest = ElementTree.parse(main / "AndroidManifest.xml").getroot()
    assert manifest.find("uses-permission") is None
    for file in SOURCES.rglob("*.xml"):
        ElementTree.parse(file)


def test_the_screen_is_freed_whatever_fails_and_a_result_outlives_the_app() -> None:
    code = (SOURCES / "app/src/main/kotlin/org/edgesr/photos/MainActivity.kt").read_text()
    assert re.search(
        r"catch \(error: Exception\) \{[^}]*\} finally \{\s+runOnUiThread \{\s+task = null\s[^}]*busy\(false\)", code
    )
    assert "override fun onSaveInstanceState" in code
    assert code.count("${discarded(address)}") == 2


def test_a_saved_result_names_the_artifact_by_its_hash() -> None:
    code = (SOURCES / "app/src/main/kotlin/org/edgesr/photos/MainActivity.kt").read_text()
    assert "sha256 ${artifact.identity}" in code


def names_in(folder: Path, suffix: str) -> set[str]:
    return {path.stem for path in folder.rglob(f"*{suffix}")}


@pytest.mark.parametrize("targets", [("onnxruntime",), ("tflite",), ("executorch", "tflite"), tuple(LIBRARIES)])
def test_the_project_has_the_runtimes_of_its_artifacts_alone(targets: tuple[str, ...], tmp_path: Path) -> None:
    bundle([artifact(tmp_path, target) for target in targets], "android-studio", tmp_path / "out")
    kotlin = names_in(tmp_path / "out", ".kt")
    gradle = (tmp_path / "out" / "app" / "build.gradle.kts").read_text()
    (file,) = (tmp_path / "out").rglob("InferenceRuntimes.kt")
    notice = (tmp_path / "out" / "NOTICE.txt").read_text()
    for target, library in LIBRARIES.items():
        there = target in targets
        assert (library.kotlin in kotlin) == there
        assert (f'implementation("{library.maven}:' in gradle) == there
        assert (f'"{target}" to {library.kotlin},' in file.read_text()) == there
        assert (library.licences in notice) == there
    assert kotlin | {library.kotlin for library in LIBRARIES.values()} == names_in(SOURCES, ".kt")


@pytest.mark.parametrize("target", ["tflite", "executorch"])
def test_the_assets_have_a_file_for_every_size(tmp_path: Path, target: str) -> None:
    place = artifact(tmp_path, target, sizes=((64, 64), (96, 128)))
    bundle([place], "android-studio", tmp_path / "out")
    assert content(tmp_path / "out" / "app/src/main/assets/models" / place.name) == content(place)
    readme = (tmp_path / "out" / "README.md").read_text()
    assert readme.count(f"| {place.name} |") == 2


def test_what_is_not_float_in_its_layout_is_refused(tmp_path: Path) -> None:
    place = artifact(tmp_path, "tflite")
    manifest = read_manifest(place)
    for change, found in (({"dtype": "uint8"}, "uint8 in NHWC"), ({"layout": "NCHW"}, "float32 in NCHW")):
        output = replace(manifest.outputs[0], **change)  # type: ignore[arg-type]
        write_manifest(place, replace(manifest, outputs=(output,)))
        with pytest.raises(Unsupported, match=f"float32 in NHWC: its upscaled is {found}"):
            bundle([place], "android-studio", tmp_path / "out")


def test_the_library_is_of_the_release_that_makes_the_artifacts() -> None:
    gradle = (SOURCES / "app" / "build.gradle.kts").read_text()
    (version,) = re.findall(rf"{LIBRARIES['executorch'].maven}:([\d.]+)", gradle)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (wanted,) = [one for one in project["optional-dependencies"]["executorch"] if one.startswith("executorch>")]
    assert f">={version.rpartition('.')[0]}," in wanted
    assert ios.EXECUTORCH.branch == f"swiftpm-{version}"


def test_the_project_is_whole_reproducible_and_says_what_was_not_done(tmp_path: Path) -> None:
    place = artifact(tmp_path / "a")
    bundle([place], "android-studio", tmp_path / "out")
    bundle([artifact(tmp_path / "b" / "c")], "android-studio", tmp_path / "again")
    found = content(tmp_path / "out")
    assert found == content(tmp_path / "again")
    base = f"app/src/main/assets/models/{place.name}"
    assert found[f"{base}/model.onnx"] == (place / "model.onnx").read_bytes()
    assert found[f"{base}/manifest.json"] == (place / "manifest.json").read_bytes()
    sources = {path.relative_to(SOURCES).as_posix() for path in SOURCES.rglob("*") if path.is_file()}
    unused = {f"{library.kotlin}.kt" for target, library in LIBRARIES.items() if target != "onnxruntime"}
    assert {name for name in sources if name.rpartition("/")[2] not in unused} <= found.keys()
    readme = found["README.md"].decode()
    assert all(f"\n{step}. " in readme for step in (1, 2, 3))
    assert "nothing of it was built with Gradle" in readme
    assert "MIT License" in found["NOTICE.txt"].decode()
    assert b"@VERSION@" not in b"".join(found.values())
    for word in builder_words(tmp_path):
        assert [name for name, body in found.items() if word.encode() in body] == []
    with pytest.raises(Unsupported, match=r"openvino, which android-studio does not run"):
        bundle([artifact(tmp_path, "openvino")], "android-studio", tmp_path / "other")
    assert json.loads(found[f"{base}/manifest.json"])["schema"] == 1


COMPILER, COMPILER_HASH = (
    "kotlin-compiler@2.4.20",
    "sha512-IF5IVM7LpPhA/ntHQQpaVt1yxpaaQovtEVYLyqWMuaLr0XelLPPm7/sM6HLhtcRjjjoSsK7I7lP2kzYJkMy73w==",
)
STUBS = ROOT / "tests" / "java" / "stubs"
BOUND_TO_ANDROID = ("MainActivity", "PhotoFile", "Comparison")
"""They need the SDK, and no runtime."""


def kotlin_compiler() -> Path:
    """The folder of its jars, kept between runs."""
    default = Path(os.environ.get("HOME", "/root")) / ".cache" / "edgesr-tests"
    place = Path(os.environ.get("EDGESR_EMULATED_ROOT", default)) / COMPILER
    if not (place / "done").exists():
        place.mkdir(parents=True, exist_ok=True)
        packed = [program("npm"), "pack", "--json", COMPILER]
        done = subprocess.run(packed, cwd=place, capture_output=True, text=True, check=True)
        (facts,) = json.loads(done.stdout)
        assert facts["integrity"] == COMPILER_HASH
        with tarfile.open(place / facts["filename"]) as packed_files:
            packed_files.extractall(place, filter="data")
        (place / facts["filename"]).unlink()
        (place / "done").touch()
    return place / "package"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("targets", [*((target,) for target in LIBRARIES), tuple(LIBRARIES)])
def test_the_runtimes_of_a_project_compile_against_their_libraries_alone(
    targets: tuple[str, ...], tmp_path: Path
) -> None:
    """Stubs have the signatures that were read in the libraries' sources; they prove no more than that."""
    if "EDGESR_KOTLIN" not in os.environ:
        pytest.skip(
            "NO KOTLIN: the app's runtimes are not compiled. EDGESR_KOTLIN=1 fetches npm's kotlin-compiler (90 MB)"
        )
    javac, java, compiler = program("javac"), program("java"), kotlin_compiler()
    bundle([artifact(tmp_path, target) for target in targets], "android-studio", tmp_path / "out")
    stubs = [file for name in ("android", *targets) for file in (STUBS / name).rglob("*.java")]
    core = [*(tmp_path / "out" / "core").rglob("*.java")]
    made = subprocess.run([javac, "--release", "11", "-d", tmp_path / "lib", *core, *stubs], capture_output=True)
    assert made.returncode == 0, made.stderr.decode()
    sources = [file for file in (tmp_path / "out" / "app").rglob("*.kt") if file.stem not in BOUND_TO_ANDROID]
    entry = ["-cp", f"{compiler}/lib/*", "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"]
    options = ["-kotlin-home", compiler, "-jvm-target", "11", "-cp", tmp_path / "lib", "-d", tmp_path / "classes"]
    done = subprocess.run([java, "-Xmx1g", *entry, *options, *sources], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {LIBRARIES[target].kotlin for target in targets} <= names_in(tmp_path / "classes", ".class")
