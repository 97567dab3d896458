"""Devices of several hosts: a real Ray cluster of this machine, whose one node says which bench it is."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="needs edgesr[lab]")
pytest.importorskip("torch", reason="needs edgesr[export]")

from edgesr.bench import records
from edgesr.bench.inputs import crops
from edgesr.bench.lab import measure_in_lab
from edgesr.bench.many import Station, Task
from edgesr.bench.measure import Plan
from edgesr.bench.plan import Profile
from edgesr.bench.quality import Shot
from edgesr.bench.subject import read_item
from edgesr.bench.summary import summarise
from edgesr.datasets import built_in_set
from edgesr.errors import DeviceError
from edgesr.listener import Silent

pytestmark = [
    pytest.mark.slow,
    # Ray's own: forks of a process with threads, files of its workers left to the collector.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
HOST = "bench-2"
QUICK = Plan(Profile("test", repeats=2, least_s=0.2, least_samples=8, most_s=20, warmup=1), threads=1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Address of a cluster with one node, which has the resource HOST."""
    ray_command = str(Path(sys.executable).with_name("ray"))
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    start = [ray_command, "start", "--head", "--port=0", "--num-cpus=2", "--include-dashboard=false"]
    started = subprocess.run(
        [*start, "--disable-usage-stats", "--resources", f'{{"{HOST}": 1}}'],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert started.returncode == 0, started.stderr
    yield "auto"
    subprocess.run([ray_command, "stop", "--force"], env=environment, capture_output=True, timeout=120)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    made = tmp_path_factory.mktemp("made")
    command = [sys.executable, "-m", "edgesr.cli", "convert", "plainusr-t", "-t", "onnxruntime"]
    subprocess.run(command, cwd=made, check=True, capture_output=True)
    item = read_item(next((made / "artifacts").iterdir()), (32, 32), None)
    pairs = list(built_in_set(4))
    shots = [Shot("set", pair.name, pair.low, pair.high, pair.high) for pair in pairs[:2]]
    return Task(item, crops([pair.low for pair in pairs], (32, 32), "pictures"), shots)


def test_no_cluster_is_one_line(task: Task, tmp_path: Path) -> None:
    """The first test: afterwards there is one."""
    with pytest.raises(DeviceError, match="There is no Ray cluster at"):
        measure_in_lab([task], QUICK, [Station("board", "local")], tmp_path, Silent(), "auto")


def test_a_device_is_measured_by_the_host_that_reaches_it(cluster: str, task: Task, tmp_path: Path) -> None:
    station = Station("board", "local", threads=(1,), host=HOST)
    (result,) = measure_in_lab([task], QUICK, [station], tmp_path, Silent(), cluster)
    assert result.error is None, result.error
    assert result.summary is not None
    assert result.summary.status == "done"
    assert result.summary.subject == task.item.subject
    (file,) = tmp_path.rglob("*.jsonl")
    assert file.parent == tmp_path / "board"
    assert summarise(records.read(file)) == result.summary
    lines = file.read_text()
    again = measure_in_lab([task], QUICK, [station], tmp_path, Silent(), cluster)
    assert file.read_text() == lines, "what was measured is not measured again"
    assert again[0].summary == result.summary


def test_what_fails_there_is_said_here(cluster: str, task: Task, tmp_path: Path) -> None:
    stations = [Station("gone", "ssh:nowhere.invalid"), Station("board", "local", threads=(1,), host=HOST)]
    lost, done = measure_in_lab([task], QUICK, stations, tmp_path, Silent(), cluster)
    assert isinstance(lost.error, DeviceError)
    assert "nowhere.invalid" in str(lost.error)
    assert done.error is None


def test_a_host_that_is_not_there_is_named(cluster: str, task: Task, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"'bench-9', which board names\. There are: bench-2"):
        measure_in_lab([task], QUICK, [Station("board", "local", host="bench-9")], tmp_path, Silent(), cluster)
