"""The Android bundle: a signed, aligned APK whose page works in Chromium as it would in the phone's WebView.

No phone and no emulator runs it here. What can be checked is: signature, alignment, manifest, classes, the shell's
logic on a JVM, and the page out of the APK with the shell's bridge played by the test and other requests refused.
"""

import base64
import hashlib
import io
import json
import re
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import chromium, driver, program
from PIL import Image
from small_bundles import artifact, builder_words, content, stand_in_app

from edgesr.bundles import android, bundle, signing, tools
from edgesr.bundles.options import Options
from edgesr.cli import main
from edgesr.doctor import diagnose
from edgesr.errors import BundleError, MissingTool, Unsupported, UsageError

ROOT = Path(__file__).parents[1]
SHELL = ROOT / "apps" / "android" / "shell"
SHELL_CLASSES = ("MainActivity", "Outbox")
HOST = "appassets.androidplatform.net"
REFERENCE = re.compile(r"L(android/[\w/$]+);")


@pytest.fixture(scope="module", autouse=True)
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the key for trying out is kept; made once."""
    place = tmp_path_factory.mktemp("config")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(place))
        yield place


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a stand-in for the web app."""
    for name in ("aapt", "zipalign", "apksigner", "dexdump", "java"):
        program(name)
    place = tmp_path_factory.mktemp("android")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        stand_in_app()
        bundle([artifact(place, precision=precision) for precision in ("int8", "fp32")], "android", place / "out")
    return place / "out"


def said(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files(apk: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(apk) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


# ---------------------------------------------------------------------------------------------------- the APK


def test_the_apk_is_signed_and_aligned(made: Path) -> None:
    apk = made / "edgesr.apk"
    signed = said("apksigner", "verify", "-v", "--min-sdk-version", "24", apk)
    assert "v2 scheme (APK Signature Scheme v2): true" in signed
    assert "v3 scheme (APK Signature Scheme v3): true" in signed
    said("zipalign", "-c", "-p", "4", apk)
    with zipfile.ZipFile(apk) as archive:
        # Android 11 and newer refuse an app whose table of resources is compressed.
        assert archive.getinfo("resources.arsc").compress_type == zipfile.ZIP_STORED
        assert archive.getinfo("classes.dex").compress_type == zipfile.ZIP_DEFLATED


def test_it_asks_for_nothing_and_can_be_started(made: Path) -> None:
    badging = said("aapt", "dump", "badging", made / "edgesr.apk")
    assert "permission" not in badging
    assert "package: name='org.edgesr.sample' versionCode='1'" in badging
    assert "launchable-activity: name='org.edgesr.sample.MainActivity'" in badging
    assert "sdkVersion:'24'" in badging
    tree = said("aapt", "dump", "xmltree", made / "edgesr.apk", "AndroidManifest.xml")
    assert re.search(r"android:exported\S+=\(type 0x12\)0x0", tree)  # of the provider
    assert not re.search(r"android:debuggable", tree)


def test_the_classes_are_those_of_the_java_sources(made: Path, tmp_path: Path) -> None:
    (tmp_path / "classes.dex").write_bytes(files(made / "edgesr.apk")["classes.dex"])
    dump = said("dexdump", "-f", tmp_path / "classes.dex")
    found = set(re.findall(r"Class descriptor  : 'Lorg/edgesr/sample/(\w+)", dump))
    assert found == {path.stem for path in (SHELL / "java").rglob("*.java")}
    code = said("dexdump", "-d", tmp_path / "classes.dex")
    for called in ("setAllowFileAccess:(Z)V", "shouldInterceptRequest", "addJavascriptInterface"):
        assert called in code + dump


def test_the_assembly_was_made_from_these_sources() -> None:
    java = b"".join(path.read_bytes() for path in sorted((SHELL / "java").rglob("*.java")))
    assert (SHELL / "smali" / "made_from").read_text().strip() == hashlib.sha256(java).hexdigest()
    named = {name for path in (SHELL / "smali").rglob("*.smali") for name in REFERENCE.findall(path.read_text())}
    assert not any(name.startswith(("android/net/http", "android/telephony", "android/location")) for name in named)


def test_it_holds_the_artifacts_and_the_page_without_its_service_worker(made: Path, tmp_path: Path) -> None:
    found = files(made / "edgesr.apk")
    for place in (artifact(tmp_path, precision=precision) for precision in ("int8", "fp32")):
        for name, body in content(place).items():
            assert found[f"assets/www/models/{place.name}/{name}"] == body
    assert {"assets/www/index.html", "assets/www/NOTICE.txt", "assets/www/bundle.json"} <= found.keys()
    assert not {"assets/www/sw.js", "assets/www/precache.js"} & found.keys()
    assert all(not name.startswith("/") and ".." not in name for name in found)
    readme = (made / "README.md").read_text()
    assert all(f"\n{step}. " in readme for step in (1, 2, 3))
    assert hashlib.sha256((made / "edgesr.apk").read_bytes()).hexdigest() in readme
    assert "MIT License" in (made / "NOTICE.txt").read_text()


def test_the_same_artifacts_and_key_give_the_same_bytes_with_nothing_of_the_builder(made: Path, tmp_path: Path) -> None:
    stand_in_app()
    bundle([artifact(tmp_path, precision=precision) for precision in ("int8", "fp32")], "android", tmp_path / "out")
    assert content(tmp_path / "out") == content(made)
    whole = b"".join([*files(made / "edgesr.apk").values(), *content(made).values()])
    for word in builder_words(tmp_path.parent):
        assert word.encode() not in whole


# ---------------------------------------------------------------------------------------------------- keys


def test_a_key_for_trying_out_is_made_once_for_its_owner_alone(configuration: Path, made: Path) -> None:
    key = configuration / "edgesr" / "android-debug.p12"
    assert key.stat().st_mode & 0o777 == 0o600
    assert signing.debug_keystore() == key
    assert [path.name for path in key.parent.iterdir()] == [key.name]


def test_one_s_own_key_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program("keytool")
    store = tmp_path / "release.p12"
    kind = ["-storetype", "PKCS12", "-alias", "mine", "-keyalg", "EC", "-validity", "9999", "-dname", "CN=Someone"]
    said("keytool", "-genkeypair", "-keystore", store, *kind, "-storepass", "secret words")
    stand_in_app()
    place = artifact(tmp_path)
    options = Options(keystore=store, key_alias="mine")
    with pytest.raises(UsageError, match="EDGESR_KEYSTORE_PASSWORD"):
        bundle([place], "android", tmp_path / "out", options=options)
    monkeypatch.setenv("EDGESR_KEYSTORE_PASSWORD", "wrong words")
    with pytest.raises(BundleError, match="Is the password right"):
        bundle([place], "android", tmp_path / "out", options=options)
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("EDGESR_KEYSTORE_PASSWORD", "secret words")
    bundle([place], "android", tmp_path / "out", options=options)
    assert "CN=Someone" in said("apksigner", "verify", "--print-certs", tmp_path / "out" / "edgesr.apk")
    assert "Keep that key" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Options(keystore=Path("/nowhere/my.jks")), "There is no keystore /nowhere/my.jks"),
        (Options(key_alias="mine"), "Add --keystore"),
        (Options(offline=True), "--offline is for rpi and jetson, not for android"),
    ],
)
def test_options_that_cannot_be(made: Path, tmp_path: Path, options: Options, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        bundle([artifact(tmp_path)], "android", tmp_path / "out", options=options)


# ---------------------------------------------------------------------------------------------------- refused


def test_without_the_tools_the_line_to_install_them_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main(["bundle", str(artifact(tmp_path)), "-p", "android", "-o", str(tmp_path / "out")])
    assert ended.value.code == MissingTool.exit_code
    shown = capsys.readouterr().err
    assert "apt-get install aapt zipalign apksigner libsmali-java android-framework-res" in shown
    assert "Traceback" not in shown
    states = {tool.name: tool for tool in diagnose().tools}
    assert states["aapt"].version is None
    assert states["aapt"].install == tools.TOOLS["aapt"].install


def test_an_artifact_that_no_page_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"ncnn, which android does not run.*--target onnxruntime"):
        bundle([artifact(tmp_path, "ncnn")], "android", tmp_path / "out")


def test_a_zip_is_the_same_whatever_the_order_and_the_clock(tmp_path: Path) -> None:
    android.write_zip(tmp_path / "a", {"b.txt": b"2" * 999, "a.png": b"1" * 999})
    android.write_zip(tmp_path / "b", {"a.png": b"1" * 999, "b.txt": b"2" * 999})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with zipfile.ZipFile(tmp_path / "a") as archive:
        kinds = {member.filename: member.compress_type for member in archive.infolist()}
    assert kinds == {"a.png": zipfile.ZIP_STORED, "b.txt": zipfile.ZIP_DEFLATED}


# ---------------------------------------------------------------------------------------------------- the shell


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the compiled classes."""
    program("javac")
    out = tmp_path_factory.mktemp("classes")
    said(
        "javac",
        "-Xlint:all",
        "-Werror",
        "-d",
        out,
        *(SHELL / "java").rglob("Paths.java"),
        ROOT / "tests/java/PathsCheck.java",
    )
    return out


def test_what_waits_to_be_saved_outlives_the_app_and_what_cannot_be_saved_is_deleted() -> None:
    code = {
        name: (SHELL / "smali" / "org" / "edgesr" / "sample" / f"{name}.smali").read_text() for name in SHELL_CLASSES
    }
    assert ".method protected onSaveInstanceState(Landroid/os/Bundle;)V" in code["MainActivity"]
    assert "Landroid/os/Bundle;->getString(" in code["MainActivity"]
    assert "Landroid/provider/DocumentsContract;->deleteDocument(" in code["Outbox"]


def test_only_the_app_s_own_files_are_answered(paths: Path) -> None:
    cases = {
        f"asset\thttps\t{HOST}\t/": "www/index.html",
        f"asset\thttps\t{HOST}\t/models/a_b/model.onnx": "www/models/a_b/model.onnx",
        f"asset\thttp\t{HOST}\t/index.html": "null",
        "asset\thttps\tevil.example\t/index.html": "null",
        f"asset\thttps\t{HOST}.evil.example\t/index.html": "null",
        f"asset\thttps\t{HOST}\t/../AndroidManifest.xml": "null",
        f"asset\thttps\t{HOST}\t/a//b": "null",
        f"asset\thttps\t{HOST}\t/a/./b": "null",
        f"asset\thttps\t{HOST}\t/.hidden": "null",
        f"asset\thttps\t{HOST}\t/a\\..\\b": "null",
        f"asset\thttps\t{HOST}\t": "null",
        "type\ta/b.wasm": "application/wasm false",
        "type\ta.mjs": "text/javascript true",
        "type\tINDEX.HTML": "text/html true",
        "type\tmodel.onnx": "application/octet-stream false",
        "gives way\tcat_x4.png\tdog_x4.png": "true",
        "gives way\tpicture.jpg\tpicture.jpg": "true",
        "gives way\tcat_x4.png\tpicture.jpg": "false",
        "gives way\tpicture.jpg\tcat_x4.png": "false",
        "name\tcat_x4.png": "cat_x4.png",
        "name\t../../etc/passwd": "_._.._etc_passwd",
        "name\t/a/b.png": "_a_b.png",
        "name\t.hidden": "_hidden",
        "name\t": "photo",
        "name\tÜber uns.png": "Über uns.png",
        f"name\t{'x' * 300}": "x" * 100,
    }
    done = subprocess.run(
        ["java", "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-cp", str(paths), "org.edgesr.sample.PathsCheck"],
        input="\n".join(cases),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert dict(zip(cases, done.stdout.splitlines(), strict=True)) == cases


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_page_in_the_apk_upscales_and_hands_its_result_to_the_shell(
    tmp_path: Path,
) -> None:
    """Every file comes out of the APK with the types that Paths.java gives; any other request fails. Without the
    headers of isolation, which a WebView does not heed: one thread."""
    program("npm")
    from test_board import SCALE
    from test_board import artifact as repeating

    bundle([repeating(tmp_path)], "android", tmp_path / "out")
    inside = files(tmp_path / "out" / "edgesr.apk")
    photo = Image.effect_mandelbrot((90, 70), (-2, -1, 1, 1), 50).convert("RGB")
    photo.save(tmp_path / "photo.png")
    refused: list[str] = []

    def answer(route: object, request: object) -> None:
        scheme, _, rest = request.url.partition("://")  # type: ignore[attr-defined]
        host, _, path = rest.partition("/")
        body = inside.get(f"assets/www/{path or 'index.html'}") if (scheme, host) == ("https", HOST) else None
        if body is None:
            refused.append(request.url)  # type: ignore[attr-defined]
            route.abort()  # type: ignore[attr-defined]
            return
        headers = {
            "Content-Type": TYPES.get(path.rpartition(".")[2], "application/octet-stream"),
            "Cross-Origin-Resource-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
        }
        route.fulfill(status=200, headers=headers, body=body)  # type: ignore[attr-defined]

    with driver() as playwright, chromium(playwright) as browser:
        context = browser.new_context(**playwright.devices["Pixel 7"])
        context.route("**/*", answer)
        context.add_init_script(BRIDGE)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.goto(f"https://{HOST}/index.html")
        page.wait_for_selector("body[data-state=empty]")
        page.set_input_files("#file", tmp_path / "photo.png")
        page.wait_for_selector("body[data-state=ready]")
        page.click("#run")
        page.wait_for_selector("body[data-state=done]")
        page.click("#quick-save")
        handed = page.evaluate("window.handedOver")
        assert page.is_visible("#share")
    assert (handed["name"], handed["type"], handed["left"]) == (f"photo_x{SCALE}.png", "image/png", "save")
    result = np.asarray(Image.open(io.BytesIO(b"".join(map(base64.b64decode, handed["pieces"])))).convert("RGB"))
    np.testing.assert_array_equal(result, np.asarray(photo).repeat(SCALE, 0).repeat(SCALE, 1))
    assert refused == []
    assert json.loads(inside["assets/www/bundle.json"])["models"]


TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript",
    "mjs": "text/javascript",
    "css": "text/css",
    "json": "application/json",
    "webmanifest": "application/json",
    "svg": "image/svg+xml",
    "wasm": "application/wasm",
}
BRIDGE = """
if (!("handedOver" in window)) {
  window.handedOver = new Promise((hand) => {
    const handed = { pieces: [] };
    const leave = (left) => { hand({ ...handed, left }); return true; };
    window.edgesrShell = {
      begin: (name, type) => { Object.assign(handed, { name, type, pieces: [] }); return true; },
      append: (piece) => { handed.pieces.push(piece); return true; },
      save: () => leave("save"),
      share: () => leave("share"),
    };
  });
}
"""
