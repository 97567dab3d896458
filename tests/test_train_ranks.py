"""Several processes that share a batch, and devices that are not there."""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_train import RECIPE_8, SPEC, write_photos

from edgesr.cli import main
from edgesr.errors import UsageError
from edgesr.models.registry import find
from edgesr.train.machine import CPU, Machine, machine
from edgesr.train.run_folder import read_log

OPTIONS = ("--batch", "4", "--patch", "8", "--threads", "1", "--device", "cpu", "--workers", "1")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


def torchrun(*arguments: str) -> "subprocess.Popen[str]":
    """`torchrun -m edgesr.cli -- ARGUMENTS`, in a process group of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = (
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        str(port),
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        (*launcher, "-m", "edgesr.cli", "--", *arguments),
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_two_ranks_give_what_one_process_gives(data: Path, tmp_path: Path) -> None:
    request = ("train", SPEC.name, "--data", str(data), "--steps", "8", *OPTIONS)
    torch.set_num_threads(1)
    main([*request, "--run", str(tmp_path / "one")])
    process = torchrun(*request, "--run", str(tmp_path / "two"))
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    assert out.splitlines() == [str(tmp_path / "two" / "weights.safetensors")], "one rank prints"
    assert "cpu, 2 ranks" in err
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    begun = SPEC.forms()["train"].state_dict()
    far = max(float((one[name] - two[name]).abs().max()) for name in one)
    moved = max(float((one[name] - begun[name]).abs().max()) for name in one)
    assert far < 1e-5 < moved, (far, moved)
    logs = [[entry["loss"] for entry in read_log(tmp_path / name)] for name in ("one", "two")]
    assert logs[1] == pytest.approx(logs[0], rel=1e-5)


@pytest.mark.slow
def test_ranks_that_are_told_to_stop_save_one_step_and_go_on(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    request = ("train", SPEC.name, "--data", str(data), "--steps", "100000", *OPTIONS, "--run", str(run))
    process = torchrun(*request)
    deadline = time.monotonic() + 300
    while not read_log(run) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=200)
    state = torch.load(run / "state.pt", weights_only=True)
    assert state["step"] >= read_log(run)[-1]["step"] >= 50
    assert state["step"] % 250, "saved between the steps that are saved anyway"
    optimizer = state["optimizer"]["state"][0]["step"]
    assert optimizer == state["step"], "a whole step"


@pytest.mark.parametrize(("rank", "expected"), [(0, slice(0, 2)), (2, slice(4, 6))])
def test_a_batch_is_shared_equally(rank: int, expected: slice) -> None:
    assert Machine(rank=rank, ranks=3).share_of(replace(RECIPE_8, batch=6)) == expected
    with pytest.raises(UsageError, match=r"batch must be a multiple of the 3 ranks, got 4. Give --batch 6"):
        Machine(rank=rank, ranks=3).share_of(replace(RECIPE_8, batch=4))


def test_a_network_with_batch_norm_is_not_spread_over_ranks() -> None:
    with pytest.raises(UsageError, match="BatchNorm"):
        Machine(ranks=2).trained(find("elan-light").forms()["train"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_cuda_that_is_not_here_is_said(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", SPEC.name, "--data", str(data), "--run", str(tmp_path / "run"), "--device", "cuda"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "There is no CUDA here" in said
    assert "--device cpu" in said
    assert not (tmp_path / "run").exists()
    with machine("auto", 0, False) as found:
        assert found == Machine(CPU)
