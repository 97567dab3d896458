"""The columns of every table of measurements: what they are called, what they mean, how they are written."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgesr.bench.stats import Latency
from edgesr.bench.summary import Quality, Status, Summary

Cell = str | float | int | None
Place = Literal["everywhere", "page", "data"]
"""Where a column is: in every table; not in Markdown, which has no room; only in files for programs."""

MARKS: Mapping[Status, str] = {"done": "✅", "unfinished": "⏳", "failed": "❌"}
LABELS = {"device": "device", "host": "host: the machine that converts", "emulated": "emulated: its times say nothing"}


@dataclass(frozen=True, slots=True)
class Column:
    """`key` names the unit; `detail`: what stands beside the value for people. `machine`: it tells of the machine's
    speed or memory, so that of an emulated one it is not shown as if it were real. `percent`: a part, shown times 100.
    `significant`: how many digits count, instead of `digits` after the point.
    """

    key: str
    title: str
    meaning: str
    value: Callable[[Summary], Cell]
    detail: Callable[[Summary], str] | None = None
    digits: int = 0
    significant: int = 0
    signed: bool = False
    percent: bool = False
    machine: bool = False
    place: Place = "everywhere"

    @property
    def words(self) -> bool:
        return self.key in WORDS


def told(column: Column, summary: Summary) -> Cell:
    """The value, or None if it is a time or memory of an emulated machine."""
    return None if column.machine and emulated(summary) else column.value(summary)


def emulated(summary: Summary) -> bool:
    return summary.where.kind == "emulated"


def shown(column: Column, summary: Summary) -> str:
    """The value for people, without the detail; empty where there is none."""
    value = column.value(summary)
    if isinstance(value, str):
        return value
    if column.percent and value is not None:
        return f"{100 * value:.{column.digits}f}%"
    if column.significant and value is not None:
        return significant(value, column.significant)
    return number(value, column.digits, signed=column.signed)


def significant(value: float, digits: int) -> str:
    """So many digits that count, but every one before the point: 1234, 56.78, 0.1234 for four."""
    before = math.floor(math.log10(abs(value))) + 1 if value else 1
    return f"{value:.{max(0, digits - before)}f}"


def number(value: float | None, digits: int, *, signed: bool = False) -> str:
    """Empty for what was not measured; no minus before what rounds to zero."""
    return "" if value is None else f"{round(value, digits) + 0.0:{'+' if signed else ''}.{digits}f}"


def by_device(summaries: Sequence[Summary]) -> dict[tuple[str, str, str], list[Summary]]:
    """Name, kind and address of each device, with what was measured there: devices, then hosts, then emulated ones."""
    found: dict[tuple[str, str, str], list[Summary]] = {}
    for summary in sorted(summaries, key=lambda summary: [*LABELS].index(summary.where.kind)):
        where = summary.where
        found.setdefault((where.name, where.kind, where.address), []).append(summary)
    return found


def size(summary: Summary) -> str:
    height, width = summary.subject.size
    return f"{height}x{width}"


def threads(summary: Summary) -> str:
    return "all" if summary.regime.threads is None else str(summary.regime.threads)


def _of_latency(of: Callable[[Latency], Cell]) -> Callable[[Summary], Cell]:
    return lambda summary: None if summary.latency is None else of(summary.latency)


def _of_quality(of: Callable[[Quality], Cell]) -> Callable[[Summary], Cell]:
    return lambda summary: None if summary.quality is None else of(summary.quality)


def _shift(channel: int) -> Callable[[Summary], Cell]:
    return _of_quality(lambda found: None if found.colour_shift_255 is None else found.colour_shift_255[channel])


def _largest_shift(found: Quality) -> float | None:
    return None if found.colour_shift_255 is None else max(found.colour_shift_255, key=abs)


def _every_shift(summary: Summary) -> str:
    quality = summary.quality
    if quality is None or quality.colour_shift_255 is None:
        return ""
    return " ".join(f"{name} {value:+.2f}" for name, value in zip("RGB", quality.colour_shift_255, strict=True))


def _interval(summary: Summary) -> str:
    if summary.latency is None:
        return ""
    return "–".join(significant(bound, 4) for bound in (summary.latency.low_ms, summary.latency.high_ms))


def _cpus(summary: Summary) -> str:
    cpus = summary.regime.cpus
    return "any" if cpus is None else " ".join(map(str, cpus))


WORDS = {
    "status",
    "device",
    "device_kind",
    "address",
    "artifact",
    "model",
    "target",
    "precision",
    "runtime",
    "size",
} | {*("profile", "cpus", "worst_image", "sets", "flags", "failures", "run", "started_at", "sha256", "weights")}
COLUMNS: tuple[Column, ...] = (
    Column("status", "", "whether it was measured to the end", lambda s: s.status),
    Column("device", "device", "what the device is called", lambda s: s.where.name, place="data"),
    Column("device_kind", "kind", "device, host or emulated", lambda s: s.where.kind, place="data"),
    Column("address", "address", "how it was reached", lambda s: s.where.address, place="data"),
    Column(
        *("artifact", "artifact", "what was run, and the runtime and precision that ran it"),
        *(lambda s: s.subject.name, lambda s: ", ".join(filter(None, (s.runtime, s.precision)))),
    ),
    Column("model", "model", "network", lambda s: s.subject.model, place="data"),
    Column("scale", "scale", "how many times larger the output is", lambda s: s.subject.scale, place="data"),
    Column("target", "target", "format", lambda s: s.subject.target, place="data"),
    Column("precision", "precision", "of the artifact", lambda s: s.subject.precision, place="data"),
    Column("runtime", "runtime", "that ran it", lambda s: s.runtime, place="data"),
    Column(
        *("size", "input", "height x width that was timed, and the profile: how long was measured"),
        *(size, lambda s: s.regime.profile),
    ),
    Column("profile", "profile", "how long was measured", lambda s: s.regime.profile, place="data"),
    Column(
        "threads", "threads", "of the runtime; all: as many as it takes itself", lambda s: s.regime.threads or "all"
    ),
    Column("cpus", "CPUs", "that the process was bound to", _cpus, place="data"),
    Column("size_mb", "MB", "of all files, 10^6 bytes", lambda s: s.subject.bytes / 1e6, digits=2),
    Column(
        *("p50_ms", "p50 ms", "median of an inference, and its 95 % interval"),
        *(_of_latency(lambda found: found.p50_ms), _interval),
        significant=4,
        machine=True,
    ),
    Column("low_ms", "", "", _of_latency(lambda found: found.low_ms), machine=True, place="data"),
    Column("high_ms", "", "", _of_latency(lambda found: found.high_ms), machine=True, place="data"),
    Column(
        *("p90_ms", "p90 ms", "nine of ten inferences took no longer"),
        _of_latency(lambda found: found.p90_ms),
        significant=4,
        machine=True,
    ),
    Column("p99_ms", "", "", _of_latency(lambda found: found.p99_ms), machine=True, place="data"),
    Column("least_ms", "", "", _of_latency(lambda found: found.least_ms), machine=True, place="data"),
    Column("most_ms", "", "", _of_latency(lambda found: found.most_ms), machine=True, place="data"),
    Column("mad_ms", "", "", _of_latency(lambda found: found.mad_ms), machine=True, place="data"),
    Column("samples", "", "", _of_latency(lambda found: found.samples), machine=True, place="data"),
    Column("spread", "", "", _of_latency(lambda found: found.spread), machine=True, place="data"),
    Column(
        *("ms_per_mpx", "ms/Mpx", "p50 for a megapixel of output in tiles of this size, their halo thrown away"),
        lambda s: s.ms_per_mpx,
        significant=3,
        machine=True,
    ),
    Column("load_ms", "load ms", "until the artifact is open", lambda s: s.load_ms, significant=3, machine=True),
    Column("first_ms", "first ms", "the first inference after that", lambda s: s.first_ms, significant=3, machine=True),
    Column(
        *("psnr_y_db", "PSNR-Y dB", "luma PSNR against the ground truth (paper-y), mean over the image sets"),
        _of_quality(lambda found: found.psnr_y_db),
        digits=2,
    ),
    Column(
        *("drop_y_db", "drop dB", "PSNR-Y that is lost against the float32 network"),
        _of_quality(lambda found: found.drop_y_db),
        digits=3,
        signed=True,
    ),
    Column(
        *("worst_drop_db", "worst dB", "drop of the image that loses most, and which that is"),
        _of_quality(lambda found: found.worst_drop_db),
        lambda s: (s.quality.worst_image or "") if s.quality else "",
        digits=2,
        signed=True,
    ),
    Column("worst_image", "", "", _of_quality(lambda found: found.worst_image), place="data"),
    Column(
        *("psnr_rgb_db", "PSNR-RGB dB", "RGB PSNR against the ground truth (ntire-rgb4)"),
        _of_quality(lambda found: found.psnr_rgb_db),
        digits=2,
        place="page",
    ),
    Column("drop_rgb_db", "", "", _of_quality(lambda found: found.drop_rgb_db), place="data"),
    Column(
        *("ssim_y", "SSIM", "of luma against the ground truth (paper-y)"),
        _of_quality(lambda found: found.ssim_y),
        digits=4,
        place="page",
    ),
    Column(
        *("colour_shift_255", "colour shift", "what is added to the mean of the channel that moves most, 8-bit levels"),
        *(_of_quality(_largest_shift), _every_shift),
        digits=2,
        signed=True,
        place="page",
    ),
    Column("shift_r_255", "", "", _shift(0), place="data"),
    Column("shift_g_255", "", "", _shift(1), place="data"),
    Column("shift_b_255", "", "", _shift(2), place="data"),
    Column(
        *("off_share", "off", "part of the values that differ from the float32 network's by more than 1/255"),
        _of_quality(lambda found: found.off_share),
        digits=2,
        percent=True,
        place="page",
    ),
    Column("sets", "", "", _of_quality(lambda found: found.name), place="data"),
    Column("peak_mb", "peak MB", "largest resident memory, in a process of its own", lambda s: s.peak_mb, machine=True),
    Column("before_mb", "", "", lambda s: s.before_mb, machine=True, place="data"),
    Column(
        *("int8_share", "INT8", "part of the convolutions' work that is in INT8, by the manifest"),
        lambda s: s.subject.int8_share,
        percent=True,
    ),
    Column(
        *(
            "delegated_share",
            "accelerator",
            "part of that work that the delegate or accelerator takes, by the manifest",
        ),
        lambda s: s.subject.delegated_share,
        percent=True,
    ),
    Column("flags", "flags", "what to know before the times are believed", lambda s: ", ".join(s.flags)),
    Column("failures", "", "", lambda s: "; ".join(s.failures), place="data"),
    Column("run", "", "", lambda s: s.run, place="data"),
    Column("started_at", "", "", lambda s: s.started_at, place="data"),
    Column("weights", "", "", lambda s: s.subject.weights, place="data"),
    Column("sha256", "", "", lambda s: s.subject.sha256, place="data"),
)
