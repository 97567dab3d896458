"""`edgesr bench` through the real ssh and sshd, on this machine as if it were a board: set up, measured, cut off."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

pytest.importorskip("torch", reason="needs edgesr[export]")
pytest.importorskip("scipy", reason="needs edgesr[bench]")

from loopback_sshd import Server, serve

from edgesr.bench import records
from edgesr.bench.plan import PROFILES
from edgesr.bench.summary import repeats, summarise
from edgesr.cli import main
from edgesr.devices import connect
from edgesr.devices.setup import Wanted, clean, set_up
from edgesr.devices.ssh import CONFIG_VARIABLE

pytestmark = pytest.mark.slow
MODEL = "plainusr-t"
RUNNER = "edgesr.runner.measure"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture(scope="module")
def folder(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The folder on the board, with the runner and ONNX Runtime in it."""
    place = str(tmp_path_factory.mktemp("board") / "edgesr")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CONFIG_VARIABLE, str(server.config))
        board = connect("ssh:board")
        set_up(board, Wanted(("onnxruntime",), place, python=sys.executable), lambda text: None)
        yield place
        assert clean(board, place)
        board.close()
    assert not Path(place).exists()


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("made")
    command = [sys.executable, "-m", "edgesr.cli", "convert", MODEL, "-t", "onnxruntime", "--int8"]
    subprocess.run(command, cwd=made, check=True, capture_output=True)
    return next((made / "artifacts").iterdir())


@pytest.fixture
def arguments(
    server: Server, folder: str, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    monkeypatch.setenv(CONFIG_VARIABLE, str(server.config))
    common = ["--profile", "smoke", "--size", "48x64", "--threads", "1", "-o", str(tmp_path / "runs"), "--json"]
    return ["bench", str(artifact), "--folder", folder, *common]


def the_run(tmp_path: Path) -> Path:
    return next((tmp_path / "runs" / "ssh-board").glob("*.jsonl"))


def measuring(folder: str) -> list[psutil.Process]:
    """Processes that measure for this test; another test's are not ours."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or ()
        if RUNNER in words and words[0] != "sh" and any(folder in word for word in words):
            found.append(process)
    return found


def in_the_middle(tmp_path: Path, folder: str, what: str, server: Server) -> threading.Thread:
    """Once the second repeat has begun: kill the runner ("runner") or all connections ("connection")."""

    def wait() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            files = list((tmp_path / "runs" / "ssh-board").glob("*.jsonl"))
            if files and files[0].read_text().count('"opened"') == 2:
                break
            time.sleep(0.05)
        children = psutil.Process(server.process.pid).children(recursive=True)
        sessions = [child for child in children if child.name() == "sshd"]
        for process in measuring(folder) if what == "runner" else sessions:
            process.kill()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_board_is_measured_and_gives_the_same_pixels(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: str
) -> None:
    main([*arguments, "--data", str(_set(tmp_path)), "--device", "ssh:board"])
    (row,) = json.loads(capsys.readouterr().out)
    assert row["status"] == "done"
    assert row["where"]["kind"] == "host", "the same machine, by whatever way"
    assert row["where"]["facts"]["python"]["executable"]
    assert row["runtime"].startswith("onnxruntime")
    assert row["latency"]["samples"] >= PROFILES["smoke"].least_samples
    main([*arguments[:2], *arguments[4:], "--data", str(tmp_path / "sets")])
    (here,) = json.loads(capsys.readouterr().out)
    assert here["quality"] == row["quality"]
    assert here["subject"] == row["subject"]
    assert measuring(folder) == []
    assert list(Path(folder, "bench", "batches").iterdir()) == []


def _set(tmp_path: Path) -> Path:
    from PIL import Image

    from edgesr.datasets import generated_pictures

    (tmp_path / "sets" / "Two" / "HR").mkdir(parents=True)
    for index, picture in enumerate(generated_pictures(2, 128)):
        Image.fromarray(picture).save(tmp_path / "sets" / "Two" / "HR" / f"{index}.png")
    return tmp_path / "sets"


def test_a_lost_connection_is_tried_again_and_nothing_is_lost(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: str, server: Server
) -> None:
    thread = in_the_middle(tmp_path, folder, "connection", server)
    main([*arguments, "--device", "ssh:board"])
    thread.join()
    said = capsys.readouterr()
    assert "Trying again" in said.err
    found = records.read(the_run(tmp_path))
    assert [repeat.closed is not None for repeat in repeats(found)] == [True, True]
    assert sum(record.kind == "opened" for record in found) == 3, "the second repeat was begun twice"
    assert summarise(found).status == "done"


def test_a_killed_runner_is_one_line_and_other_devices_go_on(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: str, server: Server
) -> None:
    thread = in_the_middle(tmp_path, folder, "runner", server)
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--device", "ssh:board", "--device", "ssh:keyless"])
    thread.join()
    assert caught.value.code == 13
    said = capsys.readouterr().err
    errors = [line for line in said.splitlines() if line.startswith("Error:")]
    assert len(errors) == 2, said
    assert any("ssh:board" in line and "137" in line for line in errors), said
    assert "Traceback" not in said
    found = records.read(the_run(tmp_path))
    assert summarise(found).status == "failed"
    assert repeats(found)[0].closed is not None
    assert measuring(folder) == []


def test_a_board_that_was_not_set_up_says_the_command(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = str(tmp_path / "elsewhere")
    with pytest.raises(SystemExit):
        main([*arguments[:2], "--folder", elsewhere, *arguments[4:], "--device", "ssh:board"])
    assert f"Run: edgesr device setup ssh:board --folder {elsewhere}" in capsys.readouterr().err
