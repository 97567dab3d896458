"""A network that computes as INT8 does and learns: weights, biases, and the step of every grid.

Roundings stand exactly where a recipe puts them for every target. They pass gradients straight through (Bengio et al.,
2013); steps of weights and of activations are learned as in LSQ (Esser et al., "Learned Step Size Quantization", ICLR
2020), zero points of activations too. Steps are learned as logarithms, weights in units of the steps that they begin
with and biases in units of what is written, so that one rate serves all: Adam's update has the size of the rate,
which makes LSQ's scaling of gradients needless.

Needs torch alone, so that it trains where no converter is installed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from edgesr.quantization.prepared import Node, convolutions, has_grid, name_of, part_of, source_of
from edgesr.quantization.recipe import Grid, Layer, Recipe
from edgesr.quantization.reproducible import Edge, edges, sources
from edgesr.quantization.rounding import LEVELS, WEIGHT_LEVELS, Rounded, RoundedWeight

FLOAT_LEVELS = 127
"""A float weight's unit is the largest of its tensor divided by this."""
LEAST_STEP = 1e-12


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a convolution rounds; `reads`, `writes`: names of learned grids."""

    name: str
    reads: str | None
    fixed: Grid | None
    writes: str | None
    integer: bool


class Student(fx.Interpreter):
    """`prepared`: the float graph of `recipe` (recipe_float.unrounded), for one batch and size; its weights are not
    used. All that is learned lies in `values`, by name, on the device of the graph."""

    def __init__(
        self, prepared: fx.GraphModule, recipe: Recipe, device: torch.device, weight_levels: int = WEIGHT_LEVELS
    ) -> None:
        """`weight_levels`: the largest level of a weight; 63 never saturates where products are added in 16 bits."""
        super().__init__(prepared)
        self.recipe, self.device, self.weight_levels = recipe, device, weight_levels
        layers = {layer.name: layer for layer in recipe.facts.layers}
        self.plans: dict[Node, _Plan] = {}
        self.grids: dict[str, Grid] = {}
        self.values: dict[str, Tensor] = {}
        self.units: dict[str, Tensor] = {}
        self.begun: dict[str, Tensor] = {}
        self._shared: dict[tuple[Node, Grid], str] = {}
        self._rounded: dict[tuple[Node, str], Tensor] = {}
        for conv in convolutions(prepared):
            layer = layers[name_of(conv)]
            self.plans[conv] = self._plan(conv, layer)
            self._begin(layer)
        for name, grid in self.grids.items():
            self.values[f"{name}.log_step"] = torch.tensor(0.0)
            self.units[name] = torch.tensor(grid.step)
            self.values[f"{name}.zero_point"] = torch.tensor(float(grid.zero_point))
        self.rounded_arguments = self._rounded_arguments(prepared, layers)
        held = self._held()
        self.values = {
            name: value.to(device).requires_grad_(name.rpartition(".")[0] not in held)
            for name, value in self.values.items()
        }
        self.units = {name: value.to(device) for name, value in self.units.items()}
        self.begun = {name: value.to(device) for name, value in self.begun.items()}
        self._fixed = {
            plan.fixed: (
                torch.tensor(plan.fixed.step).to(device),
                torch.tensor(float(plan.fixed.zero_point)).to(device),
            )
            for plan in self.plans.values()
            if plan.fixed is not None
        }

    def _plan(self, conv: Node, layer: Layer) -> _Plan:
        source, reads, fixed = source_of(conv), None, None
        if layer.reads is not None and has_grid(source):
            fixed = layer.reads
        elif layer.reads is not None:
            reads = self._grid_of(source, layer.reads)
        writes = None if layer.writes is None else self._grid_of(conv, layer.writes)
        return _Plan(layer.name, reads, fixed, writes, layer.integer)

    def _grid_of(self, node: Node, grid: Grid) -> str:
        """One for all that round the same value in the same way: they are one rounding in the converted graph."""
        name = self._shared.setdefault((node, grid), f"grid{len(self._shared)}")
        self.grids[name] = grid
        return name

    def _rounded_arguments(self, prepared: fx.GraphModule, layers: Mapping[str, Layer]) -> dict[Edge, str]:
        """What activation functions read rounded -> the grid that rounds it, where the recipe is reproducible."""
        if not self.recipe.facts.reproducible:
            return {}
        read = sources(prepared, layers)
        found = {}
        for reader, value in edges(prepared, read.__contains__):
            grid = read[value].reads
            assert grid is not None, "an integer convolution"
            found[reader, value] = self._grid_of(value, grid)
        return found

    def _held(self) -> set[str]:
        """Grids that stay: what is inside of a split output ends at a level of both (recipe.with_bounds_on_grids)."""
        parts = {part_of(name, part) for name in self.recipe.facts.write_splits for part in (0, 1)}
        return {plan.writes for plan in self.plans.values() if plan.name in parts and plan.writes is not None}

    def _begin(self, layer: Layer) -> None:
        name, tensors = layer.name, self.recipe.tensors
        weight = tensors[f"{name}.weight"].float()
        if layer.integer:
            step = tensors[f"{name}.step"].float().clamp(min=LEAST_STEP).reshape(-1, 1, 1, 1)
            step = step * (WEIGHT_LEVELS / self.weight_levels)
            self.values[f"{name}.weight"] = weight * (self.weight_levels / WEIGHT_LEVELS)
            self.values[f"{name}.log_step"] = torch.zeros_like(step)
        else:
            step = (weight.abs().max() / FLOAT_LEVELS).clamp(min=LEAST_STEP)
            self.begun[f"{name}.weight"] = weight
            self.values[f"{name}.weight"] = torch.zeros_like(weight)
        self.units[f"{name}.weight"] = step
        if f"{name}.bias" in tensors:
            unit = torch.tensor(layer.writes.step) if layer.writes is not None else step.max() * FLOAT_LEVELS / 10
            self.units[f"{name}.bias"] = unit
            self.begun[f"{name}.bias"] = bias = tensors[f"{name}.bias"].float()
            self.values[f"{name}.bias"] = torch.zeros_like(bias)

    def __call__(self, low: Tensor) -> Tensor:
        """float32 (N, 3, H, W) RGB in [0, 1] -> (N, 3, sH, sW)."""
        try:
            output: Tensor = self.run(low)
        finally:
            self._rounded.clear()
        return output

    def run_node(self, n: Node) -> Any:
        plan = self.plans.get(n)
        if plan is None:
            return super().run_node(n)
        arguments = self.fetch_args_kwargs_from_env(n)[0]
        weight, bias = self._parameters(plan)
        read = self._read(source_of(n), plan, arguments[0])
        written = F.conv2d(read, weight, bias, *arguments[3:])
        if plan.writes is None:
            return written
        result = self._round(written, plan.writes)
        self._rounded[n, plan.writes] = result
        return result

    def _parameters(self, plan: _Plan) -> tuple[Tensor, Tensor | None]:
        name = plan.name
        weight, unit = self.values[f"{name}.weight"], self.units[f"{name}.weight"]
        if plan.integer:
            step = self.values[f"{name}.log_step"].exp()
            weight = RoundedWeight.apply(weight, step, self.weight_levels) * unit  # type: ignore[no-untyped-call]
        else:
            weight = self._moved(f"{name}.weight", self.values)
        bias = self._moved(f"{name}.bias", self.values) if f"{name}.bias" in self.values else None
        return weight, bias

    def _moved(self, name: str, values: Mapping[str, Tensor]) -> Tensor:
        """What is not rounded: exactly what it began with until it moves."""
        return self.begun[name] + values[name] * self.units[name]

    def _step(self, grid: str, values: Mapping[str, Tensor]) -> Tensor:
        return values[f"{grid}.log_step"].exp() * self.units[grid]

    def _read(self, source: Node, plan: _Plan, x: Tensor) -> Tensor:
        if plan.fixed is not None:
            rounded: Tensor = Rounded.apply(x, *self._fixed[plan.fixed])  # type: ignore[no-untyped-call]
            return rounded
        return x if plan.reads is None else self._rounded_once(source, plan.reads, x)

    def _rounded_once(self, value: Node, grid: str, x: Tensor) -> Tensor:
        if (value, grid) not in self._rounded:
            self._rounded[value, grid] = self._round(x, grid)
        return self._rounded[value, grid]

    def fetch_args_kwargs_from_env(self, n: Node) -> Any:
        def fetch(value: Node) -> Any:
            grid = self.rounded_arguments.get((n, value))
            return self.env[value] if grid is None else self._rounded_once(value, grid, self.env[value])

        return fx.map_arg(n.args, fetch), fx.map_arg(n.kwargs, fetch)

    def _round(self, x: Tensor, grid: str) -> Tensor:
        rounded: Tensor = Rounded.apply(x, self._step(grid, self.values), self.values[f"{grid}.zero_point"])  # type: ignore[no-untyped-call]
        return rounded

    def groups(self) -> Iterator[dict[str, Any]]:
        """Of parameters, for an optimizer, each with the `kind` that has a rate of its own."""
        kinds: dict[str, list[Tensor]] = {}
        for name, value in self.values.items():
            if not value.requires_grad:
                continue
            owner, kind = name.rsplit(".", 1)
            if owner in self.grids and kind == "log_step":
                kind = "grid_log_step"
            kinds.setdefault(kind, []).append(value)
        for kind, params in kinds.items():
            yield {"params": params, "kind": kind}

    @torch.no_grad()
    def clip(self) -> None:
        """Zero points to levels, so that every grid holds zero."""
        for name, value in self.values.items():
            if name.endswith(".zero_point"):
                value.clamp_(0, LEVELS)

    def recipe_of(self, values: Mapping[str, Tensor]) -> Recipe:
        """The recipe of `values`, which have the names of `self.values` (these, or their mean over steps)."""
        with torch.no_grad():
            grids = {name: self._grid(name, values) for name in self.grids}
            tensors = dict(self.recipe.tensors)
            for plan in self.plans.values():
                numbers = self._numbers(plan, values)
                tensors |= {name: number.detach().cpu().contiguous() for name, number in numbers.items()}
        plans = {plan.name: plan for plan in self.plans.values()}
        layers = tuple(_learned(layer, plans[layer.name], grids) for layer in self.recipe.facts.layers)
        return Recipe(replace(self.recipe.facts, layers=layers), tensors)

    def _numbers(self, plan: _Plan, known: Mapping[str, Tensor]) -> dict[str, Tensor]:
        name = plan.name
        weight, unit = known[f"{name}.weight"], self.units[f"{name}.weight"]
        found = {}
        if plan.integer:
            step = known[f"{name}.log_step"].exp()
            levels = (weight / step).round().clamp(-self.weight_levels, self.weight_levels)
            found[f"{name}.weight"] = levels.to(torch.int8)
            found[f"{name}.step"] = (step * unit).flatten()
        else:
            found[f"{name}.weight"] = self._moved(f"{name}.weight", known)
        bias = f"{name}.bias"
        return found | {bias: self._moved(bias, known)} if bias in known else found

    def _grid(self, name: str, known: Mapping[str, Tensor]) -> Grid:
        zero_point = known[f"{name}.zero_point"].round().clamp(0, LEVELS)
        return Grid(float(self._step(name, known)), int(zero_point))


def _learned(layer: Layer, plan: _Plan, grids: Mapping[str, Grid]) -> Layer:
    reads = layer.reads if plan.reads is None else grids[plan.reads]
    writes = layer.writes if plan.writes is None else grids[plan.writes]
    return replace(layer, reads=reads, writes=writes)


def on_device(graph: fx.GraphModule, device: torch.device) -> fx.GraphModule:
    """`graph` with its tensors, and those that it makes, on `device`; in place."""
    graph.to(device)
    for node in graph.graph.nodes:
        if "device" in node.kwargs:
            node.kwargs = {**node.kwargs, "device": device}
    graph.recompile()
    return graph
