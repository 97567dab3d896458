"""What travels to a device runs there: a new environment with numpy, pillow and one runtime, nothing else."""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs edgesr[export]")

from edgesr.pipeline import Session, convert_all
from edgesr.planned import plan
from edgesr.runner import open_artifact
from edgesr.types import Precision

ROOT = Path(__file__).parents[1]
MODEL = "plainusr-t"
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
OTHER_KERNELS, LEAST_DB = ("tflite-runtime", "int8"), 40
"""Integer kernels of 2.14 round otherwise than those of the LiteRT here: PSNR on noise, where that shows most."""
SIZE = (64, 48)

ENVIRONMENTS = {
    "onnxruntime": ("onnxruntime", ["onnxruntime", "numpy"]),
    "openvino": ("openvino", ["openvino", "numpy"]),
    "ncnn": ("ncnn", ["ncnn", "numpy"]),
    "ai-edge-litert": ("tflite", ["ai-edge-litert", "numpy"]),
    # The last tflite-runtime was built against numpy 1, so it can stand beside no converter.
    "tflite-runtime": ("tflite", ["tflite-runtime==2.14.0", "numpy<2"]),
    "coremltools": ("coreml", ["coremltools", "numpy"]),
}
"""Name -> target and what is installed, besides pillow. ExecuTorch's Python runtime imports torch itself, so an
environment without torch cannot exist for it; tests/test_target_executorch.py blocks everything else instead."""

CODE = """
import importlib.util, json, sys
from pathlib import Path
import numpy as np
from edgesr.runner import open_artifact
names = ("torch", "onnx", "torchao", "litert_torch", "pnnx", "executorch", "click", "rich", "pydantic")
x = np.load(sys.argv[1])
for folder in sys.argv[2:]:
    runner = open_artifact(Path(folder), threads=1)
    np.save(Path(folder).with_suffix(".npy"), runner(x))
print(json.dumps({"present": [name for name in names if importlib.util.find_spec(name)], **runner.describe()}))
"""


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every target that the environments need, in fp32 and INT8 at a fixed size."""
    out = tmp_path_factory.mktemp("artifacts")
    targets = dict.fromkeys(target for target, _ in ENVIRONMENTS.values())
    planned = plan(MODEL, 4, targets, PRECISIONS, (SIZE,))
    outcome = convert_all(Session(MODEL, int8=True), planned, out)
    if outcome.first_error is not None:
        raise outcome.first_error
    return out


def environment(folder: Path, requirements: list[str]) -> Path:
    """The interpreter of a new environment; versions as installed here where they are not given."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    pinned = [_pinned(line) for line in (*requirements, "pillow")]
    install = [sys.executable, "-m", "pip", "--python", str(python), "--quiet", "install", *pinned]
    done = subprocess.run(install, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-2000:]
    return python


def _pinned(line: str) -> str:
    return line if set(line) & set("<>=") else f"{line}=={importlib.metadata.version(line)}"


@pytest.mark.slow
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_runner_needs_numpy_and_one_runtime_only(tmp_path: Path, artifacts: Path, name: str) -> None:
    target, requirements = ENVIRONMENTS[name]
    python = environment(tmp_path / "environment", requirements)
    x = np.random.default_rng(0).integers(0, 256, (1, 3, *SIZE)).astype(np.float32) / np.float32(255)
    np.save(tmp_path / "x.npy", x)
    folders = [next(artifacts.glob(f"{MODEL}_x4_{target}_{precision}_*")) for precision in PRECISIONS]
    done = subprocess.run(
        [python, "-c", CODE, tmp_path / "x.npy", *folders],
        capture_output=True,
        text=True,
        timeout=300,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["present"] == []
    for folder, precision in zip(folders, PRECISIONS, strict=True):
        difference = np.load(folder.with_suffix(".npy")) - open_artifact(folder, threads=1)(x)
        if (name, precision) == OTHER_KERNELS:
            found = -10 * np.log10(float(np.mean(difference**2)))
            assert found > LEAST_DB, f"{folder.name}: {found:.1f} dB"
        else:
            assert np.abs(difference).max() < 2 / 255, f"{folder.name}: {np.abs(difference).max()}"
    if name == "tflite-runtime":
        assert "tflite" in said["runtime"]
