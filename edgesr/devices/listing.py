"""Facts of a device, for a terminal."""

from typing import TYPE_CHECKING

from edgesr.devices.facts import Facts, Thermal
from edgesr.devices.linux import Cluster

if TYPE_CHECKING:
    from rich.table import Table


def table(facts: Facts) -> "Table":
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    for name, value in rows(facts):
        if value:
            grid.add_row(name, value)
    return grid


def rows(facts: Facts) -> list[tuple[str, str | None]]:
    """Name and value; None for what the device does not say."""
    return [
        ("device", f"{facts.address} ({_kind(facts)})"),
        ("board", facts.board),
        ("SoC", facts.soc),
        ("cores", f"{facts.cores} {facts.arch}"),
        *(("", _cluster(cluster)) for cluster in facts.clusters),
        ("RAM", f"{facts.ram_mb} MB" if facts.ram_mb else None),
        ("free disk", f"{facts.free_disk_mb} MB" if facts.free_disk_mb is not None else None),
        ("system", f"{facts.os}, {facts.kernel}"),
        ("Python", _python(facts)),
        ("power mode", facts.power_mode),
        ("power", facts.power),
        ("clocks", {True: "held at their highest", False: "move with the load", None: None}[facts.fixed_clocks]),
        ("thermal", _thermal(facts.thermal)),
    ]


def _kind(facts: Facts) -> str:
    return f"emulated by {facts.emulator}: its times say nothing" if facts.emulator else facts.kind


def _cluster(cluster: Cluster) -> str:
    clocks = f"{cluster.min_mhz}-{cluster.max_mhz} MHz" if cluster.max_mhz is not None else None
    now = f"now {cluster.now_mhz}" if cluster.now_mhz is not None else None
    cores = f"{cluster.cores[0]}-{cluster.cores[-1]}" if len(cluster.cores) > 1 else str(cluster.cores[0])
    parts = (cluster.name, f"cores {cores}", clocks, now, cluster.governor)
    return ", ".join(part for part in parts if part)


def _python(facts: Facts) -> str:
    if facts.python is None:
        return "none"
    libc = " ".join(facts.python.libc).strip()
    version = ".".join(map(str, facts.python.version))
    return f"{version}, {facts.python.bits} bit, {libc or facts.python.platform}"


def _thermal(thermal: Thermal) -> str | None:
    parts = []
    if thermal.temperature_c is not None:
        parts.append(f"{thermal.temperature_c:.1f} C")
    if thermal.clock_mhz is not None:
        parts.append(f"{thermal.clock_mhz} MHz")
    return ", ".join((*parts, *thermal.throttled)) or None
