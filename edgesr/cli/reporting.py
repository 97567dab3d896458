"""What measurements come to: report, compare, pick."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgesr.cli.options import FILE

if TYPE_CHECKING:
    from edgesr.bench.report import Output

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


def _say_unread(unread: tuple[str, ...]) -> None:
    for reason in unread:
        click.echo(f"Left out: {reason}", err=True)
