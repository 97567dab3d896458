"""What XNNPACK needs of an exported graph before it is lowered. All exact: the same numbers come out.

Each function changes the program that it is given, in place. The delegate takes an operator as an integer one when a
dequantize feeds every input and one quantize alone reads its output; the functions below make that pattern true only
where XNNPACK has such a kernel.
"""

import operator
from typing import Any, cast

import torch
import torchao.quantization.pt2e  # noqa: F401  (registers quantized_decomposed)
from torch import fx
from torch.export import ExportedProgram

from edgesr.targets.rewrite import Rewrite

ATEN = torch.ops.aten
QUANTIZE = torch.ops.quantized_decomposed.quantize_per_tensor.default
DEQUANTIZE = torch.ops.quantized_decomposed.dequantize_per_tensor.default
SPLIT = ATEN.split_with_sizes.default
SELECTIONS = (ATEN.slice.Tensor, ATEN.max_pool2d.default)
"""Operators whose output values are all among their input values."""

XNNPACK = ("executorch",)
MOST_JOINED = 5

REWRITES = (
    Rewrite(
        "split_to_slices",
        "XNNPACK has no split: as slices the network stays in one delegate (PlainUSR 1.6x).",
        XNNPACK,
    ),
    Rewrite(
        "keep_grid_of_selections",
        "an integer slice or max pooling must keep scale and zero point, or the program does not load: it is rounded "
        "to the grid that it is on, and to the next one afterwards.",
        XNNPACK,
    ),
    Rewrite(
        "concat_of_few",
        "XNNPACK joins at most five tensors: more are joined in steps (BSRN has eight blocks).",
        XNNPACK,
    ),
    Rewrite(
        "quantize_before_concat",
        "an integer concat needs one scale for all parts, or the program does not load: they are rounded before it.",
        XNNPACK,
    ),
    Rewrite(
        "one_dequantize_per_reader",
        "XNNPACK takes a dequantize either as float or as integer: readers of both kinds need one each.",
        XNNPACK,
    ),
)


def rewrite(program: ExportedProgram) -> ExportedProgram:
    """All of REWRITES, in their order."""
    split_to_slices(program)
    keep_grid_of_selections(program)
    concat_of_few(program)
    quantize_before_concat(program)
    one_dequantize_per_reader(program)
    return program


def split_to_slices(program: ExportedProgram) -> None:
    """`split_with_sizes` as one `slice` per part that is used."""
    graph = program.graph_module.graph
    for split in [node for node in graph.nodes if node.target is SPLIT]:
        source, sizes = split.args[:2]
        axis = split.args[2] if len(split.args) > 2 else 0
        for part in list(split.users):
            assert part.target is operator.getitem
            start = sum(sizes[: part.args[1]])
            with graph.inserting_before(part):
                piece = graph.call_function(ATEN.slice.Tensor, (source, axis, start, start + sizes[part.args[1]]))
            piece.meta = dict(part.meta)
            part.replace_all_uses_with(piece)
            graph.erase_node(part)
        graph.erase_node(split)
    program.graph_module.recompile()


def keep_grid_of_selections(program: ExportedProgram) -> None:
    """Round what is selected from a quantized tensor to that tensor's own grid, which changes no value."""
    graph = program.graph_module.graph
    for node in [node for node in graph.nodes if node.target in SELECTIONS]:
        source = node.args[0]
        if source.target is not DEQUANTIZE:
            continue
        with graph.inserting_before(node.next):
            rounded = _rounded(graph, node, source.args[1:])
        node.replace_all_uses_with(rounded, delete_user_cb=lambda reader, own=rounded.args[0]: reader is not own)
    program.graph_module.recompile()


def concat_of_few(program: ExportedProgram) -> None:
    """A concat of more than MOST_JOINED parts as one of the first few and the rest."""
    graph = program.graph_module.graph
    for node in [node for node in graph.nodes if node.target is ATEN.cat.default]:
        parts, *axis = cast(tuple[list[fx.Node], int], node.args)
        while len(parts) > MOST_JOINED:
            with graph.inserting_before(node):
                first = graph.call_function(ATEN.cat.default, (parts[:MOST_JOINED], *axis))
            first.meta = {**node.meta, "val": torch.cat([part.meta["val"] for part in parts[:MOST_JOINED]], *axis)}
            parts = [first, *parts[MOST_JOINED:]]
        node.args = (parts, *axis)
    program.graph_module.recompile()


def quantize_before_concat(program: ExportedProgram) -> None:
    """Where one quantize alone reads a concat: round each part to that grid first. Rounding again changes nothing.

    From the last concat on, so that one that is a part of another is rounded too.
    """
    graph = program.graph_module.graph
    for node in [node for node in reversed(graph.nodes) if node.target is ATEN.cat.default]:
        readers = list(node.users)
        if len(readers) != 1 or readers[0].target is not QUANTIZE:
            continue
        grid = readers[0].args[1:]
        with graph.inserting_before(node):
            parts = [_rounded(graph, part, grid) for part in cast(list[fx.Node], node.args[0])]
        node.args = (parts, *node.args[1:])
    program.graph_module.recompile()


def one_dequantize_per_reader(program: ExportedProgram) -> None:
    """A copy of a dequantize for each of its readers but the first."""
    graph = program.graph_module.graph
    for node in [node for node in graph.nodes if node.target is DEQUANTIZE]:
        for reader in list(node.users)[1:]:
            with graph.inserting_before(reader):
                copy = graph.node_copy(node)
            reader.replace_input_with(node, copy)
    program.graph_module.recompile()


def _rounded(graph: fx.Graph, value: fx.Node, grid: tuple[Any, ...]) -> fx.Node:
    """`value` quantized and dequantized; `grid`: scale, zero point, least, greatest and type of the integers."""
    quantized = graph.call_function(QUANTIZE, (value, *grid))
    quantized.meta = {**value.meta, "val": value.meta["val"].to(grid[-1])}
    rounded = graph.call_function(DEQUANTIZE, (quantized, *grid))
    rounded.meta = dict(value.meta)
    return rounded
