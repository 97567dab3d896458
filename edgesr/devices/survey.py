"""One round trip that asks a device everything: a POSIX shell program whose output falls into named sections.

Each question is asked in a way that suits every system; a tool that is missing leaves its section empty. The parsers
(`linux.py`, `boards.py`, `android.py`, `macos.py`) are pure functions of these texts.
"""

from collections.abc import Mapping

MARK = "@@edgesr "
CPU = "/sys/devices/system/cpu"

_START = ('s() { echo; echo "@@edgesr $1"; }', 'has() { command -v "$1" >/dev/null 2>&1; }', "exec 2>/dev/null")
# Jetson's and the Pi's tools may stand outside the PATH of a command without a login.
_PATH = ("PATH=$PATH:/usr/bin:/usr/sbin:/sbin:/opt/vc/bin",)

_THERMAL = (
    's zones; for z in /sys/class/thermal/thermal_zone*; do [ -r "$z/temp" ] && '
    'echo "$(cat $z/type) $(cat $z/temp)"; done',
    "s throttled; has vcgencmd && vcgencmd get_throttled",
    "s temperature; has vcgencmd && vcgencmd measure_temp",
    f"s clock; cat {CPU}/cpu0/cpufreq/scaling_cur_freq; has vcgencmd && vcgencmd measure_clock arm",
    "s thermalservice; has dumpsys && dumpsys thermalservice",
    "s battery; has dumpsys && dumpsys battery",
    "s pmset; has pmset && pmset -g therm",
)
_ABOUT = (
    "s system; uname -s; uname -r; uname -m",
    "s os; cat /etc/os-release || cat /usr/lib/os-release",
    "s model; cat /proc/device-tree/model | tr -d '\\000'",
    "s compatible; cat /proc/device-tree/compatible | tr '\\000' ' '",
    "s product; cat /sys/class/dmi/id/sys_vendor /sys/class/dmi/id/product_name",
    "s cpuinfo; cat /proc/cpuinfo",
    "s memory; cat /proc/meminfo",
    "s processors; cat /sys/devices/system/cpu/online; getconf _NPROCESSORS_ONLN",
    f"s topology; for c in {CPU}/cpu[0-9]*; do for f in cpu_capacity regs/identification/midr_el1 "
    "topology/physical_package_id topology/cluster_id cpufreq/scaling_governor cpufreq/scaling_min_freq "
    "cpufreq/scaling_max_freq cpufreq/cpuinfo_max_freq cpufreq/scaling_cur_freq; do "
    '[ -r "$c/$f" ] && echo "${c##*/} $f $(cat $c/$f)"; done; done',
    # Of a process that is not the reader's own: an emulator shows itself there, but hides itself in /proc/self.
    "s emulator; readlink /proc/$$/exe; tr '\\000' ' ' </proc/$$/cmdline | cut -c 1-200",
    "s boot; cat /proc/sys/kernel/random/boot_id || sysctl -n kern.bootsessionuuid",
    "s libc; getconf GNU_LIBC_VERSION",
    "s nvpmodel; has nvpmodel && nvpmodel -q",
    "s jetson_clocks; has jetson_clocks && jetson_clocks --show",
    "s tegrastats; has tegrastats && timeout 3 tegrastats --interval 500 | head -n 1",
    "s getprop; has getprop && getprop",
    "s sw_vers; has sw_vers && sw_vers",
    "s sysctl; has sw_vers && sysctl hw machdep.cpu.brand_string",
)
_PYTHON = (
    "import json,platform,struct,sys,sysconfig;"
    "print(json.dumps([list(sys.version_info[:3]),sysconfig.get_platform(),struct.calcsize(chr(80))*8,"
    "sys.implementation.name,list(platform.libc_ver()),sys.executable]))"
)


def thermal_program() -> list[str]:
    """Temperature, throttling and clock alone, cheap enough for before each repeat."""
    return ["sh", "-c", "; ".join((*_START, *_PATH, *_THERMAL, "exit 0"))]


def program(python: str, folder: str) -> list[str]:
    """Everything. `python`: the interpreter on the device; `folder`: where free disk is asked for."""
    disk = 's disk; d=$2; while [ ! -d "$d" ]; do d=$(dirname -- "$d"); done; df -Pk -- "$d"'
    text = "; ".join(
        (*_START, *_PATH, *_ABOUT, *_THERMAL, disk, 's python; has "$1" && "$1" -c "$3"', "exit 0"),
    )
    return ["sh", "-c", text, "edgesr", python, folder, _PYTHON]


class Survey:
    """Section -> text, empty for what the device does not know."""

    def __init__(self, sections: Mapping[str, str]) -> None:
        self._sections = dict(sections)

    def __getitem__(self, name: str) -> str:
        return self._sections.get(name, "")


def sections(text: str) -> Survey:
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith(MARK):
            lines = found.setdefault(line.removeprefix(MARK), [])
        else:
            lines.append(line)
    return Survey({name: "\n".join(lines).strip() for name, lines in found.items()})
