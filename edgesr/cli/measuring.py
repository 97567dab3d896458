"""On a device: bench, sweep."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgesr.cli.options import FILE, FOLDER, as_json, precisions_of, size_of, sizes_of, stdout
from edgesr.errors import UsageError
from edgesr.types import Size

if TYPE_CHECKING:
    from edgesr.bench.many import Result, Station
    from edgesr.bench.measure import Plan
    from edgesr.bench.shots import Shots
    from edgesr.bench.subject import Item
    from edgesr.listener import Listener

RUNS = Path("runs")


class DefaultCommand(click.Group):
    """`bench ARTIFACT` is `bench run ARTIFACT`."""

    default = "run"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [self.default, *args]
        return super().parse_args(ctx, args)


@click.group(cls=DefaultCommand)
def bench() -> None:
    """Measure latency, memory and quality of artifacts on devices: 'bench ARTIFACT...' is 'bench run ARTIFACT...'."""


def _numbers(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    """`1,2,4` or `0-3`."""
    if text is None:
        return None
    try:
        found = [number for part in text.split(",") for number in _range(part)]
    except ValueError:
        found = []
    least = 1 if parameter.name == "threads" else 0
    if not found or min(found) < least:
        raise UsageError(f"{parameter.opts[0]} {text!r} is no list of numbers, for example 1,2,4 or 0-3.")
    return tuple(found)


def _range(part: str) -> range:
    first, _, last = part.partition("-")
    return range(int(first), int(last or first) + 1)


DEVICE = click.option(
    "--device", "-d", "devices", multiple=True, help="local, ssh:[user@]host[:port] or adb:[SERIAL]; repeatable."
)
FLEET = click.option("--fleet", type=FILE, help="TOML list of devices, measured at the same time.")
PROFILE = click.option("--profile", default="quick", show_default=True, help="smoke, quick, full or sustained.")
THREADS = click.option("--threads", callback=_numbers, metavar="N,N", help="One measurement each. Default: all.")
LAB = click.option(
    "--lab", metavar="ADDRESS", help="Ray cluster whose hosts reach the devices ('auto': the local one)."
)
OUT = click.option("--out", "-o", type=FOLDER, default=RUNS, show_default=True, help="Folder of the measurements.")
DATA = click.option("--data", type=FOLDER, help="Image sets for PSNR on the device: SET/HR, SET/LRx4, or photos.")
REFERENCE = click.option(
    "--reference", metavar="ARTIFACT", help="Float32 artifact that drops are measured against, or 'none'."
)


@bench.command()
@click.argument("artifacts", nargs=-1, required=True, type=click.Path(path_type=Path))
@DEVICE
@FLEET
@PROFILE
@THREADS
@click.option("--cpus", callback=_numbers, metavar="N-N", help="Bind to these CPUs.")
@click.option(
    "--size", callback=size_of, metavar="HxW", help="Input that is timed. Default: the fixed one, or 180x320."
)
@DATA
@REFERENCE
@click.option("--weights", type=FILE, help="The checkpoint that the artifacts were made from, if it was your own.")
@click.option("--scale", type=int, help="Of model files without a manifest.")
@click.option("--range", "range_", default=None, help="... 0-1 (default) or 0-255: what their numbers mean.")
@click.option("--layout", default=None, help="... NCHW (default) or NHWC.")
@click.option("--cool-to", type=float, metavar="C", help="Temperature to wait for before each repeat.")
@click.option("--folder", help="Folder on the device. Default: as 'edgesr device setup'.")
@click.option("--runtime", help="Of those set up on the device, where a target has several.")
@LAB
@OUT
@as_json
def run(
    artifacts: tuple[Path, ...],
    devices: tuple[str, ...],
    fleet: Path | None,
    profile: str,
    threads: tuple[int, ...] | None,
    cpus: tuple[int, ...] | None,
    size: Size | None,
    data: Path | None,
    reference: str | None,
    weights: Path | None,
    scale: int | None,
    range_: str | None,
    layout: str | None,
    cool_to: float | None,
    folder: str | None,
    runtime: str | None,
    lab: str | None,
    out: Path,
    json_: bool,
) -> None:
    """Measure ARTIFACT... (folders of this kit, or .onnx .tflite .xml .pte .mlpackage .param with --scale) on devices.

    Everything is written down as it comes: give the same command again to go on where it stopped.
    """
    from edgesr.bench import plan as plans
    from edgesr.bench.measure import Plan
    from edgesr.bench.shots import Shots
    from edgesr.bench.subject import read_item
    from edgesr.extras import require
    from edgesr.runner.foreign import Foreign
    from edgesr.terminal import Terminal

    require("scipy", "bench")
    plan = Plan(plans.find(profile), cool_to_c=cool_to)
    if scale is None and (range_ or layout):
        raise UsageError("--range and --layout are for model files without a manifest. Add --scale, or leave them out.")
    if data is None and (reference or weights):
        raise UsageError("--reference and --weights are for PSNR. Add --data FOLDER, or leave them out.")
    foreign = None if scale is None else Foreign(scale, range_ or "0-1", layout or "NCHW")
    items = [read_item(path, size, foreign) for path in artifacts]
    stations = _stations(devices, fleet, threads, cpus, folder, runtime)
    with Terminal() as terminal:
        shots = None if data is None else Shots(data, weights, reference, terminal)
        results = _measured(items, shots, data, plan, stations, lab, out, terminal)
    _show(results, json_)


def _measured(
    items: "Sequence[Item]",
    shots: "Shots | None",
    data: Path | None,
    plan: "Plan",
    stations: "Sequence[Station]",
    lab: str | None,
    out: Path,
    listener: "Listener",
) -> "list[Result]":
    from edgesr.bench.lab import measure_in_lab
    from edgesr.bench.many import Task, measure_all
    from edgesr.bench.shots import crops_for
    from edgesr.bench.site import open_site

    tasks = [Task(item, crops_for(item, data), [] if shots is None else shots.of(item)) for item in items]
    if lab is not None:
        return measure_in_lab(tasks, plan, stations, out, listener, lab)
    return measure_all(tasks, plan, stations, open_site, out, listener)


def _show(results: "Sequence[Result]", json_: bool) -> None:
    """Print what was measured, and what was not: the first error ends the command."""
    from edgesr.bench.table import table

    found = [result.summary for result in results if result.summary is not None]
    if json_:
        click.echo(json.dumps([asdict(summary) for summary in found], indent=1))
    elif found:
        stdout(table(found))
    errors = list({str(result.error): result.error for result in results if result.error is not None}.values())
    for error in errors[1:]:
        click.echo(f"Error: {error}", err=True)
    if errors:
        raise errors[0]


def _stations(
    devices: Sequence[str],
    fleet: Path | None,
    threads: tuple[int, ...] | None,
    cpus: tuple[int, ...] | None = None,
    folder: str | None = None,
    runtime: str | None = None,
) -> "list[Station]":
    """Of the command line, then of the fleet; this machine if neither names one."""
    from edgesr.bench.many import Station, station_of
    from edgesr.devices.fleet import read_fleet

    counts: tuple[int | None, ...] = threads or (None,)
    named = [Station(address, address, counts, cpus, folder, runtime=runtime) for address in devices]
    listed = [] if fleet is None else [station_of(member, counts, cpus) for member in read_fleet(fleet)]
    twice = [address for address, count in Counter(one.address for one in (*named, *listed)).items() if count > 1]
    if twice:
        raise UsageError(f"The device {twice[0]} is named twice; what is measured at once disturbs each other.")
    return [*named, *listed] or [Station("local", "local", counts, cpus, folder, runtime=runtime)]


@bench.command(name="import")
@click.argument("files", nargs=-1, required=True, type=FILE)
@OUT
def import_(files: tuple[Path, ...], out: Path) -> None:
    """Take measurements (.jsonl) that an app exported."""
    from edgesr.bench.importing import take

    for file in files:
        for taken in take(file, out):
            click.echo(f"{taken}")


@click.command()
@click.argument("models", nargs=-1, required=True)
@click.option("--target", "-t", "targets", multiple=True, required=True, help="Target, repeatable, or 'all'.")
@click.option("--scale", type=int, help="Upscaling factor (default: 4 where it exists).")
@click.option("--precision", "-p", "precisions", multiple=True, help="Repeatable. Default: fp32.")
@click.option("--int8", is_flag=True, help="Same as --precision int8.")
@click.option("--weights", type=FILE, help="Your own checkpoint (.pth or .safetensors) of the one MODEL.")
@click.option("--size", "sizes", multiple=True, callback=sizes_of, metavar="HxW", help="Fixed input size, repeatable.")
@click.option("--calib", type=FOLDER, help="Low-resolution photos for INT8 ranges.")
@click.option("--quick", is_flag=True, help="INT8 without a contract: ranges alone.")
@DEVICE
@FLEET
@PROFILE
@THREADS
@DATA
@LAB
@OUT
@as_json
def sweep(
    models: tuple[str, ...],
    targets: tuple[str, ...],
    scale: int | None,
    precisions: tuple[str, ...],
    int8: bool,
    weights: Path | None,
    sizes: tuple[Size, ...],
    calib: Path | None,
    quick: bool,
    devices: tuple[str, ...],
    fleet: Path | None,
    profile: str,
    threads: tuple[int, ...] | None,
    data: Path | None,
    lab: str | None,
    out: Path,
    json_: bool,
) -> None:
    """Convert and measure MODELS x targets x precisions x sizes; what exists is not made again, what fails is told.

    Artifacts lie in OUT/artifacts. Give the same command again to go on where it stopped.
    """
    from edgesr.bench import plan as plans
    from edgesr.bench.measure import Plan
    from edgesr.bench.shots import Shots
    from edgesr.bench.subject import read_item
    from edgesr.bench.sweep import Grid, make
    from edgesr.extras import require
    from edgesr.terminal import Terminal
    from edgesr.verify import Limit

    require("torch", "export")
    require("scipy", "bench")
    if weights is not None and len(set(models)) > 1:
        raise UsageError(f"--weights is of one network, and {' '.join(models)} are several. Give one MODEL.")
    plan = Plan(plans.find(profile))
    limit = None if quick else Limit()
    wanted = precisions_of((*precisions, *["int8"] * int8))
    grid = Grid(models, scale, targets, tuple(wanted), sizes, calib, data, limit, weights)
    stations = _stations(devices, fleet, threads)
    with Terminal() as terminal:
        made = make(grid, out / "artifacts", terminal)
        for slug, reason in made.missing:
            terminal.say(f"❎ {slug}: {reason}")
        items = [read_item(folder, None, None) for folder in made.artifacts]
        shots = None if data is None else Shots(data, weights, None, terminal)
        results = _measured(items, shots, data, plan, stations, lab, out, terminal)
    _show(results, json_)
