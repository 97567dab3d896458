"""Tables in Markdown, and what stands in them."""

import re
from collections.abc import Mapping
from typing import Any


def table(header: list[str], lines: list[list[str]], right: int) -> str:
    """Columns from `right` on are aligned to the right."""
    rule = ["---" if index < right else "---:" for index in range(len(header))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *lines))


def fill(text: str, name: str, block: str) -> str:
    """A page with `block` between the markers of `name`."""
    pattern = re.compile(f"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"The page has no block named {name}.")
    return pattern.sub(lambda found: f"{found[1]}{block}\n{found[2]}", text)


def number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def cost_and_parity(row: Mapping[str, Any]) -> list[str]:
    """Cells: KB, seconds, MB, largest difference from the network, dB to it; empty where it was not made or not run."""
    ran = row["parity_max_abs"] is not None
    fidelity = "∞" if row["fidelity_db"] is None else number(row["fidelity_db"], 1)
    return [
        number(row["bytes"] and row["bytes"] / 1000, 0),
        number(row["convert_s"], 1),
        number(row["peak_mb"], 0),
        f"{row['parity_max_abs']}/255" if ran else "",
        fidelity if ran else "",
    ]


def ran_in(row: Mapping[str, Any]) -> str:
    """The runtime, without the build of OpenVINO, or why there is no artifact."""
    return re.sub(r"(openvino [\d.]+)-\S+", r"\1", row["error"] or row["runtime"] or "").replace("|", "/")
