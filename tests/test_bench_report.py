"""Reports of measurements: a page that is parsed again, tables for programs and READMEs."""

import base64
import csv
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_runs import Made, write

from edgesr.bench import crops, page, pareto, plots, report
from edgesr.bench.columns import COLUMNS, significant
from edgesr.bench.records import Thermal
from edgesr.bench.runs import Loaded, load, load_one, named
from edgesr.bench.summary import repeats
from edgesr.cli import main
from edgesr.errors import DataError, OutputError, UnknownName, UsageError

HOSTILE = '<script>alert("x")</script>|`&$\\frac$_'
VOID = {"meta", "img", "wbr", "br"}


@dataclass
class Node:
    tag: str
    attributes: dict[str, str | None] = field(default_factory=dict)
    children: list["Node | str"] = field(default_factory=list)

    def all(self, tag: str) -> list["Node"]:
        below = [child for child in self.children if isinstance(child, Node)]
        return [each for child in below for each in ([child] if child.tag == tag else []) + child.all(tag)]

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)


class Tree(HTMLParser):
    """Fails for an element that is closed elsewhere than where it was opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.root = Node("root")
        self.open = [self.root]
        self.feed(text)
        self.close()
        assert [node.tag for node in self.open] == ["root"]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, dict(attrs))
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Node(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def loaded_of(folder: Path, *made: Made) -> Loaded:
    for each in made:
        write(folder, each)
    return load([folder])


def parsed(loaded: Loaded) -> Node:
    return Tree(page.as_html(loaded)).root


def cells(root: Node, section: int = 0) -> list[dict[str, str]]:
    """Text of every cell of a device's table, by the name of the column."""
    table = root.all("section")[section].all("table")[0]
    names = [head.text.strip() for head in table.all("thead")[0].all("th")]
    rows = [[each for each in row.children if isinstance(each, Node)] for row in table.all("tbody")[0].all("tr")]
    return [dict(zip(names, (cell.text.strip() for cell in row), strict=True)) for row in rows]


NET = "net_x4_onnxruntime_"
THREE = (
    Made(name=f"{NET}fp32", ms=(40.0,), psnr_db=30.1, drop_db=0.0, megabytes=4.0),
    Made(name=f"{NET}int8", ms=(20.0,), psnr_db=30.0, drop_db=0.1, seed=1),
    Made(name="other_x4_tflite_fp16", model="other", ms=(60.0,), psnr_db=29.5, drop_db=0.01, seed=2),
)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> tuple[Loaded, str]:
    """The runs of THREE and their page, which takes a second."""
    loaded = loaded_of(tmp_path_factory.mktemp("three"), *THREE)
    return loaded, page.as_html(loaded)


def test_the_table_shows_what_was_measured(three: tuple[Loaded, str]) -> None:
    found = cells(Tree(three[1]).root)
    summaries = [run.summary for run in three[0].runs]
    assert len(found) == 3
    for row, summary in zip(found, summaries, strict=True):
        latency, quality = summary.latency, summary.quality
        assert latency is not None
        assert quality is not None
        assert summary.subject.name in row["artifact"]
        bounds = f"{significant(latency.low_ms, 4)}–{significant(latency.high_ms, 4)}"
        assert row["p50 ms"] == significant(latency.p50_ms, 4) + bounds
        assert row["p90 ms"] == significant(latency.p90_ms, 4)
        assert row["PSNR-Y dB"] == f"{quality.psnr_y_db:.2f}"
        assert row["drop dB"] == f"{quality.drop_y_db:+.3f}"
        assert row["colour shift"] == "+0.50R +0.50 G -0.25 B +0.12"
        assert (row["off"], row["peak MB"], row["load ms"], row["SSIM"]) == ("25.00%", "120", "150", "0.9000")
    assert [row["INT8"] for row in found] == ["", "95%", ""]


def test_devices_come_first_and_emulated_times_are_marked_and_in_no_plot(tmp_path: Path) -> None:
    emulated = replace(THREE[0], device="a simulated board", kind="emulated")
    root = parsed(loaded_of(tmp_path, emulated, replace(THREE[1], device="this", kind="host"), THREE[2]))
    sections = root.all("section")
    assert [each.attributes["class"] for each in sections] == ["device", "host", "emulated"]
    assert [len(each.all("svg")) for each in sections] == [2, 2, 0]
    row = cells(root, 2)[0]
    assert all(row[name].endswith("emulated") for name in ("p50 ms", "p90 ms", "ms/Mpx", "load ms", "peak MB"))
    assert row["PSNR-Y dB"] == "30.10"
    assert "its times say nothing" in sections[2].all("h2")[0].text


def test_failures_and_flags_are_told_in_words(tmp_path: Path) -> None:
    made = replace(THREE[0], ms=(), failure="the runtime cannot open it: no such operator")
    hot = replace(THREE[1], thermal=Thermal(90.0, True))
    root = parsed(loaded_of(tmp_path, made, hot))
    assert "measure: the runtime cannot open it: no such operator" in root.all("section")[0].text
    flags = [[span.text for span in row.all("span") if span.attributes["class"] == "flag"] for row in root.all("tr")]
    assert flags == [[], ["failed"], ["throttled"]]
    assert "Not in the plot: 1 net_x4_onnxruntime_fp32: failed." in root.text


def test_the_page_needs_nothing_from_outside_and_runs_only_its_own_script(three: tuple[Loaded, str]) -> None:
    text = three[1]
    root = Tree(text).root
    (script,) = root.all("script")
    policy = next(each for each in root.all("meta") if each.attributes.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in str(policy.attributes["content"])
    assert "default-src 'none'" in str(policy.attributes["content"])
    assert re.findall(r'https?:|\bsrc="(?!data:)|@import|<link|href="(?!#)|url\((?!#)|\bon\w+="', text) == []


def test_names_and_facts_are_text_and_no_markup(tmp_path: Path) -> None:
    facts = {"board": HOSTILE, "clusters": [{"cores": [0, 1], "governor": HOSTILE}], HOSTILE: 1}
    made = Made(
        name=HOSTILE, model=HOSTILE, device=HOSTILE[:8], facts=facts, failure=HOSTILE, sets={HOSTILE: (HOSTILE,)}
    )
    healthy = replace(made, name=f"{HOSTILE}2", failure=None)
    loaded = load([write(tmp_path, made, device="d"), write(tmp_path, healthy, device="d")])
    runs = tuple(
        replace(run, summary=replace(run.summary, where=replace(run.summary.where, name=HOSTILE)))
        for run in loaded.runs
    )
    root = parsed(Loaded(runs, (HOSTILE,)))
    assert len(root.all("script")) == 1
    assert HOSTILE in root.all("h2")[0].text
    assert {HOSTILE, "clusters 0 cores", "0, 1"} <= {each.text for tag in ("dd", "dt") for each in root.all(tag)}
    assert any(HOSTILE in each.text for each in root.all("svg"))


def test_the_page_says_how_to_measure_again(tmp_path: Path) -> None:
    made = replace(THREE[0], cpus=(2, 3), kind="emulated")
    loaded = loaded_of(tmp_path, made, replace(made, name="other"), replace(made, threads=None, cpus=None))
    assert [each.text for each in parsed(loaded).all("code")] == [
        "edgesr bench ARTIFACT --device ssh:test --profile quick --threads 2 --cpus 2,3 --size 180x320",
        "edgesr bench ARTIFACT --device ssh:test --profile quick --size 180x320",
    ]
    where = replace(loaded.runs[0].summary.where, address="app")
    run = replace(loaded.runs[0], summary=replace(loaded.runs[0].summary, where=where))
    assert parsed(Loaded((run,))).all("code") == []


def test_everything_seen_is_also_said(tmp_path: Path) -> None:
    make_crops(write(tmp_path, THREE[0]).parent, THREE[0].sha256)
    root = parsed(load([tmp_path]))
    assert root.all("html")[0].attributes["lang"] == "en"
    assert all(each.attributes["aria-label"] and each.attributes["role"] == "img" for each in root.all("svg"))
    assert len(root.all("img")) == 5
    assert all(each.attributes["alt"] for each in root.all("img"))
    assert all(each.attributes["scope"] == "col" and each.all("button") for each in root.all("thead")[0].all("th"))


def test_the_page_has_a_colour_for_everything_in_light_and_in_dark(tmp_path: Path) -> None:
    text = page.as_html(loaded_of(tmp_path, Made(name="long", profile="sustained", ms=(40.0,), samples=100)))
    light, dark = (
        set(re.findall(r"--(\w+): #", block)) for block in re.findall(r":root \{(.*?)\}", text, flags=re.DOTALL)
    )
    assert set(re.findall(r"var\(--(\w+)\)", text)) <= light == dark
    assert re.search("#0000[0-9]{2}", text) is None


def test_the_page_is_always_the_same(three: tuple[Loaded, str]) -> None:
    assert page.as_html(three[0]) == three[1]


def test_the_frontier_is_what_nothing_beats(tmp_path: Path) -> None:
    slow = replace(THREE[2], name="slow_x4_tflite_fp16", ms=(90.0,), psnr_db=31.0)
    (plot,) = pareto.plots([run.summary for run in loaded_of(tmp_path, *THREE, slow).runs])
    assert [point.summary.subject.name for point in plot.frontier] == [f"{NET}int8", f"{NET}fp32", slow.name]
    assert (plot.unit, len(plot.points), plot.missing) == ("ms per megapixel of output", 4, ())


def test_only_what_can_be_compared_is_in_one_plot(tmp_path: Path) -> None:
    twice = replace(THREE[0], name="net_x2", scale=2)
    elsewhere = replace(THREE[1], name="elsewhere", sets={"SetC": ("one",)})
    unknown = replace(THREE[1], name="foreign", halo_px=None)
    unmeasured = replace(THREE[1], name="unmeasured", psnr_db=None)
    loaded = loaded_of(tmp_path, *THREE, twice, elsewhere, unknown, unmeasured)
    found = pareto.plots([run.summary for run in loaded.runs])
    assert {(plot.scale, plot.sets, len(plot.points)) for plot in found} == {
        (2, "SetA (2), SetB (1)", 1),
        (4, "SetC (1)", 1),
        (4, "SetA (2), SetB (1)", 4),
    }
    reasons = {summary.subject.name: reason for plot in found for summary, reason in plot.missing}
    assert reasons == {"unmeasured": "its quality was not measured"}
    by_tile = next(plot for plot in found if len(plot.points) == 4)
    assert by_tile.unit == "ms per inference"  # four share a size, three of them know their halo


def test_of_several_sizes_without_halos_the_commonest_is_plotted(tmp_path: Path) -> None:
    bare = [replace(each, halo_px=None) for each in THREE]
    loaded = loaded_of(tmp_path, *bare[:2], replace(bare[2], size=(64, 64)))
    (plot,) = pareto.plots([run.summary for run in loaded.runs])
    assert len(plot.points) == 2
    assert [reason for _, reason in plot.missing] == ["timed at another size than 180x320"]


def test_a_long_run_shows_how_speed_is_kept(tmp_path: Path) -> None:
    made = Made(profile="sustained", ms=(50.0,), samples=2000, noise=0.0)
    run = load_one(write(tmp_path, made))
    found = plots.steps(repeats(run.records))
    assert len(found) == 100
    assert [found[0].at_s, found[-1].at_s] == pytest.approx([1.0, 100.0])
    assert (found[0].p50_ms, found[0].temperature_c) == (50.0, pytest.approx(40.05))
    slower = [replace(step, p50_ms=60.0) if index >= 90 else step for index, step in enumerate(found)]
    assert (
        plots.kept(slower) == "The last tenth took 60.0 ms, the first 50.0 ms (+20.0 %); from 40 to 45 °C, at most 45."
    )
    assert [each.text for each in parsed(Loaded((run,))).all("h3")] == ["Speed against quality", "Latency", "Over time"]
    short = load_one(write(tmp_path / "short", made, profile="quick", samples=40))
    assert not plots.is_long("quick", repeats(short.records))
    assert plots.is_long("quick", repeats(load_one(write(tmp_path, made, profile="quick", samples=2500)).records))


def test_long_runs_are_drawn_in_few_steps(tmp_path: Path) -> None:
    run = load_one(write(tmp_path, Made(ms=(50.0, 50.0), samples=2000, every_s=0.05)))
    found = plots.steps(repeats(run.records))
    assert len(found) <= plots.MOST_STEPS
    assert [step.at_s for step in found] == sorted(step.at_s for step in found)


def make_crops(device: Path, sha256: str, kinds: Sequence[str] = ("low", "high", "reference", "artifact")) -> Path:
    """Grey of one level each, ten apart, 8x8 and for "low" 2x2."""
    folder = device / "crops" / sha256[:12]
    folder.mkdir(parents=True, exist_ok=True)
    for index, kind in enumerate(kinds):
        side = 2 if kind == "low" else 8
        Image.new("RGB", (side, side), (100 + index,) * 3).save(folder / f"SetA_first_{kind}.png")
    return folder


def test_crops_are_shown_with_what_differs(tmp_path: Path) -> None:
    run = load_one(write(tmp_path, Made()))
    make_crops(run.file.parent, Made().sha256)
    (found,) = crops.crops(run)
    assert (found.name, found.largest, found.unread) == ("SetA_first", 1, ())
    assert list(found.uris) == ["low", "high", "reference", "artifact", "difference"]


def test_an_artifact_that_was_run_twice_shows_its_crops_once_and_the_page_stays_small(tmp_path: Path) -> None:
    for index in range(9):
        made = replace(THREE[0], name=f"net{index}", kind="emulated")
        folder = make_crops(write(tmp_path, made).parent, made.sha256, ("artifact",))
        for name in ("b", "c", "d", "e", "f"):
            shutil.copy(folder / "SetA_first_artifact.png", folder / f"{name}_artifact.png")
        write(tmp_path, made, threads=1)
    root = parsed(load([tmp_path]))
    assert (len(root.all("tbody")[0].all("tr")), len(root.all("img"))) == (18, page.MOST_CROPS)
    assert f"{9 * crops.MOST_IMAGES - page.MOST_CROPS} more images have crops and are not shown" in root.text


def test_differences_are_amplified_and_end_at_white() -> None:
    reference = np.full((1, 3, 3), 10, np.uint8)
    artifact = np.array([[[10, 10, 10], [9, 11, 10], [200, 10, 10]]], np.uint8)
    found = crops.difference(artifact, reference)
    assert found.tolist() == [[[0, 0, 0], [crops.GAIN, crops.GAIN, 0], [255, 0, 0]]]


@pytest.mark.parametrize("kinds", [("artifact",), ("low", "high"), ("low", "high", "artifact")])
def test_crops_that_are_missing_are_left_out(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    run = load_one(write(tmp_path, Made()))
    make_crops(run.file.parent, Made().sha256, kinds)
    (found,) = crops.crops(run)
    assert set(found.uris) == set(kinds)
    assert found.largest is None


def test_files_that_are_no_crops_are_named_and_left_out(tmp_path: Path) -> None:
    run = load_one(write(tmp_path, Made()))
    folder = make_crops(run.file.parent, Made().sha256)
    (folder / "SetA_first_low.png").write_bytes(b"GIF89a no png")
    Image.new("RGB", (crops.MOST_SIDE_PX + 1, 1)).save(folder / "SetA_first_high.png")
    Image.new("RGB", (4, 4)).save(folder / "SetA_first_reference.png")
    (found,) = crops.crops(run)
    assert list(found.uris) == ["reference", "artifact"]
    words = " ".join(found.unread)
    assert all(part in words for part in ("no PNG that can be read", "are no crop", "of different sizes"))


def test_a_hash_from_outside_leads_to_no_other_folder(tmp_path: Path) -> None:
    run = load_one(write(tmp_path, Made()))
    make_crops(run.file.parent, "..")
    subject = replace(run.summary.subject, sha256="..")
    assert crops.crops(replace(run, summary=replace(run.summary, subject=subject))) == ()


def test_json_is_read_back_as_it_was(tmp_path: Path) -> None:
    loaded = loaded_of(tmp_path, *THREE, replace(THREE[0], name="failed", ms=(), failure="no"))
    report.write(loaded, [report.output(tmp_path / "out.json")])
    assert report.read_json(tmp_path / "out.json") == report.of(loaded)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"schema": 2}, "schema"), ({"runs": [{}]}, "runs.0.run"), ({"kind": "recipe"}, "kind")],
)
def test_json_of_another_schema_is_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    file = tmp_path / "out.json"
    file.write_text(json.dumps({**json.loads(report.as_json(loaded_of(tmp_path, *THREE))), **change}))
    with pytest.raises(DataError, match=words):
        report.read_json(file)
    with pytest.raises(DataError, match="cannot be read"):
        report.read_json(tmp_path / "none.json")


def test_csv_has_every_column_and_no_time_of_an_emulated_machine(tmp_path: Path) -> None:
    emulated = replace(THREE[0], device="simulated", kind="emulated", name="=HYPERLINK(1)")
    loaded = loaded_of(tmp_path, *THREE, emulated)
    rows = list(csv.DictReader(io.StringIO(report.as_csv(loaded))))
    assert list(rows[0]) == [column.key for column in COLUMNS]
    assert [float(row["p50_ms"]) for row in rows if row["device_kind"] == "device"] == [
        run.summary.latency.p50_ms for run in loaded.runs if run.summary.latency and run.summary.where.kind == "device"
    ]
    (other,) = [row for row in rows if row["device_kind"] == "emulated"]
    assert [other[column.key] for column in COLUMNS if column.machine] == [""] * sum(c.machine for c in COLUMNS)
    assert (other["artifact"], other["psnr_y_db"]) == ("'=HYPERLINK(1)", "30.1")


def test_markdown_has_a_table_for_each_device_and_escapes_names(tmp_path: Path) -> None:
    hostile = replace(THREE[2], name="a|b <b>\n`x`", device="simulated", kind="emulated", failure="no | way")
    text = report.as_markdown(loaded_of(tmp_path, *THREE[:2], replace(hostile, device="simulated")))
    tables = [[line for line in part.splitlines() if line.startswith("|")] for part in text.split("\n**")]
    assert [len(table) for table in tables] == [4, 3]
    for table in tables:
        assert len({len(re.split(r"(?<!\\)\|", line)) for line in table}) == 1
    assert "p50 ms" in tables[0][0]
    assert "p50 ms" not in tables[1][0]
    assert r"a\|b \<b\> \`x\`" in tables[1][2]
    assert r"measure: no \| way" in text


def test_a_damaged_file_hides_no_other_and_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded_of(tmp_path / "runs", *THREE)
    (tmp_path / "runs" / "bad.jsonl").write_text("nothing\n")
    main(["report", str(tmp_path / "runs"), "-o", str(tmp_path / "r.html"), "--csv", str(tmp_path / "r.txt")])
    captured = capsys.readouterr()
    assert captured.out.split() == [str(tmp_path / "r.html"), str(tmp_path / "r.txt")]
    assert "Left out:" in captured.err
    assert "bad.jsonl" in captured.err
    assert "bad.jsonl" in (tmp_path / "r.html").read_text()
    assert len((tmp_path / "r.txt").read_text().splitlines()) == 4
    with pytest.raises(DataError, match=r"bad\.jsonl"):
        load([tmp_path / "runs" / "bad.jsonl"])


def test_a_file_that_is_reached_twice_counts_once(tmp_path: Path) -> None:
    file = write(tmp_path, THREE[0])
    assert len(load([tmp_path, file.parent, file]).runs) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "r.pdf"], "must end with .html, .md, .csv, .json"),
        (["-o", "r.md", "--markdown", "r.md"], "asked for twice"),
        (["-o", "runs"], "is a directory"),
    ],
)
def test_a_report_that_cannot_be_is_refused_before_the_work(
    tmp_path: Path,
    arguments: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "runs", THREE[0])
    with pytest.raises(SystemExit) as caught:
        main(["report", "runs", *arguments])
    assert caught.value.code == 2
    assert words in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_no_runs_and_places_that_cannot_be_written_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No measurements"):
        load([tmp_path])
    (tmp_path / "bad.jsonl").write_text("x")
    with pytest.raises(DataError, match="can be read"):
        load([tmp_path])
    (tmp_path / "r.json").mkdir()
    with pytest.raises(OutputError, match="Choose another place with -o"):
        report.write(Loaded(loaded_of(tmp_path / "runs", THREE[0]).runs), [report.output(tmp_path / "r.json")])


def test_a_run_is_found_by_the_name_of_its_artifact_or_its_own(tmp_path: Path) -> None:
    runs = loaded_of(tmp_path, *THREE, replace(THREE[0], threads=1)).runs
    assert named(runs, f"{NET}int8").summary.subject.name == f"{NET}int8"
    with pytest.raises(UsageError, match=r"2 runs measured .* threads: 1, .* threads: 2,"):
        named(runs, f"{NET}fp32")
    assert named(runs, f"{NET}fp32-test-board-1-quick").summary.regime.threads == 1
    with pytest.raises(UnknownName, match="Did you mean 'net_x4_onnxruntime_int8'"):
        named(runs, "net_x4_onnxruntime_int")


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_without_the_extra_the_pip_line_is_given(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, THREE[0])
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit) as caught:
        main(["report", str(tmp_path), "-o", str(tmp_path / "r.html")])
    assert caught.value.code == 3
    assert "pip install 'edgesr[report]'" in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()


def chromium(folder: Path, *arguments: str) -> bytes:
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars")
    quiet = ("--disable-background-networking", "--disable-component-update", "--disable-sync")
    command = ["chromium", *flags, *quiet, f"--user-data-dir={folder / 'profile'}", *arguments]
    return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout


needs_chromium = pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_page_without_running_over(tmp_path: Path, width: int, three: tuple[Loaded, str]) -> None:
    """The last pixel columns are paper from top to bottom: only the tables scroll."""
    file, shot = tmp_path / "r.html", tmp_path / "shot.png"
    file.write_text(three[1])
    light = "--blink-settings=preferredColorScheme=1"
    chromium(tmp_path, light, f"--screenshot={shot}", f"--window-size={width},2500", file.as_uri())
    pixels = np.asarray(Image.open(shot).convert("RGB"))
    assert pixels.shape[1] == width
    assert np.all(pixels[:, -4:] == 255)
    assert pixels[:, : width // 2].std() > 10


@pytest.mark.slow
@needs_chromium
def test_pressing_a_column_sorts_by_it_under_the_page_s_own_policy(tmp_path: Path, three: tuple[Loaded, str]) -> None:
    press = "[...document.querySelectorAll('th button')].find((b) => b.textContent === 'p50 ms').click();"
    digest = base64.b64encode(hashlib.sha256(press.encode()).digest()).decode()
    text = three[1].replace("script-src ", f"script-src 'sha256-{digest}' ")
    text = text.replace("</body>", f"<script>{press}</script><script>document.title = 'forbidden';</script></body>")
    (tmp_path / "r.html").write_text(text)
    shown = chromium(tmp_path, "--dump-dom", (tmp_path / "r.html").as_uri()).decode()
    assert "<title>Measurements: 3 runs, 1 device</title>" in shown
    assert f"{NET}fp32" in cells(Tree(text).root)[0]["artifact"]
    assert re.findall(r'<th scope="row" data-sort="([^"]*)"', shown) == [f"{NET}int8", f"{NET}fp32", THREE[2].name]
    assert 'aria-sort="ascending"' in shown
