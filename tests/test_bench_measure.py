"""The process on the device, and what the host makes of it: real processes, a real artifact, this machine as device."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs edgesr[export]")
pytest.importorskip("scipy", reason="needs edgesr[bench]")

from listeners import Heard

from edgesr.bench import records
from edgesr.bench.inputs import COUNT, crops
from edgesr.bench.many import Station
from edgesr.bench.measure import Plan, measured
from edgesr.bench.plan import PROFILES, Profile
from edgesr.bench.quality import Shot, judge
from edgesr.bench.site import open_site
from edgesr.bench.subject import read_item
from edgesr.bench.summary import repeats, summarise
from edgesr.cli import main
from edgesr.datasets import built_in_set, generated_pictures
from edgesr.errors import ArtifactError, DataError, DeviceError, EdgesrError, UsageError
from edgesr.lock import alone
from edgesr.runner.foreign import Foreign

MODEL = "plainusr-t"
SIZE = (48, 64)
OVERHEAD = 0.02


def process(job: dict[str, Any], folder: Path) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and events of the process on the device."""
    file = folder / "job.json"
    file.write_text(json.dumps(job))
    done = subprocess.run(
        [sys.executable, "-m", "edgesr.runner.measure", file], capture_output=True, text=True, timeout=120
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    done = subprocess.run(
        [sys.executable, "-m", "edgesr.cli", "convert", MODEL, "-t", "onnxruntime"], cwd=folder, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    return next((folder / "artifacts").iterdir())


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    file = tmp_path / "inputs.npy"
    np.save(file, crops(generated_pictures(2, 96), SIZE, "test").pixels)
    return file


def test_the_harness_adds_less_than_two_percent_to_ten_milliseconds(tmp_path: Path, inputs: Path) -> None:
    """By what it reports for a runner that takes just so long, and by the clock around all of them."""
    code, events = process({"task": "time", "idle_ms": 10, "inputs": str(inputs), "least_samples": 100}, tmp_path)
    assert code == 0
    chunks = [event for event in events if event["event"] == "samples"]
    raw_ms = np.array([value for chunk in chunks for value in chunk["raw_ns"]]) / 1e6
    assert len(raw_ms) >= 100
    assert np.median(raw_ms) < 10 * (1 + OVERHEAD), np.median(raw_ms)
    between_ms = chunks[-1]["at_s"] * 1000 - raw_ms.sum()
    assert between_ms / len(raw_ms) < 10 * OVERHEAD, between_ms


def test_timing_stops_only_when_there_is_enough_of_both(tmp_path: Path, inputs: Path) -> None:
    job = {"task": "time", "idle_ms": 1, "inputs": str(inputs), "warmup": 2}
    for limits, reason in (
        ({"least_s": 0.5, "least_samples": 5}, "enough"),
        ({"least_s": 0.0, "least_samples": 300}, "enough"),
        ({"least_s": 60, "least_samples": 5, "most_s": 0.5}, "time"),
        ({"least_s": 60, "least_samples": 5, "most_s": 50, "whole_s": 0.5}, "time"),
    ):
        _, events = process({**job, **limits}, tmp_path)
        samples = [value for event in events if event["event"] == "samples" for value in event["raw_ns"]]
        assert events[0]["event"] == "opened"
        assert len(events[0]["warmup_ns"]) == 2
        assert events[-1] == {"event": "closed", "reason": reason}
        assert len(samples) >= limits.get("least_samples", 1) or reason == "time"
        ends_s = min(limits["least_s"], limits.get("most_s", math.inf), limits.get("whole_s", math.inf))
        assert sum(samples) / 1e9 >= ends_s * 0.8
        assert sum(samples) / 1e9 < 10


def test_what_opens_slowly_is_timed_once_at_least(tmp_path: Path, artifact: Path, inputs: Path) -> None:
    job = {"task": "time", "artifact": str(artifact), "inputs": str(inputs), "least_s": 60, "whole_s": 1e-3}
    _, events = process(job, tmp_path)
    assert [len(event["raw_ns"]) for event in events if event["event"] == "samples"] == [1]
    assert events[-1] == {"event": "closed", "reason": "time"}


def test_memory_and_outputs_come_from_processes_of_their_own(tmp_path: Path, artifact: Path, inputs: Path) -> None:
    _, events = process({"task": "memory", "artifact": str(artifact), "inputs": str(inputs)}, tmp_path)
    assert [event["event"] for event in events] == ["memory"]
    assert events[0]["peak_mb"] > events[0]["before_mb"] > 1
    image = generated_pictures(1, 40)[0]
    np.save(tmp_path / "a.npy", image)
    (tmp_path / "out").mkdir()
    job = {
        "task": "run",
        "artifact": str(artifact),
        "images": [str(tmp_path / "a.npy")],
        "outputs": str(tmp_path / "out"),
    }
    code, events = process(job, tmp_path)
    assert (code, events) == (0, [{"event": "output", "file": "a.npy"}])
    assert np.load(tmp_path / "out" / "a.npy").shape == (160, 160, 3)


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ({"task": "time", "inputs": "nowhere.npy", "idle_ms": 1}, "nowhere.npy cannot be read"),
        ({"task": "dance"}, "no task 'dance'"),
        ({"task": "time", "artifact": "nowhere", "inputs": None}, "names no inputs"),
        ({"task": "run", "artifact": "nowhere", "outputs": "."}, "not an artifact"),
        ({"task": "memory", "idle_ms": 1, "inputs": "x", "cpus": [100000]}, "Cannot be bound"),
        ({"task": "run", "artifact": "a.onnx", "outputs": ".", "foreign": {"scale": 99}}, "--scale must be"),
    ],
)
def test_a_job_that_cannot_be_done_is_one_event(tmp_path: Path, job: dict[str, Any], words: str) -> None:
    code, events = process(job, tmp_path)
    assert code == 1
    assert [event["event"] for event in events] == ["error"]
    assert words in events[0]["message"]


def test_nan_is_an_error_and_no_time(tmp_path: Path, inputs: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    shape = [1, 3, "h", "w"]
    value = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("x", "y")]
    nodes = [helper.make_node("Sub", ["x", "x"], ["z"]), helper.make_node("Div", ["z", "z"], ["y"])]
    graph = helper.make_graph(nodes, "nan", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, tmp_path / "nan.onnx")
    job = {"task": "time", "artifact": str(tmp_path / "nan.onnx"), "foreign": {"scale": 1}, "inputs": str(inputs)}
    code, events = process(job, tmp_path)
    assert code == 1
    assert "NaN" in events[0]["message"]


def test_inputs_are_sixteen_different_crops_of_the_size() -> None:
    for size in (SIZE, (200, 300)):
        found = crops([pair.high for pair in built_in_set(4)], size, "pictures")
        assert found.pixels.shape == (COUNT, *size, 3)
        assert len({image.tobytes() for image in found.pixels}) == COUNT
        assert found.facts == crops([pair.high for pair in built_in_set(4)], size, "pictures").facts


def test_an_output_is_judged_against_truth_and_reference() -> None:
    pair = next(iter(built_in_set(4)))
    low, high = pair.low, pair.high[: 4 * pair.low.shape[0], : 4 * pair.low.shape[1]]
    reference = np.clip(high.astype(int) + 3, 0, 255).astype(np.uint8)
    output = reference.copy()
    output[..., 1] = np.clip(output[..., 1].astype(int) - 2, 0, 255)
    found = judge(Shot("set", pair.name, low, high, reference), output, 4)
    assert found.colour_shift_255 == pytest.approx((0.0, -2.0, 0.0), abs=0.05)
    assert found.off_share == pytest.approx(1 / 3, abs=0.02)
    assert found.reference_y_db is not None
    assert found.psnr_y_db is not None
    assert found.psnr_y_db > found.reference_y_db  # closer to the truth
    assert judge(Shot("set", pair.name, low, high, None), high, 4).psnr_y_db is None  # equal
    with pytest.raises(ValueError, match="not uint8"):
        judge(Shot("set", pair.name, low, high, None), output[:-1], 4)


def test_the_same_files_are_the_same_artifact_anywhere(artifact: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(artifact, tmp_path / "copy")
    here, there = read_item(artifact, SIZE, None), read_item(tmp_path / "copy", SIZE, None)
    assert here.subject == there.subject
    assert here.subject.size == SIZE
    (tmp_path / "copy" / "model.onnx").write_bytes(b"x" * 10)
    with pytest.raises(ArtifactError, match="changed"):
        read_item(tmp_path / "copy", SIZE, None)


def test_a_foreign_file_of_the_same_network_gives_the_same_pixels(artifact: Path, tmp_path: Path) -> None:
    from edgesr.runner import open_artifact
    from edgesr.runner.foreign import open_foreign

    x = np.random.default_rng(0).random((1, 3, *SIZE)).astype(np.float32)
    expected = open_artifact(artifact, threads=1)(x)
    file = tmp_path / "theirs.onnx"
    file.write_bytes((artifact / "model.onnx").read_bytes())
    assert np.array_equal(open_foreign(file, Foreign(4), threads=1)(x), expected)
    item = read_item(file, None, Foreign(4))
    assert item.subject.foreign
    assert item.subject.halo_px is None
    with pytest.raises(ArtifactError, match="Check --scale"):
        open_foreign(file, Foreign(2), threads=1)(x)
    with pytest.raises(UsageError, match="say what it is"):
        read_item(file, None, None)


def bench(*arguments: str | Path) -> None:
    main(["bench", *map(str, arguments)])


def test_bench_measures_writes_down_and_does_nothing_twice(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    data = _set(tmp_path)
    arguments = (
        artifact,
        "--profile",
        "smoke",
        "--size",
        "48x64",
        "--data",
        data,
        "-o",
        runs,
        "--json",
        "--threads",
        "1",
    )
    start = time.perf_counter()
    bench(*arguments)
    seconds = time.perf_counter() - start
    found = json.loads(capsys.readouterr().out)
    assert len(found) == 1
    row = found[0]
    assert row["status"] == "done"
    assert row["where"]["kind"] == "host"
    assert row["latency"]["samples"] >= PROFILES["smoke"].least_samples
    assert row["latency"]["p50_ms"] <= row["latency"]["p90_ms"]
    assert row["peak_mb"] > row["before_mb"]
    assert abs(row["quality"]["drop_y_db"]) < 0.01
    assert row["quality"]["psnr_y_db"] > 15
    file = next(runs.rglob("*.jsonl"))
    lines = file.read_text().splitlines()
    assert summarise(records.read(file)).run == row["run"]
    assert len(list(runs.rglob("*_artifact.png"))) >= 1
    bench(*arguments)
    again = json.loads(capsys.readouterr().out)
    assert again[0]["latency"] == row["latency"]
    assert file.read_text().splitlines()[: len(lines)] == lines
    assert seconds < 60, "a smoke run; alone on a machine it takes under 15 s"


def _measured(artifact: Path, runs: Path, shots: list[Shot], **changes: Any) -> tuple[Path, list[Any], list[str]]:
    """By the shortest of profiles on this machine; `changes`: of its site or its profile."""
    site = open_site(Station("local", "local"))
    profile = Profile("test", repeats=1, least_s=0, least_samples=1, most_s=5, warmup=0)
    if "version" in changes:
        site = replace(site, version=changes.pop("version"))
    item, listener = read_item(artifact, SIZE, None), Heard()
    inputs = crops(generated_pictures(1, 96), SIZE, "test")
    file, found = measured(item, site, Plan(replace(profile, **changes), 1), inputs, shots, runs, listener)
    return file, list(found), listener.said


def test_another_runtime_or_rule_is_another_measurement(artifact: Path, tmp_path: Path) -> None:
    first, _, said = _measured(artifact, tmp_path, [])
    assert said == []
    again, _, said = _measured(artifact, tmp_path, [])
    assert again == first
    assert len(said) == 1
    assert f"was measured before ({records.read(first)[0].started_at})" in said[0]  # type: ignore[union-attr]
    assert str(first) in said[0]
    newer, _, said = _measured(artifact, tmp_path, [], version=lambda target: f"{target} 99")
    longer, _, _ = _measured(artifact, tmp_path, [], least_samples=2)
    assert len({first, newer, longer}) == 3
    assert said == []


def test_an_image_of_the_same_name_that_is_another_is_judged_anew(artifact: Path, tmp_path: Path) -> None:
    highs = generated_pictures(2, 4 * SIZE[0])
    alone = [Shot("set", "1", high[::4, ::4], high, None) for high in highs]
    with_reference = replace(alone[1], reference=alone[1].high // 2)
    for shot, count in ((alone[0], 1), (alone[0], 1), (alone[1], 2), (alone[0], 3), (with_reference, 4)):
        file, found, _ = _measured(artifact, tmp_path, [shot])
        assert sum(record.kind == "image" for record in found) == count
    quality = summarise(records.read(file)).quality
    assert quality is not None
    assert (quality.images, quality.drop_y_db is None) == (1, False)


def test_crops_are_kept_of_the_first_and_the_worst_image(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each worse than the one before: those between are removed again."""
    high = generated_pictures(1, 4 * SIZE[0])[0]
    noise = np.random.default_rng(0).integers(-3, 4, high.shape)
    shots = [
        Shot("set", f"image-{index}", high[::4, ::4], np.clip(high + index * 4 * noise, 0, 255).astype(np.uint8), high)
        for index in range(4)
    ]
    monkeypatch.setattr("edgesr.bench.measure._lost", lambda image: int(image.name[-1]))
    _measured(artifact, tmp_path, shots)
    kept = {file.name.rpartition("_")[0] for file in tmp_path.rglob("crops/*/*.png")}
    assert kept == {"set-image-0", "set-image-3"}


def test_a_device_is_named_once(artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench(artifact, "--device", "local", "--device", "local", "-o", tmp_path)
    assert "The device local is named twice" in capsys.readouterr().err


def test_a_device_that_another_process_measures_is_refused(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = EdgesrError("taken")
    with alone(tmp_path / "local", "bench", taken, ""), pytest.raises(SystemExit) as ended:
        bench(artifact, "--device", "local", "--profile", "smoke", "-o", tmp_path)
    assert ended.value.code == DeviceError.exit_code
    assert f"Another process is measuring into {tmp_path / 'local'}" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.jsonl"))


def _set(folder: Path) -> Path:
    from PIL import Image

    (folder / "sets" / "Two" / "HR").mkdir(parents=True)
    for index, picture in enumerate(generated_pictures(2, 128)):
        Image.fromarray(picture).save(folder / "sets" / "Two" / "HR" / f"{index}.png")
    return folder / "sets"


def test_an_interrupted_bench_goes_on(artifact: Path, tmp_path: Path) -> None:
    """Killed in the middle of its second repeat; the first is not measured again."""
    runs = tmp_path / "runs"
    command = [sys.executable, "-m", "edgesr.cli", "bench", str(artifact), "--profile", "smoke", "--size", "48x64"]
    command += ["-o", str(runs), "--threads", "1"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and not any('"closed"' in file.read_text() for file in runs.rglob("*.jsonl")):
        time.sleep(0.1)
    time.sleep(1.5)
    first.send_signal(signal.SIGKILL)
    first.wait()
    file = next(runs.rglob("*.jsonl"))
    kept = repeats(records.read(file))
    assert kept[0].closed is not None
    assert not any(record.kind == "end" for record in records.read(file))
    assert _measuring(artifact) == []
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    found = records.read(file)
    assert repeats(found)[0] == kept[0]
    assert len(repeats(found)) == PROFILES["smoke"].repeats
    assert summarise(found).status == "done"


def test_ctrl_c_ends_a_bench_at_once(artifact: Path, tmp_path: Path) -> None:
    """Whose work is done in threads, which no Ctrl-C reaches."""
    runs = tmp_path / "runs"
    command = [sys.executable, "-m", "edgesr.cli", "bench", str(artifact), "--profile", "full", "--size", "48x64"]
    process = subprocess.Popen([*command, "-o", str(runs)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and not any('"opened"' in file.read_text() for file in runs.rglob("*.jsonl")):
        time.sleep(0.1)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, b"Interrupted" in said) == (130, True), said
    assert time.monotonic() - begin < 12
    assert _measuring(artifact) == []
    assert not any(record.kind in ("closed", "failure", "end") for record in records.read(next(runs.rglob("*.jsonl"))))


def _measuring(artifact: Path, within_s: float = 15) -> list[str]:
    """Processes that still run the job of this artifact: none is left when whoever asked was killed."""
    deadline = time.monotonic() + within_s
    while True:
        listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
        found = [line for line in listed.splitlines() if "edgesr.runner.measure" in line and "ps -eo" not in line]
        mine = [line for line in found if f"{os.sep}edgesr-bench-" in line]
        if not mine or time.monotonic() > deadline:
            return mine
        time.sleep(0.2)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--device", "telnet:pi"], 2, "not the address of a device"),
        (["--profile", "slow"], 2, "no profile named 'slow'"),
        (["--threads", "two"], 2, "no list of numbers"),
        (["--threads", "0"], 2, "no list of numbers"),
        (["--size", "9"], 2, "not HEIGHTxWIDTH"),
        (["--range", "0-255"], 2, "Add --scale"),
        (["--reference", "none"], 2, "Add --data"),
        (["--scale", "4"], 2, "artifact with a manifest"),
    ],
)
def test_bad_requests_are_one_line(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        bench(artifact, *arguments, "-o", tmp_path / "runs")
    said = capsys.readouterr().err
    assert caught.value.code == code, said
    assert words in said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_profiles_ask_for_time_and_count() -> None:
    assert list(PROFILES) == ["smoke", "quick", "full", "sustained"]
    assert all(isinstance(profile, Profile) and profile.most_s > profile.least_s > 0 for profile in PROFILES.values())
    assert PROFILES["full"].least_samples >= 1024
    assert PROFILES["full"].repeats >= 3


def test_a_file_of_something_else_is_no_measurement(tmp_path: Path) -> None:
    for text in ("", "hello\n", '{"kind": "end"}\n', '{"kind": "start", "schema": 99}\n'):
        file = tmp_path / "run.jsonl"
        file.write_text(text)
        with pytest.raises(DataError, match=r"run\.jsonl"):
            records.read(file)
