"""Post-training quantization: the flow from a float network to one converted PT2E graph for every target.

`quantize` looks for ranges alone. `find_recipe` changes the graph so that rounding costs less before and after that.
"""

import copy
import functools
import math
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from edgesr.errors import ConversionError
from edgesr.quantization.biases import round_biases
from edgesr.quantization.calibration import Calibration
from edgesr.quantization.distillation import colourful_all, stretched_all
from edgesr.quantization.equalization import Reach, equalize, flip_one_sided
from edgesr.quantization.flats import flatten
from edgesr.quantization.gptq import round_weights
from edgesr.quantization.mixed import choose_float, work_shares
from edgesr.quantization.pixels import to_tensor
from edgesr.quantization.prepared import for_integers, prepare
from edgesr.quantization.quantizer import ConvolutionQuantizer, ObserverOf
from edgesr.quantization.range_split import (
    Splits,
    best_splits,
    last_split,
    split_ranges,
    written_splits,
)
from edgesr.quantization.ranges import ActivationObserver, SensitiveObserver
from edgesr.quantization.recipe import Found
from edgesr.quantization.recipe_graph import layers_of, numbers_of_integers, read_rounded, tensors_of
from edgesr.quantization.reconstruction import reconstruct
from edgesr.quantization.reproducible import in_company
from edgesr.quantization.rescaling import Rescaled, rescaled_where_it_pays, without_float
from edgesr.quantization.scheme import Scheme
from edgesr.quantization.sensitivity import SEED
from edgesr.quantization.settings import Settings
from edgesr.quantization.toolchain import stage
from edgesr.quantization.unfinished import Unfinished

Progress = Callable[[int, int], None]
"""Called with calibration crops done and crops in all."""
Report = Callable[[str, int, int], None]
"""Called with the name of a step, what is done of it and all of it."""

CROPS_FOR_ERRORS, CROPS_FOR_RANGES, CROPS_FOR_WEIGHTS = 8, 24, 48
FLAT_SIDE_PX = 64
TOLERANCE = 0.1 / 255
"""Equalization reorders products: float32 leaves some 1e-6."""
ROUNDS = 2
"""Equalization and the choice of what stays in float depend on each other."""


def quantize(
    network: nn.Module,
    calibration: Calibration,
    scheme: Scheme,
    example: Tensor,
    dynamic_shapes: Any,
    progress: Progress | None = None,
) -> nn.Module:
    """The quantized graph of `network` (float32 NCHW RGB [0, 1] in and out): int8 weights, rounding nodes.

    `example`: an input for tracing; `dynamic_shapes`: which of its sides are free (torch.export).
    """
    with stage("quantize"):
        # A copy: the graph shares its parameters with what it was exported from, and biases are rounded in place.
        exported = torch.export.export(
            copy.deepcopy(for_integers(network)), (example,), dynamic_shapes=dynamic_shapes
        ).module()
        observed = prepare_pt2e(exported, ConvolutionQuantizer(scheme.placement, _observer_of(scheme)))
    _observe(observed, calibration, scheme.patch_weight, progress)
    with stage("quantize"):
        converted: nn.Module = convert_pt2e(observed)
        round_biases(converted)
    return converted


def _observer_of(scheme: Scheme) -> ObserverOf:
    search = scheme.ranges == "mse"
    return lambda activation: ActivationObserver.with_args(search=search, activation=activation)


@torch.no_grad()
def _observe(prepared: nn.Module, calibration: Calibration, patch_weight: float, progress: Progress | None) -> None:
    """Not silenced like the toolchain around it: `progress` may print."""
    weighted = [(crop, 1.0) for crop in calibration.photos]
    if patch_weight > 0:
        weighted += [(crop, patch_weight) for crop in calibration.patches]
    observers = [module for module in prepared.modules() if isinstance(module, ActivationObserver)]
    for done, (crop, weight) in enumerate(weighted, start=1):
        for observer in observers:
            observer.weight = weight
        if not torch.isfinite(prepared(to_tensor(crop))).all():
            raise ConversionError("quantize", "the network's output is not finite on a calibration crop")
        if progress is not None:
            progress(done, len(weighted))


def find_recipe(
    network: nn.Module,
    calibration: Calibration,
    settings: Settings,
    example: Tensor,
    dynamic_shapes: Any,
    report: Report,
    unfinished: Unfinished | None = None,
) -> Found:
    """Quantize `network` (float32 NCHW RGB [0, 1]) as well as `settings` allow. Deterministic on one machine.

    `unfinished`: where the state of the fit is kept and, after an interruption, taken up. Without `dynamic_shapes` all
    crops must have the size of `example`, a square.

    Factors per channel if asked for, equalization, choice of what stays in float, split ranges if asked for, ranges,
    then on the calibration crops, if asked for, reconstruction of the output, and the rounding of weights; last the
    last bias, for flat images.
    """
    prepared = prepare(network, example, dynamic_shapes)
    photos = [to_tensor(crop) for crop in calibration.photos]
    rare = [to_tensor(crop) for crop in (*stretched_all(calibration.photos[:CROPS_FOR_ERRORS]), *calibration.patches)]
    few = photos[:CROPS_FOR_ERRORS]
    flipped = flip_one_sided(prepared, photos[:CROPS_FOR_RANGES])
    exact = _output(prepared, photos[0])
    notes = [f"one-sided channels turned: {flipped}"]
    rescaled, reach = Rescaled(), None
    if settings.rescale:
        report("equalize", 0, ROUNDS)
        unusual = colourful_all(calibration.photos[:CROPS_FOR_RANGES])
        wide = Reach(photos[:CROPS_FOR_RANGES], [to_tensor(crop) for crop in (*calibration.patches, *unusual)])
        found = rescaled_where_it_pays(prepared, few, wide, example, dynamic_shapes)
        if found is not None:
            (prepared, rescaled), reach = found, wide
            if not settings.split_reads:
                settings = replace(settings, split_work=0.0)
    kept_float: tuple[str, ...] = ()
    for round_ in range(ROUNDS):
        report("equalize", round_, ROUNDS)
        result = equalize(prepared, few, kept_float, reach)
        notes.append(f"squared error in 8-bit levels, predicted: {result.before:.2f} -> {result.after:.2f}")
        if round_ == 0:
            kept_float = choose_float(prepared, few, settings.float_work)
            rescaled = without_float(prepared, rescaled, kept_float)
    report("equalize", ROUNDS, ROUNDS)
    splits = _splits(prepared, few, [*photos[:CROPS_FOR_RANGES], *rare], kept_float, settings)
    prepared = split_ranges(prepared, splits, example, dynamic_shapes)
    _check_equal(_output(prepared, photos[0]), exact)
    graph = with_ranges(prepared, kept_float, photos[:CROPS_FOR_RANGES], rare, functools.partial(report, "ranges"))
    if settings.reproducible:
        read_rounded(graph)
    weights = numbers_of_integers(graph, prepared)
    if settings.fit is not None:
        free = dynamic_shapes is not None
        fit = settings.fit if free else settings.fit.at(example.shape[2])
        fitted = functools.partial(report, "fit")
        weights = reconstruct(graph, prepared, calibration.photos, fit, fitted, unfinished, together=free)
    round_weights(graph, weights, photos[:CROPS_FOR_WEIGHTS], functools.partial(report, "weights"))
    flatten(graph, prepared, FLAT_SIDE_PX if dynamic_shapes is not None else example.shape[2])
    round_biases(graph)
    layers = layers_of(graph, prepared, work_shares(prepared, example))
    return Found(layers, tensors_of(graph, prepared), tuple(notes), splits, rescaled)


def _splits(
    prepared: fx.GraphModule,
    crops: list[Tensor],
    further: list[Tensor],
    kept_float: Collection[str],
    settings: Settings,
) -> Splits:
    reads = last_split(prepared, crops, kept_float) if settings.split_last else {}
    if not settings.split_work:
        return Splits(reads)
    work, left_out = work_shares(prepared, crops[0]), {*kept_float, *reads}
    if settings.split_reads:
        return replace(best_splits(prepared, crops, further, work, left_out, settings.split_work), reads=reads)
    if settings.reproducible:
        left_out |= in_company(prepared)
    return Splits(reads, written_splits(prepared, crops, work, left_out, settings.split_work))


def with_ranges(
    prepared: fx.GraphModule, kept_float: Collection[str], photos: list[Tensor], rare: list[Tensor], progress: Progress
) -> fx.GraphModule:
    """The converted PT2E graph of a prepared one, weights rounded to nearest.

    `photos`, `rare`: crops, each float32 (1, 3, H, W) in [0, 1], from which ranges are taken (SensitiveObserver).
    """
    with stage("quantize"):
        quantizer = ConvolutionQuantizer("inputs+outputs", lambda _: SensitiveObserver, kept_float)
        observed = prepare_pt2e(copy.deepcopy(prepared), quantizer)
    _observe_errors(observed, photos, rare, progress)
    with stage("quantize"):
        converted: fx.GraphModule = convert_pt2e(observed)
    return converted


@torch.no_grad()
def _output(prepared: fx.GraphModule, crop: Tensor) -> Tensor:
    output: Tensor = prepared(crop)
    if not torch.isfinite(output).all():
        raise ConversionError("quantize", "the network's output is not finite on a calibration crop")
    return output


def _check_equal(found: Tensor, exact: Tensor) -> None:
    """Equalization must not change the network."""
    largest = float((found - exact).abs().max())
    if not largest <= TOLERANCE:
        raise ConversionError("equalize", f"the output changed by {largest:.4g}; only {TOLERANCE:.4g} is rounding")


def _observe_errors(observed: nn.Module, photos: list[Tensor], rare: list[Tensor], progress: Progress) -> None:
    """Forward and backward passes that show the observers values and what errors of them cost."""
    observers = [module for module in observed.modules() if isinstance(module, SensitiveObserver)]
    random = torch.Generator().manual_seed(SEED)
    crops = [(crop, False) for crop in photos] + [(crop, True) for crop in rare]
    for done, (crop, extreme) in enumerate(crops, start=1):
        for observer in observers:
            observer.extreme = extreme
        with torch.enable_grad():
            output = observed(crop)
            probe = torch.randn(output.shape, generator=random) / math.sqrt(output.numel() * len(photos))
            (output * probe).sum().backward()
        for parameter in observed.parameters():
            parameter.grad = None
        progress(done, len(crops))
