"""Multiplications by one value per channel at what convolutions read or write, so that one step suits all channels.

A convolution may read x / s, with its columns multiplied by s, and write y / s, with its rows divided by s and the
factor s behind the rounding. That gives activations a step per channel, which integer kernels do not have, for one pass
over the tensor in float. Equalization (edgesr.quantization.equalization) finds the factors; it needs no multiplication
where the mathematics between two convolutions lets s pass, and this is for the rest: both sides of a GELU, and values
that more than one reader has to have in their own scale. (SmoothQuant, Xiao et al., 2023, section 4, moves such scales
into the layer before, which GELU forbids.)
"""

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from edgesr.quantization.equalization import Reach, equalize, measure_reaching
from edgesr.quantization.prepared import (
    CONVOLUTION,
    FACTOR,
    Node,
    bias_of,
    convolutions,
    exported,
    factors,
    groups_of,
    insert_factor,
    is_dense,
    is_factor,
    is_image,
    name_of,
    source_of,
    tensor_of,
    weight_of,
)
from edgesr.quantization.range_split import last_convolutions
from edgesr.quantization.sensitivity import Flow
from edgesr.quantization.toolchain import stage

READ, WRITTEN = "read_", "written_"
"""How the names of factors go on."""
LEAST_GAIN = 0.001
"""Of the predicted rounding error of all activations: what a multiplication must be able to save."""
MOST_LEFT = 0.5
"""Of the predicted error, for all multiplications together to be worth their time: BSRN-S keeps a third, PlainUSR,
where nearly everything passes a scale on, nine tenths."""


@dataclass(frozen=True, slots=True)
class Rescaled:
    """Names of convolutions of a prepared graph that read, and that write, through a factor per channel."""

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of all, each once."""
        return tuple(dict.fromkeys((*self.reads, *self.writes)))


def rescaled_where_it_pays(
    graph: fx.GraphModule, crops: Sequence[Tensor], reach: Reach, example: Tensor, dynamic_shapes: Any
) -> tuple[fx.GraphModule, Rescaled] | None:
    """A prepared graph with factors, and where they are; None if equalization leaves more than MOST_LEFT of its error.

    `crops`: as for edgesr.quantization.equalization.equalize.
    """
    changed = _copy(graph)
    before = equalize(changed, crops, (), reach).after
    rescaled = worth_rescaling(changed, crops, reach)
    changed = rescale(changed, rescaled, example, dynamic_shapes)
    after = equalize(_copy(changed), crops, (), reach).after
    return (changed, rescaled) if after <= MOST_LEFT * before else None


def _copy(graph: fx.GraphModule) -> fx.GraphModule:
    with stage("equalize"):
        return copy.deepcopy(graph)


def worth_rescaling(graph: fx.GraphModule, crops: Sequence[Tensor], reach: Reach) -> Rescaled:
    """Where a step per channel would save at least LEAST_GAIN, predicted on `crops`, each float32 (1, 3, H, W).

    What nothing but convolutions read is rounded once, with a scale that equalization is free to choose; what the last
    convolutions write is the image.
    """
    convs = convolutions(graph)
    sites = dict.fromkeys(node for conv in convs for node in (source_of(conv), conv) if not is_image(node))
    flows = measure_reaching(graph, sites, crops, reach)
    least = LEAST_GAIN * sum(map(_error, flows.values()))
    left_out = {conv for conv in convs if all(reader.target is CONVOLUTION for reader in conv.users)}
    left_out |= {*last_convolutions(graph), *factors(graph)}
    worth = {node for node in sites if node not in left_out and _saving(flows[node]) >= least}
    return Rescaled(
        tuple(name_of(conv) for conv in convs if source_of(conv) in worth),
        tuple(name_of(conv) for conv in convs if conv in worth and not all(map(is_factor, conv.users))),
    )


def _error(flow: Flow) -> float:
    """Of the output, up to a factor: of one step for all channels."""
    return float((flow.high.max() - flow.low.min()).square() * flow.energy.sum())


def _saving(flow: Flow) -> float:
    """What a step for each channel would save of that."""
    parts = [end / most for end, most in ((flow.high, flow.high.max()), (flow.low, flow.low.min())) if most != 0]
    scale = torch.stack(parts).amax(0) if parts else torch.ones_like(flow.high)
    return float((flow.high.max() - flow.low.min()).square() * (flow.energy * (1 - scale.square())).sum())


def rescale(graph: fx.GraphModule, rescaled: Rescaled, example: Tensor, dynamic_shapes: Any) -> fx.GraphModule:
    """A prepared graph with factors of one where `rescaled` has them: the same function. Uses up `graph`."""
    if not rescaled.reads and not rescaled.writes:
        return graph
    for conv in convolutions(graph):
        name, source = name_of(conv), source_of(conv)
        if name in rescaled.reads and not _read_factor(source):
            readers = [reader for reader in source.users if _reads(reader, rescaled)]
            width = weight_of(graph, conv).shape[1] * groups_of(conv)
            insert_factor(graph, source, readers, width, f"{READ}{_plain(name)}")
        if name in rescaled.writes:
            insert_factor(graph, conv, list(conv.users), len(weight_of(graph, conv)), f"{WRITTEN}{_plain(name)}")
    graph.recompile()
    return exported(graph, example, dynamic_shapes)


def _plain(name: str) -> str:
    return name.replace(".", "_")


def _reads(reader: Node, rescaled: Rescaled) -> bool:
    return reader.target is CONVOLUTION and name_of(reader) in rescaled.reads


def _read_factor(source: Node) -> bool:
    return is_factor(source) and str(source.args[1].target).startswith(f"{FACTOR}{READ}")


def without_float(graph: fx.GraphModule, rescaled: Rescaled, kept_float: Collection[str]) -> Rescaled:
    """Take factors that no rounded convolution meets into the weights, in place. Returns which are left."""
    gone_reads, gone_writes = set[str](), set[str]()
    with torch.no_grad():
        for conv in convolutions(graph):
            name, source = name_of(conv), source_of(conv)
            if name in rescaled.writes and name in kept_float:
                (factor,) = conv.users
                by, bias = tensor_of(graph, factor.args[1]).flatten(), bias_of(graph, conv)
                weight_of(graph, conv).mul_(by[:, None, None, None])
                if bias is not None:
                    bias.mul_(by)
                factor.replace_all_uses_with(conv)
                gone_writes.add(name)
            if _read_factor(source) and all(name_of(reader) in kept_float for reader in source.users):
                by = tensor_of(graph, source.args[1]).flatten()
                for reader in list(source.users):
                    weight_of(graph, reader).mul_(
                        by[None, :, None, None] if is_dense(reader) else by[:, None, None, None]
                    )
                    gone_reads.add(name_of(reader))
                source.replace_all_uses_with(source.args[0])
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return Rescaled(
        tuple(name for name in rescaled.reads if name not in gone_reads),
        tuple(name for name in rescaled.writes if name not in gone_writes),
    )
