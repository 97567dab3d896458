"""Writes the tables of README.md from what commands of this repository measured.

make demo                                                   -> demo/report.json
edgesr convert ... -t all -p fp32 -p fp16 -p int8 --json    -> docs/int8.json (rows of several models, one list)
python docs/generate.py [--demo demo/report.json]           -> README.md
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

from edgesr.models.listing import rows

ROOT = Path(__file__).parent.parent


def table(header: list[str], lines: list[list[str]], right: int) -> str:
    """Markdown; columns from `right` on are aligned to the right."""
    rule = ["---" if index < right else "---:" for index in range(len(header))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *lines))


def models_block() -> str:
    lines = [
        [
            f"`{row['model']}`",
            f"x{row['scale']}",
            f"{row['params']:,}",
            f"{row['gmacs_720p']:.1f}",
            f"{row['halo_px']}",
            decibels(row["published_psnr_db"]),
            decibels(row["measured_psnr_db"]),
            decibels(row["edgesr_trained_psnr_db"]),
        ]
        for row in rows()
    ]
    header = [
        "network",
        "scale",
        "params",
        "GMAC at 720p",
        "halo px",
        "published dB",
        "official dB",
        "edgesr-trained dB",
    ]
    return table(header, lines, right=2)


def decibels(by_set: dict[str, float]) -> str:
    return f"{by_set['Set5']:.2f}" if "Set5" in by_set else ""


def demo_block(report: dict[str, Any]) -> str:
    lines = [
        [
            row["target"],
            row["precision"],
            f"{row['bytes'] / 1000:.0f}",
            f"{row['parity_max_abs']}/255",
            f"{row['fidelity_db']:.2f}",
            f"{row['psnr_drop_db']:+.3f}",
            f"{report['milliseconds'][row['slug']]:.0f}",
        ]
        for row in report["rows"]
    ]
    header = ["target", "precision", "KB", "largest difference", "PSNR to fp32, dB", "drop, dB", "ms"]
    height, width = report["photo_hw"]
    note = (
        f"bsrn-s x4, {report['rows'][0]['weights']} weights, INT8 ranges from generated pictures. Times: median of "
        f"interleaved runs, {width}x{height} to {4 * width}x{4 * height}, {report['threads']} threads of "
        f"{report['machine']}; only their ratios mean anything. The drop is luma PSNR against the ground truth of "
        f"{report['rows'][0]['sets']} images."
    )
    return f"{table(header, lines, right=2)}\n\n{note}"


def int8_block(measured: list[dict[str, Any]]) -> str:
    lines = [
        [
            f"`{row['model']}`",
            row["target"],
            row["precision"],
            f"{row['psnr_db']:.3f}",
            f"{row['psnr_drop_db']:+.3f}",
            f"{row['worst_drop_db']:+.2f} ({row['worst_image']})",
        ]
        for row in measured
    ]
    header = ["network x4", "target", "precision", "PSNR, dB", "drop, dB", "worst image"]
    return table(header, lines, right=3) + f"\n\nMeans over {measured[0]['sets']}."


def fill(text: str, name: str, block: str) -> str:
    pattern = re.compile(f"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"README.md has no block named {name}")
    return pattern.sub(lambda found: f"{found[1]}{block}\n{found[2]}", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, help="report.json of make demo")
    parser.add_argument("--int8", type=Path, default=ROOT / "docs" / "int8.json")
    arguments = parser.parse_args()
    readme = ROOT / "README.md"
    text = fill(readme.read_text(), "models", models_block())
    text = fill(text, "int8", int8_block(json.loads(arguments.int8.read_text())))
    if arguments.demo:
        text = fill(text, "demo", demo_block(json.loads(arguments.demo.read_text())))
    readme.write_text(text)


if __name__ == "__main__":
    main()
