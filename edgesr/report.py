"""Rows: what every verb that makes or checks an artifact prints, as JSON or as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from edgesr.artifact import Manifest
from edgesr.types import Request

if TYPE_CHECKING:
    from rich.table import Table

Status = Literal["done", "failed"]
MARKS: dict[Status, str] = {"done": "✅", "failed": "❌"}


@dataclass(frozen=True, slots=True)
class Row:
    """One artifact. PSNR is luma ("paper-y") against the ground truth, mean over the image sets of the proof;
    `fidelity_db` is RGB PSNR against the float32 network's own output; None where it was not measured or is infinite.
    `seconds`: conversion and verification. `error`: why, where the status is "failed".
    """

    slug: str
    model: str
    scale: int
    target: str
    precision: str
    status: Status
    seconds: float
    weights: str
    bytes: int | None = None
    parity_max_abs: int | None = None
    fidelity_db: float | None = None
    psnr_db: float | None = None
    psnr_fp32_db: float | None = None
    psnr_drop_db: float | None = None
    worst_image: str | None = None
    worst_drop_db: float | None = None
    sets: str | None = None
    runtime: str | None = None
    error: str | None = None


def row(manifest: Manifest, seconds: float) -> Row:
    """The row of a verified artifact."""
    proof, request = manifest.proof, manifest.request
    sets = proof.sets if proof else ()
    worst = max(sets, key=lambda found: found.worst_drop_db, default=None)
    runtime = proof.runtime if proof else {}
    return Row(
        slug=manifest.slug,
        model=request.model,
        scale=request.scale,
        target=request.target,
        precision=request.precision,
        status="done",
        bytes=sum(entry.bytes for entry in manifest.files),
        seconds=round(seconds, 2),
        parity_max_abs=proof.parity_max_abs if proof else None,
        fidelity_db=proof.fidelity_db if proof else None,
        psnr_db=_mean([found.psnr_db for found in sets]),
        psnr_fp32_db=_mean([found.psnr_fp32_db for found in sets]),
        psnr_drop_db=_mean([found.psnr_drop_db for found in sets]),
        worst_image=f"{worst.name}/{worst.worst_image}" if worst else None,
        worst_drop_db=worst.worst_drop_db if worst else None,
        weights=manifest.weights.kind,
        sets=", ".join(f"{found.name} ({found.images})" for found in sets) or None,
        runtime=", ".join(filter(None, (runtime.get("runtime"), runtime.get("precision")))) or None,
    )


def failed(request: Request, seconds: float, weights: str, error: Exception) -> Row:
    """The row of a request that came to nothing."""
    return Row(
        slug=request.slug,
        model=request.model,
        scale=request.scale,
        target=request.target,
        precision=request.precision,
        status="failed",
        seconds=round(seconds, 2),
        weights=weights,
        error=str(error),
    )


def table(rows: Sequence[Row]) -> "Table":
    """For a terminal."""
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "artifact"):
        drawn.add_column(name, overflow="fold")
    for name in ("KB", "max diff", "vs fp32 dB", "PSNR dB", "drop dB", "s"):
        drawn.add_column(name, justify="right")
    drawn.add_column("weights")
    for found in rows:
        drawn.add_row(
            MARKS[found.status],
            found.slug,
            *(("", "", "", "", "") if found.bytes is None else _numbers(found)),
            f"{found.seconds:.1f}",
            found.weights,
        )
    return drawn


def decibels(value: float | None, *, digits: int = 2) -> str:
    return "∞" if value is None else f"{value:.{digits}f}"


def _numbers(found: Row) -> tuple[str, ...]:
    drop = "" if found.psnr_drop_db is None else f"{found.psnr_drop_db:+.3f}"
    psnr = "" if found.psnr_db is None else f"{found.psnr_db:.3f}"
    parity = "" if found.parity_max_abs is None else f"{found.parity_max_abs}/255"
    return f"{(found.bytes or 0) / 1000:.0f}", parity, decibels(found.fidelity_db), psnr, drop


def _mean(values: list[float]) -> float | None:
    return round(fmean(values), 4) if values else None
