"""What measurements come to: report, compare, pick."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgesr.cli.options import FILE, as_json, stdout
from edgesr.errors import UsageError

if TYPE_CHECKING:
    from edgesr.bench.report import Output
    from edgesr.bench.runs import Run

POSITIVE = click.FloatRange(min=0, min_open=True)
RUNS = click.Path(path_type=Path)
DEFAULT = Path("report.html")


@click.command()
@click.argument("runs", nargs=-1, required=True, type=RUNS)
@click.option(
    *("-o", "--out", "outputs"),
    multiple=True,
    type=FILE,
    metavar="FILE",
    help="FILE.html, .md, .csv or .json; repeatable. Default: report.html",
)
@click.option("--markdown", multiple=True, type=FILE, metavar="FILE", help="Markdown, whatever the name.")
@click.option("--csv", "csv_", multiple=True, type=FILE, metavar="FILE", help="CSV, whatever the name.")
@click.option("--json", "json_", multiple=True, type=FILE, metavar="FILE", help="JSON, whatever the name.")
def report(
    runs: tuple[Path, ...],
    outputs: tuple[Path, ...],
    markdown: tuple[Path, ...],
    csv_: tuple[Path, ...],
    json_: tuple[Path, ...],
) -> None:
    """Make a page, or tables for READMEs and spreadsheets, of the measurements in RUNS (files and folders)."""
    from edgesr.bench import report as reports
    from edgesr.bench.runs import load

    asked: list[Output] = [reports.output(file) for file in outputs]
    asked += [reports.Output("markdown", file) for file in markdown]
    asked += [reports.Output("csv", file) for file in csv_]
    asked += [reports.Output("json", file) for file in json_]
    asked = asked or [reports.output(DEFAULT)]
    reports.check(asked)
    loaded = load(runs)
    _say_unread(loaded.unread)
    reports.write(loaded, asked)
    for each in asked:
        click.echo(str(each.file))


@click.command()
@click.argument("a")
@click.argument("b")
@click.option("--runs", multiple=True, type=RUNS, metavar="PATH", help="Where A and B are names of artifacts or runs.")
@click.option("--force", is_flag=True, help="Also what was not measured alike, naming the differences.")
@as_json
def compare(a: str, b: str, runs: tuple[Path, ...], force: bool, json_: bool) -> None:
    """Compare two measurements: A and B are files, or folders that hold one, or with --runs names.

    Refuses what was not measured alike (device, threads, CPUs, governor, size, profile, inputs) and names it.
    """
    from edgesr.bench import compare as comparing

    found = comparing.compare(*_two(a, b, runs), force=force)
    if json_:
        click.echo(json.dumps(asdict(found), indent=1))
    else:
        stdout(comparing.table(found))


@click.command()
@click.argument("runs", nargs=-1, required=True, type=RUNS)
@click.option("--device", metavar="D", help="Name or address; can be left out where there is one.")
@click.option("--budget-ms", type=POSITIVE, metavar="N", help="Milliseconds of one inference (p90) at the size timed.")
@click.option(
    "--budget-ms-per-mpx", type=POSITIVE, metavar="N", help="The same for a megapixel of output, halo and all."
)
@click.option("--max-drop", type=click.FloatRange(min=0), metavar="DB", help="PSNR-Y that may be lost against float32.")
@click.option("--scale", type=click.IntRange(1), help="Of the artifacts, where there are several.")
@as_json
def pick(
    runs: tuple[Path, ...],
    device: str | None,
    budget_ms: float | None,
    budget_ms_per_mpx: float | None,
    max_drop: float | None,
    scale: int | None,
    json_: bool,
) -> None:
    """Pick the artifact with the best PSNR-Y that keeps a budget on a device, from the measurements in RUNS."""
    from edgesr.bench import pick as picking
    from edgesr.bench.runs import load

    if (budget_ms is None) == (budget_ms_per_mpx is None):
        raise UsageError("Give one budget: --budget-ms N or --budget-ms-per-mpx N.")
    if budget_ms is not None:
        wish = picking.Wish(budget_ms, "ms", max_drop)
    else:
        assert budget_ms_per_mpx is not None
        wish = picking.Wish(budget_ms_per_mpx, "ms/Mpx", max_drop)
    loaded = load(runs)
    _say_unread(loaded.unread)
    found = picking.pick([run.summary for run in loaded.runs], device, wish, scale)
    if json_:
        click.echo(json.dumps(asdict(found), indent=1))
    else:
        stdout(picking.table(found))


def _two(a: str, b: str, places: tuple[Path, ...]) -> tuple["Run", "Run"]:
    from edgesr.bench import runs

    if not places:
        return runs.load_one(Path(a)), runs.load_one(Path(b))
    loaded = runs.load(places)
    _say_unread(loaded.unread)
    return runs.named(loaded.runs, a), runs.named(loaded.runs, b)


def _say_unread(unread: tuple[str, ...]) -> None:
    for reason in unread:
        click.echo(f"Left out: {reason}", err=True)
