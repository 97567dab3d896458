"""Pages that were generated say what was measured, of everything there is."""

from pathlib import Path
from typing import Any

import bench_page
import full_sizes_page
import generate
import pytest
import quality
import quality_page
import runs_page
import tiling_page
from small_bundles import builder_words

from edgesr.bench.compare import REGIME
from edgesr.errors import NothingFits
from edgesr.models.registry import SPECS
from edgesr.planned import plan
from edgesr.targets import BASIC

ROOT = Path(__file__).parents[1]
MODELS = [spec.name for spec in SPECS if spec.scale == 4 and spec.name.startswith(("bsrn", "plainusr"))]


ROWS: list[dict[str, Any]] = generate.measured()
RECORDS = quality_page.recorded()
OWN = {way: quality_page.recorded(folder) for way, folder in quality_page.OWN.items()}
RANDOM = full_sizes_page.recorded()
RANDOM_ROWS = [row for rows in RANDOM.values() for row in rows.values()]
FP16_FLOOR_DB = 50
"""Of random weights in full size, against float32."""


def test_the_page_of_targets_is_what_the_generator_writes() -> None:
    assert (ROOT / "docs" / "targets.md").read_text() == generate.targets_page(ROWS, RANDOM)


def test_readme_shows_the_same_int8_figures() -> None:
    assert quality_page.readme_block(RECORDS) in (ROOT / "README.md").read_text()


def test_what_was_measured_on_devices_is_shown_and_says_nothing_of_this_machine() -> None:
    loaded = runs_page.recorded()
    assert loaded is not None
    assert loaded.unread == ()
    assert {run.summary.where.kind for run in loaded.runs} == {"host", "emulated"}
    assert {run.summary.status for run in loaded.runs} == {"done"}
    assert runs_page.readme_block(loaded) in (ROOT / "README.md").read_text()
    assert (ROOT / runs_page.PAGE).read_text() == runs_page.runs_page(loaded)
    lines = "".join(file.read_text() for file in runs_page.RUNS.rglob("*.jsonl"))
    assert [word for word in builder_words() if word in lines] == []


@pytest.mark.parametrize("model", MODELS)
def test_every_target_and_precision_of_a_network_was_tried(model: str) -> None:
    expected = {item.request.slug for item in plan(model, 4, ["all"], BASIC)}
    assert {row["slug"] for row in ROWS if row["model"] == model} == expected


def test_nothing_failed_and_fp32_is_the_network() -> None:
    assert [row["slug"] for row in ROWS if row["status"] == "failed"] == []
    ran = [row for row in ROWS if row["parity_max_abs"] is not None and row["precision"] == "fp32"]
    assert ran
    assert {row["slug"]: row["parity_max_abs"] for row in ran if row["parity_max_abs"] > 1} == {}


def test_what_is_impossible_says_why() -> None:
    assert all(row["error"] for row in ROWS if row["status"] == "impossible")


def test_networks_with_random_weights_say_so_and_are_right() -> None:
    assert RANDOM_ROWS
    assert [row["slug"] for row in RANDOM_ROWS if not row["weights"].startswith("random")] == []
    assert [row["slug"] for row in RANDOM_ROWS if row["status"] != "done" and not row["error"]] == []
    assert [row["slug"] for row in RANDOM_ROWS if row["status"] == "failed"] == []
    ran = [row for row in RANDOM_ROWS if row["parity_max_abs"] is not None]
    parity = {row["slug"]: row["parity_max_abs"] for row in ran if row["precision"] == "fp32"}
    assert {slug: found for slug, found in parity.items() if found > 1} == {}
    judged = [row for row in ran if row["fidelity_db"] is not None]
    assert [row["slug"] for row in judged if row["fidelity_db"] < FP16_FLOOR_DB] == []


def test_the_page_of_tiles_is_what_the_generator_writes() -> None:
    assert (ROOT / "docs" / "tiling.md").read_text() == tiling_page.tiling_page(tiling_page.recorded())


def test_the_page_of_losses_is_what_the_generator_writes() -> None:
    assert (ROOT / "docs" / "quality.md").read_text() == quality_page.quality_page(RECORDS, OWN)


def test_every_record_of_a_loss_belongs_to_a_network_and_is_shown() -> None:
    assert RECORDS
    assert {path.stem for path in quality.RECORDS.glob("*.json")} == RECORDS.keys()


@pytest.mark.parametrize("model", MODELS)
def test_the_page_of_losses_names_a_network_that_was_not_measured(model: str) -> None:
    page = quality_page.quality_page(RECORDS, OWN)
    assert (f"## {model} x4" in page) != (f"`{model}`" in page.partition("Not measured yet:")[2].partition("\n")[0])


@pytest.mark.parametrize("model", RECORDS)
def test_a_measured_network_ran_in_the_runtimes_that_readme_shows_and_in_every_peer(model: str) -> None:
    assert {*quality_page.SHOWN, *quality.peers.PEERS} <= RECORDS[model].keys()
    assert {row["status"] for row in RECORDS[model].values()} == {"done"}


@pytest.mark.parametrize("model", RECORDS)
def test_rows_of_one_network_come_from_one_recipe_one_calibration_and_the_same_images(model: str) -> None:
    rows = RECORDS[model]
    assert len({rows[name]["made_from"] for name in quality.RUN_HERE if name in rows}) == 1
    assert len({row["calibration"]["fingerprint"] for row in rows.values()}) == 1
    assert len({quality_page.sets_of(row) for row in rows.values()}) == 1


def test_the_rules_of_measuring_say_what_the_code_does() -> None:
    page = (ROOT / "docs" / "bench.md").read_text()
    assert bench_page.filled(page) == page, "run: make docs"
    refused = page.partition("## What `compare` refuses")[2].partition("##")[0].lower()
    words = {"threads": "number of threads", "input": "input size", "throttled": "throttled"}
    assert [what for what in REGIME if words.get(what, what.lower()) not in refused] == []
    assert f"exit code {NothingFits.exit_code}" in page
