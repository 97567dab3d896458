"""The tables of docs/bench.md that must say what the code says: profiles, flags, and the lines of a measurement."""

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Literal

from tables import fill, table

from edgesr.bench import records
from edgesr.bench.page import FLAGS
from edgesr.bench.plan import PROFILES

PARTS = (records.Subject, records.Regime, records.Where, records.Inputs, records.Thermal)
"""What stands within lines."""


def filled(page: str) -> str:
    """docs/bench.md with its tables as the code says."""
    for name, block in (("profiles", profiles_block()), ("flags", flags_block()), ("records", records_block())):
        page = fill(page, name, block)
    return page


def profiles_block() -> str:
    header = ["profile", "cold processes", "warm-up each", "at least", "and at least", "at most"]
    lines = [
        [
            f"`{each.name}`",
            str(each.repeats),
            str(each.warmup),
            f"{each.least_s:g} s",
            f"{each.least_samples} samples",
            f"{each.most_s:g} s" + (f", {each.whole_s:g} s with opening" if each.whole_s is not None else ""),
        ]
        for each in PROFILES.values()
    ]
    return table(header, lines, right=1)


def flags_block() -> str:
    return table(["flag", "means"], [[name, meaning] for name, meaning in FLAGS.items()], right=2)


def records_block() -> str:
    """A line for each kind of line and each value within; what may be left out is in parentheses."""
    kinds = [(f'`"{_kind(each)}"`', each) for each in typing.get_args(records.Record)]
    parts = [(each.__name__, each) for each in PARTS]
    lines = [[name, "<br>".join(_field(field, each) for field in _shown(each))] for name, each in (*kinds, *parts)]
    return table(["kind or value", "fields"], lines, right=2)


def _kind(record: Any) -> str:
    (field,) = [field for field in fields(record) if field.name == "kind"]
    return str(field.default)


def _shown(record: Any) -> list[Field[Any]]:
    return [field for field in fields(record) if not (field.name == "kind" and field.default is not MISSING)]


def _field(field: Field[Any], record: Any) -> str:
    text = f"`{field.name}` {_type(typing.get_type_hints(record)[field.name])}"
    optional = field.default is not MISSING or field.default_factory is not MISSING
    return f"({text})" if optional else text


def _type(hint: Any) -> str:
    """In the words of JSON."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return " or ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in inner)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(each) for each in inner)
    if origin is tuple:
        return f"[{', '.join('...' if each is Ellipsis else _type(each) for each in inner)}]"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "object"
    if is_dataclass(hint):
        return str(getattr(hint, "__name__", hint))
    return {str: "text", int: "integer", float: "number", bool: "true or false", type(None): "null"}[hint]
