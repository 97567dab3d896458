"""What apps/ios/EdgeSRKit is tested against, made by the Python code.

PYTHONPATH=tests python -m ios_cases      # writes apps/ios/EdgeSRKit/Tests/EdgeSRKitTests/cases.json
"""

import copy
import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from edgesr.errors import Unsupported
from edgesr.images import Photo, upscale_photo
from edgesr.metrics import to_uint8
from edgesr.tiling import plan_tiles, run_tiled

FILE = Path(__file__).parents[1] / "apps" / "ios" / "EdgeSRKit" / "Tests" / "EdgeSRKitTests" / "cases.json"
SCALE = 2


def cases() -> dict[str, Any]:
    return {
        "tiling": _tiling(),
        "pixels": [_pixels(*one) for one in _photos()],
        "percentiles": _percentiles(),
        "manifest": json.dumps(MANIFEST),
        "filePerSize": json.dumps(_file_per_size(64, 96)),
        "wrong": _wrong(),
    }


def text() -> str:
    return json.dumps(cases(), sort_keys=True) + "\n"


def _tiling() -> list[dict[str, Any]]:
    rng = random.Random(0)
    found = []
    for _ in range(60):
        multiple = rng.choice([1, 1, 8, 16])
        tile = [multiple * rng.randint(2, 200 // multiple) for _ in range(2)]
        one: dict[str, Any] = {
            "height": rng.randint(1, 400),
            "width": rng.randint(1, 500),
            "haloPx": rng.choice([0, 9, 32]),
            "minSidePx": multiple * rng.choice([1, 2]),
            "multiplePx": multiple,
            "scale": rng.choice([2, 3, 4]),
            "tile": tile,
            "boxes": None,
        }
        try:
            plan = plan_tiles(
                one["height"],
                one["width"],
                scale=one["scale"],
                halo_px=one["haloPx"],
                tile_hw=(tile[0], tile[1]),
                min_side_px=one["minSidePx"],
                multiple=multiple,
            )
            one["boxes"] = [
                [box.top, box.left, box.core_top, box.core_left, box.core_bottom, box.core_right] for box in plan.boxes
            ]
        except Unsupported:
            pass
        if len(one["boxes"] or ()) < 60:
            found.append(one)
    return found


def _photos() -> list[tuple[str, Photo, tuple[int, int]]]:
    rng = np.random.default_rng(0)
    rgb = (rng.integers(0, 256, (13, 17, 3)) / 255).astype(np.float32)
    alpha = (rng.choice([0, 1, 90, 255], (13, 17)) / 255).astype(np.float32)
    grey = np.repeat(rgb[..., :1], 3, axis=2)
    spots = np.zeros((5, 90), np.float32)  # one is farther from the end than colour is carried
    spots[1, 2], spots[4, 40] = 0.9, 1
    wide = (rng.integers(0, 256, (5, 90, 3)) / 255).astype(np.float32)
    return [
        ("mostly invisible", Photo(wide, spots), (5, 32)),
        ("opaque in tiles", Photo(rgb), (8, 9)),
        ("smaller than the tile", Photo(rgb), (24, 40)),
        ("transparent", Photo(rgb, alpha), (8, 8)),
        ("grey", Photo(grey, is_grey=True), (13, 17)),
        ("grey and transparent", Photo(grey, alpha, is_grey=True), (8, 8)),
    ]


def _squares(x: np.ndarray) -> np.ndarray:
    """Each value's square, every pixel twice in both directions."""
    return (x * x).repeat(SCALE, axis=2).repeat(SCALE, axis=3)


def _pixels(name: str, photo: Photo, tile: tuple[int, int]) -> dict[str, Any]:
    plan = plan_tiles(photo.height, photo.width, scale=SCALE, halo_px=2, tile_hw=tile)
    large = upscale_photo(photo, lambda image: run_tiled(_squares, image, plan), SCALE)
    return {
        "name": name,
        "width": photo.width,
        "height": photo.height,
        "haloPx": 2,
        "tile": tile,
        "isGrey": photo.is_grey,
        "rgba": _rgba(photo),
        "expected": _rgba(large),
    }


def _rgba(photo: Photo) -> list[int]:
    alpha = np.ones(photo.rgb.shape[:2], np.float32) if photo.alpha is None else photo.alpha
    values: list[int] = to_uint8(np.dstack([photo.rgb, alpha])).ravel().tolist()
    return values


def _percentiles() -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    found = []
    for count in (1, 2, 5, 40):
        values = rng.normal(10, 3, count).round(3).tolist()
        found += [
            {"values": values, "share": share, "expected": float(np.percentile(values, 100 * share))}
            for share in (0.0, 0.5, 0.9, 1.0)
        ]
    return found


_TENSOR = {
    "name": "image",
    "shape": [1, 3, 64, 64],
    "dtype": "float32",
    "layout": "NCHW",
    "value_range": [0.0, 1.0],
    "colour": "RGB",
}
MANIFEST: dict[str, Any] = {
    "schema": 1,
    "slug": "bsrn-s_x4_coreml_int8_64x64+96x128",
    "request": {
        "model": "bsrn-s",
        "scale": 4,
        "target": "coreml",
        "precision": "int8",
        "sizes": [[64, 64], [96, 128]],
        "io": "float32",
    },
    "scale": 4,
    "main": "model.mlpackage",
    "files": [{"name": "model.mlpackage/weights", "sha256": "ab" * 32, "bytes": 7}],
    "inputs": [_TENSOR],
    "outputs": [{**_TENSOR, "name": "upscaled", "shape": [1, 3, 256, 256]}],
    "min_side_px": 15,
    "halo_px": 9,
    "multiple_px": 1,
    "peak_bytes_per_px": 3264,
    "weights": {"kind": "official", "file": "w.pth", "sha256": "1" * 64},
    "shares": {"int8_macs": 0.98},
    "proof": None,
}
_WRONG: list[tuple[str, list[Any], Any]] = [
    ("schema", ["schema"], 2),
    ("request.target", ["request", "target"], "onnxruntime"),
    ("request.sizes", ["request", "sizes"], []),
    ("request.sizes", ["request", "sizes"], [[64]]),
    ("request.sizes", ["request", "sizes"], [[64, -1]]),
    ("scale", ["scale"], 0),
    ("scale", ["scale"], 2.5),
    ("main", ["main"], "other.mlpackage"),
    ("files", ["files"], "none"),
    ("files.name", ["files", 0, "name"], "../../Library/weights"),
    ("files.name", ["files", 0, "name"], "/etc/passwd"),
    ("files.name", ["files", 0, "name"], "a//b"),
    ("files.sha256", ["files", 0, "sha256"], "xyz"),
    ("files.bytes", ["files", 0, "bytes"], -1),
    ("inputs.dtype", ["inputs", 0, "dtype"], "uint8"),
    ("inputs.layout", ["inputs", 0, "layout"], "NHWC"),
    ("outputs.value_range", ["outputs", 0, "value_range"], [0, 255]),
    ("outputs.colour", ["outputs", 0, "colour"], "BGR"),
    ("halo_px", ["halo_px"], -1),
    ("weights", ["weights"], None),
]


def _file_per_size(*heights: int) -> dict[str, Any]:
    """An executorch artifact for the sizes of MANIFEST; `heights`: of those whose file is there."""
    made: dict[str, Any] = copy.deepcopy(MANIFEST)
    made["request"]["target"] = "executorch"
    names = [f"model_{height}x{width}.pte" for height, width in made["request"]["sizes"] if height in heights]
    made["files"] = [{"name": name, "sha256": "cd" * 32, "bytes": 7} for name in names]
    made["main"] = names[0]
    return made


def _wrong() -> list[dict[str, str]]:
    found = [{"field": "the file", "manifest": "{"}]
    found += [{"field": "files has no model_96x128.pte", "manifest": json.dumps(_file_per_size(64))}]
    for field, path, value in _WRONG:
        manifest = copy.deepcopy(MANIFEST)
        place: Any = manifest
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        found.append({"field": field, "manifest": json.dumps(manifest)})
    return found


if __name__ == "__main__":
    FILE.write_text(text())
    print(FILE, len(text()))
