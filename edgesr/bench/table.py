"""Measurements for a terminal; pages and files are made by edgesr.bench.page."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgesr.bench.columns import number
from edgesr.bench.summary import Summary

if TYPE_CHECKING:
    from rich.table import Table


def table(found: Sequence[Summary]) -> "Table":
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, header_style="bold", caption=_caption(found), caption_justify="left")
    for name in ("device", "artifact"):
        drawn.add_column(name, overflow="fold")
    for name in ("thr.", "KB", "load ms", "p50 ms", "p90 ms", "ms/Mpx", "MB", "PSNR dB", "drop dB", "worst dB"):
        drawn.add_column(name, justify="right")
    drawn.add_column("ran in; flags", overflow="fold")
    for summary in found:
        drawn.add_row(*_cells(summary))
    return drawn


def _cells(summary: Summary) -> list[str]:
    latency, quality = summary.latency, summary.quality
    return [
        f"{summary.where.name} ({summary.where.kind})",
        summary.subject.name,
        "all" if summary.regime.threads is None else str(summary.regime.threads),
        f"{summary.subject.bytes / 1000:.0f}",
        number(summary.load_ms, 1),
        number(None if latency is None else latency.p50_ms, 1),
        number(None if latency is None else latency.p90_ms, 1),
        number(summary.ms_per_mpx, 0),
        number(summary.peak_mb, 0),
        number(None if quality is None else quality.psnr_y_db, 3),
        number(None if quality is None else quality.drop_y_db, 3, signed=True),
        number(None if quality is None else quality.worst_drop_db, 3, signed=True),
        "; ".join((f"{summary.runtime}, {summary.precision}", *summary.flags)),
    ]


def _caption(found: Sequence[Summary]) -> str:
    sizes = dict.fromkeys(f"{summary.subject.size[0]}x{summary.subject.size[1]}" for summary in found)
    profiles = dict.fromkeys(summary.regime.profile for summary in found)
    sets = dict.fromkeys(summary.quality.name for summary in found if summary.quality)
    quality = f" PSNR: luma (paper-y), mean of {'; '.join(sets)}." if sets else ""
    timed = f"Input {', '.join(sizes)}, profile {', '.join(profiles)}. ms/Mpx: per megapixel of output, halo and all."
    return f"{timed}{quality}"
