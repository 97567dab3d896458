"""What the tools of Raspberry Pi and Jetson say. Pure functions of text."""

import re
from collections.abc import Mapping
from types import MappingProxyType

THROTTLE_BITS: Mapping[int, str] = MappingProxyType(
    {
        0: "under-voltage now",
        1: "frequency capped now",
        2: "throttled now",
        3: "soft temperature limit now",
        16: "under-voltage since boot",
        17: "frequency capped since boot",
        18: "throttled since boot",
        19: "soft temperature limit since boot",
    }
)
"""Bit of `vcgencmd get_throttled` -> meaning (raspberrypi.com, "vcgencmd")."""

SOCS: Mapping[str, str] = MappingProxyType(
    {
        "brcm,bcm2712": "BCM2712",
        "brcm,bcm2711": "BCM2711",
        "brcm,bcm2837": "BCM2837",
        "brcm,bcm2836": "BCM2836",
        "brcm,bcm2835": "BCM2835",
        "nvidia,tegra264": "Tegra T264 (Thor)",
        "nvidia,tegra234": "Tegra T234 (Orin)",
        "nvidia,tegra194": "Tegra T194 (Xavier)",
        "nvidia,tegra186": "Tegra T186 (TX2)",
        "nvidia,tegra210": "Tegra T210 (Nano, TX1)",
        "rockchip,rk3588": "RK3588",
        "rockchip,rk3399": "RK3399",
    }
)
"""`compatible` of the device tree -> SoC; others are shown as they are."""


def throttled(get_throttled: str) -> tuple[str, ...]:
    """ "throttled=0x50005" -> words, those of now first."""
    found = re.search(r"throttled=0x([0-9a-fA-F]+)", get_throttled)
    value = int(found[1], 16) if found else 0
    return tuple(words for bit, words in THROTTLE_BITS.items() if value >> bit & 1)


def pi_c(measure_temp: str) -> float | None:
    """ "temp=48.3'C"."""
    found = re.search(r"temp=(-?\d+(?:\.\d+)?)'C", measure_temp)
    return float(found[1]) if found else None


def clock_mhz(text: str) -> int | None:
    """scaling_cur_freq (kHz), then `vcgencmd measure_clock arm` ("frequency(48)=1500398464", Hz), which wins."""
    measured = re.search(r"frequency\(\d+\)=(\d+)", text)
    if measured and int(measured[1]):
        return round(int(measured[1]) / 1e6)
    wanted = re.match(r"(\d+)\s*$", text, re.MULTILINE)
    return round(int(wanted[1]) / 1000) if wanted else None


def soc(compatible: str) -> str | None:
    """Of "raspberrypi,5-model-b brcm,bcm2712": the most specific that is known, else the last."""
    words = compatible.split()
    return next((SOCS[word] for word in words if word in SOCS), words[-1] if words else None)


def power_mode(nvpmodel: str) -> str | None:
    """ "NV Power Mode: MAXN" and the line below it, the mode's number."""
    found = re.search(r"NV Power Mode:\s*(\S.*?)\s*(?:\n\s*(\d+)\s*)?(?:\n|$)", nvpmodel)
    if not found:
        return None
    return f"{found[1]} (mode {found[2]})" if found[2] else found[1]


def tegra_c(tegrastats: str) -> float | None:
    """Of "cpu@45.1C ... tj@46.0C" the hottest of the sensors; -256 is one that is off."""
    found = [float(value) for value in re.findall(r"@(-?\d+(?:\.\d+)?)C\b", tegrastats)]
    return max((value for value in found if value > -100), default=None)


def tegra_ram_mb(tegrastats: str) -> int | None:
    """Of "RAM 2847/7772MB" the whole, in MiB there."""
    found = re.search(r"RAM \d+/(\d+)MB", tegrastats)
    return round(int(found[1]) * 1.048576) if found else None


def clocks_fixed(jetson_clocks: str) -> bool | None:
    """True if every online core of `jetson_clocks --show` is held at its highest clock; None if it does not say."""
    cores = re.findall(r"cpu\d+:\s+(?:Online=1\s+)?Governor=\S+\s+MinFreq=(\d+)\s+MaxFreq=(\d+)", jetson_clocks)
    return all(low == high for low, high in cores) if cores else None
