"""Devices to measure on: setup, clean, facts."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from edgesr.cli.options import FOLDER, as_json, stdout


@click.group()
def device() -> None:
    """Look at, prepare and tidy up the devices that artifacts are measured on.

    \b
    ADDRESS is local, ssh:[USER@]HOST[:PORT] (also a name of ~/.ssh/config) or adb:[SERIAL].
    """


@device.command()
@click.argument("address")
@click.option("--python", default="python3", show_default=True, help="Interpreter on the device to ask for.")
@as_json
def facts(address: str, python: str, json_: bool) -> None:
    """Say what a device is: board, cores, memory, system, clocks, temperature, throttling."""
    from edgesr.devices import connect
    from edgesr.devices.facts import collect
    from edgesr.devices.listing import table

    reached = connect(address)
    found = reached.facts() if python == "python3" else collect(reached, python)
    if json_:
        click.echo(json.dumps(asdict(found), indent=1))
    else:
        stdout(table(found))


@device.command()
@click.argument("address")
@click.option("--runtime", "runtimes", multiple=True, default=("onnxruntime",), show_default=True, help="Repeatable.")
@click.option("--folder", help="Folder on the device. Default: .edgesr in its home.")
@click.option("--python", default="python3", show_default=True, help="Interpreter on the device.")
@click.option("--wheels", type=FOLDER, help="Take wheels from this folder instead of the package index.")
@as_json
def setup(
    address: str, runtimes: tuple[str, ...], folder: str | None, python: str, wheels: Path | None, json_: bool
) -> None:
    """Put the runner and runtimes on a device, in one folder that works offline."""
    from edgesr.devices import connect
    from edgesr.devices.setup import Wanted, set_up
    from edgesr.terminal import Terminal

    reached = connect(address)
    wanted = Wanted(tuple(dict.fromkeys(runtimes)), folder or reached.folder, python, wheels)
    with Terminal() as terminal:
        done = set_up(reached, wanted, terminal.say)
    if json_:
        click.echo(json.dumps(asdict(done), indent=1))
    else:
        versions = ", ".join(f"{name} {done.versions[name]}" for name in wanted.runtimes)
        click.echo(f"{address}: {versions} in {done.folder}")


@device.command()
@click.argument("address")
@click.option("--folder", help="Folder on the device. Default: .edgesr in its home.")
def clean(address: str, folder: str | None) -> None:
    """Remove what setup put on a device."""
    from edgesr.devices import connect
    from edgesr.devices.setup import clean as remove

    reached = connect(address)
    place = folder or reached.folder
    there = remove(reached, place)
    click.echo(f"{address}: {place} removed." if there else f"{address}: there is no {place}.")
