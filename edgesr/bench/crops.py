"""Crops before and after, from the folder of a measurement into a page, with a map of what differs."""

import base64
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgesr.bench.before_after import KINDS, folder_of
from edgesr.bench.runs import Run

Pixels = npt.NDArray[np.uint8]
GAIN = 32
"""Of the map: a difference of one 8-bit level is 32, of eight and more white."""
MOST_IMAGES = 4
MOST_FILE_BYTES = 8 << 20
MOST_SIDE_PX = 1024


@dataclass(frozen=True, slots=True)
class Crop:
    """Of one image: data URIs by kind ("low", "high", "reference", "artifact", "difference"), those that there are.
    `largest`: of the difference between artifact and reference, in 8-bit levels. `unread`: why a file is not shown."""

    name: str
    uris: Mapping[str, str]
    largest: int | None
    unread: tuple[str, ...] = ()


def crops(run: Run) -> tuple[Crop, ...]:
    """Of the first few images that there are crops of; a file that is no small PNG is left out and named."""
    sha256 = run.summary.subject.sha256
    if not re.fullmatch(r"[0-9a-f]{12,64}", sha256):
        return ()  # from outside: it could lead to any folder
    folder = folder_of(run.file.parent, sha256)
    names = sorted(
        {file.stem.rpartition("_")[0] for file in folder.glob("*.png") if file.stem.rpartition("_")[2] in KINDS}
    )
    return tuple(_crop(folder, name) for name in names[:MOST_IMAGES])


def difference(artifact: Pixels, reference: Pixels) -> Pixels:
    """uint8 (H, W, 3): GAIN times the absolute difference of two images of this shape."""
    levels = np.abs(artifact.astype(np.int16) - reference)
    amplified: Pixels = np.minimum(levels * GAIN, 255).astype(np.uint8)
    return amplified


def _crop(folder: Path, name: str) -> Crop:
    pixels: dict[str, Pixels] = {}
    unread = []
    for kind in KINDS:
        file = folder / f"{name}_{kind}.png"
        if file.exists():
            try:
                pixels[kind] = _read(file)
            except (OSError, ValueError) as error:
                unread.append(f"{file.name}: {error}")
    largest = None
    if "artifact" in pixels and "reference" in pixels:
        if pixels["artifact"].shape == pixels["reference"].shape:
            largest = int(np.abs(pixels["artifact"].astype(np.int16) - pixels["reference"]).max())
            pixels["difference"] = difference(pixels["artifact"], pixels["reference"])
        else:
            unread.append("the artifact's crop and the reference's are of different sizes: no map of differences")
    return Crop(name, {kind: _uri(found) for kind, found in pixels.items()}, largest, tuple(unread))


def _read(file: Path) -> Pixels:
    """Raises OSError, ValueError."""
    from PIL import Image

    if file.stat().st_size > MOST_FILE_BYTES:
        raise ValueError(f"larger than {MOST_FILE_BYTES >> 20} MiB")
    content = io.BytesIO(file.read_bytes())
    try:
        with Image.open(content, formats=["PNG"]) as image:
            size = image.size
            pixels = np.asarray(image.convert("RGB")) if max(size) <= MOST_SIDE_PX else None
    except Exception as error:  # an open set: whatever Pillow raises for what is none, or too large even to look at
        raise ValueError(f"no PNG that can be read ({type(error).__name__})") from error
    if pixels is None:
        raise ValueError(f"{size[0]}x{size[1]} pixels are no crop (at most {MOST_SIDE_PX} a side)")
    return pixels


def _uri(pixels: Pixels) -> str:
    """Written anew, so that nothing but pixels of a foreign file gets into the page."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
