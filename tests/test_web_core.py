"""The web app's plain modules under node, against cases that the Python code makes; and its strict type check."""

import json
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import program
from PIL import Image

from edgesr.bench.records import Closed, End, Opened, Samples, Start, read
from edgesr.errors import Unsupported
from edgesr.tiling import plan_tiles, tile_for_budget
from edgesr.types import Size

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
INSTALL = ("ci", "--ignore-scripts", "--no-audit", "--no-fund")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of apps/web with its packages, those for development too."""
    npm = program("npm")
    place = tmp_path_factory.mktemp("web") / "web"
    shutil.copytree(ROOT / "apps" / "web", place, ignore=shutil.ignore_patterns("node_modules", "dist", "build"))
    done = subprocess.run([npm, *INSTALL], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return place


def npm(sources: Path, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [program("npm"), *arguments], cwd=sources, capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout


def tiling_cases() -> list[dict[str, Any]]:
    """The rule of edgesr.upscale.plan over images, networks, tiles and budgets of every kind."""
    rng = random.Random(0)
    cases = []
    for _ in range(300):
        multiple = rng.choice([1, 1, 1, 8, 16])
        minimum = multiple * rng.choice([1, 2, 15]) if multiple > 1 else rng.choice([1, 15, 32])
        facts = {
            "scale": rng.choice([2, 3, 4]),
            "haloPx": rng.choice([0, 9, 32]),
            "minSidePx": minimum,
            "multiplePx": multiple,
            "peakBytesPerPx": rng.choice([500, 2380, 3264, 40000]),
            "sizes": [],
        }
        if multiple > 1 or rng.random() < 0.3:  # networks with windows have fixed sizes
            side = [multiple * rng.randint(-(-minimum // multiple), 40) for _ in range(4)]
            facts["sizes"] = [side[:2], side[2:]][: rng.choice([1, 2])]
        height, width = rng.randint(1, 900), rng.randint(1, 1300)
        tile = rng.choice([None, None, 64, 128, 200])
        cases.append(_case(height, width, facts, tile, rng.choice([1, 20, 200])))
    cases.append(_case(3000, 4000, {**_FREE, "peakBytesPerPx": 3264, "haloPx": 32, "minSidePx": 15}, None, 200))
    return cases


_FREE: dict[str, Any] = {"scale": 4, "haloPx": 9, "minSidePx": 1, "multiplePx": 1, "peakBytesPerPx": 2380, "sizes": []}


def _case(height: int, width: int, facts: dict[str, Any], tile_px: int | None, memory_mb: int) -> dict[str, Any]:
    case = {"height": height, "width": width, "facts": facts, "tilePx": tile_px, "memoryMb": memory_mb}
    rule = {"halo_px": facts["haloPx"], "min_side_px": facts["minSidePx"]}
    multiple = facts["multiplePx"]
    tiles: list[Size | None]
    try:
        if facts["sizes"]:
            tiles = [(side[0], side[1]) for side in facts["sizes"]]
        elif tile_px is not None:
            least = facts["minSidePx"]
            tiles = [(max(least, min(tile_px, height)), max(least, min(tile_px, width)))]
        else:
            bytes_per_px = facts["peakBytesPerPx"]
            tiles = [tile_for_budget(height, width, bytes_per_pixel=bytes_per_px, budget_mb=memory_mb, **rule)]
        plans = [
            plan_tiles(height, width, scale=facts["scale"], tile_hw=tile, multiple=multiple, **rule) for tile in tiles
        ]
    except Unsupported:
        return {**case, "refused": True}
    plan = min(plans, key=lambda found: found.waste)
    boxes = [[box.top, box.left, box.core_top, box.core_left, box.core_bottom, box.core_right] for box in plan.boxes]
    return {**case, "refused": False, "tileHw": plan.tile_hw, "paddedHw": plan.padded_hw, "boxes": boxes}


def photo_cases(folder: Path) -> list[dict[str, Any]]:
    """Files by Pillow, with what their headers say."""
    rng = np.random.default_rng(0)
    rgba = Image.fromarray(rng.integers(0, 256, (40, 60, 4), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769).update({0xA002: 60, 0xA003: 40})
    writes: list[tuple[str, str, str, dict[str, Any]]] = [
        ("plain.jpg", "JPEG", "RGB", {}),
        ("turned.jpg", "JPEG", "RGB", {"exif": exif}),
        ("progressive.jpg", "JPEG", "RGB", {"progressive": True}),
        ("grey.jpg", "JPEG", "L", {}),
        ("rgba.png", "PNG", "RGBA", {}),
        ("grey.png", "PNG", "L", {}),
        ("grey_alpha.png", "PNG", "LA", {}),
        ("exif.png", "PNG", "RGB", {"exif": exif}),
        ("lossy.webp", "WebP", "RGB", {}),
        ("lossless.webp", "WebP", "RGBA", {"lossless": True}),
        ("exif.webp", "WebP", "RGB", {"exif": exif}),
        ("palette.gif", "GIF", "P", {}),
        ("plain.bmp", "BMP", "RGB", {}),
    ]
    cases = []
    for name, kind, mode, options in writes:
        rgba.convert(mode).save(folder / name, **options)
        facts = {"file": str(folder / name), "kind": kind, "width": 60, "height": 40}
        cases.append({**facts, "isGrey": mode in ("L", "LA"), "hasExif": "exif" in options})
    return cases


def test_plain_modules_agree_with_the_python_code(sources: Path, tmp_path: Path) -> None:
    cases = tmp_path / "cases.json"
    tiling = tiling_cases()
    assert sum(case["refused"] for case in tiling) >= 10
    assert sum(len(case.get("boxes", ())) > 1 for case in tiling) >= 100
    cases.write_text(json.dumps({"tiling": tiling, "photos": photo_cases(tmp_path)}))
    said = npm(sources, "test", EDGESR_CASES=str(cases))
    assert "\n# fail 0\n" in said
    assert "\n# skipped 0\n" in said, "every case must have run"
    _pngs_are_exact(cases)
    _exif_reads_back(tmp_path / "turned.jpg.out.jpg")
    _records_are_the_kits_own(Path(f"{cases}.jsonl"))


def _pngs_are_exact(cases: Path) -> None:
    raw = np.fromfile(f"{cases}.raw", np.uint8).reshape(150, 37, 4)
    for mode, channels in (("rgba", 4), ("rgb", 3)):
        with Image.open(f"{cases}.{mode}.png") as image:
            assert image.mode == mode.upper()
            assert image.info["Software"] == "edgesr"
            np.testing.assert_array_equal(np.asarray(image), raw[..., :channels])


def _exif_reads_back(file: Path) -> None:
    with Image.open(file) as image:
        image.load()
        exif = image.getexif()
    assert exif[0x0112] == 1
    assert exif.get_ifd(0x8769) == {0xA002: 70000, 0xA003: 123}


def _records_are_the_kits_own(file: Path) -> None:
    records = read(file)
    assert [type(record) for record in records] == [Start, *[Opened, Samples, Closed] * 2, End]
    samples = [record for record in records if isinstance(record, Samples)]
    assert [record.raw_ns for record in samples] == [(1, 2), (1, 2)]


def test_types_are_strict_and_sound(sources: Path) -> None:
    assert json.loads((sources / "tsconfig.json").read_text())["compilerOptions"]["strict"] is True
    npm(sources, "run", "check")
