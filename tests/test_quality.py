"""docs/quality.py and its page: what is measured again, what the tables say, and that peers are really run."""

import importlib.util
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import flat
import numpy as np
import pytest
import records

torch = pytest.importorskip("torch", reason="needs edgesr[export]")
pytest.importorskip("torchao", reason="needs edgesr[export]")

import peers  # noqa: E402
import quality  # noqa: E402
import quality_page  # noqa: E402
from small_networks import MIN_SIDE_PX, SCALE, run, source  # noqa: E402

from edgesr import datasets, isolation, verify  # noqa: E402
from edgesr.artifact import Proof, SetQuality, file_sha256  # noqa: E402
from edgesr.errors import MissingExtra  # noqa: E402
from edgesr.listener import Silent  # noqa: E402
from edgesr.resize import downscale  # noqa: E402
from edgesr.runner.contract import Array, InputRule  # noqa: E402

ROOT = Path(__file__).parents[1]


def proof(mean_db: float, worst_db: float) -> Proof:
    found = SetQuality("Set5", 5, "paper-y", 30.0 - mean_db, 30.0, mean_db, "bird", worst_db)
    return Proof(9, 45.0, 40.04, (found,), {"runtime": "onnxruntime 1.31"}, 0.123)


def row(name: str, mean_db: float = 0.04, worst_db: float = 0.3) -> dict[str, Any]:
    return asdict(
        quality.Record(
            name,
            "0" * 64,
            "a machine",
            "done",
            1.0,
            calibration={"source": "10 images of X4", "fingerprint": "1" * 64},
            int8_macs=0.963,
            recipe_int8_macs=0.963,
            on_flat=flat.Deviation(1, 12),
            proof=proof(mean_db, worst_db),
        )
    )


def rows(**changed: dict[str, Any]) -> dict[str, Any]:
    return {name: row(name) for name in quality.NAMES} | changed


def cells(table: str, start: str) -> list[str]:
    (found,) = (line for line in table.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_the_overview_says_what_each_runtime_and_each_peer_loses() -> None:
    found = cells(
        quality_page.overview({"bsrn-s": rows(ncnn=row("ncnn", 0.09, 0.44), nncf=row("nncf", 1.5, 4.0))}), "["
    )
    drops = ["0.090" if name == "ncnn" else "0.040" for name in quality.RUN_HERE]
    assert found[:-4] == ["[`bsrn-s`](#bsrn-s-x4)", "kept", *drops, "0.44", "96.3%"]
    assert found[-4:] == ["1.50 / 4.00", "0.04 / 0.30", "0.04 / 0.30", "0.04 / 0.30"]


@pytest.mark.parametrize(
    ("model", "mean_db", "worst_db", "said"),
    [
        ("bsrn", 0.10, 0.5, "kept"),
        ("bsrn", 0.101, 0.5, "not kept: ncnn"),
        ("bsrn", 0.10, 0.501, "not kept: ncnn"),
        ("plainusr", 0.08, 0.5, "kept"),
        ("plainusr", 0.081, 0.5, "not kept: ncnn"),
    ],
)
def test_the_contract_is_that_of_the_family(model: str, mean_db: float, worst_db: float, said: str) -> None:
    found = rows(ncnn=row("ncnn", mean_db, worst_db), nncf=row("nncf", 9.0, 9.0))
    assert quality_page.overview_cells(model, found)[0] == said


def test_what_failed_is_not_kept_and_what_was_not_measured_is_said() -> None:
    failed = asdict(quality.Record("ncnn", "", "a machine", "failed", 1.0, "it | broke"))
    found = rows(ncnn=failed)
    assert quality_page.overview_cells("bsrn", found)[0] == "not kept: ncnn"
    assert "failed" in quality_page.overview_cells("bsrn", found)
    assert "it / broke" in quality_page.model_table(found)
    del found["nncf"], found["ncnn"]
    assert quality_page.overview_cells("bsrn", found)[0] == "kept where measured"
    assert quality_page.overview_cells("bsrn", found).count("not measured") == 2


def test_a_line_of_a_network_names_sets_worst_image_colour_and_flat_inputs() -> None:
    found = cells(quality_page.model_table({"onnxruntime": row("onnxruntime")}), "recipe")
    assert found == ["recipe", "onnxruntime 1.31", "+0.040", "+0.30", "Set5/bird", "40.0", "0.12", "1 / 12", "96.3%"]


def test_a_row_is_measured_again_for_another_recipe_or_other_photos(tmp_path: Path) -> None:
    recipe = tmp_path / "bsrn-s.json"
    recipe.write_text("{}")
    photos = quality.Photos("photos", source("plainusr").calibration)
    fingerprint = photos.calibration.fingerprint
    kept = {"ncnn": row("ncnn") | {"made_from": file_sha256(recipe)}, "nncf": row("nncf") | {"made_from": fingerprint}}
    assert [name for name in quality.NAMES if quality.done(kept, name, recipe, photos)] == ["ncnn", "nncf"]
    recipe.write_text("{ }")
    kept["nncf"]["made_from"] = "others"
    assert [name for name in quality.NAMES if quality.done(kept, name, recipe, photos)] == []
    kept["nncf"] |= {"made_from": fingerprint, "status": "failed"}
    assert not quality.done(kept, "nncf", recipe, photos)


def test_records_come_back_in_the_order_of_the_table(tmp_path: Path) -> None:
    assert records.read(tmp_path, "bsrn-s") == {}
    records.write(tmp_path, "bsrn-s", {"b": 1, "a": 2, "stranger": 3}, ["a", "b", "c"])
    assert list(records.read(tmp_path, "bsrn-s").items()) == [("a", 2), ("b", 1)]


class Brighter:
    """A fake runner: nearest neighbour, everything `levels` brighter."""

    scale, accepts = SCALE, InputRule()

    def __init__(self, levels: int) -> None:
        self.levels = levels

    def __call__(self, x: Array) -> Array:
        return (x.repeat(SCALE, axis=2).repeat(SCALE, axis=3) + np.float32(self.levels / 255)).astype(np.float32)

    def describe(self) -> dict[str, str]:
        return {"runtime": "none"}


class Cornered(Brighter):
    """Wrong in one corner only."""

    def __call__(self, x: Array) -> Array:
        output = super().__call__(x)
        output[..., -1, -1] += np.float32(20 / 255)
        return output


def test_flat_inputs_show_the_largest_deviation_inside_and_at_the_border() -> None:
    patches = flat.patches(Brighter(0))
    assert [int(patch.output.max()) for patch in patches] == list(flat.LEVELS)
    assert flat.deviation(Brighter(0), patches) == flat.Deviation(0, 0)
    assert flat.deviation(Brighter(3), patches) == flat.Deviation(3, 3)
    assert flat.deviation(Cornered(3), patches) == flat.Deviation(3, 23)


def test_a_proof_holds_the_shift_of_the_mean_colour() -> None:
    grey = np.full((16, 16, 3), 100, np.uint8)
    images = datasets.PhotoSet("grey", (datasets.EvalPair("grey", grey[::SCALE, ::SCALE], grey + np.uint8(1)),))
    expected = verify.references(Brighter(0), [images], SCALE, Silent())
    assert verify.prove(Brighter(3), expected, Silent()).colour_shift_255 == 3.0
    assert verify.prove(Brighter(0), expected, Silent()).colour_shift_255 == 0.0


def test_an_artifact_that_is_as_perfect_as_the_network_loses_nothing() -> None:
    """Infinite PSNR on both sides has no difference."""
    black = np.zeros((16, 16, 3), np.uint8)
    images = datasets.PhotoSet("black", (datasets.EvalPair("black", black[::SCALE, ::SCALE], black),))
    expected = verify.references(Brighter(0), [images], SCALE, Silent())
    perfect = verify.prove(Brighter(0), expected, Silent())
    assert verify.lost(perfect) == (0.0, 0.0)
    assert verify.Limit().holds(perfect)
    worse = verify.prove(Brighter(1), expected, Silent())
    assert not verify.Limit().holds(worse)
    assert worse.sets[0].psnr_fp32_db == verify.EQUAL_DB


def job(peer: str) -> peers.Job:
    """A network of a few channels with random weights, on one generated picture."""
    small = source("plainusr")
    assert small.calibration is not None
    high = datasets.generated_pictures(1, 96)[0]
    images = datasets.PhotoSet("generated", (datasets.EvalPair("leaves", downscale(high, SCALE), high),))
    expected = verify.references(lambda x: run(small.network, x), [images], SCALE, Silent())
    network = peers.Network(small.float_onnx, small.calibration.photos, SCALE, MIN_SIDE_PX["plainusr"])
    return peers.Job(peer, network, expected, flat.patches(lambda x: run(small.network, x)))


@pytest.mark.parametrize("peer", peers.PEERS)
def test_a_peer_quantizes_the_network_and_is_judged_like_an_artifact(peer: str) -> None:
    if importlib.util.find_spec(peers.PEERS[peer].packages[0]) is None:
        pytest.skip("needs edgesr[peers]")
    found = isolation.run(peers.run, job(peer), Silent(), 300).value
    assert found.proof.runtime["runtime"].partition(" ")[0] in peers.PEERS[peer].packages
    assert found.proof.sets[0].images == 1
    assert found.proof.parity_max_abs > 1, "fp32 parity: nothing was rounded"
    assert found.proof.fidelity_db is not None
    assert found.proof.fidelity_db > 20, found.proof
    assert 0 <= found.on_flat.inside_255 <= found.on_flat.anywhere_255 <= 255


def test_without_nncf_the_pip_line_is_given() -> None:
    code = "import sys; sys.modules['nncf'] = None; import peers; peers.load_nncf()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "docs")
    assert MissingExtra.__name__ in done.stderr
    assert "pip install 'edgesr[peers]'" in done.stderr


def test_nncf_is_loaded_without_telemetry() -> None:
    if importlib.util.find_spec("nncf") is None:
        pytest.skip("needs edgesr[peers]")
    code = (
        "import sys, peers; peers.load_nncf(); from nncf.telemetry import wrapper; "
        "print(isinstance(wrapper.telemetry, wrapper.NNCFTelemetry), 'openvino_telemetry' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "docs", check=True)
    assert done.stdout.split()[-2:] == ["False", "False"]
