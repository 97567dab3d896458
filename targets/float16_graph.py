"""Where float16 would overflow, the same numbers by another way: rewrites of an exported ATen graph.

For runtimes that compute a whole network in float16 and can keep no part of it in float32.
"""

from typing import Any

import torch
from torch import Tensor, fx

from edgesr.targets.rewrite import Rewrite

ATEN = torch.ops.aten

REWRITES: tuple[Rewrite, ...] = (
    Rewrite(
        "soft_pool",
        "float16 is infinite from exp(12) on: every exponent is lowered by the largest value of its window, which "
        "cancels in the quotient; columns first, then rows",
    ),
    Rewrite(
        "deviation",
        "float16 squares overflow from 256 on, and so does the sum over an image: deviations are divided by the "
        "largest one first, which is multiplied back behind the root, and averaged over rows, then over columns",
    ),
    Rewrite("row_mean", "a sum over a whole image overflows in float16: averages over rows, then over columns"),
)


def keep_in_range(graph: fx.GraphModule) -> None:
    """Rewrite `graph` so that no intermediate leaves float16's range for ordinary activations."""
    for rewrite in (_lower_exponents, _scale_squares, _split_mean):
        for node in list(graph.graph.nodes):
            rewrite(node)
        graph.graph.eliminate_dead_code()
    graph.recompile()


def soft_pool(x: Tensor, kernel: list[int], stride: list[int]) -> Tensor:
    """Average of each window, weighted by exp of its own values; float (1, C, H, W), no padding.

    sum(exp(x) x) / sum(exp(x)) per window. Windows are merged as in online softmax (Milakov and Gimelshein, 2018):
    each row of a window has a mean, a weight and a peak, and rows are weighted by exp(peak - largest peak).
    """
    rows = _window_parts(x, 3, kernel[1], stride[1])
    peak = rows.amax(dim=0, keepdim=True)
    weights = torch.exp(rows - peak)
    total = weights.sum(dim=0, keepdim=True)
    mean = (weights * rows).sum(dim=0, keepdim=True) / total
    total = total * (1 / kernel[1])  # at most 1, so that the sum below stays within 7 times the largest value
    parts = _window_parts(torch.cat([mean, total, peak], dim=1), 2, kernel[0], stride[0])
    means, totals, peaks = torch.chunk(parts, 3, dim=1)
    weights = totals * torch.exp(peaks - peaks.amax(dim=0, keepdim=True))
    pooled: Tensor = (weights * means).sum(dim=0, keepdim=True) / weights.sum(dim=0, keepdim=True)
    return pooled


def deviation(difference: Tensor) -> Tensor:
    """sqrt(mean(difference ** 2)) of each channel, (1, C, H, W) -> (1, C, 1, 1), without large squares."""
    largest = torch.amax(torch.abs(difference), dim=[2, 3], keepdim=True).clamp(min=SMALLEST)
    return row_mean((difference / largest).square()).sqrt() * largest


SMALLEST = 2.0**-14
"""float16's smallest normal number: a channel that varies less is constant in float16."""


def row_mean(x: Tensor) -> Tensor:
    """Mean of each channel, (1, C, H, W) -> (1, C, 1, 1)."""
    return x.mean(dim=[3], keepdim=True).mean(dim=[2], keepdim=True)


def _window_parts(x: Tensor, dim: int, kernel: int, stride: int) -> Tensor:
    """(1, C, H, W) -> (kernel, C, ...): in batch k the k-th elements of all windows along `dim`."""
    index: list[Any] = [slice(None)] * 4
    parts = []
    for start in range(kernel):
        index[dim] = slice(start, start - kernel + 1 or None, stride)
        parts.append(x[tuple(index)])
    return torch.cat(parts, dim=0)


def _lower_exponents(node: Any) -> None:
    """Replace pool(exp(x) x) / pool(exp(x)) by `soft_pool`."""
    if not _is(node, ATEN.div.Tensor) or not all(_is(part, ATEN.avg_pool2d.default) for part in node.args):
        return
    above, below = node.args
    product, power = above.args[0], below.args[0]
    if not _is(product, ATEN.mul.Tensor) or not _is(power, ATEN.exp.default) or above.args[1:] != below.args[1:]:
        return
    x, geometry = power.args[0], above.args[1:]
    padded = len(geometry) > 2 and any(geometry[2])
    if set(product.args) == {power, x} and not padded and True not in geometry[3:4]:
        _replace(node, soft_pool, (x, list(geometry[0]), list(geometry[1])))


def _scale_squares(node: Any) -> None:
    """Replace sqrt(mean(square(x))) by `deviation`."""
    if _is(node, ATEN.sqrt.default) and _is_image_mean(node.args[0]):
        square = node.args[0].args[0]
        if _is(square, ATEN.square.default):
            _replace(node, deviation, (square.args[0],))


def _split_mean(node: Any) -> None:
    if _is_image_mean(node):
        _replace(node, row_mean, (node.args[0],))


def _is_image_mean(node: Any) -> bool:
    return _is(node, ATEN.mean.dim) and list(node.args[1]) == [2, 3] and node.args[2:] == (True,)


def _is(node: Any, target: Any) -> bool:
    return isinstance(node, fx.Node) and node.target is target


def _replace(node: fx.Node, function: Any, arguments: tuple[Any, ...]) -> None:
    with node.graph.inserting_before(node):
        node.replace_all_uses_with(node.graph.call_function(function, arguments))
