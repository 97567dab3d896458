"""docs/full_sizes.py, docs/tiling.py and their pages: random weights that behave, and what the tables say."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import full_sizes_page
import numpy as np
import pytest
import records
import tiling_page

torch = pytest.importorskip("torch", reason="needs edgesr[export]")
pytest.importorskip("torchao", reason="needs edgesr[export]")

import full_sizes  # noqa: E402
import random_weights  # noqa: E402
import tiling  # noqa: E402
from test_models import photo_like  # noqa: E402
from test_window_networks import SMALL  # noqa: E402

from edgesr.datasets import EvalPair, generated_pictures  # noqa: E402
from edgesr.errors import DataError  # noqa: E402
from edgesr.models.registry import SPECS, find  # noqa: E402
from edgesr.models.weights import load  # noqa: E402
from edgesr.resize import downscale  # noqa: E402

SCALE = 4


def small(name: str) -> Any:
    module, config = SMALL[name]
    return random_weights.randomized(module.forms(config, SCALE)["train"])


@pytest.mark.parametrize("name", SMALL)
def test_random_weights_make_pictures_and_do_not_amplify_rounding(name: str) -> None:
    network = small(name).fold()
    image = photo_like(32, 48)
    with torch.no_grad():
        output = network(image)
        exact = network.double()(image.double())
    assert 0.2 < float(output.mean()) < 0.7
    assert 0.1 < float(output.std()) < 0.5
    assert float((output - exact).abs().max()) < 1e-5


@pytest.mark.parametrize("name", SMALL)
def test_every_random_weight_takes_part(name: str) -> None:
    network = small(name)
    network(photo_like(32, 48)).square().sum().backward()
    idle = [key for key, weight in network.named_parameters() if weight.requires_grad and not weight.grad.any()]
    assert idle == []


def test_random_weights_are_the_same_each_time_and_load_as_a_checkpoint(tmp_path: Path) -> None:
    for file in ("a", "b"):
        random_weights.write_random_weights(find("ditn-tiny", SCALE), tmp_path / f"{file}.safetensors")
    first, second = (tmp_path / f"{file}.safetensors" for file in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert load("ditn-tiny", SCALE, first).provenance.kind == "user"


def test_every_network_is_measured_with_official_or_with_random_weights() -> None:
    assert {*records.MODELS, *records.RANDOM_MODELS} == {spec.name for spec in SPECS if spec.scale == records.SCALE}


def test_rows_of_both_sizes_are_kept_apart_and_in_order() -> None:
    slugs = full_sizes.order("hat-s")
    assert len(set(slugs)) == len(slugs)
    assert slugs[0] == "hat-s_x4_onnxruntime_fp32_64x64"
    assert [slug.endswith("_64x64") for slug in slugs] == [True] * (len(slugs) // 2) + [False] * (len(slugs) // 2)
    assert not any("int8" in slug for slug in slugs)


def row(precision: str, size: str = "64x64", **changed: Any) -> dict[str, Any]:
    found = {"status": "done", "bytes": 2_000_000, "convert_s": 12.34, "peak_mb": 567, "parity_max_abs": 1}
    more = {"target": "tflite", "fidelity_db": 61.23, "runtime": "litert", "error": None, "machine": "a machine"}
    named = {"slug": f"hat-s_x4_tflite_{precision}_{size}", "precision": precision, "weights": "random, seed 0"}
    return named | found | more | changed


def test_the_section_says_random_and_shows_the_worst_of_a_size() -> None:
    rows = [row("fp32"), row("fp16", fidelity_db=55.5, parity_max_abs=3, peak_mb=999), row("fp32", "256x256")]
    section = full_sizes_page.section({"hat-s": {found["slug"]: found for found in rows}})
    assert "random weights (random, seed 0)" in section
    assert "| `hat-s` | 64x64 | 2 | 2 | 12 | 999 | 1/255 | 55.5 |" in section
    assert "### hat-s x4 at 256x256\n" in section
    assert "| tflite | fp16 | ✅ | 2000 | 12.3 | 999 | 3/255 | 55.5 | litert |" in section


def test_the_section_gives_the_reason_of_what_is_impossible() -> None:
    nothing = dict.fromkeys(("bytes", "convert_s", "peak_mb", "parity_max_abs", "fidelity_db", "runtime"))
    line = full_sizes_page.size_line(row("fp16") | nothing | {"status": "impossible", "error": "no float16 | here"})
    assert line == ["tflite", "fp16", "❎", "", "", "", "", "", "no float16 / here"]


def test_only_images_that_were_cut_count_and_random_weights_say_nothing_of_the_truth() -> None:
    images = [
        tiling.Tiled("whole", 1, 40.0, 40.0, float("inf")),
        tiling.Tiled("a", 4, 30.0, 29.9, 50.0),
        tiling.Tiled("b", 6, 28.0, 28.1, 40.0),
    ]
    known = tiling.record(find("bsrn", SCALE), "official", "Set14", 96, images)
    assert (known.images, known.tiles, known.whole_psnr_db, known.drop_db) == ("Set14 (2 of 3)", 10, 29.0, 0.0)
    assert (known.worst_image, known.worst_drop_db, known.between_db, known.least_between_db) == ("a", 0.1, 45, 40)
    unknown = tiling.record(find("hat-s", SCALE), "random, seed 0", "Set14", 96, images)
    assert (unknown.whole_psnr_db, unknown.drop_db, unknown.worst_image, unknown.between_db) == (None, None, None, 45)
    with pytest.raises(DataError, match="larger than a tile of 96"):
        tiling.record(find("bsrn", SCALE), "official", "Set14", 96, images[:1])


def test_tiles_with_enough_halo_are_equal_in_the_table() -> None:
    spec = find("plainusr-t", SCALE)
    network = load("plainusr-t", SCALE).folded
    high = generated_pictures(1, 256)[0]

    def run(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(x)).numpy()

    found = tiling.compare(run, EvalPair("leaves", downscale(high, SCALE), high), spec, 40)
    assert found.tiles > 1
    assert found.drop_db == 0
    line = tiling_page.line(asdict(tiling.record(spec, "official", "leaves", 40, [found])))
    assert line[-2:] == ["equal", ""]
