"""The quantized graph for runtimes whose integer convolutions write floats: fewer roundings, so nearer to the network.

A convolution sums in 32 bits, and rounding the sum to 8 bits is what some kernels ask for (ONNX Runtime, XNNPACK,
LiteRT), not what the mathematics does. Where a kernel writes floats, only what convolutions read has to be rounded.
"""

import copy

from torch import fx, nn

from edgesr.quantization.prepared import ADD, CLAMP, CONVOLUTION, Node
from edgesr.quantization.range_split import SUBTRACT
from edgesr.quantization.reconstruction import DEQUANTIZE, QUANTIZE
from edgesr.quantization.toolchain import stage


def with_float_outputs(graph: nn.Module) -> fx.GraphModule:
    """A copy of a converted PT2E graph that rounds what a convolution writes only if another one reads it so.

    Where a convolution is there twice, for two grids of what it writes (edgesr.quantization.range_split), the one for
    most values is left to write all of them.
    """
    with stage("quantize"):
        changed = copy.deepcopy(graph)
    assert isinstance(changed, fx.GraphModule)
    for node in list(changed.graph.nodes):
        if node.target is QUANTIZE and node.args[0].target is CONVOLUTION and not _read_by_convolution(node):
            for dequantized in list(node.users):
                dequantized.replace_all_uses_with(node.args[0])
    for node in list(changed.graph.nodes):
        fine = _fine_of_two(node)
        if fine is not None:
            node.replace_all_uses_with(fine)
    changed.graph.eliminate_dead_code()
    changed.recompile()
    return changed


def _read_by_convolution(quantized: Node) -> bool:
    return any(reader.target is CONVOLUTION for dequantized in quantized.users for reader in dequantized.users)


def _fine_of_two(total: Node) -> Node | None:
    """The convolution a of clamp(a, -c, c) + (b - clamp(b, -c, c)), if b is one too, of the same input."""
    if total.target is not ADD or not all(isinstance(each, fx.Node) for each in total.args[:2]):
        return None
    inside, outside = total.args[:2]
    if inside.target is not CLAMP or outside.target is not SUBTRACT or outside.args[1].target is not CLAMP:
        return None
    fine, (whole, bounded) = inside.args[0], outside.args
    if bounded.args[0] is not whole or bounded.args[1:] != inside.args[1:]:
        return None
    both = fine.target is whole.target is CONVOLUTION and _read(fine) is _read(whole)
    return fine if both else None


def _read(conv: Node) -> Node:
    """What is dequantized for it, in a node of its own; or what it reads."""
    source: Node = conv.args[0]
    return source.args[0] if source.target is DEQUANTIZE else source
