"""What /proc and /sys of Linux say. Pure functions of text."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

ARM_CORES: Mapping[tuple[int, int], str] = MappingProxyType(
    {
        (0x41, 0xC07): "Cortex-A7",
        (0x41, 0xC09): "Cortex-A9",
        (0x41, 0xC0F): "Cortex-A15",
        (0x41, 0xD01): "Cortex-A32",
        (0x41, 0xD03): "Cortex-A53",
        (0x41, 0xD04): "Cortex-A35",
        (0x41, 0xD05): "Cortex-A55",
        (0x41, 0xD07): "Cortex-A57",
        (0x41, 0xD08): "Cortex-A72",
        (0x41, 0xD09): "Cortex-A73",
        (0x41, 0xD0A): "Cortex-A75",
        (0x41, 0xD0B): "Cortex-A76",
        (0x41, 0xD0C): "Neoverse-N1",
        (0x41, 0xD0D): "Cortex-A77",
        (0x41, 0xD40): "Neoverse-V1",
        (0x41, 0xD41): "Cortex-A78",
        (0x41, 0xD42): "Cortex-A78AE",
        (0x41, 0xD44): "Cortex-X1",
        (0x41, 0xD46): "Cortex-A510",
        (0x41, 0xD47): "Cortex-A710",
        (0x41, 0xD48): "Cortex-X2",
        (0x41, 0xD49): "Neoverse-N2",
        (0x41, 0xD4B): "Cortex-A78C",
        (0x41, 0xD4C): "Cortex-X1C",
        (0x41, 0xD4D): "Cortex-A715",
        (0x41, 0xD4E): "Cortex-X3",
        (0x41, 0xD4F): "Neoverse-V2",
        (0x41, 0xD80): "Cortex-A520",
        (0x41, 0xD81): "Cortex-A720",
        (0x41, 0xD82): "Cortex-X4",
        (0x41, 0xD85): "Cortex-X925",
        (0x41, 0xD87): "Cortex-A725",
        (0x4E, 0x003): "Denver 2",
        (0x4E, 0x004): "Carmel",
        (0x51, 0x001): "Oryon",
        (0x51, 0x800): "Kryo 2xx Gold",
        (0x51, 0x801): "Kryo 2xx Silver",
        (0x51, 0x802): "Kryo 3xx Gold",
        (0x51, 0x803): "Kryo 3xx Silver",
        (0x51, 0x804): "Kryo 4xx Gold",
        (0x51, 0x805): "Kryo 4xx Silver",
        (0x61, 0x022): "Icestorm (M1)",
        (0x61, 0x023): "Firestorm (M1)",
    }
)
"""(implementer, part) of MIDR_EL1 -> name, as arch/arm64/include/asm/cputype.h and util-linux's lscpu have them."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Cores that are alike. `capacity`: the kernel's measure, 1024 for the fastest; None where it has none."""

    name: str
    cores: tuple[int, ...]
    capacity: int | None
    governor: str | None
    min_mhz: int | None
    max_mhz: int | None
    now_mhz: int | None


def clusters(topology: str, cpuinfo: str, online: str) -> tuple[Cluster, ...]:
    """`topology`: lines "cpuN FILE VALUE" of /sys; `online`: "0-3,5", or a number of processors. Fastest last."""
    files: dict[int, dict[str, str]] = defaultdict(dict)
    for line in topology.splitlines():
        found = re.match(r"cpu(\d+) (\S+) (.+)", line)
        if found:
            files[int(found[1])][found[2]] = found[3].strip()
    names = _core_names(cpuinfo)
    numbers = core_numbers(online) or tuple(sorted(files.keys() | names.keys()))
    groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for number in numbers:
        known = files.get(number, {})
        groups[_likeness(known, _name(number, known, names))].append(number)
    found_ones = [_cluster(_name(cores[0], files.get(cores[0], {}), names), cores, files) for cores in groups.values()]
    return tuple(sorted(found_ones, key=lambda one: (one.capacity or 0, one.max_mhz or 0, -one.cores[0])))


def core_numbers(online: str) -> tuple[int, ...]:
    """ "0-3,6" -> 0, 1, 2, 3, 6. A lone number that is not of /sys ("4": how many there are) is what getconf said."""
    lines = online.split()
    if not lines:
        return ()
    if len(lines) == 1 and (count := number(lines[0])) is not None:
        return tuple(range(min(count, MOST_CORES))) or (0,)
    numbers: list[int] = []
    for part in lines[0].split(","):
        first, _, last = part.partition("-")
        begin, end = number(first), number(last or first)
        if begin is not None and end is not None:
            numbers.extend(range(begin, min(end, MOST_CORES - 1) + 1))
    return tuple(dict.fromkeys(numbers))


def _likeness(known: Mapping[str, str], name: str) -> tuple[object, ...]:
    return name, *(known.get(file) for file in ("cpu_capacity", "topology/cluster_id", "cpufreq/cpuinfo_max_freq"))


def _cluster(name: str, cores: list[int], files: Mapping[int, Mapping[str, str]]) -> Cluster:
    first = files.get(cores[0], {})
    now = [_mhz(files.get(core, {}), "scaling_cur_freq") for core in cores]
    return Cluster(
        name=name,
        cores=tuple(cores),
        capacity=number(first.get("cpu_capacity", "")),
        governor=first.get("cpufreq/scaling_governor"),
        min_mhz=_mhz(first, "scaling_min_freq"),
        max_mhz=_mhz(first, "scaling_max_freq"),
        now_mhz=max((value for value in now if value is not None), default=None),
    )


def _mhz(known: Mapping[str, str], file: str) -> int | None:
    khz = number(known.get(f"cpufreq/{file}", ""))
    return None if khz is None else round(khz / 1000)


def number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\s*[0-9]{1,18}\s*", text) else None


def _name(core: int, known: Mapping[str, str], names: Mapping[int, str]) -> str:
    midr = known.get("regs/identification/midr_el1", "")
    if re.fullmatch(r"0x[0-9a-fA-F]+", midr):
        value = int(midr, 16)
        return _arm_name(value >> 24 & 0xFF, value >> 4 & 0xFFF)
    return names.get(core) or next(iter(names.values()), "unknown")


def _arm_name(implementer: int, part: int) -> str:
    return ARM_CORES.get((implementer, part), f"implementer {implementer:#04x} part {part:#05x}")


def _core_names(cpuinfo: str) -> dict[int, str]:
    """Core -> name, of /proc/cpuinfo of Arm (implementer and part) or x86 (model name)."""
    names: dict[int, str] = {}
    for block in re.split(r"\n\s*\n", cpuinfo):
        entries = fields(block)
        core = number(entries.get("processor", ""))
        if core is None:
            continue
        if "CPU implementer" in entries and "CPU part" in entries:
            names[core] = _arm_name(_hex(entries["CPU implementer"]), _hex(entries["CPU part"]))
        elif "model name" in entries:
            names[core] = entries["model name"]
    return names


def _hex(text: str) -> int:
    return int(text, 16) if re.fullmatch(r"0x[0-9a-fA-F]+", text) else -1


def fields(text: str, separator: str = ":") -> dict[str, str]:
    """Lines "name: value"."""
    parts = (line.partition(separator) for line in text.splitlines() if separator in line)
    return {name.strip(): value.strip() for name, _, value in parts}


def os_name(os_release: str) -> str | None:
    return fields(os_release, "=").get("PRETTY_NAME", "").strip("'\"") or None


def ram_mb(meminfo: str) -> int | None:
    kilobytes = fields(meminfo).get("MemTotal", "").removesuffix("kB").strip()
    return round(int(kilobytes) * 1024 / 1e6) if kilobytes.isdigit() else None


MOST_CORES = 4096
"""More than any Linux has by default: what says of more is no list of cores."""
_CPU_ZONE = re.compile(r"cpu|soc|x86_pkg|pkg|core|package|big|little|tj", re.IGNORECASE)


def zone_c(zones: str) -> float | None:
    """The hottest of the zones "type milli-Celsius" that are of the processor, else of all."""
    found: list[tuple[str, float]] = []
    for line in zones.splitlines():
        kind, _, value = line.rpartition(" ")
        if re.fullmatch(r"-?\d+", value):
            degrees = int(value) / 1000
            if -40 < degrees < 200 and degrees != 0:  # an unused zone reads 0 or its own idea of nothing
                found.append((kind, degrees))
    of_cpu = [degrees for kind, degrees in found if _CPU_ZONE.search(kind)]
    return max(of_cpu or [degrees for _, degrees in found], default=None)


def emulator(seen: str, machine: str, cpuinfo: str) -> str | None:
    """Which emulator runs the device's programs, if one does.

    `seen`: /proc/PID/exe and cmdline of a shell, read by another process. An emulator answers for /proc/self only, so
    the kernel says there what it really started. Where /proc is not readable, an Arm machine whose /proc/cpuinfo is
    that of an x86 processor is none.
    """
    words = _words(seen)
    for known in ("qemu", "rosetta", "box64", "fexinterpreter", "aarch64-binfmt"):
        if any(known in word for word in words):
            return {"aarch64-binfmt": "qemu", "fexinterpreter": "FEX"}.get(known, known)
    arm = machine.startswith(("aarch64", "arm"))
    return "unknown emulator" if arm and re.search(r"^vendor_id\s*:", cpuinfo, re.MULTILINE) else None


def _words(seen: str) -> Iterable[str]:
    """Of /proc/PID/exe the name alone and of the command its first words: a folder named qemu is no emulator."""
    exe, _, command = seen.partition("\n")
    first = command.split(" -c ")[0].split()[:2]
    return [word.rpartition("/")[2].lower() for word in (exe.strip(), *first)]
