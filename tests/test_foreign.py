"""Model files without a manifest give the same pixels as the artifact that they were taken from."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs edgesr[export]")

from edgesr.datasets import generated_pictures
from edgesr.errors import ArtifactError, Unsupported, UsageError
from edgesr.metrics import to_input
from edgesr.pipeline import Session, convert_all
from edgesr.planned import plan
from edgesr.runner import open_artifact
from edgesr.runner.foreign import TARGETS, Foreign, open_foreign

MODEL = "plainusr-t"
SIZE = (32, 48)
LAYOUTS = {"tflite": "NHWC"}


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("artifacts")
    outcome = convert_all(Session(MODEL), plan(MODEL, 4, TARGETS.values(), ("fp32",), (SIZE,)), out)
    if outcome.first_error is not None:
        raise outcome.first_error
    return out


@pytest.mark.slow
@pytest.mark.parametrize("suffix", TARGETS)
def test_a_foreign_file_gives_the_pixels_of_its_artifact(artifacts: Path, suffix: str) -> None:
    target = TARGETS[suffix]
    folder = next(artifacts.glob(f"{MODEL}_x4_{target}_fp32_*"))
    x = to_input(generated_pictures(1, 64)[0][: SIZE[0], : SIZE[1]])
    expected = open_artifact(folder, threads=1)(x)
    file = next(path for path in folder.iterdir() if path.suffix == suffix)
    foreign = Foreign(4, layout=LAYOUTS.get(target, "NCHW"))
    runner = open_foreign(file, foreign, threads=1)
    found_db = -10 * np.log10(float(np.mean((runner(x) - expected) ** 2)) + 1e-12)
    # OpenVINO computes in bfloat16 where the CPU has it, unless told otherwise as this kit's artifacts do.
    assert found_db > (35 if "bf16" in runner.describe()["precision"] else 90), runner.describe()
    assert runner.accepts.sizes in ((), (SIZE,))
    with pytest.raises(ArtifactError, match="Check --scale"):
        open_foreign(file, Foreign(2, layout=foreign.layout), threads=1)(x)


@pytest.mark.parametrize("suffix", TARGETS)
def test_a_broken_foreign_file_is_an_error_that_names_it(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"broken{suffix}"
    if suffix == ".mlpackage":
        file.mkdir()
    else:
        file.write_bytes(b"not a model" * 10)
        file.with_suffix(".bin").write_bytes(b"nor weights")
    with pytest.raises(ArtifactError, match="broken"):
        open_foreign(file, Foreign(4), threads=1)


def test_what_a_file_means_must_be_said_rightly(tmp_path: Path) -> None:
    for wrong in ({"scale": 0}, {"scale": 4, "value_range": "0-2"}, {"scale": 4, "layout": "CHW"}):
        with pytest.raises(UsageError):
            Foreign(**wrong)  # type: ignore[arg-type]
    with pytest.raises(Unsupported, match=r"no model file"):
        open_foreign(tmp_path / "a.pth", Foreign(4))
