"""Many artifacts, thread counts and devices: each device does its own one after another, devices at the same time."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from edgesr.bench.inputs import Crops
from edgesr.bench.measure import Plan, Site, folder_of, measure
from edgesr.bench.quality import Shot
from edgesr.bench.subject import Item
from edgesr.bench.summary import Summary
from edgesr.devices.fleet import Member
from edgesr.devices.process import resume, stoppable
from edgesr.errors import ConnectionLost, DeviceError, EdgesrError
from edgesr.listener import Listener
from edgesr.lock import alone


@dataclass(frozen=True, slots=True)
class Station:
    """A device by name and address, and how its artifacts are run. `threads`: one measurement for each entry.

    `host`: which host of a lab reaches it (edgesr.bench.lab). `runtime`: of those that were set up there.
    """

    name: str
    address: str
    threads: tuple[int | None, ...] = (None,)
    cpus: tuple[int, ...] | None = None
    folder: str | None = None
    host: str | None = None
    runtime: str | None = None


def station_of(member: Member, threads: tuple[int | None, ...], cpus: tuple[int, ...] | None) -> Station:
    """A device of a fleet. What the fleet says of threads comes before `threads`."""
    counts = member.threads or threads
    return Station(member.name, member.address, counts, cpus, member.folder, member.host)


@dataclass(frozen=True, slots=True)
class Task:
    """An artifact, the images that it runs while time is taken, and those for quality."""

    item: Item
    crops: Crops
    shots: Sequence[Shot]


@dataclass(frozen=True, slots=True)
class Result:
    """`error`: why there is no summary."""

    device: str
    artifact: str
    summary: Summary | None
    error: EdgesrError | None = None


def measure_all(
    tasks: Sequence[Task],
    plan: Plan,
    stations: Sequence[Station],
    open_site: Callable[[Station], Site],
    runs: Path,
    listener: Listener,
) -> list[Result]:
    """Measure everything everywhere; what fails is a result with the reason, and the rest goes on.

    A device that does not answer is given up with its first artifact.
    """
    try:
        with ThreadPoolExecutor(max_workers=len(stations)) as pool, stoppable():
            done = [pool.submit(_on_one, tasks, plan, station, open_site, runs, listener) for station in stations]
            return [result for future in done for result in future.result()]
    finally:
        resume()


def _on_one(
    tasks: Sequence[Task],
    plan: Plan,
    station: Station,
    open_site: Callable[[Station], Site],
    runs: Path,
    listener: Listener,
) -> list[Result]:
    lost: ConnectionLost | None = None
    results: list[Result] = []
    try:
        with _held(station, open_site, runs) as site:
            for task in tasks:
                for threads in station.threads:
                    there = replace(plan, threads=threads, cpus=station.cpus)
                    results.append(_one(task, site, there, runs, listener, lost))
                    lost = results[-1].error if isinstance(results[-1].error, ConnectionLost) else lost
    except EdgesrError as error:
        return [Result(station.name, task.item.subject.name, None, error) for task in tasks]
    return results


@contextmanager
def _held(station: Station, open_site: Callable[[Station], Site], runs: Path) -> Iterator[Site]:
    """The device, open, with its folder in `runs` for this process alone. Raises DeviceError and its kin."""
    site = open_site(station)
    folder = folder_of(runs, site.where.name)
    taken = f"Another process is measuring into {folder}. Wait for its end, or choose another --out folder."
    try:
        with alone(folder, "bench", DeviceError(taken), "Choose another --out folder."):
            yield site
    finally:
        site.device.close()


def _one(task: Task, site: Site, plan: Plan, runs: Path, listener: Listener, lost: ConnectionLost | None) -> Result:
    name = task.item.subject.name
    try:
        if lost is not None:
            raise lost
        return Result(site.where.name, name, measure(task.item, site, plan, task.crops, task.shots, runs, listener))
    except EdgesrError as error:
        return Result(site.where.name, name, None, error)
