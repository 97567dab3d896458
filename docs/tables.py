"""Tables in Markdown, and the numbers in them."""


def table(header: list[str], lines: list[list[str]], right: int) -> str:
    """Columns from `right` on are aligned to the right."""
    rule = ["---" if index < right else "---:" for index in range(len(header))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *lines))


def number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
