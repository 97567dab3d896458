"""What the processor of this machine can do, as far as its system tells."""

import platform
import sys
from pathlib import Path

X86 = ("x86_64", "amd64", "i686", "i386", "x86")
WHOLE_PRODUCTS = ("avx512_vnni", "avx_vnni", "amx_int8")
"""Instruction sets that sum 8-bit products in 32 bits at once."""


def processor() -> tuple[str, frozenset[str] | None]:
    """Name and instruction sets, in the words of Linux; no other system tells the latter without a program: None."""
    file = Path("/proc/cpuinfo")
    name = platform.processor() or "unknown"
    if sys.platform != "linux" or not file.exists():
        return name, None
    lines = (line.partition(":") for line in file.read_text().splitlines())
    entries = {key.strip(): value.strip() for key, _, value in lines}
    return entries.get("model name", name), frozenset(entries.get("flags", entries.get("Features", "")).split())


def is_x86() -> bool:
    return platform.machine().lower() in X86


def products_saturate() -> bool:
    """Whether the usual 8-bit kernels lose what two products sum to beyond 16 bits.

    An x86 processor without VNNI multiplies unsigned by signed bytes with an instruction (vpmaddubsw) whose pairs
    saturate at 32767, where two of them can reach 64770. True for an x86 processor that cannot be asked: being right
    comes first.
    """
    if not is_x86():
        return False
    _, found = processor()
    return found is None or found.isdisjoint(WHOLE_PRODUCTS)
