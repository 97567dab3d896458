"""The artifact for a device and a budget."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from small_runs import Made, write

from edgesr.bench.pick import Choice, Wish, pick, table
from edgesr.bench.runs import load
from edgesr.cli import main
from edgesr.errors import DataError, NothingFits, UnknownName, UsageError

BEST = Made(name="best_x4_t_fp32", ms=(100.0,), psnr_db=32.0, drop_db=0.0, noise=0.0)
GOOD = replace(BEST, name="good_x4_t_int8", ms=(50.0,), psnr_db=31.5, drop_db=0.05)
LOSSY = replace(BEST, name="lossy_x4_t_int8", ms=(30.0,), psnr_db=31.7, drop_db=0.4)
QUICK = replace(BEST, name="quick_x4_t_int8", ms=(10.0,), psnr_db=30.0, drop_db=0.05)
EVERY = (BEST, GOOD, LOSSY, QUICK)


def choice(folder: Path, wish: Wish, *made: Made, device: str | None = None, scale: int | None = None) -> Choice:
    for each in made:
        write(folder, each)
    return pick([run.summary for run in load([folder]).runs], device, wish, scale)


def why(found: Choice) -> dict[str, str]:
    return {each.candidate.summary.subject.name: each.why for each in found.others}


def test_the_best_that_is_fast_enough_is_picked_and_the_others_say_why_not(tmp_path: Path) -> None:
    found = choice(tmp_path, Wish(60, "ms", 0.1), *EVERY)
    assert found.chosen.summary.subject.name == GOOD.name
    assert why(found) == {
        BEST.name: "100.0 ms, 40.0 over the budget",
        LOSSY.name: "loses 0.500 dB, 0.400 more than allowed",
        QUICK.name: "1.500 dB worse, though faster",
    }
    assert found.sets == ("SetA (2)", "SetB (1)")


def test_without_a_limit_of_the_drop_the_best_psnr_counts(tmp_path: Path) -> None:
    assert choice(tmp_path, Wish(60, "ms"), *EVERY).chosen.summary.subject.name == LOSSY.name
    assert choice(tmp_path, Wish(1000, "ms")).chosen.summary.subject.name == BEST.name


def test_the_budget_holds_for_nine_of_ten_inferences(tmp_path: Path) -> None:
    (made,) = [replace(BEST, noise=0.1)]
    latency = load([write(tmp_path, made)]).runs[0].summary.latency
    assert latency is not None
    with pytest.raises(NothingFits):
        choice(tmp_path, Wish((latency.p50_ms + latency.p90_ms) / 2, "ms"))
    assert choice(tmp_path, Wish(latency.p90_ms, "ms")).chosen.cost == latency.p90_ms


def test_a_budget_per_megapixel_compares_artifacts_of_other_sizes(tmp_path: Path) -> None:
    small = replace(BEST, name="small", size=(90, 160), ms=(40.0,))
    unknown = replace(BEST, name="unknown", halo_px=None)
    found = choice(tmp_path, Wish(130.5, "ms/Mpx"), BEST, small, unknown)
    assert found.chosen.summary.subject.name == BEST.name
    assert found.chosen.cost == pytest.approx(100 / (160 * 300 * 16 / 1e6))
    assert why(found) == {"small": "255.1 ms/Mpx, 125 over the budget"}
    assert [reason for _, reason in found.ignored] == ["its halo is not known, so neither is the time of a megapixel"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ms": (95.0,), "psnr_db": 31.991}, "as good, but 5.00 ms slower"),
        ({"ms": (95.0,), "psnr_db": 32.009}, "as good, but 5.00 ms slower"),
        ({"megabytes": 0.9, "psnr_db": 31.996, "ms": (100.5,)}, "as good and as fast, but not smaller"),
    ],
)
def test_of_equally_good_ones_the_faster_and_then_the_smaller_is_picked(
    tmp_path: Path, changes: dict[str, float], words: str
) -> None:
    found = choice(tmp_path, Wish(200, "ms"), BEST, replace(BEST, name="other", **changes))
    assert found.chosen.summary.subject.name == "other"
    assert why(found) == {BEST.name: words}


def test_what_is_as_good_is_measured_from_the_best(tmp_path: Path) -> None:
    """Not from the next one, or a row of small steps would lead anywhere."""
    second = replace(BEST, name="second", psnr_db=31.993, ms=(80.0,))
    third = replace(BEST, name="third", psnr_db=31.986, ms=(60.0,))
    found = choice(tmp_path, Wish(200, "ms"), BEST, second, third)
    assert found.chosen.summary.subject.name == "second"
    assert why(found) == {BEST.name: "as good, but 20.0 ms slower", "third": "0.007 dB worse, though faster"}


def test_nothing_fits_names_the_nearest_and_by_how_much(tmp_path: Path) -> None:
    with pytest.raises(NothingFits, match=r"keeps 8 ms\. The nearest is quick_x4_t_int8 .*: 10\.00 ms, 2\.00 over"):
        choice(tmp_path, Wish(8, "ms"), *EVERY)
    nearest = r"8 ms and 0\.3 dB. The nearest is quick.*2\.00 over the budget\.$"
    with pytest.raises(NothingFits, match=nearest):
        choice(tmp_path, Wish(8, "ms", 0.3))


def test_a_drop_that_is_not_known_does_not_keep_a_contract(tmp_path: Path) -> None:
    unknown = replace(BEST, name="foreign", drop_db=None, psnr_db=33.0)
    found = choice(tmp_path, Wish(200, "ms", 0.1), BEST, unknown)
    assert found.chosen.summary.subject.name == BEST.name
    assert why(found) == {"foreign": "its drop against float32 is not known"}
    with pytest.raises(NothingFits, match="drop against float32 is not known"):
        choice(tmp_path / "alone", Wish(200, "ms", 0.1), unknown)


def test_what_says_nothing_is_ignored_with_a_word(tmp_path: Path) -> None:
    others = (
        replace(BEST, name="failed", failure="no", psnr_db=40.0),
        replace(BEST, name="unfinished", ended=False, psnr_db=40.0),
        replace(BEST, name="unseen", psnr_db=None),
    )
    found = choice(tmp_path, Wish(200, "ms"), BEST, *others)
    assert found.others == ()
    assert {name.split()[0]: reason for name, reason in found.ignored} == {
        "failed": "failed",
        "unfinished": "unfinished",
        "unseen": "its quality was not measured",
    }
    assert "Ignored, failed: failed (180x320" in str(table(found).caption)


def test_emulated_times_are_never_picked_from(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="emulated: its times say nothing: best_x4"):
        choice(tmp_path, Wish(200, "ms"), replace(BEST, kind="emulated"))


def test_quality_is_compared_on_the_images_that_all_have(tmp_path: Path) -> None:
    fewer = replace(GOOD, name="fewer", sets={"SetB": ("third",)}, psnr_db=32.5)
    found = choice(tmp_path, Wish(200, "ms"), BEST, fewer)
    assert (found.sets, found.chosen.summary.subject.name) == (("SetB (1)",), "fewer")
    with pytest.raises(DataError, match=r"no common image set: .*SetA.*; other: SetC"):
        choice(tmp_path, Wish(200, "ms"), replace(GOOD, name="other", sets={"SetC": ("one",)}))


def test_device_and_scale_are_named_where_there_are_several(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"2 devices\. Name one with --device: second, test board"):
        choice(tmp_path, Wish(200, "ms"), BEST, replace(GOOD, device="second"))
    assert choice(tmp_path, Wish(200, "ms"), device="second").chosen.summary.subject.name == GOOD.name
    with pytest.raises(UnknownName, match="no measured device named 'third'"):
        choice(tmp_path, Wish(200, "ms"), device="third")
    with pytest.raises(UsageError, match="--scale: 2, 4"):
        choice(tmp_path, Wish(200, "ms"), replace(BEST, name="x2", scale=2), device="test board")
    assert choice(tmp_path, Wish(200, "ms"), device="test board", scale=2).chosen.summary.subject.name == "x2"
    with pytest.raises(UsageError, match="No run is of scale 3"):
        choice(tmp_path, Wish(200, "ms"), device="test board", scale=3)


def test_a_failed_run_of_another_scale_is_in_nobody_s_way(tmp_path: Path) -> None:
    failed = replace(BEST, name="other_x2_t_fp32", scale=2, ms=(), psnr_db=None, failure="no such artifact")
    found = choice(tmp_path, Wish(1000, "ms"), BEST, failed)
    assert found.chosen.summary.subject.name == BEST.name
    assert [name.split()[0] for name, _ in found.ignored] == [failed.name]
    assert choice(tmp_path, Wish(1000, "ms"), scale=4).ignored == ()


def test_a_limit_that_is_kept_to_the_digits_shown_is_kept(tmp_path: Path) -> None:
    almost = replace(BEST, drop_db=0.0003)
    assert choice(tmp_path, Wish(1000, "ms", 0.0), almost).chosen.summary.subject.name == BEST.name


def test_flags_of_the_choice_are_shown(tmp_path: Path) -> None:
    found = choice(tmp_path, Wish(1000, "ms"), replace(BEST, ms=(100.0, 130.0)))
    assert "unstable" in [cell for column in table(found).columns for cell in column.cells]


def test_the_command_prints_the_choice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for made in EVERY:
        write(tmp_path, made)
    main(["pick", str(tmp_path), "--budget-ms", "60", "--max-drop", "0.1", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert printed["chosen"]["summary"]["subject"]["name"] == GOOD.name
    assert printed["others"][0]["why"] == "100.0 ms, 40.0 over the budget"
    main(["pick", str(tmp_path), "--device", "test board", "--budget-ms", "60"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("→")]
    assert line.split()[1] == LOSSY.name


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "Give one budget"),
        (["--budget-ms", "1", "--budget-ms-per-mpx", "1"], 2, "Give one budget"),
        (["--budget-ms", "0"], 2, "--budget-ms"),
        (["--budget-ms", "1"], 14, "The nearest is quick"),
        (["--budget-ms", "1", "--device", "nowhere"], 2, "no measured device"),
    ],
)
def test_the_exit_code_says_what_went_wrong(
    tmp_path: Path, arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for made in EVERY:
        write(tmp_path, made)
    with pytest.raises(SystemExit) as caught:
        main(["pick", str(tmp_path), *arguments])
    assert caught.value.code == code
    assert words in capsys.readouterr().err
