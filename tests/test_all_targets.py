"""Two networks through every target by the command line, INT8 by ranges alone, and how far INT8 outputs agree."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs edgesr[all]")

from edgesr.datasets import built_in_set
from edgesr.metrics import psnr_db
from edgesr.runner import open_artifact
from edgesr.targets import TARGETS
from edgesr.verify import Pixels, fit, run

SIZE = (128, 128)
PRECISIONS = {"plainusr-t": ("fp32", "fp16", "int8"), "bsrn-s": ("fp32",)}
"""INT8 of BSRN-S: test_contract, test_target_executorch, test_every_bundle."""

AGREEMENT_DB = 48.0
LESS_AGREEMENT_DB = {"openvino": 42.0, "ncnn": 45.0}
"""The one computes what is not integer in bfloat16, the other the image's convolution in float."""
ROUND_OTHERWISE = {"tensorrt": "takes symmetric ranges only, so its scales are wider"}
"""Targets whose runtime cannot express the roundings of the one graph; their notes say so."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=PRECISIONS)
def converted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Any]:
    """Model, folder of artifacts, rows."""
    model, out = request.param, tmp_path_factory.mktemp(request.param)
    shared = Path(__file__).resolve().parents[2] / "shared" / "weights"
    options = [part for precision in PRECISIONS[model] for part in ("-p", precision)]
    options += ["--quick"] if "int8" in PRECISIONS[model] else []
    options += ["--size", "x".join(map(str, SIZE)), "-o", str(out), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "edgesr.cli", "convert", model, "-t", "all", *options],
        capture_output=True,
        text=True,
        env=os.environ | ({"EDGESR_WEIGHTS_DIR": str(shared)} if shared.is_dir() else {}),
    )
    assert done.returncode == 0, done.stderr
    return model, out, json.loads(done.stdout)


@pytest.mark.timeout(1500)
def test_every_target_takes_it(converted: tuple[str, Path, Any]) -> None:
    model, out, rows = converted
    assert [(row["target"], row["precision"]) for row in rows] == list(itertools.product(TARGETS, PRECISIONS[model]))
    for row in rows:
        info = TARGETS[row["target"]]
        assert row["status"] == ("done" if row["precision"] in info.precisions else "impossible"), row
        if row["status"] == "done":
            assert (out / row["slug"] / "manifest.json").is_file()
            assert row["peak_mb"] > 100
        if row["precision"] == "fp32" and info.runtime is not None:
            assert row["parity_max_abs"] <= 1, row
    executorch = [row for row in rows if row["target"].startswith("executorch") and row["status"] == "done"]
    assert {row["slug"]: row["delegated_share"] for row in executorch if row["delegated_share"] < 0.95} == {}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("converted", ["plainusr-t"], indirect=True)
def test_int8_outputs_of_any_two_targets_that_round_alike_agree(converted: tuple[str, Path, Any]) -> None:
    _, out, rows = converted
    slugs = {
        row["target"]: row["slug"]
        for row in rows
        if row["precision"] == "int8" and row["parity_max_abs"] is not None and row["target"] not in ROUND_OTHERWISE
    }
    assert len(slugs) >= 5
    photos = [fit(pair.low, pair.high, 4, SIZE)[0] for pair in built_in_set(4)]
    outputs = {target: _outputs(out / slug, photos) for target, slug in slugs.items()}
    found = {
        (a, b): float(
            np.mean([min(99.0, psnr_db(x, y, "rgb", 4)) for x, y in zip(outputs[a], outputs[b], strict=True)])
        )
        for a, b in itertools.combinations(outputs, 2)
        if TARGETS[a].float_outputs == TARGETS[b].float_outputs
    }
    for (a, b), value in found.items():
        print(f"{a} - {b}: {value:.1f} dB, levels apart {_histogram(outputs[a], outputs[b])}")
    assert {pair: round(value, 1) for pair, value in found.items() if value < _least_agreement_db(pair)} == {}


def _least_agreement_db(pair: tuple[str, str]) -> float:
    return min(LESS_AGREEMENT_DB.get(target, AGREEMENT_DB) for target in pair)


def _outputs(folder: Path, photos: list[Pixels]) -> list[Pixels]:
    runner = open_artifact(folder)
    return [run(runner, photo) for photo in photos]


def _histogram(a: list[Pixels], b: list[Pixels]) -> dict[int, int]:
    """Difference in 8-bit levels -> how many values."""
    apart = np.concatenate([np.abs(x.astype(int) - y.astype(int)).ravel() for x, y in zip(a, b, strict=True)])
    return {int(level): int(count) for level, count in zip(*np.unique(apart, return_counts=True), strict=True)}
