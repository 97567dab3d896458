"""A lab of several hosts: every device is measured by the host that reaches it. Ray brings the work there.

Start Ray on each host with a resource of its own name: `ray start --address HEAD --resources '{"bench-2": 1}'`. A
device of the fleet with `host = "bench-2"` is then measured from there; one without a host from wherever there is room.
"""

import functools
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from edgesr.bench.many import Result, Station, Task, measure_all
from edgesr.bench.measure import Plan, folder_of
from edgesr.bench.records import SUFFIX, read
from edgesr.bench.site import open_site
from edgesr.bench.subject import read_item
from edgesr.bench.summary import summarise
from edgesr.errors import DeviceError, restored
from edgesr.extras import require
from edgesr.listener import Listener, Silent
from edgesr.lock import LOCK
from edgesr.whole_file import write_whole

Files = Mapping[str, bytes]
ADVICE = "Choose another folder with -o."


@dataclass(frozen=True, slots=True)
class Parcel:
    """A task without paths of this host: what another one unpacks."""

    task: Task
    main: str
    files: Files


@dataclass(frozen=True, slots=True)
class Answer:
    """Of one device: for each measurement the artifact, and its run or class and message of an error; every file of
    the device, by its name relative to the folder of measurements."""

    outcomes: tuple[tuple[str, str | None, tuple[str, str] | None], ...]
    files: Files


def measure_in_lab(
    tasks: Sequence[Task], plan: Plan, stations: Sequence[Station], runs: Path, listener: Listener, address: str
) -> list[Result]:
    """As `measure_all`, on the hosts of the Ray cluster at `address`; the same files in `runs`.

    Raises DeviceError if there is no such cluster or none of its hosts has a resource that a device names.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = require("ray", "lab")
    try:
        ray.init(address=address, log_to_driver=False, ignore_reinit_error=True)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise DeviceError(
            f"There is no Ray cluster at {address!r}: {error}. Start one with: ray start --head"
        ) from error
    try:
        _check_hosts(stations, ray.cluster_resources())
        parcels = ray.put([_parcel(task) for task in tasks])
        asked = {}
        for station in stations:
            needs = {station.host: 0.01} if station.host else {}
            remote = ray.remote(num_cpus=1, resources=needs)(answer)
            asked[remote.remote(parcels, plan, station, _held(runs, station))] = station
        taken = [_take(ray, reference, station, runs, listener) for reference, station in asked.items()]
        return [result for results in taken for result in results]
    finally:
        ray.shutdown()


def answer(parcels: Sequence[Parcel], plan: Plan, station: Station, held: Files) -> Answer:
    """What runs on the other host. `held`: what was measured of this device before."""
    with tempfile.TemporaryDirectory(prefix="edgesr-lab-") as name:
        folder, runs = Path(name), Path(name, "runs")
        _unpack(held, runs)
        tasks = [_unpacked(parcel, folder / str(index)) for index, parcel in enumerate(parcels)]
        results = measure_all(tasks, plan, [station], open_site, runs, Silent())
        return Answer(tuple(_outcome(result) for result in results), _packed(runs, runs))


def _outcome(result: Result) -> tuple[str, str | None, tuple[str, str] | None]:
    run = None if result.summary is None else result.summary.run
    return result.artifact, run, None if result.error is None else (type(result.error).__name__, str(result.error))


def _take(ray: ModuleType, reference: object, station: Station, runs: Path, listener: Listener) -> list[Result]:
    try:
        found: Answer = ray.get(reference)
    except Exception as error:  # Ray's own for a host that died, and whatever its worker raised
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        lost = DeviceError(f"{station.name}: the host that measures it failed: {reason}")
        return [Result(station.name, "", None, lost)]
    _unpack(found.files, runs)
    return [_result(*outcome, station, runs, listener) for outcome in found.outcomes]


def _result(
    artifact: str, run: str | None, failure: tuple[str, str] | None, station: Station, runs: Path, listener: Listener
) -> Result:
    if failure is None:
        return Result(station.name, artifact, summarise(read(folder_of(runs, station.name) / f"{run}{SUFFIX}")))
    return Result(station.name, artifact, None, restored(*failure))


def _check_hosts(stations: Sequence[Station], there: Mapping[str, float]) -> None:
    for station in stations:
        if station.host is not None and station.host not in there:
            known = ", ".join(
                sorted(name for name in there if not name.startswith(("node:", "CPU", "memory", "object")))
            )
            raise DeviceError(
                f"No host of the lab has the resource {station.host!r}, which {station.name} names. There are: "
                f"{known or 'none'}. Start Ray there with --resources '{{\"{station.host}\": 1}}'."
            )


def _parcel(task: Task) -> Parcel:
    above = task.item.path.parent
    return Parcel(
        task, task.item.path.name, {file.relative_to(above).as_posix(): file.read_bytes() for file in task.item.files}
    )


def _unpacked(parcel: Parcel, folder: Path) -> Task:
    """The same artifact on this host, its hashes checked."""
    _unpack(parcel.files, folder)
    item = read_item(folder / parcel.main, parcel.task.item.subject.size, parcel.task.item.foreign)
    return replace(parcel.task, item=item)


def _held(runs: Path, station: Station) -> Files:
    folder = folder_of(runs, station.name)
    return _packed(folder, runs) if folder.is_dir() else {}


def _packed(folder: Path, above: Path) -> Files:
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != LOCK)
    return {file.relative_to(above).as_posix(): file.read_bytes() for file in files}


def _unpack(files: Files, folder: Path) -> None:
    for name, content in files.items():
        write_whole(folder / name, functools.partial(_write, content), ADVICE)


def _write(content: bytes, file: Path) -> None:
    file.write_bytes(content)
