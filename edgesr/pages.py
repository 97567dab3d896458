"""Pages from the templates in edgesr.assets: one HTML file each, without anything outside of it."""

from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

from edgesr.extras import require


def render(template: str, content: Mapping[str, Any], filters: Mapping[str, Callable[..., object]]) -> str:
    """Text in `content` is escaped unless the template says that it is safe; a name that is missing is an error."""
    jinja2 = require("jinja2", "report")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    text: str = environment.get_template(template).render(content)
    return text


def asset(name: str) -> str:
    return (resources.files("edgesr.assets") / name).read_text(encoding="utf-8")
