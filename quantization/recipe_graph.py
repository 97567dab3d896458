"""Between a recipe and the converted PT2E graph that it describes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer import (
    FixedQParamsQuantizationSpec,
    QuantizationAnnotation,
    QuantizationSpecBase,
    Quantizer,
)

from edgesr.quantization.biases import round_biases
from edgesr.quantization.prepared import (
    CONVOLUTION,
    Node,
    Numbers,
    bias_of,
    convolutions,
    factors,
    name_of,
    source_of,
    tensor_of,
    weight_of,
)
from edgesr.quantization.quantizer import WEIGHT
from edgesr.quantization.recipe import Grid, Layer, Recipe
from edgesr.quantization.recipe_float import factor_name, unrounded
from edgesr.quantization.reconstruction import DEQUANTIZE, DEQUANTIZE_WEIGHT, QUANTIZE
from edgesr.quantization.reproducible import edges
from edgesr.quantization.toolchain import stage


def layers_of(graph: fx.GraphModule, prepared: fx.GraphModule, work: Mapping[str, float]) -> tuple[Layer, ...]:
    """The convolutions of a converted PT2E graph, with the names that they have in `prepared`, its float form."""
    found = []
    for conv, exact in zip(convolutions(graph), convolutions(prepared), strict=True):
        name, integer = name_of(exact), conv.args[1].target is DEQUANTIZE_WEIGHT
        grids = (_grid(conv.args[0]), _grid_after(conv)) if integer else (None, None)
        found.append(Layer(name, *grids, work[name]))
    return tuple(found)


def numbers_of_integers(graph: fx.GraphModule, prepared: fx.GraphModule) -> dict[Node, Numbers]:
    """What the convolutions of a converted PT2E graph that are on integers have in `prepared`, its float form."""
    return {
        conv: (weight_of(prepared, exact), bias_of(prepared, exact))
        for conv, exact in zip(convolutions(graph), convolutions(prepared), strict=True)
        if conv.args[1].target is DEQUANTIZE_WEIGHT
    }


def tensors_of(graph: fx.GraphModule, prepared: fx.GraphModule) -> dict[str, Tensor]:
    """What `apply` needs of a converted PT2E graph."""
    found: dict[str, Tensor] = {}
    for conv, exact in zip(convolutions(graph), convolutions(prepared), strict=True):
        name, weight = name_of(exact), conv.args[1]
        if weight.target is DEQUANTIZE_WEIGHT:
            found[f"{name}.weight"] = tensor_of(graph, weight.args[0])
            found[f"{name}.step"] = tensor_of(graph, weight.args[1]).float()
        else:
            found[f"{name}.weight"] = tensor_of(graph, weight)
        bias = bias_of(graph, conv)
        if bias is not None:
            found[f"{name}.bias"] = bias
    for node in factors(prepared):
        found[factor_name(node)] = tensor_of(prepared, node.args[1])
    return {name: tensor.detach().clone().contiguous() for name, tensor in found.items()}


def apply(recipe: Recipe, network: nn.Module, example: Tensor, dynamic_shapes: Any) -> fx.GraphModule:
    """The converted PT2E graph of `network` with the numbers of `recipe`.

    Raises ArtifactError if the recipe is not for a network of this structure.
    """
    return rounded(recipe, unrounded(recipe, network, example, dynamic_shapes), example)


def rounded(recipe: Recipe, prepared: fx.GraphModule, example: Tensor) -> fx.GraphModule:
    """The converted PT2E graph of what `unrounded` gave, which is used up."""
    with stage("quantize"), torch.no_grad():
        names = [name_of(conv) for conv in convolutions(prepared)]
        observed = prepare_pt2e(prepared, FromRecipe(recipe.facts.layers))
        observed(example)
        graph = convert_pt2e(observed)
        for name, conv in zip(names, convolutions(graph), strict=True):
            weight = conv.args[1]
            if weight.target is DEQUANTIZE_WEIGHT:
                tensor_of(graph, weight.args[0]).copy_(recipe.tensors[f"{name}.weight"])
                tensor_of(graph, weight.args[1]).copy_(recipe.tensors[f"{name}.step"])
    assert isinstance(graph, fx.GraphModule)
    if recipe.facts.reproducible:
        read_rounded(graph)
    return graph


def read_rounded(graph: fx.GraphModule) -> None:
    """Let activation functions read rounded values alone in a converted PT2E graph (edgesr.quantization.reproducible),
    in place."""
    for reader, value in edges(graph, lambda value: _rounding_of(value) is not None):
        quantized = _rounding_of(value)
        assert quantized is not None, "what was asked for"
        dequantized = next(iter(quantized.users))
        value.append(quantized)  # torchao rounds before the first convolution, and the reader may come before that
        with graph.graph.inserting_after(quantized):
            reader.replace_input_with(value, graph.graph.node_copy(dequantized))
    graph.recompile()


def _rounding_of(value: Node) -> Node | None:
    return next((reader for reader in value.users if reader.target is QUANTIZE), None)


def with_rounded_biases(recipe: Recipe, network: nn.Module, example: Tensor, dynamic_shapes: Any) -> Recipe:
    """`recipe` with biases as integer kernels add them (edgesr.quantization.biases)."""
    graph = apply(recipe, network, example, dynamic_shapes)
    round_biases(graph)
    prepared = unrounded(recipe, network, example, dynamic_shapes)
    work = {layer.name: layer.work for layer in recipe.facts.layers}
    return Recipe(replace(recipe.facts, layers=layers_of(graph, prepared, work)), tensors_of(graph, prepared))


class FromRecipe(Quantizer):  # type: ignore[misc]
    """Puts the roundings of a recipe where it has them."""

    def __init__(self, layers: tuple[Layer, ...]) -> None:
        super().__init__()
        self.layers = {layer.name: layer for layer in layers}
        self.specs: dict[Grid, FixedQParamsQuantizationSpec] = {}

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        for node in model.graph.nodes:
            if node.target is CONVOLUTION and (layer := self.layers[name_of(node)]).reads is not None:
                inputs: dict[Node, QuantizationSpecBase | None] = {
                    source_of(node): self._spec(layer.reads),
                    node.args[1]: WEIGHT,
                }
                written = None if layer.writes is None else self._spec(layer.writes)
                node.meta["quantization_annotation"] = QuantizationAnnotation(inputs, written, _annotated=True)
        return model

    def validate(self, model: fx.GraphModule) -> None:
        pass

    def _spec(self, grid: Grid) -> FixedQParamsQuantizationSpec:
        if grid not in self.specs:
            self.specs[grid] = FixedQParamsQuantizationSpec(
                dtype=torch.uint8, scale=grid.step, zero_point=grid.zero_point, quant_min=0, quant_max=255
            )
        return self.specs[grid]


def _grid(node: Any) -> Grid | None:
    if node.target is not DEQUANTIZE:
        return None
    _, step, zero_point, *_ = node.args
    assert isinstance(step, float)
    assert isinstance(zero_point, int)
    return Grid(step, zero_point)


def _grid_after(conv: Node) -> Grid | None:
    readers = list(conv.users)
    if len(readers) != 1 or readers[0].target is not QUANTIZE:
        return None
    return _grid(next(iter(readers[0].users)))
