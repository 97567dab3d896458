"""What there is: models, targets, doctor."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from edgesr.cli.options import FILE, as_json, print_rows, stdout


@click.command()
@click.option("--identify", type=FILE, metavar="FILE", help="Only the network whose weights this file holds.")
@as_json
def models(identify: Path | None, json_: bool) -> None:
    """List the networks: scales, size, cost, licence, PSNR and where weights come from."""
    from edgesr.models.listing import rows, rows_of_file, table

    print_rows(rows() if identify is None else rows_of_file(identify), json_, table)


@click.command()
@click.option("--explain", is_flag=True, help="What each target rewrites, and why; what it does not have, and why.")
@as_json
def targets(explain: bool, json_: bool) -> None:
    """List the formats that networks can be converted to."""
    from edgesr.targets import TARGETS
    from edgesr.targets.listing import explained, explanation, table

    if explain:
        print_rows([explained(info) for info in TARGETS.values()], json_, explanation)
    else:
        print_rows(list(TARGETS.values()), json_, table)


@click.command()
@as_json
def doctor(json_: bool) -> None:
    """Say what is installed, what can be converted and run here, and how to get the rest."""
    from edgesr.doctor import diagnose, report

    diagnosis = diagnose()
    if json_:
        click.echo(json.dumps(asdict(diagnosis), indent=1))
    else:
        stdout(report(diagnosis))
