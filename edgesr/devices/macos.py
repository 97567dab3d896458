"""What macOS says of itself. Pure functions of text."""

import re

from edgesr.devices.linux import Cluster, fields, number


def os_name(sw_vers: str) -> str | None:
    known = fields(sw_vers)
    name, version = known.get("ProductName"), known.get("ProductVersion")
    return f"{name} {version}" if name and version else None


def board(sysctl: str) -> str | None:
    """ "Mac14,2"."""
    return fields(sysctl).get("hw.model")


def soc(sysctl: str) -> str | None:
    """ "Apple M2"."""
    return fields(sysctl).get("machdep.cpu.brand_string")


def ram_mb(sysctl: str) -> int | None:
    size = number(fields(sysctl).get("hw.memsize", ""))
    return None if size is None else round(size / 1e6)


def clusters(sysctl: str) -> tuple[Cluster, ...]:
    """Performance levels of Apple silicon (0 is the fastest), which have no numbers of cores; clocks are not told."""
    known = fields(sysctl)
    levels = number(known.get("hw.nperflevels", "")) or 0
    first, found = 0, []
    for level in reversed(range(levels)):
        count = number(known.get(f"hw.perflevel{level}.logicalcpu", "")) or 0
        name = known.get(f"hw.perflevel{level}.name", f"level {level}")
        found.append(_cluster(name, first, count))
        first += count
    if not found and (count := number(known.get("hw.logicalcpu", "")) or 0):
        found.append(_cluster(soc(sysctl) or "unknown", 0, count))
    return tuple(found)


def _cluster(name: str, first: int, count: int) -> Cluster:
    return Cluster(name, tuple(range(first, first + count)), None, None, None, None, None)


def throttled(pmset: str) -> tuple[str, ...]:
    """`pmset -g therm`: a speed limit below 100 (Intel), or a warning level that was recorded."""
    found = []
    limit = re.search(r"CPU_Speed_Limit\s*=\s*(\d+)", pmset)
    if limit and int(limit[1]) < 100:
        found.append(f"speed limit {limit[1]} % now")
    level = re.search(r"[Tt]hermal [Ww]arning [Ll]evel\s*(?:=|set to)\s*(\d+)", pmset)
    if level and int(level[1]) > 0:
        found.append(f"thermal warning level {level[1]} now")
    return tuple(found)
