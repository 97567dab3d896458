"""From an address to a device that is ready to measure."""

import importlib.metadata
import sys
from dataclasses import asdict
from pathlib import Path

import edgesr
from edgesr.bench.many import Station
from edgesr.bench.measure import Site
from edgesr.bench.records import Where
from edgesr.devices import Device, connect
from edgesr.devices.bundle import runner_bundle
from edgesr.devices.setup import RUNTIMES, Installed, installed
from edgesr.errors import DeviceError, UsageError
from edgesr.targets import TARGETS

ABOVE = Path(edgesr.__file__).parents[1]


def open_site(station: Station) -> Site:
    """Ask the device what it is, and find the runner there.

    Raises UsageError, ConnectionLost, DeviceError if it cannot be reached or was not set up.
    """
    device = connect(station.address)
    facts = device.facts()
    where = Where(station.name, station.address, facts.kind, asdict(facts))
    governor = ", ".join(facts.governors) or None
    if station.address == "local":
        if station.runtime is not None:
            raise UsageError("On this machine the installed runtimes are measured. Leave --runtime out.")
        return Site(device, where, _own, device.folder, here=True, governor=governor, version=_own_version)
    there = _found(device, station)
    command = _Installed(station, there)
    folder = f"{there.folder}/bench"
    return Site(device, where, command, folder, here=False, governor=governor, version=command.version)


def _own(target: str) -> list[str]:
    """The interpreter that runs this, with the same packages."""
    return ["env", f"PYTHONPATH={':'.join((str(ABOVE), *filter(None, sys.path)))}", sys.executable]


def _own_version(target: str) -> str:
    distribution = TARGETS[target].runtime if target in TARGETS else None
    try:
        return "" if distribution is None else f"{distribution} {importlib.metadata.version(distribution)}"
    except importlib.metadata.PackageNotFoundError:
        return ""  # said when it is opened


def _found(device: Device, station: Station) -> Installed:
    folder = station.folder or device.folder
    again = f"Run: edgesr device setup {station.address}" + (f" --folder {folder}" if station.folder else "")
    there = installed(device, folder)
    if there is None:
        raise DeviceError(f"{station.name}: there is no runner in {folder!r} on the device. {again}")
    if there.runner != runner_bundle().digest:
        raise DeviceError(f"{station.name}: the runner on the device is of another version of edgesr. {again}")
    return there


class _Installed:
    """How the runner is started for a target, with the runtime that was asked for or the first that was set up."""

    def __init__(self, station: Station, there: Installed) -> None:
        self.station, self.there = station, there

    def _runtime(self, target: str) -> str | None:
        return self.station.runtime or self.there.runtime_of(target)

    def version(self, target: str) -> str:
        name = self._runtime(target)
        return "" if name is None else f"{name} {self.there.versions.get(name, '')}"

    def __call__(self, target: str) -> list[str]:
        name = self._runtime(target)
        if name is None:
            known = [name for name, runtime in RUNTIMES.items() if runtime.target == target]
            advice = (
                f"Run: edgesr device setup {self.station.address} --runtime {known[0]}"
                if known
                else ("It cannot be set up there by this kit.")
            )
            raise DeviceError(f"{self.station.name}: no runtime for {target} artifacts on the device. {advice}")
        return self.there.argv(name)
