"""Makes an ORT-format file reproducible.

ONNX Runtime (1.31) writes its table of kernel types (`KernelTypeStrResolver` in its schema `ort.fbs`) in the order of a
hash map that differs from run to run. Here the table is written again in alphabetical order, behind the rest.

Flatbuffers: a table begins with the distance back to its vtable, offsets are relative and point forward, and what was
built later lies earlier, so the kernel types lie between the root and the model.
"""

import struct
from dataclasses import dataclass

import flatbuffers
from flatbuffers import encode, number_types, packer
from flatbuffers.table import Table

VERSION, MODEL, RESOLVER = 4, 6, 10
"""Places of the fields of `InferenceSession`, the root, in its vtable; 8 is a field that is no longer written."""
FIRST, SECOND = 4, 6
ALIGNMENT = 16
"""Counted from the end of a file; what is kept had it before."""
VTABLE_AT = 12
HEADER = struct.pack("<I4s4x6H", 24, b"ORTM", 12, 16, 12, 8, 0, 4)
"""Where the root is, the file's mark, and the root's vtable: its size, the root's size, where each field is in it."""


@dataclass(frozen=True, slots=True, order=True)
class Kernel:
    """One operator and, for each name of a type in its signature, the (input or output, position) that have it."""

    operator: bytes
    types: tuple[tuple[bytes, tuple[tuple[int, int], ...]], ...]


def in_order(content: bytes) -> bytes:
    """The same file, with its table of kernel types in alphabetical order."""
    data = bytearray(content)
    root = Table(data, encode.Get(packer.uoffset, data, 0))
    version, model, resolver = (_child(root, root.Pos + root.Offset(field)) for field in (VERSION, MODEL, RESOLVER))
    end = _start(model, resolver.Pos)
    kernels = _build(sorted(_kernel(entry) for entry in _entries(resolver, FIRST)))
    kept = content[end:]
    begin = len(HEADER) + 16 + -(len(HEADER) + 16 + len(kept)) % ALIGNMENT
    kernels_at = begin + len(kept) + encode.Get(packer.uoffset, kernels, 0)
    places = (kernels_at, begin + model.Pos - end, begin + version.Pos - end)
    fields = [place - len(HEADER) - 4 * slot for slot, place in enumerate(places, start=1)]
    table = struct.pack("<i3I", len(HEADER) - VTABLE_AT, *fields)
    return (HEADER + table).ljust(begin, b"\0") + kept + kernels


def _start(table: Table, least: int) -> int:
    """Where the bytes of `table` begin: at its vtable, unless that is shared with a table on its other side."""
    vtable: int = table.Pos - table.Get(number_types.SOffsetTFlags, table.Pos)
    own = least < vtable < table.Pos
    return vtable if own else int(table.Pos)


def _child(table: Table, position: int) -> Table:
    return Table(table.Bytes, table.Indirect(position))


def _entries(table: Table, field: int) -> list[Table]:
    offset = table.Offset(field)
    return [_child(table, table.Vector(offset) + 4 * index) for index in range(table.VectorLen(offset))]


def _text(table: Table) -> bytes:
    text: bytes = table.String(table.Pos + table.Offset(FIRST))
    return text


def _kernel(entry: Table) -> Kernel:
    types = (
        (_text(kind), tuple(_argument(each) for each in _entries(kind, SECOND))) for kind in _entries(entry, SECOND)
    )
    return Kernel(_text(entry), tuple(sorted(types)))


def _argument(entry: Table) -> tuple[int, int]:
    which, index = entry.Offset(FIRST), entry.Offset(SECOND)
    return (
        entry.Get(number_types.Int8Flags, entry.Pos + which) if which else 0,
        entry.Get(number_types.Uint32Flags, entry.Pos + index) if index else 0,
    )


def _build(kernels: list[Kernel]) -> bytes:
    builder = flatbuffers.Builder(1024)
    entries = []
    for kernel in kernels:
        kinds = [_pair(builder, name, [_end(builder, *each) for each in used]) for name, used in kernel.types]
        entries.append(_pair(builder, kernel.operator, kinds))
    vector = _vector(builder, entries)
    builder.StartObject(1)
    builder.PrependUOffsetTRelativeSlot(0, vector, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def _pair(builder: flatbuffers.Builder, name: bytes, children: list[int]) -> int:
    """A table of a text and a vector of tables."""
    text, vector = builder.CreateString(name), _vector(builder, children)
    builder.StartObject(2)
    builder.PrependUOffsetTRelativeSlot(0, text, 0)
    builder.PrependUOffsetTRelativeSlot(1, vector, 0)
    end: int = builder.EndObject()
    return end


def _vector(builder: flatbuffers.Builder, children: list[int]) -> int:
    builder.StartVector(4, len(children), 4)
    for child in reversed(children):
        builder.PrependUOffsetTRelative(child)
    end: int = builder.EndVector()
    return end


def _end(builder: flatbuffers.Builder, which: int, index: int) -> int:
    builder.StartObject(2)
    builder.PrependInt8Slot(0, which, 0)
    builder.PrependUint32Slot(1, index, 0)
    end: int = builder.EndObject()
    return end
