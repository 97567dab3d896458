"""Between a recipe and the float graph that it rounds: the same convolutions with its weights, no rounding."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgesr.errors import ArtifactError
from edgesr.quantization.prepared import (
    Node,
    bias_of,
    convolutions,
    factors,
    is_on_grid,
    name_of,
    prepare,
    source_of,
    tensor_of,
    weight_of,
)
from edgesr.quantization.range_split import split_ranges
from edgesr.quantization.recipe import Facts, Recipe
from edgesr.quantization.rescaling import rescale

SINGLE = 1e-6
"""Steps pass through float32."""


def unrounded(recipe: Recipe, network: nn.Module, example: Tensor, dynamic_shapes: Any) -> fx.GraphModule:
    """The prepared float graph of `network` with the weights of `recipe`, as `apply` rounds it."""
    prepared = structure(recipe.facts, network, example, dynamic_shapes)
    take_numbers(recipe, prepared)
    return prepared


def structure(facts: Facts, network: nn.Module, example: Tensor, dynamic_shapes: Any) -> fx.GraphModule:
    """The prepared float graph of `network` with the factors and split ranges of a recipe, its weights as they are."""
    prepared = rescale(prepare(network, example, dynamic_shapes), facts.rescaled, example, dynamic_shapes)
    return split_ranges(prepared, facts.splits, example, dynamic_shapes)


def take_numbers(recipe: Recipe, prepared: fx.GraphModule) -> None:
    """Put the weights and factors of `recipe` into a prepared float graph. Raises ArtifactError if they do not fit."""
    _check_fits(recipe, prepared)
    _check_grids(recipe, prepared)
    with torch.no_grad():
        for conv in convolutions(prepared):
            name = name_of(conv)
            weight_of(prepared, conv).copy_(_values(recipe.tensors, name))
            bias = bias_of(prepared, conv)
            if bias is not None:
                bias.copy_(recipe.tensors[f"{name}.bias"])
        for node in factors(prepared):
            tensor_of(prepared, node.args[1]).copy_(recipe.tensors[factor_name(node)])


def _values(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    weight = tensors[f"{name}.weight"].float()
    return weight * tensors[f"{name}.step"].reshape(-1, 1, 1, 1) if f"{name}.step" in tensors else weight


def _check_fits(recipe: Recipe, prepared: fx.GraphModule) -> None:
    rounded = {layer.name for layer in recipe.facts.layers if layer.integer}
    expected: dict[str, tuple[int, ...]] = {}
    for conv in convolutions(prepared):
        name, weight, bias = name_of(conv), weight_of(prepared, conv), bias_of(prepared, conv)
        expected[f"{name}.weight"] = tuple(weight.shape)
        if name in rounded:
            expected[f"{name}.step"] = (len(weight),)
        if bias is not None:
            expected[f"{name}.bias"] = tuple(bias.shape)
    for node in factors(prepared):
        expected[factor_name(node)] = tuple(tensor_of(prepared, node.args[1]).shape)
    found = {name: tuple(tensor.shape) for name, tensor in recipe.tensors.items()}
    names = [name_of(conv) for conv in convolutions(prepared)]
    if found != expected or [layer.name for layer in recipe.facts.layers] != names:
        odd = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
        raise ArtifactError(
            f"The recipe does not fit the network {recipe.facts.model} x{recipe.facts.scale} of this version "
            f"(first difference: {(*odd, 'the order of layers')[0]}). Make it again with: edgesr quantize "
            f"{recipe.facts.model} -o RECIPE.json"
        )


def _check_grids(recipe: Recipe, prepared: fx.GraphModule) -> None:
    """What is on a grid already must be read on that one: another would round it once more, and only a measured loss
    would tell."""
    reads = {layer.name: layer.reads for layer in recipe.facts.layers}
    for conv in convolutions(prepared):
        name, source = name_of(conv), source_of(conv)
        if not is_on_grid(source) or (grid := reads[name]) is None:
            continue
        if not math.isclose(grid.step, source.args[1], rel_tol=SINGLE):
            raise ArtifactError(
                f"The recipe reads coarse values of {name} in steps of {grid.step}, and makes them in steps of "
                f"{source.args[1]}. Make it again with: edgesr quantize {recipe.facts.model} -o RECIPE.json"
            )


def factor_name(factor: Node) -> str:
    return str(factor.args[1].target)
