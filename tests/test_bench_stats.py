"""What a run's records come to: statistics against known values, summaries, damaged files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_runs import Made, records_of, write

from edgesr.bench import records
from edgesr.bench.records import Closed, End, Failure, Image, Opened, Record, Samples, Subject, Thermal, read
from edgesr.bench.stats import latency, ratio
from edgesr.bench.summary import ms_per_mpx, quality_by_set, repeats, summarise
from edgesr.errors import DataError, OutputError

MS = 1_000_000


def test_percentiles_and_deviation_of_known_samples() -> None:
    found = latency([[value * MS for value in range(1, 102)]])
    assert (found.samples, found.p50_ms, found.p90_ms) == (101, 51.0, 91.0)
    assert (found.least_ms, found.most_ms) == (1.0, 101.0)
    assert found.mad_ms == 25.0  # the middle of the distances 0, 1, 1, 2, 2 ... 50, 50
    assert found.low_ms < 51 < found.high_ms


@pytest.mark.parametrize(("samples", "told"), [(999, False), (1000, True)])
def test_p99_is_told_from_a_thousand_samples_on(samples: int, told: bool) -> None:
    found = latency([list(range(MS, MS + samples))])
    assert (found.p99_ms is not None) == told
    if found.p99_ms is not None:
        assert found.p99_ms == pytest.approx((MS + 0.99 * (samples - 1)) / MS)


def test_the_spread_is_that_of_the_medians_of_repeats() -> None:
    found = latency([[10 * MS] * 5, [11 * MS] * 5, [10 * MS] * 4 + [99 * MS]])
    assert found.spread == pytest.approx(0.1)
    assert latency([[10 * MS] * 5]).spread is None
    assert latency([[10 * MS] * 5, []]).spread is None


def test_one_sample_is_its_own_interval_and_none_is_an_error() -> None:
    found = latency([[7 * MS]])
    assert (found.p50_ms, found.low_ms, found.high_ms, found.mad_ms) == (7.0, 7.0, 7.0, 0.0)
    with pytest.raises(ValueError, match="no sample"):
        latency([[], []])
    with pytest.raises(ValueError, match="no sample"):
        ratio([], [1])


def test_intervals_hold_the_true_median_as_often_as_they_say() -> None:
    rng = np.random.default_rng(7)
    held = []
    for _ in range(120):
        found = latency([list((rng.normal(20, 2, 60) * MS).astype(int))])
        held.append(found.low_ms <= 20 <= found.high_ms)
    assert 0.90 <= np.mean(held) <= 0.99, np.mean(held)  # 95 %; 0.02 is one deviation of 120 tries


def test_a_ratio_and_its_interval_hold_the_true_ratio() -> None:
    rng = np.random.default_rng(3)
    fast, slow = ([int(value) for value in rng.normal(mean * MS, MS, 400)] for mean in (20, 30))
    found = ratio(slow, fast)
    assert found.value == pytest.approx(1.5, abs=0.02)
    assert found.low < 1.5 < found.high
    assert found.high - found.low < 0.05
    turned = ratio(fast, slow)
    assert turned.value == pytest.approx(1 / found.value)
    assert ratio(slow, fast) == found


def test_many_samples_are_thinned_and_stay_right() -> None:
    rng = np.random.default_rng(5)
    raw_ns = [int(value) for value in rng.normal(10 * MS, MS, 50_000)]
    found = latency([raw_ns])
    assert found.samples == 50_000
    assert found.low_ms <= found.p50_ms <= found.high_ms
    assert found.p50_ms == pytest.approx(10, abs=0.02)


def test_thinning_takes_of_every_input_that_takes_its_turn() -> None:
    """Sixteen inputs in turn, each with its own time: every 32nd sample would be of one input only."""
    raw_ns = [int((10 + index % 16) * MS) for index in range(64_000)]
    found = latency([raw_ns])
    assert found.low_ms <= found.p50_ms <= found.high_ms
    assert found.low_ms < found.high_ms


def test_a_run_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    made = Made()
    assert read(write(tmp_path, made)) == records_of(made)


def test_a_repeat_that_was_begun_again_counts_as_the_last_time() -> None:
    opened, thermal = records_of(Made())[1], Thermal()
    assert isinstance(opened, Opened)
    found = repeats(
        [
            *(opened, Samples(0, (1, 2), 0.1)),
            *(replace(opened, load_ns=5), Samples(0, (30,), 0.1), Samples(0, (40,), 0.2), Closed(0, "time", thermal)),
            Samples(9, (77,), 0.1),
        ]
    )
    assert [repeat.raw_ns for repeat in found] == [[30, 40]]
    assert (found[0].opened.load_ns, found[0].closed) == (5, Closed(0, "time", thermal))


def test_a_summary_says_what_was_measured() -> None:
    found = summarise(records_of(Made(ms=(20.0, 20.0), noise=0.0)))
    assert found.latency is not None
    assert (found.status, found.latency.p50_ms, found.latency.samples) == ("done", 20.0, 80)
    assert (found.load_ms, found.first_ms, found.peak_mb, found.before_mb) == (150.0, 90.0, 120.0, 30.0)
    assert found.ms_per_mpx == pytest.approx(20 / (160 * 300 * 16 / 1e6))
    assert (found.runtime, found.flags, found.failures) == ("test 1.0", (), ())


def test_qualities_are_means_over_images_and_then_over_sets() -> None:
    found = summarise(records_of(Made(psnr_db=30.0, drop_db=0.1)))
    assert [(each.name, each.images) for each in found.sets] == [("SetA", 2), ("SetB", 1)]
    assert [each.drop_y_db for each in found.sets] == pytest.approx([0.15, 0.1])
    assert found.quality is not None
    assert found.quality.drop_y_db == pytest.approx(0.125)
    assert (found.quality.worst_image, found.quality.name) == ("SetA/second", "SetA (2), SetB (1)")
    assert found.quality.colour_shift_255 == (0.5, -0.25, 0.125)


def test_an_image_measured_again_counts_once_and_infinite_psnr_is_left_out() -> None:
    images = [Image("S", "a", 20.0, 20.0, 0.5), Image("S", "a", 30.0, 28.0, 0.9), Image("S", "b", None, None, 1.0)]
    (found,) = quality_by_set(images)
    assert (found.images, found.psnr_y_db, found.drop_y_db, found.worst_image) == (2, 30.0, None, None)
    assert found.ssim_y == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"ms": (20.0, 21.5)}, "unstable"),
        ({"thermal": Thermal(80.0, True)}, "throttled"),
    ],
)
def test_flags_say_why_a_latency_is_not_to_be_believed(changes: dict[str, object], flag: str) -> None:
    made = replace(Made(), **changes)
    assert summarise(records_of(made)).flags == (flag,)


def test_too_few_samples_and_a_hot_start_are_flagged() -> None:
    made = records_of(Made())
    hot = [replace(each, hot=True) if isinstance(each, Opened) else each for each in made]
    early = [replace(each, reason="time") if isinstance(each, Closed) else each for each in made]
    cut = [each for each in made if not isinstance(each, Closed)]
    flags = [summarise(each).flags for each in (hot, early, cut)]
    assert flags == [("started hot",), ("too few samples",), ("too few samples",)]


def test_status_is_that_of_the_last_record() -> None:
    made = records_of(Made())
    again: list[Record] = [*made[:-1], Failure("measure", "connection lost"), *made[1:]]
    assert summarise(made[:-1]).status == "unfinished"
    assert summarise([*made[:-1], Failure("open", "no")]).status == "failed"
    assert (summarise(again).status, summarise(again).failures) == ("done", ("measure: connection lost",))


def test_a_tile_that_is_all_halo_has_no_time_per_megapixel() -> None:
    subject = Subject("0" * 64, "n", "t", "fp32", 4, (64, 64), 1, halo_px=32)
    assert ms_per_mpx(subject, 10.0) is None
    assert ms_per_mpx(replace(subject, halo_px=None), 10.0) is None
    assert ms_per_mpx(replace(subject, halo_px=0), 10.0) == pytest.approx(10 / (256 * 256 / 1e6))


def test_a_line_that_a_crash_cut_is_skipped_and_what_came_later_is_read(tmp_path: Path) -> None:
    file = write(tmp_path, Made(ended=False))
    whole = read(file)
    file.write_bytes(file.read_bytes()[:-20])
    assert read(file) == whole[:-1]
    records.append(file, End())
    assert read(file) == [*whole[:-1], End()]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"kind": "memory", "peak_mb": "much", "before_mb": 1}, "line 2 .*memory.peak_mb"),
        ({"kind": "samples", "repeat": 0, "raw_ns": [0], "at_s": 1}, "greater than 0"),
        ({"kind": "samples", "repeat": 0, "raw_ns": [1 << 70], "at_s": 1}, "less than"),
        ({"kind": "memory", "peak_mb": float("nan"), "before_mb": 1}, "finite number"),
        ({"kind": "joke"}, "kind|joke"),
        ([1, 2], "line 2"),
    ],
)
def test_what_is_no_record_is_named_with_its_line(tmp_path: Path, line: object, words: str) -> None:
    file = write(tmp_path, Made())
    start = file.read_text().splitlines()[0]
    file.write_text(f"{start}\n{json.dumps(line)}\n")
    with pytest.raises(DataError, match=words):
        read(file)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, "start.schema"),
        ({"subject": {}}, "start.subject.sha256"),
        ({"where": {"name": "d", "address": "a", "kind": "device", "facts": {"x": float("inf")}}}, "facts"),
        ({"where": {"name": "d", "address": "a", "kind": "device", "facts": {"x": "y" * (2 << 20)}}}, "more than"),
    ],
)
def test_another_schema_and_hostile_facts_are_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    file = write(tmp_path, Made())
    start = json.loads(file.read_text().splitlines()[0])
    file.write_text(json.dumps({**start, **change}))
    with pytest.raises(DataError, match=words):
        read(file)


def test_a_file_without_a_start_an_empty_one_and_a_folder_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path, Made())
    lines = file.read_text().splitlines()
    for text, words in (("\n".join(lines[1:]), "begins with"), ("", "empty"), ("\n".join(lines * 2), "holds 2 runs")):
        file.write_text(text)
        with pytest.raises(DataError, match=words):
            read(file)
    with pytest.raises(DataError, match="is no file"):
        read(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "none.jsonl")


def test_a_name_with_the_line_separator_of_unicode_stays_in_one_line(tmp_path: Path) -> None:
    file = write(tmp_path, Made())
    file.write_text(file.read_text().replace("net_x4", "net\u2028x4"))
    assert len(read(file)) == len(records_of(Made()))


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Choose another folder"):
        records.append(tmp_path / "file" / "run.jsonl", End())
