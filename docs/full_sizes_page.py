"""The part of docs/targets.md on networks with random weights, from the records that docs/full_sizes.py wrote."""

from collections.abc import Mapping, Sequence
from typing import Any

from records import RANDOM_MODELS, ROOT, read
from tables import cost_and_parity, number, ran_in, table

from edgesr.report import MARKS

Rows = Mapping[str, Mapping[str, Any]]
"""The records of one network, by slug."""


def recorded() -> dict[str, Rows]:
    """Every network of docs/full_sizes/."""
    found = {model: read(ROOT / "docs" / "full_sizes", model) for model in RANDOM_MODELS}
    return {model: rows for model, rows in found.items() if rows}


INTRODUCTION = """## Networks with random weights

The official weights of these networks can only be had by hand. `docs/full_sizes.py --data DATA` therefore converts them
in their full size with random weights ({weights}): what a conversion costs, and whether the artifact computes what the
network computes. Its records are in `docs/full_sizes/`. PSNR against the ground truth means nothing with such weights
and is not shown.

Machine: {machines}, one core, now and then shared with other work, so that seconds are an upper limit. Columns are
those above; **max diff** and **to fp32** are over one image, cut or mirrored to the size of the input. What INT8 loses
would say nothing of random weights, and is left out."""


def section(records: Mapping[str, Rows]) -> str:
    everything = [row for rows in records.values() for row in rows.values()]
    weights, machines = ("; ".join(dict.fromkeys(row[key] for row in everything)) for key in ("weights", "machine"))
    parts = [
        f"### {model} x4 at {size}\n\n{size_table(rows)}"
        for model, by_slug in records.items()
        for size, rows in by_size(by_slug.values()).items()
    ]
    return "\n\n".join([INTRODUCTION.format(weights=weights, machines=machines), overview(records), *parts])


def by_size(rows: Any) -> dict[str, list[Mapping[str, Any]]]:
    """Of one network; the size is the last part of a slug."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["slug"].rpartition("_")[2], []).append(row)
    return found


def overview(records: Mapping[str, Rows]) -> str:
    """How many artifacts of every network and size were made, and the worst of them in cost and in exactness."""
    lines = []
    for model, by_slug in records.items():
        for size, rows in by_size(by_slug.values()).items():
            done = [row for row in rows if row["status"] == "done"]
            ran = [row for row in done if row["parity_max_abs"] is not None]
            half = [row["fidelity_db"] for row in ran if row["precision"] == "fp16" and row["fidelity_db"] is not None]
            whole = [row["parity_max_abs"] for row in ran if row["precision"] == "fp32"]
            lines.append(
                [
                    f"`{model}`",
                    size,
                    str(len(done)),
                    str(len(ran)),
                    number(max((row["convert_s"] for row in done), default=None), 0),
                    number(max((row["peak_mb"] for row in done), default=None), 0),
                    f"{max(whole)}/255" if whole else "",
                    number(min(half, default=None), 1),
                ]
            )
    header = ["x4", "size", "made", "ran here", "most s", "most MB", "fp32: largest diff", "fp16: least to fp32, dB"]
    return table(header, lines, right=2)


def size_table(rows: Sequence[Mapping[str, Any]]) -> str:
    header = ["target", "precision", "", "KB", "s", "MB", "max diff", "to fp32, dB", "ran in, or why not"]
    return table(header, [size_line(row) for row in rows], right=3)


def size_line(row: Mapping[str, Any]) -> list[str]:
    return [row["target"], row["precision"], MARKS[row["status"]], *cost_and_parity(row), ran_in(row)]
