"""The web bundle in a real Chromium: pixels against the Python runner, threads, GPU, offline, and what can go wrong.

The app is built and three artifacts are converted once (about 40 s); each case then takes a few seconds.
"""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import SOFTWARE_GPU, chromium, driver, program, served
from PIL import Image

from edgesr.artifact import file_sha256, read_manifest
from edgesr.bench.records import Opened, Samples, Start, read
from edgesr.bench.subject import read_item
from edgesr.bundles import bundle
from edgesr.images import read_photo, upscale_photo
from edgesr.pipeline import Session, convert_all
from edgesr.planned import plan
from edgesr.runner import open_artifact
from edgesr.tiling import run_tiled
from edgesr.upscale import Options
from edgesr.upscale import plan as plan_photo

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MODEL = "plainusr-t"
APP_MEMORY_MB = 200
WAIT_MS = 90_000


@dataclass(frozen=True, slots=True)
class Built:
    """`artifacts`: by "onnx fp32", "onnx int8", "tflite int8". `www`: of the bundle with all of ONNX, or LiteRT's."""

    artifacts: dict[str, Path]
    www: Path
    www_tflite: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    program("npm")
    place = tmp_path_factory.mktemp("web")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        artifacts = {}
        for name, target, precisions, sizes in (
            ("onnx", "onnxruntime", ["fp32", "int8"], ()),
            ("tflite", "tflite", ["int8"], ((64, 64),)),
        ):
            planned = plan(MODEL, 4, [target], precisions, sizes, "float32")
            session = Session(MODEL, 4, int8=True)
            outcome = convert_all(session, planned, place / "artifacts", None, advise=False)
            assert outcome.first_error is None
            for item in planned:
                artifacts[f"{name} {item.request.precision}"] = place / "artifacts" / item.request.slug
        bundle([artifacts["onnx int8"], artifacts["onnx fp32"]], "web", place / "onnx")
        bundle([artifacts["tflite int8"]], "web", place / "tflite")
    return Built(artifacts, place / "onnx" / "www", place / "tflite" / "www")


@pytest.fixture(scope="module")
def playwright() -> Iterator[Any]:
    with driver() as found:
        yield found


@pytest.fixture(scope="module")
def browser(playwright: Any) -> Iterator[Any]:
    with chromium(playwright) as found:
        yield found


@pytest.fixture
def context(browser: Any) -> Iterator[Any]:
    made = browser.new_context(viewport={"width": 1280, "height": 800})
    yield made
    made.close()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small photos of every kind: cat.png, turned.jpg (EXIF), grey.png, glass.png (transparent)."""
    from skimage import data

    folder = tmp_path_factory.mktemp("photos")
    cat = Image.fromarray(data.chelsea()).crop((100, 60, 196, 132))
    cat.save(folder / "cat.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "maker"
    cat.save(folder / "turned.jpg", exif=exif, quality=95)
    cat.convert("L").save(folder / "grey.png")
    glass = cat.convert("RGBA")
    glass.putalpha(Image.linear_gradient("L").resize(cat.size))
    glass.save(folder / "glass.png")
    return folder


def opened(context: Any, address: str) -> Any:
    """A page that is ready for a photo."""
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(address)
    page.wait_for_selector("body[data-state=empty]")
    return page


def take(page: Any, photo: Path | dict[str, Any]) -> None:
    page.set_input_files("#file", photo)
    page.wait_for_selector("body[data-state=ready]")


def choose(page: Any, precision: str = "INT8", threads: int | None = None) -> None:
    page.click(f"#precision button:text-is('{precision}')")
    if threads is not None:
        page.select_option("#threads", str(threads))


def run(page: Any) -> dict[str, str]:
    """Enlarge, and what the page says of it."""
    page.click("#run")
    page.wait_for_selector("body[data-state=done], #alert:visible")
    assert page.locator("#alert:visible").all_inner_texts() == []
    return {fact.get_attribute("data-fact"): fact.inner_text() for fact in page.locator("[data-fact]").all()}


def saved(page: Any, folder: Path, kind: str = "png") -> Path:
    page.select_option("#format", kind)
    with page.expect_download() as waiting:
        page.click("#save")
    file = folder / waiting.value.suggested_filename
    waiting.value.save_as(file)
    return file


def by_python(artifact: Path, photo: Path) -> np.ndarray[Any, Any]:
    """float (H, W, 4) in 8-bit levels: what `edgesr upscale` writes with the app's tiles, before rounding."""
    manifest = read_manifest(artifact)
    source = read_photo(photo)
    tiles = plan_photo(source.height, source.width, manifest, Options(memory_mb=APP_MEMORY_MB))
    runner = open_artifact(artifact, threads=1)
    larger = upscale_photo(source, lambda image: run_tiled(runner, image, tiles), manifest.scale)
    alpha = np.ones(larger.rgb.shape[:2], np.float32) if larger.alpha is None else larger.alpha
    return np.floor(np.dstack([larger.rgb, alpha]) * 255 + 0.5)


def levels(file: Path) -> np.ndarray[Any, Any]:
    with Image.open(file) as image:
        return np.asarray(image.convert("RGBA")).astype(np.float64)


# ------------------------------------------------------------------------------------------------- the same pixels


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_page_computes_what_the_python_runner_computes(
    built: Built, context: Any, photos: Path, tmp_path: Path, precision: str, threads: int
) -> None:
    with served(built.www) as address:
        page = opened(context, address)
        take(page, photos / "cat.png")
        choose(page, precision.upper(), threads)
        facts = run(page)
        file = saved(page, tmp_path)
    assert facts["threads"] == str(threads)
    assert facts["backend"] == "CPU"
    assert "onnxruntime-web" in facts["runtime"]
    expected = by_python(built.artifacts[f"onnx {precision}"], photos / "cat.png")
    assert np.abs(levels(file) - expected).max() <= 1
    assert file.name == "cat_x4.png"


@pytest.mark.parametrize("threads", [1, 2])
def test_litert_artifacts_run_in_litert_js(
    built: Built, context: Any, photos: Path, tmp_path: Path, threads: int
) -> None:
    with served(built.www_tflite) as address:
        page = opened(context, address)
        take(page, photos / "cat.png")
        choose(page, threads=threads)
        facts = run(page)
        file = saved(page, tmp_path)
    assert facts["runtime"].startswith("LiteRT.js")
    assert (facts["backend"], facts["threads"]) == ("CPU", str(threads))
    assert int(facts["tiles"]) == 4
    assert np.abs(levels(file) - by_python(built.artifacts["tflite int8"], photos / "cat.png")).max() <= 1


def test_webgpu_computes_the_same_in_float(built: Built, playwright: Any, photos: Path, tmp_path: Path) -> None:
    """On a GPU emulated in software: slow, so the photo is tiny."""
    with Image.open(photos / "cat.png") as cat:
        cat.resize((24, 16)).save(tmp_path / "tiny.png")
    with chromium(playwright, *SOFTWARE_GPU) as browser, served(built.www) as address:
        page = opened(browser.new_context(), address)
        take(page, tmp_path / "tiny.png")
        choose(page, "FP32")
        page.click("[data-engine=gpu]")
        facts = run(page)
        file = saved(page, tmp_path)
    assert facts["backend"].startswith("WebGPU (")
    assert "some operators" not in facts["backend"]
    assert np.abs(levels(file) - by_python(built.artifacts["onnx fp32"], tmp_path / "tiny.png")).max() <= 1


def test_without_a_gpu_it_cannot_be_chosen(built: Built, context: Any) -> None:
    with served(built.www) as address:
        page = opened(context, address)
        assert page.locator("[data-engine=gpu]").is_disabled()
        assert "this browser offers no WebGPU" in page.inner_text("#engine-note")


def test_orientation_grey_and_transparency_are_as_in_python(
    built: Built, context: Any, photos: Path, tmp_path: Path
) -> None:
    artifact = built.artifacts["onnx int8"]
    with served(built.www) as address:
        page = opened(context, address)
        for name in ("turned.jpg", "grey.png", "glass.png"):
            take(page, photos / name)
            run(page)
            found, expected = levels(saved(page, tmp_path)), by_python(artifact, photos / name)
            assert found.shape == expected.shape, name
            assert np.abs(found - expected).max() <= 1.5, name
            if name == "grey.png":
                assert (found[..., 0] == found[..., 1]).all()


@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
def test_every_orientation_is_turned_upright_as_in_python(
    built: Built, context: Any, photos: Path, tmp_path: Path, kind: str
) -> None:
    artifact = built.artifacts["onnx int8"]
    exif = Image.Exif()
    with served(built.www) as address, Image.open(photos / "cat.png") as cat:
        page = opened(context, address)
        for orientation in range(1, 9):
            exif[0x0112] = orientation
            photo = tmp_path / f"turned{orientation}.{kind}"
            cat.save(photo, exif=exif, **({"lossless": True} if kind == "webp" else {"quality": 95}))
            take(page, photo)
            run(page)
            file = saved(page, tmp_path)
            found, expected = levels(file), by_python(artifact, photo)
            assert found.shape == expected.shape, orientation
            assert np.abs(found - expected).max() <= 1.5, orientation
            with Image.open(file) as image:
                assert image.getexif()[0x0112] == 1


def test_saved_files_keep_exif_only_if_wanted_and_name_what_made_them(
    built: Built, context: Any, photos: Path, tmp_path: Path
) -> None:
    with served(built.www) as address:
        page = opened(context, address)
        take(page, photos / "turned.jpg")
        run(page)
        with Image.open(saved(page, tmp_path)) as png:
            assert png.getexif()[0x010F] == "maker"
            assert png.getexif()[0x0112] == 1
            identity = read_item(built.artifacts["onnx int8"], None, None).subject.sha256
            assert f"{MODEL}_x4_onnxruntime_int8_dynamic, sha256 {identity}, onnxruntime-web" in png.info["Comment"]
        with Image.open(saved(page, tmp_path, "jpeg")) as jpeg:
            assert (jpeg.format, jpeg.size) == ("JPEG", (72 * 4, 96 * 4))
            assert jpeg.getexif()[0x010F] == "maker"
        page.uncheck("#keep")
        with Image.open(saved(page, tmp_path)) as png:
            assert dict(png.getexif()) == {}


# ------------------------------------------------------------------------------------------------- hosts and networks


def test_a_host_without_headers_gets_threads_from_the_service_worker(
    built: Built, context: Any, photos: Path, tmp_path: Path
) -> None:
    with served(built.www, isolated=False) as address:
        page = opened(context, address)
        assert page.evaluate("crossOriginIsolated")
        take(page, photos / "cat.png")
        choose(page, threads=2)
        assert run(page)["threads"] == "2"


@pytest.mark.parametrize("www", ["www", "www_tflite"])
def test_without_isolation_one_thread_computes_and_the_page_says_so(
    built: Built, browser: Any, photos: Path, tmp_path: Path, www: str
) -> None:
    context = browser.new_context(service_workers="block")
    with served(getattr(built, www), isolated=False) as address:
        page = opened(context, address)
        assert not page.evaluate("crossOriginIsolated")
        assert "One thread only" in page.inner_text("#engine-note")
        take(page, photos / "cat.png")
        facts = run(page)
        file = saved(page, tmp_path)
    context.close()
    assert facts["threads"] == "1"
    artifact = built.artifacts["onnx int8" if www == "www" else "tflite int8"]
    assert np.abs(levels(file) - by_python(artifact, photos / "cat.png")).max() <= 1


def test_after_the_first_load_it_works_without_a_server(
    built: Built, context: Any, photos: Path, tmp_path: Path
) -> None:
    with served(built.www, isolated=False) as address:
        page = opened(context, address)
        page.wait_for_selector("#offline-chip:visible")
    page.close()
    context.set_offline(True)
    page = opened(context, address)
    take(page, photos / "cat.png")
    choose(page, "FP32", threads=2)
    assert run(page)["threads"] == "2"
    expected = by_python(built.artifacts["onnx fp32"], photos / "cat.png")
    assert np.abs(levels(saved(page, tmp_path)) - expected).max() <= 1


def test_notices_open_over_the_page_and_other_pages_of_the_host_stay_its_own(
    context: Any, www: Path, photos: Path
) -> None:
    (www / "other.html").write_text("<p>another page of the host</p>")
    with served(www, isolated=False) as address:
        page = opened(context, address)
        page.wait_for_selector("#offline-chip:visible")
        other = context.new_page()
        other.goto(f"{address}other.html")
        assert other.inner_text("body") == "another page of the host"
    context.set_offline(True)
    take(page, photos / "cat.png")
    page.click("#about summary")
    page.click("#show-notices")
    page.wait_for_selector("#notices-text:has-text('MIT License')")
    assert page.inner_text("#notices-text").split() == (www / "NOTICE.txt").read_text("utf-8-sig").split()
    page.click("#notices button")
    page.wait_for_selector("#notices", state="hidden")
    assert page.inner_text("#photo-name") == "cat.png"


def test_a_forced_reload_which_passes_the_service_worker_by_gets_threads_again(built: Built, context: Any) -> None:
    with served(built.www, isolated=False) as address:
        opened(context, address).close()
        page = opened(context, address)
        page.evaluate("document.body.dataset.state = 'before'")
        context.new_cdp_session(page).send("Page.reload", {"ignoreCache": True})
        page.wait_for_selector("body[data-state=empty]")
        assert page.evaluate("crossOriginIsolated")


def test_a_page_that_never_gets_the_service_worker_starts_with_one_thread(built: Built, context: Any) -> None:
    with served(built.www, isolated=False) as address:
        opened(context, address).close()
        page = context.new_page()
        session = context.new_cdp_session(page)
        session.send("Network.enable")
        session.send("Network.setBypassServiceWorker", {"bypass": True})
        page.goto(address)
        page.wait_for_selector("body[data-state=empty]")
        assert "One thread only" in page.inner_text("#engine-note")


def test_where_site_data_is_blocked_one_thread_computes(built: Built, context: Any, photos: Path) -> None:
    context.add_init_script(
        "Object.defineProperty(window, 'sessionStorage', {get() { throw new DOMException('', 'SecurityError'); }});"
    )
    with served(built.www, isolated=False) as address:
        page = opened(context, address)
        take(page, photos / "cat.png")
        assert run(page)["threads"] == "1"


def test_an_engine_that_cannot_be_kept_is_still_served(built: Built, context: Any) -> None:
    with served(built.www, isolated=False) as address:
        page = opened(context, address)
        page.wait_for_selector("#offline-chip:visible")
        full = {"origin": address.rstrip("/"), "quotaSize": 1}
        context.new_cdp_session(page).send("Storage.overrideQuotaForOrigin", full)
        size = "fetch('runtime/ort-wasm-simd-threaded.asyncify.wasm').then(r => r.blob()).then(b => b.size)"
        file = built.www / "runtime" / "ort-wasm-simd-threaded.asyncify.wasm"
        assert page.evaluate(size) == file.stat().st_size


def test_nothing_but_the_bundle_is_ever_asked_for(built: Built, context: Any, photos: Path) -> None:
    asked = []
    with served(built.www) as address:
        context.on("request", lambda request: asked.append(request.url))
        page = opened(context, address)
        take(page, photos / "cat.png")
        run(page)
    assert asked
    assert [url for url in asked if not url.startswith((address, "blob:", "data:"))] == []


def test_the_page_can_be_installed(built: Built, context: Any) -> None:
    with served(built.www) as address:
        page = opened(context, address)
        manifest = json.loads(page.evaluate("fetch(document.querySelector('[rel=manifest]').href).then(r => r.text())"))
        for icon in manifest["icons"]:
            loads = (
                "url => new Promise(done => { const i = new Image(); i.onload = () => done(i.width); i.src = url; })"
            )
            assert page.evaluate(loads, icon["src"]) > 0
        session = context.new_cdp_session(page)
        assert session.send("Page.getInstallabilityErrors")["installabilityErrors"] in (
            [],
            [{"errorId": "in-incognito", "errorArguments": []}],
        )


# ------------------------------------------------------------------------------------------------- long work


def test_twelve_megapixels_can_be_cancelled_and_the_page_never_freezes(
    built: Built, context: Any, photos: Path, tmp_path: Path
) -> None:
    with Image.open(photos / "cat.png") as cat:
        cat.resize((4000, 3000)).save(tmp_path / "large.jpg", quality=80)
    with served(built.www) as address:
        page = opened(context, address)
        take(page, tmp_path / "large.jpg")
        assert "16000×12000 (192 Mpx)" in page.inner_text(".sizes")
        page.evaluate(
            "window.gaps = []; let last = performance.now();"
            "const tick = () => { const now = performance.now(); gaps.push(now - last); last = now;"
            " requestAnimationFrame(tick); }; requestAnimationFrame(tick);"
        )
        page.click("#run")
        page.locator("#progress-text").filter(has_text=re.compile("^[23] of")).wait_for()
        assert "per tile" in page.inner_text("#progress-text")
        page.click("#cancel")
        page.wait_for_selector("body[data-state=ready]", timeout=5000)
        gaps = page.evaluate("gaps")
        assert len(gaps) > 20
        assert max(gaps) < 2500, "the page stood still"
        assert page.locator("#alert:visible").count() == 0
        # ... and goes on to work
        take(page, photos / "cat.png")
        run(page)


def focused(page: Any) -> str:
    return str(page.evaluate("document.activeElement.id || document.activeElement.textContent"))


def test_the_keyboard_never_loses_its_place(built: Built, context: Any, photos: Path, tmp_path: Path) -> None:
    with Image.open(photos / "cat.png") as cat:
        cat.resize((960, 720)).save(tmp_path / "long.png")
    with served(built.www) as address:
        page = opened(context, address)
        page.focus("#choose")
        take(page, photos / "cat.png")
        assert focused(page) == "run"
        page.focus("#precision button:text-is('FP32')")
        page.keyboard.press("Enter")
        assert focused(page) == "FP32"
        assert page.get_attribute("#precision button:text-is('FP32')", "aria-pressed") == "true"
        page.focus("#run")
        page.keyboard.press("Enter")
        page.wait_for_selector("body[data-state=done]")
        assert focused(page) == "run"
        take(page, tmp_path / "long.png")
        page.focus("#run")
        page.keyboard.press("Enter")
        page.locator("#progress-text").filter(has_text="tiles").wait_for()
        assert focused(page) == "cancel"
        page.keyboard.press("Enter")
        page.wait_for_selector("body[data-state=ready]")
        assert focused(page) == "run"


def test_screen_readers_hear_of_start_and_end_and_can_ask_how_far_it_is(
    built: Built, context: Any, photos: Path
) -> None:
    with served(built.www) as address:
        page = opened(context, address)
        take(page, photos / "cat.png")
        page.evaluate(
            "window.spoken = []; new MutationObserver(() => spoken.push(document.querySelector('#spoken').textContent))"
            ".observe(document.querySelector('#spoken'), {childList: true});"
        )
        run(page)
        start, end = page.evaluate("spoken")
        assert start == "Enlarging the photo …"
        assert end.startswith("Enlarged to 384×288 in ")
        assert page.get_by_role("img", name="The enlarged photo").count() == 1
        assert page.get_attribute("#bar", "aria-valuenow") == "100"
        slider = page.get_by_role("slider", name="Before and after")
        slider.focus()
        page.keyboard.press("Home")
        assert slider.get_attribute("aria-valuetext") == "0 % before, 100 % after"
        ring = "getComputedStyle(document.querySelector('#divider span')).outlineStyle"
        assert page.evaluate(ring) == "solid"


def test_a_benchmark_exports_records_that_the_kit_reads(
    built: Built, context: Any, photos: Path, tmp_path: Path
) -> None:
    with served(built.www) as address:
        page = opened(context, address)
        take(page, photos / "cat.png")
        choose(page, threads=1)
        page.click("#bench summary")
        page.click("#bench-run")
        page.wait_for_selector("#bench-export:visible")
        assert "320×180: median" in page.inner_text("#bench-text")
        with page.expect_download() as waiting:
            page.click("#bench-export")
        waiting.value.save_as(tmp_path / "run.jsonl")
    records = read(tmp_path / "run.jsonl")
    start, samples = records[0], [record for record in records if isinstance(record, Samples)]
    assert isinstance(start, Start)
    assert (start.subject.model, start.subject.precision, start.subject.size) == (MODEL, "int8", (180, 320))
    assert start.regime.threads == 1
    assert start.inputs.count == 16
    assert [len(record.raw_ns) for record in samples] == [10]
    assert min(samples[0].raw_ns) > 1_000_000
    (cold,) = [record for record in records if isinstance(record, Opened)]
    assert cold.load_ns > 0
    assert "cat" not in (tmp_path / "run.jsonl").read_text(), "the name of a photo is nobody's business"


# ------------------------------------------------------------------------------------------------- what goes wrong


def bomb() -> bytes:
    """A PNG that says it is 30000x30000."""
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (30000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    return head + bytes(40)


@pytest.mark.parametrize(
    ("name", "content", "kind", "words"),
    [
        ("text.png", b"this is no image", "photo", "no image, or of a kind that this browser does not know"),
        ("empty.jpg", b"", "photo", "This file is empty"),
        ("cut.png", None, "photo", "PNG file is damaged or cut short"),
        ("bomb.png", bomb(), "too-large", "30000x30000 is 900 megapixels"),
    ],
    ids=["text", "empty", "cut", "bomb"],
)
def test_a_bad_file_is_refused_in_words_and_the_photo_before_it_stays(
    built: Built, context: Any, photos: Path, name: str, content: bytes | None, kind: str, words: str
) -> None:
    if content is None:
        content = (photos / "cat.png").read_bytes()[:60]
    with served(built.www) as address:
        page = opened(context, address)
        take(page, photos / "cat.png")
        page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": content})
        page.wait_for_selector("#alert:visible")
        assert page.get_attribute("#alert", "data-kind") == kind
        assert words in page.inner_text("#alert")
        assert page.inner_text("#photo-name") == "cat.png"
        run(page)


@pytest.fixture
def www(built: Built, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(built.www, tmp_path / "www"))


def test_a_photo_too_large_for_another_scale_is_refused_before_it_is_enlarged(
    browser: Any, www: Path, photos: Path
) -> None:
    file = next(www.glob("models/*int8*/manifest.json"))
    file.write_text(file.read_text().replace('"scale": 4', '"scale": 2'))
    facts = json.loads((www / "bundle.json").read_text())
    for entry in facts["models"]:
        entry["manifest_sha256"] = file_sha256(www / entry["path"] / "manifest.json")
    (www / "bundle.json").write_text(json.dumps(facts))
    context = browser.new_context(service_workers="block")
    # A quarter of it has room for 96x72 pixels twice as large, not four times.
    context.add_init_script("Object.defineProperty(navigator, 'deviceMemory', {value: 1e-3});")
    with served(www) as address:
        page = opened(context, address)
        take(page, photos / "cat.png")
        page.select_option("#model", label="plainusr-t ×4, ONNX")
        page.wait_for_selector("#alert:visible")
        for _ in ("chosen", "enlarged"):
            assert page.get_attribute("#alert", "data-kind") == "too-large"
            assert "96x72 is 0.0 megapixels" in page.inner_text("#alert")
            assert page.get_attribute("body", "data-state") == "ready"
            page.click("#run")
        page.select_option("#model", label="plainusr-t ×2, ONNX")
        assert page.locator("#alert:visible").count() == 0
    context.close()


@pytest.mark.parametrize("spoil", ["change", "shorten"])
def test_a_changed_model_is_not_run(browser: Any, www: Path, photos: Path, spoil: str) -> None:
    file = next(www.glob("models/*int8*/model.onnx"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content if spoil == "change" else content[:-1])
    context = browser.new_context(service_workers="block")
    with served(www) as address:
        page = opened(context, address)
        take(page, photos / "cat.png")
        page.click("#run")
        page.wait_for_selector("#alert:visible")
        assert page.get_attribute("#alert", "data-kind") == "artifact"
        assert "model.onnx was changed" in page.inner_text("#alert")
        assert page.get_attribute("body", "data-state") == "ready"
    context.close()


def test_a_changed_manifest_stops_the_page_with_a_sentence(browser: Any, www: Path) -> None:
    file = next(www.glob("models/*int8*/manifest.json"))
    file.write_text(file.read_text().replace('"halo_px": 9', '"halo_px": 0'))
    context = browser.new_context(service_workers="block")
    with served(www) as address:
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector("body[data-state=broken]")
        assert "manifest.json was changed after the bundle was made" in page.inner_text("#alert")
    context.close()


def test_what_reads_photos_says_so_when_its_files_are_missing_and_is_started_again(
    browser: Any, www: Path, photos: Path
) -> None:
    script = www / "app" / "photo_worker.js"
    script.rename(www / "elsewhere.js")
    context = browser.new_context(service_workers="block")
    with served(www) as address:
        page = opened(context, address)
        page.set_input_files("#file", photos / "cat.png")
        page.wait_for_selector("#alert:visible")
        assert "its files cannot be loaded" in page.inner_text("#alert")
        assert page.get_attribute("body", "data-state") == "empty"
        (www / "elsewhere.js").rename(script)
        take(page, photos / "cat.png")
    context.close()


def test_an_engine_whose_files_are_missing_says_so(browser: Any, www: Path, photos: Path) -> None:
    (www / "runtime" / "ort-wasm-simd-threaded.wasm").unlink()
    context = browser.new_context(service_workers="block")
    with served(www) as address:
        page = opened(context, address)
        take(page, photos / "cat.png")
        page.click("#run")
        page.wait_for_selector("#alert:visible")
        assert page.get_attribute("#alert", "data-kind") == "engine"
        assert page.get_attribute("body", "data-state") == "ready"
    context.close()
