"""Pictures of the web app for README: `python docs/web_app.py` makes a bundle and enlarges a photo in Chromium.

The photo is a piece of "Chelsea" (Stéfan van der Walt, CC0) from scikit-image; the model is bsrn-s in INT8 and float32,
with the weights and the recipe of this package. Needs npm and chromium, and about a minute.
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PIECE = (90, 50, 330, 210)
MODEL = "bsrn-s"


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo = folder / "chelsea.png"
        _photo(photo)
        take(bundled(folder), photo, ROOT / "docs")


def bundled(folder: Path) -> Path:
    """The web root of a bundle with MODEL in INT8 and float32."""
    from edgesr.bundles import bundle
    from edgesr.pipeline import Session, convert_all
    from edgesr.planned import plan

    planned = plan(MODEL, 4, ["onnxruntime"], ["int8", "fp32"], (), "float32")
    outcome = convert_all(Session(MODEL, 4, int8=True), planned, folder / "artifacts", None, advise=False)
    if outcome.first_error is not None:
        raise outcome.first_error
    bundle([folder / "artifacts" / item.request.slug for item in planned[::-1]], "web", folder / "bundle")
    return folder / "bundle" / "www"


def take(www: Path, photo: Path, out: Path) -> None:
    """A desktop in light, a phone in dark."""
    sys.path.insert(0, str(ROOT / "tests"))
    from browser import chromium, driver, served

    with driver() as playwright, chromium(playwright) as browser, served(www) as address:
        desktop = {"viewport": {"width": 1180, "height": 760}, "color_scheme": "light"}
        phone = {
            "viewport": {"width": 390, "height": 780},
            "device_scale_factor": 2,
            "is_mobile": True,
            "has_touch": True,
            "color_scheme": "dark",
        }
        for name, device in (("desktop", desktop), ("phone", phone)):
            with enlarged(browser, address, photo, device) as page:
                page.screenshot(path=out / f"web-{name}.png")
            _shrink(out / f"web-{name}.png")


@contextmanager
def enlarged(browser: Any, address: str, photo: Path, device: Mapping[str, Any]) -> Iterator[Any]:
    """A page that shows a result."""
    context = browser.new_context(**device)
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.goto(address)
    page.wait_for_selector("body[data-state=empty]")
    page.set_input_files("#file", photo)
    page.wait_for_selector("body[data-state=ready]")
    page.click("#run")
    page.wait_for_selector("body[data-state=done]")
    page.wait_for_timeout(300)
    yield page
    context.close()


def _photo(file: Path) -> None:
    from PIL import Image
    from skimage import data

    Image.fromarray(data.chelsea()).crop(PIECE).save(file)


def _shrink(file: Path) -> None:
    """To 256 colours: a third of the bytes."""
    from PIL import Image

    with Image.open(file) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(file, optimize=True)


if __name__ == "__main__":
    main()
