"""From the records of a run to one row: what tables, reports and choices are made of."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal, TypeVar

from edgesr.bench.records import (
    Closed,
    End,
    Failure,
    Image,
    Inputs,
    Memory,
    Opened,
    Record,
    Regime,
    Samples,
    Start,
    Subject,
    Where,
)
from edgesr.bench.stats import Latency, latency

UNSTABLE = 0.05
"""Repeats whose medians lie further apart (MLPerf, BENCHMARK_SPEC of react-native-executorch)."""

T = TypeVar("T")
Status = Literal["done", "unfinished", "failed"]


@dataclass(frozen=True, slots=True)
class Repeat:
    """One cold process: `opened`, what it measured, and `closed`, None where it was cut off."""

    opened: Opened
    samples: tuple[Samples, ...]
    closed: Closed | None

    @property
    def raw_ns(self) -> list[int]:
        return [value for chunk in self.samples for value in chunk.raw_ns]


@dataclass(frozen=True, slots=True)
class Quality:
    """Means over the images of one set, or of all sets (each set counts once). PSNR and SSIM against the ground truth;
    drops against the float32 reference, positive where the artifact is worse; None where there is no reference.

    `colour_shift_255`: of the channel means, R, G, B, in 8-bit levels, mean over images.
    """

    name: str
    images: int
    psnr_y_db: float | None
    psnr_rgb_db: float | None
    ssim_y: float | None
    drop_y_db: float | None
    drop_rgb_db: float | None
    worst_image: str | None
    worst_drop_db: float | None
    colour_shift_255: tuple[float, float, float] | None
    off_share: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """`ms_per_mpx`: milliseconds for a megapixel of output at the tile that was timed, its halo thrown away; None where
    the halo is not known or leaves nothing. `load_ms`, `first_ms`: medians over the repeats. `flags`: what to know
    before the latency is believed."""

    run: str
    subject: Subject
    regime: Regime
    where: Where
    inputs: Inputs
    started_at: str
    runtime: str
    precision: str
    status: Status
    latency: Latency | None
    load_ms: float | None
    first_ms: float | None
    ms_per_mpx: float | None
    peak_mb: float | None
    before_mb: float | None
    quality: Quality | None
    sets: tuple[Quality, ...]
    flags: tuple[str, ...]
    failures: tuple[str, ...]


def summarise(records: Sequence[Record]) -> Summary:
    """`records`: of one run, as `records.read` gives them; the first is its Start."""
    start = records[0]
    assert isinstance(start, Start)
    opened = repeats(records)
    raw_ns = [found.raw_ns for found in opened if found.raw_ns]
    measured = latency(raw_ns) if raw_ns else None
    memory = _last(records, Memory)
    sets = quality_by_set([record for record in records if isinstance(record, Image)])
    runtime = opened[-1].opened.runtime if opened else {}
    return Summary(
        run=start.run,
        subject=start.subject,
        regime=start.regime,
        where=start.where,
        inputs=start.inputs,
        started_at=start.started_at,
        runtime=runtime.get("runtime", ""),
        precision=runtime.get("precision", ""),
        status=_status(records),
        latency=measured,
        load_ms=_median_ms([found.opened.load_ns for found in opened]),
        first_ms=_median_ms([found.opened.first_ns for found in opened]),
        ms_per_mpx=None if measured is None else ms_per_mpx(start.subject, measured.p50_ms),
        peak_mb=None if memory is None else memory.peak_mb,
        before_mb=None if memory is None else memory.before_mb,
        quality=_over_sets(sets),
        sets=sets,
        flags=_flags(opened, measured),
        failures=tuple(f"{record.stage}: {record.message}" for record in records if isinstance(record, Failure)),
    )


def repeats(records: Iterable[Record]) -> list[Repeat]:
    """In order. A repeat that was begun again counts as it was the last time."""
    found: dict[int, Repeat] = {}
    for record in records:
        if isinstance(record, Opened):
            found[record.repeat] = Repeat(record, (), None)
        elif isinstance(record, Samples | Closed) and record.repeat in found:
            before = found[record.repeat]
            if isinstance(record, Samples):
                found[record.repeat] = Repeat(before.opened, (*before.samples, record), before.closed)
            else:
                found[record.repeat] = Repeat(before.opened, before.samples, record)
    return [found[number] for number in sorted(found)]


def ms_per_mpx(subject: Subject, tile_ms: float) -> float | None:
    """At the tile that was timed, counting only the core that a tile answers for."""
    if subject.halo_px is None:
        return None
    core = [side - 2 * subject.halo_px for side in subject.size]
    if min(core) < 1:
        return None
    return tile_ms / (math.prod(core) * subject.scale**2 / 1e6)


def quality_by_set(images: Sequence[Image]) -> tuple[Quality, ...]:
    """An image that was measured again counts as it was the last time."""
    last = {(image.set_name, image.name): image for image in images}
    names = dict.fromkeys(image.set_name for image in last.values())
    return tuple(_quality(name, [image for image in last.values() if image.set_name == name]) for name in names)


def drop_db(reference: float | None, found: float | None) -> float | None:
    return None if reference is None or found is None else reference - found


def _quality(name: str, images: Sequence[Image]) -> Quality:
    drops = {image.name: drop_db(image.reference_y_db, image.psnr_y_db) for image in images}
    known = {key: value for key, value in drops.items() if value is not None}
    worst = max(known, key=lambda image: known[image]) if known else None
    shifts = [image.colour_shift_255 for image in images if image.colour_shift_255 is not None]
    return Quality(
        name=name,
        images=len(images),
        psnr_y_db=_mean(images, lambda image: image.psnr_y_db),
        psnr_rgb_db=_mean(images, lambda image: image.psnr_rgb_db),
        ssim_y=_mean(images, lambda image: image.ssim_y),
        drop_y_db=fmean(known.values()) if known else None,
        drop_rgb_db=_mean(images, lambda image: drop_db(image.reference_rgb_db, image.psnr_rgb_db)),
        worst_image=worst,
        worst_drop_db=None if worst is None else known[worst],
        colour_shift_255=_mean_shift(shifts),
        off_share=_mean(images, lambda image: image.off_share),
    )


def _over_sets(sets: Sequence[Quality]) -> Quality | None:
    if not sets:
        return None
    worst = max(
        (found for found in sets if found.worst_drop_db is not None),
        key=lambda found: found.worst_drop_db or 0.0,
        default=None,
    )
    shifts = [found.colour_shift_255 for found in sets if found.colour_shift_255 is not None]
    return Quality(
        name=", ".join(f"{found.name} ({found.images})" for found in sets),
        images=sum(found.images for found in sets),
        psnr_y_db=_mean(sets, lambda found: found.psnr_y_db),
        psnr_rgb_db=_mean(sets, lambda found: found.psnr_rgb_db),
        ssim_y=_mean(sets, lambda found: found.ssim_y),
        drop_y_db=_mean(sets, lambda found: found.drop_y_db),
        drop_rgb_db=_mean(sets, lambda found: found.drop_rgb_db),
        worst_image=None if worst is None else f"{worst.name}/{worst.worst_image}",
        worst_drop_db=None if worst is None else worst.worst_drop_db,
        colour_shift_255=_mean_shift(shifts),
        off_share=_mean(sets, lambda found: found.off_share),
    )


def _mean_shift(shifts: Sequence[tuple[float, float, float]]) -> tuple[float, float, float] | None:
    if not shifts:
        return None
    red, green, blue = (fmean(channel) for channel in zip(*shifts, strict=True))
    return red, green, blue


def _mean(items: Sequence[T], of: Callable[[T], float | None]) -> float | None:
    values = [value for value in map(of, items) if value is not None]
    return fmean(values) if values else None


def _median_ms(values_ns: Sequence[int]) -> float | None:
    return median(values_ns) / 1e6 if values_ns else None


def _status(records: Sequence[Record]) -> Status:
    last = records[-1]
    if isinstance(last, Failure):
        return "failed"
    return "done" if isinstance(last, End) else "unfinished"


def _flags(found: Sequence[Repeat], measured: Latency | None) -> tuple[str, ...]:
    thermal = [end.thermal for repeat in found for end in (repeat.opened, repeat.closed) if end is not None]
    flags = {
        "unstable": measured is not None and measured.spread is not None and measured.spread > UNSTABLE,
        "throttled": any(state.throttled for state in thermal),
        "too few samples": any(repeat.closed is None or repeat.closed.reason == "time" for repeat in found),
        "started hot": any(repeat.opened.hot for repeat in found),
    }
    return tuple(flag for flag, holds in flags.items() if holds)


def _last(records: Sequence[Record], kind: type[T]) -> T | None:
    return next((record for record in reversed(records) if isinstance(record, kind)), None)
