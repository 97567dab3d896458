"""The rows of `edgesr models`. No torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesr.extras import require
from edgesr.models.files import card_of, kind_of, where
from edgesr.models.registry import SPECS, ModelSpec

if TYPE_CHECKING:
    from rich.table import Table


def rows() -> list[dict[str, Any]]:
    return [_row(spec) for spec in SPECS]


def rows_of_file(path: Path) -> list[dict[str, Any]]:
    """The row of the network whose weights `path` holds, by names and shapes, and their form.

    Raises WeightsError for a file that holds none.
    """
    require("torch", "export")
    from edgesr.models.weights import identified

    return [
        {**_row(spec), "form": form, "weights": f"{kind_of(spec, path)}, {path}"} for spec, form in identified(path)
    ]


def _row(spec: ModelSpec) -> dict[str, Any]:
    card = card_of(spec)
    return {
        "model": spec.name,
        "scale": spec.scale,
        "params": spec.params,
        "gmacs_720p": spec.gmacs_720p,
        "min_side_px": spec.min_side_px,
        "receptive_field_px": spec.receptive_field_px,
        "halo_px": spec.halo_px,
        "licence": spec.weights.licence,
        "published_psnr_db": dict(spec.published_psnr_db),
        "measured_psnr_db": dict(spec.measured_psnr_db),
        "edgesr_trained_psnr_db": card["psnr_db"] if card else {},
        "weights": where(spec),
    }


def table(found: Sequence[dict[str, Any]]) -> "Table":
    """For a terminal; PSNR is luma on Set5."""
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, header_style="bold", caption_justify="left")
    drawn.caption = (
        "GMAC: for a 1280x720 output. Luma PSNR on Set5 in dB: of the official weights as published and as measured "
        "here; trained: of the weights in this package."
    )
    drawn.add_column("model")
    for name in ("scale", "params", "GMAC", "halo", "published", "measured", "trained"):
        drawn.add_column(name, justify="right")
    drawn.add_column("licence")
    drawn.add_column("weights", overflow="fold")
    for row in found:
        drawn.add_row(
            row["model"],
            f"x{row['scale']}",
            f"{row['params'] / 1000:.0f} K",
            f"{row['gmacs_720p']:.1f}",
            f"{row['halo_px']} px",
            _decibels(row["published_psnr_db"]),
            _decibels(row["measured_psnr_db"]),
            _decibels(row["edgesr_trained_psnr_db"]),
            row["licence"],
            row["weights"],
        )
    return drawn


def _decibels(by_set: dict[str, float]) -> str:
    return f"{by_set['Set5']:.2f}" if "Set5" in by_set else "-"
