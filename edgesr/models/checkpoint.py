"""Reading a PyTorch checkpoint that may be hostile: what it asks for is checked before torch builds any of it.

torch.load(weights_only=True) runs no code of the file, but it still builds what the file describes: a packed record
becomes gigabytes, a dictionary key of nested tuples takes for ever to hash. So the pickle is first read as a list of
instructions, and only what a state dict needs is let through.
"""

import pickletools
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from edgesr.errors import WeightsError

MAX_PICKLE_BYTES = 4 * 2**20
"""A hundred times the names and shapes of the largest network here; the tensors are stored outside the pickle."""
MAX_NESTING = 64
_ZIP_MAGIC = b"PK\x03\x04"
_NEEDED = {
    "collections OrderedDict",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_tensor_v2",
    *(f"torch {name}Storage" for name in ("BFloat16", "Double", "Float", "Half", "Int", "Long")),
}
_FILLING = {"APPEND", "APPENDS", "BUILD", "SETITEM", "SETITEMS"}
_SHAREABLE = {"BINUNICODE", "GLOBAL", "SHORT_BINSTRING"}
"""What a pickle may refer back to: with more, a few hundred bytes describe a tree of 2**100 parts."""


class _Refused(Exception):
    """The file asks for something that no state dict needs; the text says what."""


def read_checkpoint(path: Path) -> object:
    """What `torch.save` wrote into `path`, if it is made of tensors, names and numbers. Raises WeightsError."""
    try:
        _check_archive(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except _Refused as error:
        raise WeightsError(
            f"{path} holds more than tensors: {error}. Loading it could run code or fill the memory, so it was "
            "refused. Save the bare state dict, best as .safetensors, and pass that."
        ) from error
    except Exception as error:  # zipfile, pickletools and torch raise a dozen kinds for damaged files
        reason = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
        raise WeightsError(
            f"{path} is not a whole PyTorch checkpoint (zip format, PyTorch 1.6 or newer): {reason}. Get it again."
        ) from error


def _check_archive(path: Path) -> None:
    with path.open("rb") as stream:
        if stream.read(len(_ZIP_MAGIC)) != _ZIP_MAGIC:
            raise ValueError("it does not begin like one")
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        if sum(record.file_size for record in records) > path.stat().st_size:
            raise _Refused("its records unpack to more bytes than the file has")
        for record in records:
            if record.filename.lower().endswith(".pkl"):
                if record.file_size > MAX_PICKLE_BYTES:
                    raise _Refused(f"{record.filename} has {record.file_size} bytes")
                _check_pickle(archive.read(record))


def _check_pickle(pickled: bytes) -> None:
    """Follow the instructions with the depth of each object in place of the object."""
    depths: list[int | None] = []  # None is a mark
    shareable: dict[Any, bool] = {}
    previous = ""
    for opcode, argument, _ in pickletools.genops(pickled):
        _check_instruction(opcode.name, argument, shareable)
        if opcode.name.endswith("PUT"):
            shareable[argument] = previous in _SHAREABLE
        parts = _take(depths, opcode.stack_before)
        if opcode.name == "MARK":
            depths.append(None)
        elif opcode.stack_after:
            depths.append(_depth(opcode.name, parts))
        previous = opcode.name


def _check_instruction(name: str, argument: Any, shareable: dict[Any, bool]) -> None:
    if name == "GLOBAL" and argument not in _NEEDED:
        raise _Refused(f"it asks for {argument[:80]!r}")
    if name.endswith("GET") and not shareable.get(argument):
        raise _Refused("it uses one object in several places")
    if name == "PROTO" and argument != 2:
        raise ValueError(f"its pickle protocol is {argument}, PyTorch writes 2")


def _take(depths: list[int | None], wanted: Sequence[pickletools.StackObject]) -> list[int]:
    """Remove what an instruction consumes and return it in order; IndexError if it is not there."""
    parts: list[int] = []
    for kind in reversed(wanted):
        if kind is pickletools.stackslice:
            while depths[-1] is not None:
                parts.append(depths.pop() or 0)
        else:
            parts.append(depths.pop() or 0)
    return parts[::-1]


def _depth(name: str, parts: list[int]) -> int:
    """Of the object that an instruction makes of its parts; one that fills a container keeps its first part."""
    depth = 1 + max(parts[1:] if name in _FILLING else parts, default=-1)
    if name in _FILLING:
        depth = max(depth, parts[0])
    if depth > MAX_NESTING:
        raise _Refused(f"it is nested more than {MAX_NESTING} deep")
    return depth
