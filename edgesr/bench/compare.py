"""Two measurements against each other, if they were taken alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from edgesr.bench.columns import emulated, number, significant, size, threads
from edgesr.bench.records import Closed, Opened
from edgesr.bench.runs import Run
from edgesr.bench.stats import Ratio, ratio
from edgesr.bench.summary import Quality, Summary, repeats
from edgesr.errors import DataError, UsageError

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True)
class Unlike:
    """What differs between the regimes of two runs, and how."""

    what: str
    a: str
    b: str

    def __str__(self) -> str:
        return f"{self.what}: {self.a} against {self.b}" if self.a != self.b else f"{self.what}: {self.a} in both"


@dataclass(frozen=True, slots=True)
class Comparison:
    """`ratio`: how many times as long A takes as B; None where times say nothing. `verdict`: that in words.

    `lost_db`: how much more of PSNR-Y A loses than B; `psnr_db`: how much higher its PSNR-Y is; None where they were
    not measured on the same images. `unlike`: what differs all the same, when that was allowed.
    """

    a: Summary
    b: Summary
    ratio: Ratio | None
    verdict: str
    lost_db: float | None
    psnr_db: float | None
    unlike: tuple[Unlike, ...] = ()


def compare(a: Run, b: Run, *, force: bool = False) -> Comparison:
    """Raises UsageError for runs that were not taken alike, unless `force`; DataError for one without times."""
    found = unlike(a, b)
    if found and not force:
        differences = "; ".join(map(str, found))
        raise UsageError(
            f"{a.file} and {b.file} were not measured alike: {differences}. Measure both alike, or compare them all "
            "the same with --force."
        )
    times = None if _only_emulated(a.summary, b.summary) and not force else _ratio(a, b)
    same_images = _images(a.summary) == _images(b.summary)
    return Comparison(
        a.summary,
        b.summary,
        times,
        _verdict(a.summary, b.summary, times),
        _more(a.summary, b.summary, lambda quality: quality.drop_y_db) if same_images else None,
        _more(a.summary, b.summary, lambda quality: quality.psnr_y_db) if same_images else None,
        tuple(found),
    )


def unlike(a: Run, b: Run) -> list[Unlike]:
    """Whatever changes a time besides the artifact, where it differs; and a device that slowed itself down, always."""
    both = [Unlike(what, of(a), of(b)) for what, of in REGIME.items()]
    return [each for each in both if each.a != each.b or (each.what == "throttled" and each.a == "yes")]


def table(found: Comparison) -> "Table":
    """For a terminal."""
    from rich.table import Table

    caption = found.verdict
    for name, summary in (("A", found.a), ("B", found.b)):
        caption += f" {name}: {', '.join(summary.flags)}." if summary.flags else ""
    if found.unlike:
        caption += f" Not measured alike: {'; '.join(map(str, found.unlike))}."
    drawn = Table(box=None, pad_edge=False, header_style="bold", caption=caption, caption_justify="left")
    drawn.add_column("")
    for name, summary in (("A", found.a), ("B", found.b)):
        drawn.add_column(f"{name}: {summary.subject.name}", justify="right", overflow="fold")
    drawn.add_column("A against B", justify="right")
    for row in _rows(found):
        drawn.add_row(*row)
    return drawn


def _ratio(a: Run, b: Run) -> Ratio:
    raw_ns = [[value for repeat in repeats(run.records) for value in repeat.raw_ns] for run in (a, b)]
    for run, samples in zip((a, b), raw_ns, strict=True):
        if not samples:
            raise DataError(f"{run.file} holds no times ({run.summary.status}). Measure it again: edgesr bench.")
    return ratio(*raw_ns)


def _only_emulated(a: Summary, b: Summary) -> bool:
    return emulated(a) and emulated(b)


def _verdict(a: Summary, b: Summary, times: Ratio | None) -> str:
    if times is None:
        return "Both are emulated: their times and memory say nothing and are not compared."
    spread = max((each.latency.spread or 0.0) for each in (a, b) if each.latency)
    interval = f"95 % interval {times.low:.3f} to {times.high:.3f}"
    if times.low <= 1 <= times.high:
        return f"No difference shown: A takes {times.value:.3f} times as long as B, {interval}."
    if abs(times.value - 1) <= spread:
        return (
            f"No difference shown: A takes {times.value:.3f} times as long as B, {interval}, but cold processes of the "
            f"same artifact lie {spread:.1%} apart."
        )
    words = "slower" if times.value > 1 else "faster"
    return f"A is {words}: it takes {times.value:.3f} times as long as B, {interval}."


def _rows(found: Comparison) -> list[tuple[str, ...]]:
    a, b, times = found.a, found.b, found.ratio
    p50 = [significant(each.latency.p50_ms, 4) if each.latency and times else "" for each in (a, b)]
    p90 = [significant(each.latency.p90_ms, 4) if each.latency and times else "" for each in (a, b)]
    psnr = [number(each.quality.psnr_y_db if each.quality else None, 3) for each in (a, b)]
    drop = [number(each.quality.drop_y_db if each.quality else None, 3, signed=True) for each in (a, b)]
    peak = [number(each.peak_mb, 0) if times else "" for each in (a, b)]
    megabytes = [each.subject.bytes / 1e6 for each in (a, b)]
    memory = None if a.peak_mb is None or b.peak_mb is None or times is None else a.peak_mb - b.peak_mb
    return [
        ("p50 ms", *p50, "" if times is None else f"x{times.value:.3f}"),
        ("p90 ms", *p90, ""),
        ("PSNR-Y dB", *psnr, number(found.psnr_db, 3, signed=True)),
        ("drop dB", *drop, number(found.lost_db, 3, signed=True)),
        ("peak MB", *peak, number(memory, 0, signed=True)),
        ("size MB", *(number(each, 2) for each in megabytes), number(megabytes[0] - megabytes[1], 2, signed=True)),
    ]


def _images(summary: Summary) -> str | None:
    return None if summary.quality is None else f"x{summary.subject.scale} {summary.quality.name}"


def _more(a: Summary, b: Summary, of: Callable[[Quality], float | None]) -> float | None:
    values = [None if each.quality is None else of(each.quality) for each in (a, b)]
    return None if values[0] is None or values[1] is None else values[0] - values[1]


def _cpus(run: Run) -> str:
    cpus = run.summary.regime.cpus
    return "any" if cpus is None else ", ".join(map(str, cpus))


def _governor(run: Run) -> str:
    """Of every cold process, before and after."""
    found = [record.thermal.governor for record in run.records if isinstance(record, Opened | Closed)]
    return _joined([each for each in found if each is not None]) or "not told"


def _joined(names: Sequence[str]) -> str:
    return ", ".join(sorted(set(names)))


REGIME: Mapping[str, Callable[[Run], str]] = MappingProxyType(
    {
        "device": lambda run: run.summary.where.name,
        "kind": lambda run: run.summary.where.kind,
        "threads": lambda run: threads(run.summary),
        "CPUs": _cpus,
        "governor": _governor,
        "power mode": lambda run: str(run.summary.where.facts.get("power_mode") or "not told"),
        "input": lambda run: size(run.summary),
        "scale": lambda run: f"x{run.summary.subject.scale}",
        "profile": lambda run: run.summary.regime.profile,
        "inputs": lambda run: f"{run.summary.inputs.source} ({run.summary.inputs.sha256[:12]})",
        "throttled": lambda run: "yes" if "throttled" in run.summary.flags else "no",
    }
)
"""What has to be equal, and how it is called where it is not."""
