"""Training through torch.compile, and the layout in memory in which networks train."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_train import SPEC, write_photos

from edgesr.errors import TrainingError
from edgesr.models.registry import find
from edgesr.train.machine import CPU, Machine
from edgesr.train.recipe import Recipe
from edgesr.train.state import begin

OPTIONS = ("--batch", "2", "--patch", "8", "--steps", "3", "--threads", "1", "--device", "cpu", "--workers", "0")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


def train(data: Path, run: Path, *options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """In a process of its own: a compiler is chosen once per process."""
    request = ("train", SPEC.name, "--data", str(data), "--run", str(run), *OPTIONS, *options)
    own = {"TORCHINDUCTOR_CACHE_DIR": str(run.parent / "kernels"), "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        (sys.executable, "-m", "edgesr.cli", *request),
        env={**os.environ, **own, **environment}, capture_output=True, text=True, timeout=500,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_a_compiled_network_trains_to_the_same_weights(data: Path, tmp_path: Path) -> None:
    for name, options in (("plain", ()), ("compiled", ("--compile",))):
        done = train(data, tmp_path / name, *options)
        assert done.returncode == 0, done.stderr
    assert any((tmp_path / "kernels").rglob("*.so"))
    plain, compiled = (load_file(tmp_path / name / "weights.safetensors") for name in ("plain", "compiled"))
    assert plain.keys() == compiled.keys()
    for name, weight in plain.items():
        torch.testing.assert_close(compiled[name], weight, rtol=0, atol=1e-4)


def test_without_a_compiler_it_is_said_what_to_do(data: Path, tmp_path: Path) -> None:
    done = train(data, tmp_path / "run", "--compile", CXX="no-such-compiler")
    assert done.returncode == TrainingError.exit_code
    assert "torch.compile failed (" in done.stderr
    assert "g++); or train without --compile" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("name", "layout"), [("bsrn-s", torch.channels_last), ("elan-light", torch.contiguous_format)])
def test_kernels_lie_as_the_network_trains_faster(name: str, layout: torch.memory_format) -> None:
    state = begin(find(name, 4), Recipe(name, 4), None, None, Machine(CPU))
    for network in (state.network, state.average):
        kernels = [weight for weight in network.parameters() if weight.ndim == 4 and min(weight.shape) > 1]
        assert kernels
        assert all(kernel.is_contiguous(memory_format=layout) for kernel in kernels)
