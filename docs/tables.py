"""Tables in Markdown, and what stands in them."""

import re
from collections.abc import Mapping
from typing import Any


def table(header: list[str], lines: list[list[str]], right: int) -> str:
    """Columns from `right` on are aligned to the right."""
    rule = ["---" if index < right else "---:" for index in range(len(header))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *lines))


def number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def ran_in(row: Mapping[str, Any]) -> str:
    """The runtime, without the build of OpenVINO, or why there is no artifact."""
    return re.sub(r"(openvino [\d.]+)-\S+", r"\1", row["error"] or row["runtime"] or "").replace("|", "/")
