"""INT8 that comes out the same to the bit on every processor.

Sums and products of float32 are the same everywhere, GELU and sigmoid are not: libraries differ in the last bit. Behind
each of them values are rounded to 8 bits, where such a difference decides only what lies next to the middle between
two levels; but a photo has millions of values, and a deep network spreads each that was decided otherwise. So

- activation functions read values of 8 bits alone, rounded as the convolutions beside them read them (`edges`). Of two
  such values a function has no more than 65536 different results;
- steps move by some thousandths until none of these results lies where a last bit decides (`settled`).
"""

import operator
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx

from edgesr.errors import Unsupported
from edgesr.quantization.prepared import (
    ADD,
    ATEN,
    CLAMP,
    CONCAT,
    CONVOLUTION,
    GELU,
    MULTIPLY,
    RESIZE,
    SIGMOID,
    SLICE,
    SPLIT,
    Node,
    convolutions,
    is_image,
    name_of,
    source_of,
)
from edgesr.quantization.range_split import PIXEL_SHUFFLE, SUBTRACT
from edgesr.quantization.recipe import Grid, Layer, Recipe
from edgesr.quantization.rounding import LEVELS

FUNCTIONS = (GELU, SIGMOID)
ARITHMETIC = (ADD, SUBTRACT, MULTIPLY, CLAMP)
"""Of one value at a time, and the same in every IEEE 754 arithmetic."""
MOVES = (CONCAT, SLICE, SPLIT, operator.getitem, ATEN.max_pool2d.default)
"""Choose among values."""
KNOWN = (*FUNCTIONS, *ARITHMETIC, *MOVES, CONVOLUTION, RESIZE, PIXEL_SHUFFLE)
MOST_LEAVES = 2
ERROR = 2.0**-22
"""How far a runtime may be from a GELU, as a part of what that reads, and from a sigmoid. ONNX Runtime's worst are half
of it (tested)."""
STEEPEST = 1.2
"""Slope of a function, at most (GELU has 1.13)."""
ROUNDING = 2.0**-24
"""Of a product, a sum or a quotient in float32."""
NUDGE, NUDGES = 2e-6, 3000
"""Steps are tried at this part of their size further away each time, and so often to each side."""

Edge = tuple[Node, Node]
"""A reader and the value that it reads."""


def edges(graph: fx.GraphModule, is_rounded: Callable[[Node], bool]) -> list[Edge]:
    """Where a value that is rounded for convolutions meets an activation function, as an argument or beside its result,
    on the way to the next rounding: the reader is to read what was rounded."""
    waiting: list[Edge] = []
    unrounded: set[Node] = set()
    for node in graph.graph.nodes:
        if node.target in FUNCTIONS or (node.target in ARITHMETIC and not unrounded.isdisjoint(_operands(node))):
            waiting += [(node, value) for value in _operands(node)]
            if not is_rounded(node):
                unrounded.add(node)
    found: list[Edge] = []
    while waiting:
        reader, value = waiting.pop()
        if value.target is CONVOLUTION or (reader, value) in found:
            continue  # what a convolution writes is rounded in any case
        if is_rounded(value):
            found.append((reader, value))
        elif value.target in ARITHMETIC:
            waiting += [(value, operand) for operand in _operands(value)]
    return found


def sources(graph: fx.GraphModule, layers: Mapping[str, Layer]) -> dict[Node, Layer]:
    """What convolutions on integers read in a prepared graph, but the image -> one of them."""
    found: dict[Node, Layer] = {}
    for conv in convolutions(graph):
        source, layer = source_of(conv), layers[name_of(conv)]
        if layer.reads is not None and not is_image(source):
            found.setdefault(source, layer)
    return found


def in_company(graph: fx.GraphModule) -> set[str]:
    """Names of convolutions whose outputs are with others in an activation function's result. With two grids for one
    of them there were too many results, unless their sum is rounded for a convolution."""
    read = {source_of(conv) for conv in convolutions(graph)}
    between = set(edges(graph, read.__contains__))
    found: set[str] = set()
    for source in read:
        for part in _parts(source):
            leaves = _leaves(part, between)
            if leaves is not None and len(leaves) > 1:
                found |= {name_of(leaf) for leaf in leaves if leaf.target is CONVOLUTION and leaf not in read}
    return found


def check(graph: fx.GraphModule, recipe: Recipe) -> None:
    """Raises Unsupported, saying why, if the prepared graph of `recipe` cannot be reproducible."""
    if other := [node for node in graph.graph.nodes if _is_image_like(node) and node.target not in KNOWN]:
        raise _refused(recipe, f"it computes {other[0].target}, which is not known to be the same everywhere")
    if kept := recipe.facts.kept_float:
        raise _refused(recipe, f"in float: {', '.join(kept[:3])}")
    layers = {layer.name: layer for layer in recipe.facts.layers}
    read = sources(graph, layers)
    between = set(edges(graph, read.__contains__))
    for function in [node for node in graph.graph.nodes if node.target in FUNCTIONS]:
        _check_ends_rounded(function, read, between, recipe)
    for part in [part for source in read for part in _parts(source)]:
        leaves = _leaves(part, between) or set()
        for leaf in leaves - read.keys():
            if leaf.target is not CONVOLUTION or layers[name_of(leaf)].writes is None:
                raise _refused(recipe, f"{part.name} is of {leaf.name}, which is not rounded")
        if len(leaves) > MOST_LEAVES:
            raise _refused(recipe, f"{part.name} is of {len(leaves)} values; two grids of one convolution count as two")


def _check_ends_rounded(function: Node, read: Collection[Node], between: set[Edge], recipe: Recipe) -> None:
    waiting = [function]
    while waiting:
        node = waiting.pop()
        for reader in node.users:
            if (reader, node) in between or (reader.target is CONVOLUTION and node in read):
                continue
            if reader.target not in (*ARITHMETIC, *MOVES):
                raise _refused(recipe, f"{function.name} reaches {reader.name} without being rounded")
            waiting.append(reader)


def _refused(recipe: Recipe, why: str) -> Unsupported:
    return Unsupported(
        f"The INT8 of {recipe.facts.model} cannot be made the same on every processor: {why}. Leave --reproducible out."
    )


def doubts(recipe: Recipe, graph: fx.GraphModule) -> dict[str, int]:
    """How many results of activation functions lie where a last bit decides their level, by the name of the value that
    is rounded; 0 for all of a recipe that was `settled`. `graph`: its prepared graph."""
    layers = {layer.name: layer for layer in recipe.facts.layers}
    return {
        rounded.source.name: sum(int(_in_doubt(result, rounded.grid).sum()) for result in rounded.results())
        for rounded in _behind_functions(graph, layers, recipe.tensors)
    }


def settled(recipe: Recipe, graph: fx.GraphModule) -> Recipe:
    """`recipe` with steps, and factors, moved by some thousandths at most, so that no rounding behind an activation
    function is in doubt. `graph`: its prepared graph. Raises Unsupported if that cannot be had."""
    check(graph, recipe)
    layers = {layer.name: layer for layer in recipe.facts.layers}
    tensors = dict(recipe.tensors)
    # In the order of the graph: what a function reads is settled before what it writes.
    for rounded in _behind_functions(graph, layers, tensors):
        for part in rounded.parts:
            if (factor := rounded.values.factor_of(part)) is not None:
                tensors[factor] = _settled_factor(rounded, part, factor, recipe)
        grid = _settled_grid(rounded, recipe)
        for name in [name_of(reader) for reader in rounded.source.users if reader.target is CONVOLUTION]:
            layers[name] = replace(layers[name], reads=grid)
    return Recipe(replace(recipe.facts, layers=tuple(layers.values()), reproducible=True), tensors)


@dataclass(frozen=True, slots=True)
class _Rounded:
    """A value that convolutions read, the grid that rounds it, and the parts of it with activation functions."""

    source: Node
    grid: Grid
    parts: list[Node]
    values: "_Values"

    def results(self) -> Iterator["_Results"]:
        return (self.values.of(part) for part in self.parts)


def _behind_functions(
    graph: fx.GraphModule, layers: Mapping[str, Layer], tensors: Mapping[str, Tensor]
) -> Iterator[_Rounded]:
    """In the order of the graph, each with `layers` and `tensors` as they are when it is asked for."""
    read = sources(graph, layers)
    values = _Values(layers, tensors, set(edges(graph, read.__contains__)))
    for source in [node for node in graph.graph.nodes if node in read]:
        parts = [part for part in _parts(source) if _leaves(part, values.between) is not None]
        grid = layers[_reader_name(source)].reads
        assert grid is not None, "an integer convolution"
        if parts:
            yield _Rounded(source, grid, parts, values)


def _reader_name(source: Node) -> str:
    return next(name_of(reader) for reader in source.users if reader.target is CONVOLUTION)


def _operands(node: Node) -> list[Node]:
    return [operand for operand in node.all_input_nodes if operand.op != "get_attr"]


def _is_image_like(node: Node) -> bool:
    value = node.meta.get("val")
    of_image = isinstance(value, Tensor) and value.is_floating_point() and value.dim() == 4
    return of_image and node.op == "call_function"


def _parts(source: Node) -> list[Node]:
    """What stands beside each other in one rounded value."""
    if source.target in MOVES:
        return [part for operand in _operands(source) for part in _parts(operand)]
    return [source]


def _inside(part: Node, between: Collection[Edge]) -> list[Node]:
    """The functions and arithmetic that make `part` of rounded values, itself first; nothing if it is none of those."""
    found = [part] if part.target in (*FUNCTIONS, *ARITHMETIC) else []
    for node in found:
        found += [
            operand
            for operand in _operands(node)
            if operand.target in (*FUNCTIONS, *ARITHMETIC) and (node, operand) not in between and operand not in found
        ]
    return found


def _leaves(part: Node, between: Collection[Edge]) -> set[Node] | None:
    """The rounded values of which `part` is a result; None if no activation function is between."""
    inside = _inside(part, between)
    if not any(node.target in FUNCTIONS for node in inside):
        return None
    return {
        operand for node in inside for operand in _operands(node) if operand not in inside or (node, operand) in between
    }


@dataclass(frozen=True, slots=True)
class _Results:
    """Everything that a part can be, float64, an axis for each leaf and a last one for channels, and how far a runtime
    may be from it."""

    values: Tensor
    errors: Tensor


class _Values:
    """Computes what parts can be, from the grids of their leaves."""

    def __init__(self, layers: Mapping[str, Layer], tensors: Mapping[str, Tensor], between: set[Edge]) -> None:
        self.layers, self.tensors, self.between = layers, tensors, between

    def factor_of(self, part: Node) -> str | None:
        """The name of the factor, of one value per channel, on the way to `part`."""
        operands = (operand for node in _inside(part, self.between) for operand in node.all_input_nodes)
        return next((str(operand.target) for operand in operands if operand.op == "get_attr"), None)

    def of(self, part: Node, factor: Tensor | None = None) -> _Results:
        """`factor`: (C,), in place of the one that the recipe has."""
        found = _leaves(part, self.between)
        assert found is not None, "an argument of the caller"
        leaves = sorted(found, key=lambda leaf: str(leaf.name))
        values = {leaf: self._levels(leaf, axis, len(leaves)) for axis, leaf in enumerate(leaves)}
        return self._results(part, values, factor)

    def _levels(self, leaf: Node, axis: int, axes: int) -> Tensor:
        if leaf.target is CONVOLUTION:
            grid = self.layers[name_of(leaf)].writes
        else:
            grid = self.layers[_reader_name(leaf)].reads
        assert grid is not None, "everything is rounded"
        levels = (torch.arange(LEVELS + 1) - grid.zero_point).float() * torch.tensor(grid.step)
        return levels.reshape([-1 if axis == at else 1 for at in range(axes)] + [1])

    def _results(self, node: Node, known: Mapping[Node, Tensor], factor: Tensor | None) -> _Results:
        def operand(value: object) -> _Results:
            if not isinstance(value, fx.Node):
                return _Results(torch.tensor(float(value)), torch.tensor(0.0))  # type: ignore[arg-type]
            if value.op == "get_attr":
                number = self.tensors[str(value.target)].flatten() if factor is None else factor
                return _Results(number.float(), torch.tensor(0.0))
            if value in known:
                return _Results(known[value], torch.tensor(0.0))
            return self._results(value, known, factor)

        first, *others = (operand(value) for value in node.args)
        if node.target in FUNCTIONS:
            read = first.values.double()
            result = torch.nn.functional.gelu(read) if node.target is GELU else read.sigmoid()
            size = read.abs() if node.target is GELU else torch.ones_like(read)
            return _Results(result, ERROR * size + STEEPEST * first.errors)
        if node.target is CLAMP:
            return _Results(first.values.clamp(*(float(other.values) for other in others)), first.errors)
        (second,) = others
        result = node.target(first.values, second.values)
        errors = first.errors + second.errors
        if node.target is MULTIPLY:
            errors = first.errors * second.values.abs() + second.errors * first.values.abs()
        return _Results(result, errors + ROUNDING * result.abs() * (errors > 0))


def _in_doubt(results: _Results, grid: Grid) -> Tensor:
    """Whether the level of a result depends on its last bits: bool, in the shape of `results`."""
    levels = results.values.double() / grid.step
    errors = results.errors / grid.step + ROUNDING * levels.abs()
    near = (levels - levels.floor() - 0.5).abs() <= errors
    return near & (levels + grid.zero_point > -1) & (levels + grid.zero_point < LEVELS + 1)


def _nudged() -> Iterator[float]:
    yield 1.0
    for times in range(1, NUDGES + 1):
        yield 1 + times * NUDGE
        yield 1 - times * NUDGE


def _settled_grid(rounded: _Rounded, recipe: Recipe) -> Grid:
    results = list(rounded.results())
    for nudge in _nudged():
        step = float(torch.tensor(rounded.grid.step * nudge))  # float32, as graphs hold it
        grid = Grid(step, rounded.grid.zero_point)
        if not any(_in_doubt(result, grid).any() for result in results):
            return grid
    raise _refused(recipe, f"no step for {rounded.source.name} leaves every rounding beyond doubt")


def _settled_factor(rounded: _Rounded, part: Node, factor: str, recipe: Recipe) -> Tensor:
    """Each channel has results of its own, and a factor to move them with."""
    stored = rounded.values.tensors[factor]
    found, open_ = stored.flatten().clone(), torch.ones(stored.numel(), dtype=torch.bool)
    for nudge in _nudged():
        tried = stored.flatten()[open_] * nudge
        good = ~_in_doubt(rounded.values.of(part, tried), rounded.grid).flatten(0, -2).any(0)
        found[open_] = torch.where(good, tried, found[open_])
        open_[open_.clone()] = ~good
        if not open_.any():
            return found.reshape(stored.shape)
    raise _refused(recipe, f"no {factor} leaves every rounding of {part.name} beyond doubt")
