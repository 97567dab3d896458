"""Rows: what every verb that makes or checks an artifact prints, as JSON or as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from edgesr.artifact import Manifest, Proof
from edgesr.types import Request

if TYPE_CHECKING:
    from rich.table import Table

    from edgesr.quantization.recipe import Facts

Status = Literal["done", "impossible", "failed"]
MARKS: dict[Status, str] = {"done": "✅", "impossible": "❎", "failed": "❌"}
NOT_RUN = "not run here: only a device has this runtime"


@dataclass(frozen=True, slots=True)
class Cost:
    """`seconds`: all of it; `convert_s` and `peak_mb`: of the process that converted, None if nothing was converted."""

    seconds: float
    convert_s: float | None = None
    peak_mb: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One artifact. PSNR is luma ("paper-y") against the ground truth, mean over the image sets of the proof;
    `fidelity_db` is RGB PSNR against the float32 network's own output; None where it was not measured or is infinite.
    `seconds`: conversion and verification; `convert_s`, `peak_mb`: of the process that converted. `int8_share`,
    `delegated_share`: parts of the convolutions' multiply-accumulates, 0 to 1. `error`: why, where it is not "done".
    """

    slug: str
    model: str
    scale: int
    target: str
    precision: str
    status: Status
    seconds: float
    weights: str
    convert_s: float | None = None
    peak_mb: float | None = None
    bytes: int | None = None
    int8_share: float | None = None
    delegated_share: float | None = None
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


def row(manifest: Manifest, cost: Cost) -> Row:
    """The row of an artifact that is kept."""
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
        seconds=round(cost.seconds, 2),
        convert_s=None if cost.convert_s is None else round(cost.convert_s, 2),
        peak_mb=None if cost.peak_mb is None else round(cost.peak_mb),
        int8_share=manifest.shares.get("int8_macs"),
        delegated_share=manifest.shares.get("delegated_macs"),
        parity_max_abs=proof.parity_max_abs if proof else None,
        fidelity_db=proof.fidelity_db if proof else None,
        psnr_db=_mean([found.psnr_db for found in sets]),
        psnr_fp32_db=_mean([found.psnr_fp32_db for found in sets]),
        psnr_drop_db=_mean([found.psnr_drop_db for found in sets]),
        worst_image=f"{worst.name}/{worst.worst_image}" if worst else None,
        worst_drop_db=worst.worst_drop_db if worst else None,
        weights=manifest.weights.kind,
        sets=", ".join(f"{found.name} ({found.images})" for found in sets) or None,
        runtime=", ".join(filter(None, (runtime.get("runtime"), runtime.get("precision")))) or NOT_RUN,
    )


def without(request: Request, status: Status, seconds: float, weights: str, error: Exception) -> Row:
    """The row of a request that came to nothing."""
    return Row(
        slug=request.slug,
        model=request.model,
        scale=request.scale,
        target=request.target,
        precision=request.precision,
        status=status,
        seconds=round(seconds, 2),
        weights=weights,
        error=str(error),
    )


def table(rows: Sequence[Row]) -> "Table":
    """For a terminal."""
    from rich.table import Table

    weights = ", ".join(dict.fromkeys(found.weights for found in rows))
    sets = "; ".join(dict.fromkeys(found.sets for found in rows if found.sets))
    judged = (
        f". PSNR: luma on {sets}, or its pieces of a fixed size. max diff: of the worst single value" if sets else ""
    )
    caption = f"weights: {weights}{judged}"
    drawn = Table(box=None, pad_edge=False, header_style="bold", caption=caption, caption_justify="left")
    for name in ("", "artifact"):
        drawn.add_column(name, overflow="fold")
    for name in ("KB", "max diff", "vs fp32 dB", "PSNR dB", "drop dB", "s", "MB"):
        drawn.add_column(name, justify="right")
    drawn.add_column("ran in, or why not", overflow="fold")
    for found in rows:
        drawn.add_row(
            MARKS[found.status],
            found.slug,
            *(("", "", "", "", "") if found.bytes is None else _numbers(found)),
            f"{found.seconds:.1f}",
            "" if found.peak_mb is None else f"{found.peak_mb:.0f}",
            found.error or found.runtime,
        )
    return drawn


def recipe_table(facts: "Facts", proof: Proof) -> "Table":
    """What a recipe keeps and loses, for a terminal."""
    from rich.table import Table

    kept = ", ".join(facts.kept_float) or "none"
    split = facts.splits.names
    added = f" Two grids, for {facts.added_work:.0%} more work: {', '.join(split)}." if split else ""
    rescaled = f" Factors per channel at: {', '.join(facts.rescaled.names)}." if facts.rescaled.names else ""
    share = f"INT8: {facts.integer_share:.1%} of the convolution work. In float: {kept}."
    caption = f"{share}{added}{rescaled} Simulated in torch."
    drawn = Table(box=None, pad_edge=False, header_style="bold", caption=caption, caption_justify="left")
    for name in ("image set", "images", "float32 dB", "INT8 dB", "drop dB", "worst drop dB", "worst image"):
        drawn.add_column(name, justify="left" if name.endswith(("set", "image")) else "right")
    for found in proof.sets:
        numbers = (f"{found.psnr_fp32_db:.3f}", f"{found.psnr_db:.3f}", f"{found.psnr_drop_db:+.3f}")
        drawn.add_row(found.name, str(found.images), *numbers, f"{found.worst_drop_db:+.3f}", found.worst_image)
    return drawn


def decibels(value: float | None, *, digits: int = 2) -> str:
    return "∞" if value is None else f"{value:.{digits}f}"


def _numbers(found: Row) -> tuple[str, ...]:
    drop = "" if found.psnr_drop_db is None else f"{found.psnr_drop_db:+.3f}"
    psnr = "" if found.psnr_db is None else f"{found.psnr_db:.3f}"
    parity = "" if found.parity_max_abs is None else f"{found.parity_max_abs}/255"
    fidelity = "" if found.parity_max_abs is None else decibels(found.fidelity_db)
    return f"{(found.bytes or 0) / 1000:.0f}", parity, fidelity, psnr, drop


def _mean(values: list[float]) -> float | None:
    return round(fmean(values), 4) if values else None
