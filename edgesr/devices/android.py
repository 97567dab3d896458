"""What Android says of itself. Pure functions of text."""

import re

from edgesr.devices.linux import fields

STATUS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
"""android.os.PowerManager.THERMAL_STATUS_*."""
TYPE_CPU, TYPE_BATTERY, TYPE_SKIN = 0, 2, 3
_READING = re.compile(r"Temperature\{mValue=(-?[\d.]+|NaN), mType=(-?\d+), mName=([^,]*), mStatus=(\d+)\}")


def properties(getprop: str) -> dict[str, str]:
    """Lines "[name]: [value]"."""
    return dict(re.findall(r"^\[([^\]]+)\]: \[(.*)\]$", getprop, re.MULTILINE))


def board(known: dict[str, str]) -> str | None:
    maker, model = known.get("ro.product.manufacturer", ""), known.get("ro.product.model", "")
    return f"{maker} {model}".strip() or None


def soc(known: dict[str, str]) -> str | None:
    """ro.soc.* exists since Android 12; older ones name the platform at least."""
    maker, model = known.get("ro.soc.manufacturer", ""), known.get("ro.soc.model", "")
    return f"{maker} {model}".strip() or known.get("ro.board.platform") or known.get("ro.hardware") or None


def os_name(known: dict[str, str]) -> str | None:
    release, level = known.get("ro.build.version.release"), known.get("ro.build.version.sdk")
    return f"Android {release} (API {level})" if release else None


def thermal_c(thermalservice: str) -> float | None:
    """The hottest processor sensor of the HAL's current readings, else the skin's; cached ones where the HAL is old."""
    current = thermalservice.partition("Current temperatures from HAL:")[2] or thermalservice
    current = current.partition("Current cooling devices")[0]
    for kind in (TYPE_CPU, TYPE_SKIN):
        values = [float(value) for value, of, _, _ in _READING.findall(current) if int(of) == kind and value != "NaN"]
        real = [value for value in values if 0 < value < 200]
        if real:
            return max(real)
    return None


def throttled(thermalservice: str) -> tuple[str, ...]:
    """ "Thermal Status: 3" -> ("thermal status severe",)."""
    found = re.search(r"^\s*Thermal Status:\s*(\d+)", thermalservice, re.MULTILINE)
    status = min(int(found[1]), len(STATUS) - 1) if found else 0
    return (f"thermal status {STATUS[status]} now",) if status else ()


def battery_c(battery: str) -> float | None:
    """`dumpsys battery` has tenths of a degree."""
    tenths = fields(battery).get("temperature", "")
    return int(tenths) / 10 if re.fullmatch(r"-?\d+", tenths) else None


def power(battery: str) -> str | None:
    """ "on battery, 85 %" or "AC powered, 100 %"."""
    known = fields(battery)
    if "level" not in known:
        return None
    sources = [name for name in ("AC", "USB", "Wireless", "Dock") if known.get(f"{name} powered") == "true"]
    return f"{sources[0]} powered, {known['level']} %" if sources else f"on battery, {known['level']} %"
