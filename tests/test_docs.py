"""Pages that were generated say what was measured, of everything there is."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edgesr.models.registry import SPECS
from edgesr.pipeline import plan
from edgesr.targets import BASIC

ROOT = Path(__file__).parents[1]
MODELS = [spec.name for spec in SPECS if spec.scale == 4 and spec.name.startswith(("bsrn", "plainusr"))]


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = _generator()
ROWS: list[dict[str, Any]] = GENERATOR.measured()


def test_the_page_of_targets_is_what_the_generator_writes() -> None:
    assert (ROOT / "docs" / "targets.md").read_text() == GENERATOR.targets_page(ROWS)


def test_readme_shows_the_same_int8_figures() -> None:
    assert GENERATOR.int8_block(ROWS) in (ROOT / "README.md").read_text()


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
