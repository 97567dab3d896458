"""Weights rounded one after another, each making up for the errors of those before it: GPTQ (Frantar et al., 2023).

With the columns X that a convolution meets on calibration crops (the inputs of its window at every position), weights
Q in place of W change its output by |(W - Q) X|^2 = (W - Q) H (W - Q)^T with H = X X^T, for each output channel. What
rounding a weight adds to that is taken back by those that are not rounded yet (section 3.3 there, with the Cholesky
factor of H^-1). A bias is one more column, of ones: it comes last and is not rounded, so it takes what is left of the
mean.
"""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from edgesr.quantization.prepared import Node, Numbers, bias_of, groups_of, tensor_of
from edgesr.quantization.reconstruction import Progress
from edgesr.quantization.rounding import WEIGHT_LEVELS
from edgesr.quantization.sensitivity import SEED

DAMPING = 1e-4
"""Added to the diagonal of H, as a part of its mean: what crops do not show must not be made use of."""
POSITIONS = 2048
"""Of a crop, at most, drawn at random for each convolution: neighbours see nearly the same."""


@torch.no_grad()
def round_weights(
    graph: fx.GraphModule, wanted: Mapping[Node, Numbers], crops: Sequence[Tensor], progress: Progress | None = None
) -> None:
    """Choose, in place, the levels and biases of a converted PT2E graph's convolutions on integers, near to `wanted`.

    `crops`: each float32 (1, 3, H, W) in [0, 1]. Steps and activation ranges stay.
    """
    recorder = _Recorder(graph, wanted)
    for done, crop in enumerate(crops, start=1):
        recorder.run(crop)
        if progress is not None:
            progress(done, len(crops))
    for conv, products in recorder.products.items():
        _round(graph, conv, wanted[conv], products)


def _round(graph: fx.GraphModule, conv: Node, wanted: Numbers, products: Tensor) -> None:
    weight, exact_bias = wanted
    groups, bias, node = groups_of(conv), bias_of(graph, conv), conv.args[1]
    columns = weight.reshape(groups, weight.shape[0] // groups, -1).double()
    steps = tensor_of(graph, node.args[1]).double().reshape(groups, -1, 1)
    if bias is not None:
        assert exact_bias is not None, "the same convolution"
        columns = torch.cat([columns, exact_bias.reshape(groups, -1, 1).double()], 2)
    levels, rest = rounded_columns(columns, steps, products, free=bias is not None)
    stored = tensor_of(graph, node.args[0])
    stored.copy_(levels.reshape(stored.shape).to(stored.dtype))
    if bias is not None:
        bias.copy_(rest.reshape(-1))


def rounded_columns(columns: Tensor, steps: Tensor, products: Tensor, *, free: bool) -> tuple[Tensor, Tensor]:
    """Levels of weights (groups, out, in), and what is left for the column that is not rounded (groups, out, 1).

    columns: (groups, out, in), with `free` one more; steps: (groups, out, 1); products: H, (groups, in, in). Float64.
    """
    width = columns.shape[2] - free
    diagonal = products.diagonal(dim1=1, dim2=2)
    mean = diagonal[:, :width].mean(1).clamp(min=torch.finfo().tiny)
    unit = torch.ones_like(diagonal)
    if free:  # as large as the others: activations of 1e-5 beside ones are too much for the inverse
        unit[:, width] = mean.sqrt()
        columns = columns / unit[:, None]
        products = products * unit[:, None] * unit[:, :, None]
    damped = products.clone()
    damped.diagonal(dim1=1, dim2=2)[:, :width] += DAMPING * mean[:, None]
    order = torch.argsort(diagonal[:, :width], dim=1, descending=True, stable=True)
    if free:
        order = torch.cat([order, torch.full_like(order[:, :1], width)], 1)
    across, down = order[:, None, :], order[:, :, None]
    damped = damped.gather(1, down.expand_as(damped)).gather(2, across.expand_as(damped))
    factor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)
    left = columns.gather(2, across.expand_as(columns))
    levels = torch.zeros_like(left[:, :, :width])
    for index in range(width):
        column = left[:, :, index : index + 1]
        levels[:, :, index : index + 1] = (column / steps).round().clamp(-WEIGHT_LEVELS, WEIGHT_LEVELS)
        error = (column - levels[:, :, index : index + 1] * steps) / factor[:, index, index].reshape(-1, 1, 1)
        left[:, :, index + 1 :] -= error * factor[:, None, index, index + 1 :]
    back = order[:, :width].argsort(1)[:, None, :]
    return levels.gather(2, back.expand_as(levels)), left[:, :, width:] * unit[:, None, width:]


class _Recorder(fx.Interpreter):
    """Adds up `products`, H, of the convolutions of interest."""

    def __init__(self, graph: fx.GraphModule, convs: Collection[Node]) -> None:
        super().__init__(graph)
        self.graph_module, self.convs = graph, convs
        self.random = torch.Generator().manual_seed(SEED)
        self.products: dict[Node, Tensor] = {}

    def run_node(self, n: Node) -> object:
        if n in self.convs:
            source, weight, *_ = self.fetch_args_kwargs_from_env(n)[0]
            found = self._products(n, source, weight)
            self.products[n] = self.products[n] + found if n in self.products else found
        return super().run_node(n)

    def _products(self, conv: Node, source: Tensor, weight: Tensor) -> Tensor:
        """(groups, in, in) float64, mean over positions; with a bias, one more column of ones."""
        stride, padding, dilation = (
            tuple(conv.args[at]) if len(conv.args) > at else default for at, default in ((3, 1), (4, 0), (5, 1))
        )
        windows = F.unfold(source, weight.shape[2:], dilation, padding, stride)[0]
        chosen = torch.randperm(windows.shape[1], generator=self.random)[:POSITIONS]
        columns = windows[:, chosen].reshape(groups_of(conv), -1, len(chosen))
        if bias_of(self.graph_module, conv) is not None:
            columns = torch.cat([columns, torch.ones_like(columns[:, :1])], 1)
        return (columns @ columns.transpose(1, 2)).double() / len(chosen)
