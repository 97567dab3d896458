"""Two measurements against each other."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_runs import Made, write

from edgesr.bench.compare import compare, table, unlike
from edgesr.bench.records import Thermal
from edgesr.bench.runs import Run, load_one
from edgesr.cli import main
from edgesr.errors import DataError, UsageError

FAST = Made(name="net_x4_onnxruntime_int8", ms=(20.0, 20.1), psnr_db=30.0, drop_db=0.1, peak_mb=100.0)
SLOW = replace(FAST, name="net_x4_onnxruntime_fp32", ms=(30.0, 30.1), psnr_db=30.1, drop_db=0.0, peak_mb=150.0, seed=1)


def run(folder: Path, made: Made, **changes: Any) -> Run:
    return load_one(write(folder, made, **changes))


def test_the_ratio_of_medians_holds_the_truth(tmp_path: Path) -> None:
    found = compare(run(tmp_path, SLOW), run(tmp_path, FAST))
    assert found.ratio is not None
    assert found.ratio.low < 1.5 < found.ratio.high
    assert found.ratio.high - found.ratio.low < 0.05
    assert found.verdict.startswith("A is slower: it takes 1.")
    turned = compare(run(tmp_path, FAST), run(tmp_path, SLOW))
    assert turned.verdict.startswith("A is faster: it takes 0.66")
    assert (found.lost_db, found.psnr_db) == (pytest.approx(-0.125), pytest.approx(0.1))
    assert found.unlike == ()


def test_equal_speed_is_no_difference(tmp_path: Path) -> None:
    a, b = run(tmp_path, FAST, noise=0.1), run(tmp_path, FAST, name="again", noise=0.1, seed=9)
    found = compare(a, b)
    assert found.ratio is not None
    assert found.ratio.low <= 1 <= found.ratio.high
    assert found.verdict.startswith("No difference shown")


def test_a_difference_smaller_than_that_of_cold_processes_is_none(tmp_path: Path) -> None:
    unsteady = run(tmp_path, FAST, name="unsteady", ms=(20.0, 23.0), noise=0.001)
    found = compare(unsteady, run(tmp_path, FAST, ms=(20.0, 20.01), noise=0.001))
    assert found.ratio is not None
    assert not found.ratio.low <= 1 <= found.ratio.high
    assert "No difference shown" in found.verdict
    assert "cold processes of the same artifact lie 15" in found.verdict


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"device": "another"}, "device: test board against another"),
        ({"kind": "emulated"}, "kind: device against emulated"),
        ({"threads": 4}, "threads: 2 against 4"),
        ({"threads": None}, "threads: 2 against all"),
        ({"cpus": (0, 1)}, "CPUs: any against 0, 1"),
        ({"thermal": Thermal(40.0, False, 1800.0, "ondemand")}, "governor: performance against ondemand"),
        ({"thermal": Thermal()}, "governor: performance against not told"),
        ({"facts": {"power_mode": "15W"}}, "power mode: not told against 15W"),
        ({"size": (64, 64)}, "input: 180x320 against 64x64"),
        ({"scale": 2}, "scale: x4 against x2"),
        ({"profile": "smoke"}, "profile: quick against smoke"),
        ({"inputs": "b" * 64}, r"inputs: test pictures \(aaaaaaaaaaaa\) against test pictures \(bbbbbbbbbbbb\)"),
        ({"thermal": Thermal(80.0, True, 1800.0, "performance")}, "throttled: no against yes"),
    ],
)
def test_what_was_not_measured_alike_is_refused_and_named(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    a, b = run(tmp_path, FAST), run(tmp_path, SLOW, **changes)
    with pytest.raises(UsageError, match=f"not measured alike: {words}. Measure both alike, or .*--force"):
        compare(a, b)
    forced = compare(a, b, force=True)
    assert len(forced.unlike) == 1
    assert forced.ratio is not None


def test_two_throttled_runs_are_refused_too(tmp_path: Path) -> None:
    hot = replace(FAST, thermal=Thermal(80.0, True, 1800.0, "performance"))
    a, b = run(tmp_path, hot), run(tmp_path, hot, name="other")
    assert [str(each) for each in unlike(a, b)] == ["throttled: yes in both"]


def test_times_of_two_emulated_machines_are_not_compared_but_their_quality_is(tmp_path: Path) -> None:
    a, b = (run(tmp_path, made, kind="emulated") for made in (SLOW, FAST))
    found = compare(a, b)
    assert found.ratio is None
    assert "their times and memory say nothing" in found.verdict
    assert [*table(found).columns[1].cells] == ["", "", "30.100", "+0.000", "", "1.00"]
    assert found.psnr_db == pytest.approx(0.1)


def test_quality_on_other_images_is_not_compared(tmp_path: Path) -> None:
    found = compare(run(tmp_path, SLOW), run(tmp_path, FAST, sets={"SetC": ("one",)}))
    assert (found.psnr_db, found.lost_db) == (None, None)
    found = compare(run(tmp_path, SLOW), run(tmp_path, FAST, psnr_db=None))
    assert (found.psnr_db, found.lost_db) == (None, None)


def test_a_run_without_times_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no times \(failed\)"):
        compare(run(tmp_path, FAST), run(tmp_path, SLOW, ms=(), failure="no"), force=True)


def test_the_table_names_flags_and_what_was_forced(tmp_path: Path) -> None:
    a, b = run(tmp_path, FAST, ms=(20.0, 22.0)), run(tmp_path, SLOW, threads=1)
    drawn = table(compare(a, b, force=True))
    assert drawn.row_count == 6
    assert "A: unstable." in str(drawn.caption)
    assert "Not measured alike: threads: 2 against 1" in str(drawn.caption)


def test_the_command_takes_files_folders_and_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write(tmp_path / "a", SLOW), write(tmp_path / "b", FAST)
    main(["compare", str(a), str(tmp_path / "b"), "--json"])
    by_place = json.loads(capsys.readouterr().out)
    main(["compare", SLOW.name, FAST.name, "--runs", str(tmp_path), "--json"])
    assert json.loads(capsys.readouterr().out) == by_place
    assert by_place["ratio"]["value"] == pytest.approx(1.5, abs=0.03)
    assert (by_place["a"]["subject"]["name"], by_place["b"]["peak_mb"]) == (SLOW.name, 100.0)
    main(["compare", str(a), str(b)])
    assert "A is slower" in capsys.readouterr().out


def test_the_command_refuses_with_the_exit_code_of_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write(tmp_path, SLOW), write(tmp_path, FAST, threads=1)
    for arguments, words in (([str(a), str(b)], "threads: 2 against 1"), ([str(a), str(tmp_path)], "holds 2 runs")):
        with pytest.raises(SystemExit) as caught:
            main(["compare", *arguments])
        assert caught.value.code == 2
        assert words in capsys.readouterr().err
