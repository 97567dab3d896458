"""The float graph that is quantized: the network's own function in a form that loses less when it is rounded.

Structure only, the same for the same network whatever was measured, so that a recipe can be applied to it later.
"""

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgesr.quantization.toolchain import stage

ATEN = torch.ops.aten
CONVOLUTION = ATEN.conv2d.default
GELU = ATEN.gelu.default
LEAKY_RELU = ATEN.leaky_relu.default
SIGMOID = ATEN.sigmoid.default
RESIZE = ATEN.upsample_bilinear2d.vec
MULTIPLY = ATEN.mul.Tensor
ADD = ATEN.add.Tensor
SPLIT = ATEN.split_with_sizes.default
CONCAT = ATEN.cat.default
SLICE = ATEN.slice.Tensor
CLAMP = ATEN.clamp.default
FLOOR = ATEN.floor.default
SUFFIX = ".weight"
FACTOR = "factor_"

Node = Any
"""fx.Node, whose arguments are typed too widely to be of use."""

Numbers = tuple[Tensor, Tensor | None]
"""Weight (out, in / groups, kh, kw) and bias (out,) of a convolution."""
Shapes = dict[Node, tuple[int, ...]]


def prepare(network: nn.Module, example: Tensor, dynamic_shapes: Any) -> fx.GraphModule:
    """The ATen graph of `network` (float32 NCHW RGB [0, 1]), with image channels apart and places for factors.

    `example`: an input for tracing; `dynamic_shapes`: which of its sides are free (torch.export). Shares no memory
    with `network`. Equal to it up to the order of sums.
    """
    with stage("prepare"), torch.no_grad():
        graph = exported(for_integers(network), example, dynamic_shapes)
        separate_image_channels(graph)
        insert_factors(graph, shapes_of(graph, example))
        return exported(graph, example, dynamic_shapes)


def for_integers(network: nn.Module) -> nn.Module:
    """The equal form that a network names as its fastest in INT8 with a method of this name; else itself."""
    make = getattr(network, "for_integers", None)
    return network if make is None else make()


def exported(network: nn.Module, example: Tensor, dynamic_shapes: Any) -> fx.GraphModule:
    """The ATen graph of `network`, in memory of its own."""
    graph = torch.export.export(network, (example,), dynamic_shapes=dynamic_shapes).module()
    assert isinstance(graph, fx.GraphModule)
    without_guards(graph)
    for name, parameter in list(graph.named_parameters()):
        owner, leaf = _owner(graph, name)
        setattr(owner, leaf, nn.Parameter(parameter.detach().clone()))
    return graph


def without_guards(graph: fx.GraphModule) -> None:
    """Take out, in place, the check that refuses other sizes than the exported one."""
    for node in list(graph.graph.nodes):
        if node.target == "_guards_fn":
            graph.graph.erase_node(node)
    graph.recompile()


def convolutions(graph: fx.GraphModule) -> list[Node]:
    """In the order of execution."""
    return [node for node in graph.graph.nodes if node.target is CONVOLUTION]


def name_of(conv: Node) -> str:
    """The name of a convolution in a prepared graph: that of its weight, as in the network's own state dict."""
    weight = conv.args[1]
    return str(weight.target).removesuffix(SUFFIX)


def source_of(conv: Node) -> Node:
    return conv.args[0]


def is_image(node: Node) -> bool:
    """The image that the network reads, or it and channels of ones: the grid of 8-bit pixels holds every value."""
    parts = node.args[0] if node.target is CONCAT else ()
    assert isinstance(parts, tuple | list)
    ones = [part.target is CLAMP and part.args[1:] == (1.0, 1.0) for part in parts]
    return node.op == "placeholder" or (
        any(ones) and all(one or part.op == "placeholder" for one, part in zip(ones, parts, strict=True))
    )


def is_on_grid(node: Node) -> bool:
    """Whole numbers times a step, the second argument: what a convolution reads without rounding it."""
    return node.target is MULTIPLY and node.args[0].target is FLOOR


def has_grid(node: Node) -> bool:
    """A grid that is known before anything is measured holds every value."""
    return is_image(node) or is_on_grid(node)


def weight_of(graph: fx.GraphModule, conv: Node) -> Tensor:
    """(out, in / groups, kh, kw)."""
    return tensor_of(graph, conv.args[1])


def bias_of(graph: fx.GraphModule, conv: Node) -> Tensor | None:
    """(out,)."""
    return tensor_of(graph, conv.args[2]) if len(conv.args) > 2 and conv.args[2] is not None else None


def groups_of(conv: Node) -> int:
    groups = conv.args[6] if len(conv.args) > 6 else 1
    assert isinstance(groups, int)
    return groups


def is_dense(conv: Node) -> bool:
    return groups_of(conv) == 1


def tensor_of(graph: fx.GraphModule, node: Any) -> Tensor:
    """The parameter or buffer that a get_attr node reads."""
    owner, leaf = _owner(graph, str(node.target))
    found = getattr(owner, leaf)
    assert isinstance(found, Tensor)
    return found


def _owner(graph: nn.Module, name: str) -> tuple[Any, str]:
    *path, leaf = name.split(".")
    owner: Any = graph
    for part in path:
        owner = getattr(owner, part)
    return owner, leaf


def is_factor(node: Node) -> bool:
    """A multiplication that `insert_factors` made: of an activation by a constant of one value per channel."""
    by = node.args[1] if node.target is MULTIPLY else None
    return isinstance(by, fx.Node) and by.op == "get_attr" and str(by.target).startswith(FACTOR)


def factors(graph: fx.GraphModule) -> Iterator[Node]:
    return (node for node in graph.graph.nodes if is_factor(node))


def shapes_of(graph: fx.GraphModule, example: Tensor) -> Shapes:
    """Shape of every four-dimensional activation for `example`."""
    shapes: Shapes = {}

    class Shaped(fx.Interpreter):
        def run_node(self, n: Node) -> Any:
            result = super().run_node(n)
            if isinstance(result, Tensor) and result.dim() == 4 and n.op != "get_attr":
                shapes[n] = tuple(result.shape)
            return result

    with torch.no_grad():
        Shaped(graph).run(example)
    return shapes


def separate_image_channels(graph: fx.GraphModule) -> None:
    """Give the channels that carry the image from the first convolution to the last convolutions of their own.

    PlainUSR's head writes features and, into its last channels, the image, which the tail reads beside the features.
    In one tensor both are rounded with the step that the wider of them needs: half of the network's rounding error.
    """
    for first in convolutions(graph):
        splits = [reader for reader in first.users if reader.target is SPLIT]
        alone = len(splits) == len(first.users) == 1 and splits[0].args[2:] == (1,)
        if source_of(first).op != "placeholder" or not alone:
            continue
        parts = sorted(splits[0].users, key=lambda part: part.args[1])
        image = parts[-1]
        if image.target is operator.getitem and all(_joins(reader, image) for reader in image.users):
            _split_outputs(graph, first, splits[0])
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _joins(concat: Node, image: Node) -> bool:
    """Whether `concat` has `image` as its last part and is read by convolutions alone."""
    parts = concat.args[0] if concat.target is CONCAT else ()
    assert isinstance(parts, tuple | list)
    return bool(parts) and parts[-1] is image and all(reader.target is CONVOLUTION for reader in concat.users)


def _split_outputs(graph: fx.GraphModule, first: Node, split: Node) -> None:
    """`first` as one convolution per part of its output, and the readers of its last part split likewise."""
    weight, bias, start = weight_of(graph, first), bias_of(graph, first), 0
    made: dict[int, Node] = {}
    sizes = split.args[1]
    assert isinstance(sizes, tuple | list)
    for index, size in enumerate(sizes):
        assert isinstance(size, int)
        rows = slice(start, start + size)
        start += size
        with graph.graph.inserting_before(split):
            made[index] = convolution_like(graph, first, index, source_of(first), weight[rows], _part(bias, rows))
    for part in list(split.users):
        assert isinstance(part.args[1], int)
        part.replace_all_uses_with(made[part.args[1]])
    for concat in list(made[len(sizes) - 1].users):
        for last in list(concat.users):
            _split_inputs(graph, last, concat)


def _split_inputs(graph: fx.GraphModule, last: Node, concat: Node) -> None:
    """A convolution of a concatenation as the sum of one over the last part and one over the others."""
    parts = concat.args[0]
    assert isinstance(parts, tuple | list)
    others, image = list(parts[:-1]), parts[-1]
    width = weight_of(graph, image).shape[0]
    weight, bias = weight_of(graph, last), bias_of(graph, last)
    with graph.graph.inserting_before(last):
        joined = others[0] if len(others) == 1 else graph.graph.call_function(CONCAT, (others, 1))
        features = convolution_like(graph, last, 0, joined, weight[:, :-width], bias)
        passed = convolution_like(graph, last, 1, image, weight[:, -width:])
        total = graph.graph.call_function(ADD, (features, passed))
    last.replace_all_uses_with(total)


def _part(bias: Tensor | None, rows: slice) -> Tensor | None:
    return None if bias is None else bias[rows]


def convolution_like(
    graph: fx.GraphModule, like: Node, index: int, source: Node, weight: Tensor, bias: Tensor | None = None
) -> Node:
    """Part `index` of the convolution `like`: its stride, padding and name, other weights."""
    name = part_of(name_of(like), index)
    holder = nn.Module()
    for leaf, value in (("weight", weight), ("bias", bias)):
        holder.register_parameter(leaf, None if value is None else nn.Parameter(value.detach().clone()))
    graph.add_submodule(name, holder)
    parameters = (
        graph.graph.get_attr(f"{name}.weight"),
        bias if bias is None else graph.graph.get_attr(f"{name}.bias"),
    )
    return graph.graph.call_function(CONVOLUTION, (source, *parameters, *like.args[3:]))


def part_of(name: str, index: int) -> str:
    """The name of a part of a convolution."""
    return f"{name}_{index}".replace(".", "_")


def insert_factors(graph: fx.GraphModule, shapes: Shapes) -> None:
    """Multiply by one, per channel, where equalization wants another scale on each side and where that costs little.

    - what is added before a GELU to the trunk of a network: without it the trunk would have to keep its scale;
    - a mask that is smaller than the image that it gates; and the single channel that PlainUSR's gate reads.
    """
    image = next(node for node in graph.graph.nodes if node.op == "placeholder")
    for node in list(graph.graph.nodes):
        if node.target is ADD and any(reader.target is GELU for reader in node.users):
            for operand in node.args[:2]:
                if isinstance(operand, fx.Node) and operand.target is not GELU and len(operand.users) > 1:
                    insert_factor(graph, operand, [node], shapes[operand][1])
        elif node.target is SIGMOID and shapes[node][2:] < shapes[image][2:]:
            insert_factor(graph, node, list(node.users), shapes[node][1])
        elif node.target is SIGMOID and shapes[node][1] == 1 and node.args[0].target is SLICE:
            insert_factor(graph, node.args[0], [node], shapes[node.args[0]][1])
    graph.recompile()


def insert_factor(
    graph: fx.GraphModule, value: Node, readers: Sequence[Node], channels: int, name: str | None = None
) -> None:
    """Let `readers` read `value`, an activation, times a parameter of one for each of its channels.

    `name`: of the parameter, letters, digits and underscores; else a number.
    """
    name = f"{FACTOR}{name or sum(1 for _ in factors(graph))}"
    graph.register_parameter(name, nn.Parameter(torch.ones(1, channels, 1, 1)))
    earliest = next(node for node in graph.graph.nodes if node in readers)
    with graph.graph.inserting_before(earliest):
        scaled = graph.graph.call_function(MULTIPLY, (value, graph.graph.get_attr(name)))
    for reader in readers:
        reader.replace_input_with(value, scaled)
