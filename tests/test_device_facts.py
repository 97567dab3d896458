"""What devices say, read from recorded answers (tests/recorded) and from odd ones."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from edgesr.devices import Facts, android, boards, linux, macos, survey
from edgesr.devices.facts import parse, parse_thermal
from edgesr.devices.listing import rows
from edgesr.devices.paths import free_kilobytes
from edgesr.devices.setup import usable_python
from edgesr.devices.wheels import platforms
from edgesr.errors import DeviceError

RECORDED = Path(__file__).parent / "recorded"
NAMES = sorted(file.stem for file in RECORDED.glob("*.txt"))


def recorded(name: str) -> Facts:
    said = survey.sections((RECORDED / f"{name}.txt").read_text())
    return parse(f"ssh:{name}", said, host_boot="another")


def test_a_raspberry_pi() -> None:
    facts = recorded("raspberry-pi-5")
    assert (facts.kind, facts.emulator) == ("device", None)
    assert (facts.board, facts.soc, facts.arch) == ("Raspberry Pi 5 Model B Rev 1.0", "BCM2712", "aarch64")
    (cluster,) = facts.clusters
    assert (cluster.name, cluster.cores) == ("Cortex-A76", (0, 1, 2, 3))
    assert (cluster.min_mhz, cluster.max_mhz, cluster.now_mhz) == (1500, 2400, 1500)
    assert facts.governors == ("ondemand",)
    assert (facts.ram_mb, facts.free_disk_mb) == (8455, 24028)
    assert (facts.os, facts.kernel) == ("Debian GNU/Linux 12 (bookworm)", "Linux 6.6.51+rpt-rpi-2712")
    assert facts.thermal.temperature_c == 48.3
    assert facts.thermal.clock_mhz == 1500
    assert facts.thermal.throttled == (
        "under-voltage now",
        "throttled now",
        "under-voltage since boot",
        "throttled since boot",
    )
    assert facts.thermal.throttled_now


def test_a_jetson() -> None:
    facts = recorded("jetson-orin-nano")
    assert (facts.kind, facts.board) == ("device", "NVIDIA Jetson Orin Nano Developer Kit")
    assert facts.soc == "Tegra T234 (Orin)"
    assert facts.power_mode == "15W (mode 0)"
    assert facts.fixed_clocks is False
    assert facts.thermal.temperature_c == 47.187
    assert facts.cores == 6
    assert {cluster.name for cluster in facts.clusters} == {"Cortex-A78AE"}
    assert facts.python is not None
    with pytest.raises(DeviceError, match=r"has cpython 3.10.12; the runner needs CPython 3.11 or newer"):
        usable_python(facts)


def test_a_phone() -> None:
    facts = recorded("pixel-7")
    assert (facts.kind, facts.board, facts.soc) == ("device", "Google Pixel 7", "Google GS201")
    assert facts.os == "Android 14 (API 34)"
    assert [(one.name, one.cores, one.capacity, one.max_mhz) for one in facts.clusters] == [
        ("Cortex-A55", (0, 1, 2, 3), 124, 1803),
        ("Cortex-A78", (4, 5), 427, 2348),
        ("Cortex-X1", (6, 7), 1024, 2850),
    ]
    assert facts.thermal.temperature_c == 58.0
    assert facts.thermal.throttled == ("thermal status moderate now",)
    assert facts.power == "USB powered, 85 %"
    assert facts.python is None
    with pytest.raises(DeviceError, match="Android has no Python"):
        usable_python(facts)


def test_a_mac() -> None:
    facts = recorded("macbook-air-m2")
    assert (facts.kind, facts.board, facts.soc, facts.os) == ("device", "Mac14,2", "Apple M2", "macOS 14.5")
    assert [(one.name, one.cores) for one in facts.clusters] == [
        ("Efficiency", (0, 1, 2, 3)),
        ("Performance", (4, 5, 6, 7)),
    ]
    assert (facts.ram_mb, facts.cores, facts.thermal.throttled) == (17180, 8, ())
    assert platforms(usable_python(facts)) == ("macosx_11_0_arm64", "macosx_11_0_universal2")


@pytest.mark.parametrize("name", NAMES)
def test_facts_are_json_and_a_table(name: str) -> None:
    facts = recorded(name)
    assert json.loads(json.dumps(asdict(facts)))["address"] == f"ssh:{name}"
    assert all(value is None or "None" not in value for _, value in rows(facts))


@pytest.mark.parametrize("name", NAMES)
def test_every_answer_may_be_missing(name: str) -> None:
    """Any one section empty or cut off: the rest is still read."""
    text = (RECORDED / f"{name}.txt").read_text()
    parts = text.split(survey.MARK)
    for index in range(1, len(parts)):
        section, _, body = parts[index].partition("\n")
        for shorter in ("", body[: len(body) // 2], body.upper(), "\0\xff" + body):
            said = survey.sections(survey.MARK.join((*parts[:index], f"{section}\n{shorter}\n", *parts[index + 1 :])))
            facts = parse("ssh:x", said, None)
            rows(facts)
            json.dumps(asdict(facts))


def test_a_device_that_says_nothing_has_no_facts_made_up() -> None:
    facts = parse("ssh:x", survey.sections(""), None)
    assert (facts.board, facts.soc, facts.ram_mb, facts.free_disk_mb, facts.python) == (None,) * 5
    assert (facts.cores, facts.thermal.temperature_c, facts.thermal.clock_mhz) == (0, None, None)


def test_this_machine_behind_an_address_is_the_host() -> None:
    said = survey.sections("@@edgesr system\nLinux\n6.1\nx86_64\n@@edgesr boot\nsame-boot\n")
    assert parse("ssh:x", said, "same-boot").kind == "host"
    assert parse("ssh:x", said, "other").kind == "device"
    assert parse("local", said, None).kind == "host"


def test_a_board_that_measures_itself_is_a_device() -> None:
    said = survey.sections((RECORDED / "raspberry-pi-5.txt").read_text())
    assert parse("local", said, None).kind == "device"


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (
            "/usr/libexec/qemu-binfmt/aarch64-binfmt-P\n/usr/libexec/qemu-binfmt/aarch64-binfmt-P /bin/sh sh -c x",
            "qemu",
        ),
        ("/usr/bin/qemu-aarch64-static\n/usr/bin/qemu-aarch64-static /bin/sh -c x", "qemu"),
        ("\n/usr/bin/qemu-aarch64 /bin/sh -c x", "qemu"),
        ("/run/rosetta/rosetta\n/run/rosetta/rosetta /bin/sh -c x", "rosetta"),
        ("/usr/bin/dash\nsh -c readlink qemu", None),
        ("/home/qemu/bin/dash\n/home/qemu/bin/dash -c x", None),
        ("", None),
    ],
)
def test_an_emulator_is_seen_where_the_kernel_names_it(seen: str, expected: str | None) -> None:
    assert linux.emulator(seen, "aarch64", "") == expected


def test_arm_programs_on_an_x86_processor_are_emulated_whoever_does_it() -> None:
    cpuinfo = "processor\t: 0\nvendor_id\t: GenuineIntel\n"
    assert linux.emulator("", "aarch64", cpuinfo) == "unknown emulator"
    assert linux.emulator("", "x86_64", cpuinfo) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0-3,6", (0, 1, 2, 3, 6)),
        ("0", (0,)),
        ("0-1\n2", (0, 1)),
        ("4", (0, 1, 2, 3)),
        ("", ()),
        ("x", ()),
        ("\u00b2", ()),
        ("0,\u00b2-3", (0,)),
    ],
)
def test_numbers_of_cores(text: str, expected: tuple[int, ...]) -> None:
    assert linux.core_numbers(text) == expected


@pytest.mark.parametrize("text", ["0-20000000", "20000000", "99999999999999999999999-0"])
def test_a_list_of_cores_from_a_device_fills_no_memory(text: str) -> None:
    assert len(linux.core_numbers(text)) <= linux.MOST_CORES


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("throttled=0x0", ()),
        ("throttled=0x80008", ("soft temperature limit now", "soft temperature limit since boot")),
        ("throttled=0x20002", ("frequency capped now", "frequency capped since boot")),
        ("VCHI initialization failed", ()),
        ("", ()),
    ],
)
def test_throttle_bits_in_words(text: str, expected: tuple[str, ...]) -> None:
    assert boards.throttled(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NV Power Mode: MAXN\n0\n", "MAXN (mode 0)"),
        ("NVPM WARN: fan mode is not set!\nNV Power Mode: 10W\n1", "10W (mode 1)"),
        ("NV Power Mode: MODE_30W_ALL", "MODE_30W_ALL"),
        ("Error: cannot read", None),
    ],
)
def test_power_modes(text: str, expected: str | None) -> None:
    assert boards.power_mode(text) == expected


def test_an_old_jetson_s_statistics() -> None:
    line = (
        "RAM 1903/3964MB (lfb 330x4MB) CPU [2%@102,1%@102,0%@102,0%@102] PLL@24C CPU@26.5C PMIC@100C GPU@25C AO@32.5C"
    )
    assert boards.tegra_ram_mb(line) == 4157
    assert boards.tegra_c(line) == 32.5


def test_held_clocks() -> None:
    assert boards.clocks_fixed("cpu0:  Online=1 Governor=schedutil MinFreq=1510400 MaxFreq=1510400 CurrentFreq=1510400")
    assert boards.clocks_fixed("cpu0: Gonvernor=schedutil MinFreq=1 MaxFreq=1") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x86_pkg_temp 61000\nacpitz 27800", 61.0),
        ("acpitz 27800", 27.8),
        ("acpitz 0", None),
        ("gpu -274000", None),
        ("", None),
    ],
)
def test_the_processor_s_zone_counts(text: str, expected: float | None) -> None:
    assert linux.zone_c(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CPU Power notify\n\tCPU_Scheduler_Limit \t= 100\n\tCPU_Available_CPUs \t= 8\n\tCPU_Speed_Limit \t= 62\n", 62),
        ("\tCPU_Speed_Limit \t= 100\n", None),
    ],
)
def test_an_intel_mac_that_slows_down(text: str, expected: int | None) -> None:
    assert macos.throttled(text) == ((f"speed limit {expected} % now",) if expected else ())


def test_an_old_phone_has_its_battery_s_temperature() -> None:
    said = survey.sections("@@edgesr battery\n  level: 40\n  temperature: 291\n")
    assert parse_thermal(said).temperature_c == 29.1
    assert android.power("  level: 40\n  AC powered: false") == "on battery, 40 %"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/a 10 4 6 40% /a b", 6),
        ("Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/a 10 4 6 - /", None),
        ("", None),
        ("df: x: No such file or directory", None),
    ],
)
def test_free_space(text: str, expected: int | None) -> None:
    assert free_kilobytes(text) == expected
