"""What a device is, and how it stands right now."""

import json
from dataclasses import dataclass
from typing import Any, Literal

from edgesr.devices import android, boards, linux, macos, survey
from edgesr.devices.linux import Cluster
from edgesr.devices.paths import free_kilobytes
from edgesr.devices.protocol import Device
from edgesr.errors import DeviceError

Kind = Literal["device", "host", "emulated"]
SURVEY_S = 120.0
"""An emulated board takes half a minute for the many small programs."""


@dataclass(frozen=True, slots=True)
class Python:
    """The device's interpreter. `platform`: as sysconfig has it; `libc`: ("glibc", "2.36") or empty."""

    version: tuple[int, int, int]
    platform: str
    bits: int
    implementation: str
    libc: tuple[str, str]
    executable: str


@dataclass(frozen=True, slots=True)
class Thermal:
    """`throttled`: what holds the processor back, in words; those that end with "now" hold at this moment."""

    temperature_c: float | None
    throttled: tuple[str, ...]
    clock_mhz: int | None

    @property
    def throttled_now(self) -> bool:
        return any(words.endswith("now") for words in self.throttled)


@dataclass(frozen=True, slots=True)
class Facts:
    """JSON with dataclasses.asdict. None: the device does not say.

    `kind`: "host" is the machine that runs this kit, "emulated" one whose processor is simulated, so that its times say
    nothing. `power`: battery and charger. `fixed_clocks`: held at their highest, where the device can tell.
    """

    address: str
    kind: Kind
    emulator: str | None
    board: str | None
    soc: str | None
    arch: str
    clusters: tuple[Cluster, ...]
    ram_mb: int | None
    free_disk_mb: int | None
    os: str
    kernel: str
    power_mode: str | None
    power: str | None
    fixed_clocks: bool | None
    thermal: Thermal
    python: Python | None

    @property
    def cores(self) -> int:
        return sum(len(cluster.cores) for cluster in self.clusters)

    @property
    def governors(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(cluster.governor for cluster in self.clusters if cluster.governor))


def collect(device: Device, python: str = "python3") -> Facts:
    """Ask everything in one round trip. Raises ConnectionLost, DeviceError."""
    answers = survey.sections(_ask(device, survey.program(python, device.folder)))
    return parse(device.address, answers, own_boot() if device.address != "local" else None)


def thermal(device: Device) -> Thermal:
    """Only what changes while something is measured. Raises ConnectionLost, DeviceError."""
    return parse_thermal(survey.sections(_ask(device, survey.thermal_program())))


def own_boot() -> str | None:
    """What tells this machine from every other; None where only another program could tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return None


def _ask(device: Device, program: list[str]) -> str:
    done = device.run(program, timeout_s=SURVEY_S)
    if done.code != 0:
        raise DeviceError(
            f"{device.address}: its shell did not answer (exit code {done.code}): {done.stderr_tail}",
            program,
            done.code,
        )
    return done.stdout


def parse(address: str, said: survey.Survey, host_boot: str | None) -> Facts:
    """`host_boot`: the boot id of this machine, to know it again behind an address; None for `local`."""
    system, kernel, arch = (*said["system"].splitlines(), "", "", "")[:3]
    props = android.properties(said["getprop"])
    is_mac = system == "Darwin"
    emulator = linux.emulator(said["emulator"], arch, said["cpuinfo"])
    board = said["model"] or android.board(props) or macos.board(said["sysctl"])
    return Facts(
        address=address,
        kind=_kind(emulator, address == "local" or (host_boot is not None and said["boot"] == host_boot), said, props),
        emulator=emulator,
        board=board or " ".join(said["product"].split()) or None,
        soc=android.soc(props) or boards.soc(said["compatible"]) or macos.soc(said["sysctl"]),
        arch=arch,
        clusters=macos.clusters(said["sysctl"])
        if is_mac
        else linux.clusters(said["topology"], said["cpuinfo"], said["processors"]),
        ram_mb=linux.ram_mb(said["memory"]) or macos.ram_mb(said["sysctl"]) or boards.tegra_ram_mb(said["tegrastats"]),
        free_disk_mb=_free_mb(said["disk"]),
        os=android.os_name(props) or macos.os_name(said["sw_vers"]) or linux.os_name(said["os"]) or system,
        kernel=f"{system} {kernel}",
        power_mode=boards.power_mode(said["nvpmodel"]),
        power=android.power(said["battery"]),
        fixed_clocks=boards.clocks_fixed(said["jetson_clocks"]),
        thermal=parse_thermal(said),
        python=_python(said["python"]),
    )


def parse_thermal(said: survey.Survey) -> Thermal:
    temperatures = (
        boards.pi_c(said["temperature"]),
        android.thermal_c(said["thermalservice"]),
        linux.zone_c(said["zones"]),
        boards.tegra_c(said["tegrastats"]),
        android.battery_c(said["battery"]),
    )
    return Thermal(
        temperature_c=next((value for value in temperatures if value is not None), None),
        throttled=(
            *boards.throttled(said["throttled"]),
            *android.throttled(said["thermalservice"]),
            *macos.throttled(said["pmset"]),
        ),
        clock_mhz=boards.clock_mhz(said["clock"]),
    )


def _kind(emulator: str | None, here: bool, said: survey.Survey, props: dict[str, str]) -> Kind:
    """A board that measures itself is a device all the same: it says its model in a device tree."""
    if emulator is not None:
        return "emulated"
    return "host" if here and not said["model"] and not props else "device"


def _free_mb(df: str) -> int | None:
    kilobytes = free_kilobytes(df)
    return None if kilobytes is None else round(kilobytes * 1024 / 1e6)


def _python(text: str) -> Python | None:
    try:
        version, platform, bits, implementation, libc, executable = json.loads(text)
        return Python(_three(version), str(platform), int(bits), str(implementation), _two(libc), str(executable))
    except (ValueError, TypeError):
        return None


def _three(values: Any) -> tuple[int, int, int]:
    major, minor, micro = values
    return int(major), int(minor), int(micro)


def _two(values: Any) -> tuple[str, str]:
    name, version = values
    return str(name), str(version)
