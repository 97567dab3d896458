"""Weights, biases and ranges that make up for rounded activations: some hundred gradient steps on calibration crops.

The float network is the teacher, no ground truth is needed. As in BRECQ (Li et al., 2021), with the whole network as
the one block, since a small SR network fits; rounding passes gradients straight through (Bengio et al., 2013), steps
of activations are learned as in LSQ (Esser et al., 2020) and their zero points too. Weights are not rounded meanwhile:
that comes last (edgesr.quantization.gptq). What is drawn at random depends on the number of the step alone.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torchao.quantization.pt2e  # noqa: F401 - registers the operators quantized_decomposed
from torch import Tensor, fx, nn

from edgesr.errors import ConversionError
from edgesr.quantization.calibration import Pixels
from edgesr.quantization.distillation import batch, weighted_error
from edgesr.quantization.prepared import Node, Numbers, bias_of, convolutions, has_grid, tensor_of, weight_of
from edgesr.quantization.rounding import LEVELS, Rounded
from edgesr.quantization.settings import Fit
from edgesr.quantization.unfinished import Unfinished

DECOMPOSED = torch.ops.quantized_decomposed
QUANTIZE = DECOMPOSED.quantize_per_tensor.default
DEQUANTIZE = DECOMPOSED.dequantize_per_tensor.default
DEQUANTIZE_WEIGHT = DECOMPOSED.dequantize_per_channel.default

Progress = Callable[[int, int], None]


def reconstruct(
    graph: fx.GraphModule,
    prepared: fx.GraphModule,
    photos: Sequence[Pixels],
    fit: Fit,
    progress: Progress | None = None,
    unfinished: Unfinished | None = None,
    *,
    together: bool = True,
) -> dict[Node, Numbers]:
    """Change a converted PT2E graph in place so that its output comes nearer to that of `prepared`, its float form; all
    but the weights and biases of convolutions on integers, which are returned for GPTQ.

    `photos`: uint8 (H, W, 3). `unfinished`: where the state is kept, so that an interrupted fit goes on; the result is
    the same. `together`: whether the graphs take several crops at once. Raises ConversionError if the error is not
    finite.
    """
    student = Trainable(graph, prepared)
    optimizer = torch.optim.Adam(student.groups(fit), betas=(0.9, 0.99))
    first = 0 if unfinished is None else unfinished.restore(optimizer)
    for step in range(first, fit.steps):
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * _part_of_rate(step, fit)
        low = batch(photos, fit, step)
        with torch.no_grad():
            wanted = _through(prepared, low, together)
        loss = weighted_error(_through(student.run, low, together), wanted, low)
        if not torch.isfinite(loss):
            raise ConversionError("reconstruct", f"the error is not finite at step {step + 1} of {fit.steps}")
        optimizer.zero_grad()
        torch.autograd.backward([loss])
        optimizer.step()
        student.clip()
        if unfinished is not None:
            unfinished.keep(optimizer, step + 1)
        if progress is not None:
            progress(step + 1, fit.steps)
    return student.write()


def _through(network: Callable[[Tensor], Any], low: Tensor, together: bool) -> Tensor:
    """(N, 3, H, W) -> (N, 3, sH, sW)."""
    output: Tensor = network(low) if together else torch.cat([network(image[None]) for image in low])
    return output


def _part_of_rate(step: int, fit: Fit) -> float:
    return min(1.0, (step + 1) / fit.warmup) * (0.01 + 0.99 * (1 + math.cos(math.pi * step / fit.steps)) / 2)


class Trainable(fx.Interpreter):
    """A converted PT2E graph that computes on float weights and rounded activations, and passes gradients to all."""

    def __init__(self, graph: fx.GraphModule, prepared: fx.GraphModule) -> None:
        super().__init__(graph)
        self.weights: dict[Node, nn.Parameter] = {}
        self.biases: dict[Node, nn.Parameter] = {}
        self.log_steps: dict[Node, nn.Parameter] = {}
        self.zero_points: dict[Node, nn.Parameter] = {}
        for conv, exact in zip(convolutions(graph), convolutions(prepared), strict=True):
            weight, bias = conv.args[1], conv.args[2] if len(conv.args) > 2 else None
            self.weights[weight] = nn.Parameter(weight_of(prepared, exact).detach().clone())
            exact_bias = bias_of(prepared, exact)
            if isinstance(bias, fx.Node) and exact_bias is not None:
                self.biases[bias] = nn.Parameter(exact_bias.detach().clone())
        for node in graph.graph.nodes:
            if node.target is QUANTIZE and not has_grid(node.args[0]):
                self.log_steps[node] = nn.Parameter(torch.tensor(math.log(node.args[1])))
                self.zero_points[node] = nn.Parameter(torch.tensor(float(node.args[2])))

    def groups(self, fit: Fit) -> list[dict[str, Any]]:
        return [
            {"params": [*self.weights.values(), *self.biases.values()], "rate": fit.rate},
            {"params": list(self.log_steps.values()), "rate": fit.step_rate},
            {"params": list(self.zero_points.values()), "rate": fit.zero_point_rate},
        ]

    def run_node(self, n: Node) -> Any:
        if n in self.weights:
            return self.weights[n]
        if n in self.biases:
            return self.biases[n]
        if n.target is DEQUANTIZE:
            return self.fetch_args_kwargs_from_env(n)[0][0]
        if n.target is QUANTIZE:
            return self._rounded(n, self.fetch_args_kwargs_from_env(n)[0][0])
        return super().run_node(n)

    def _rounded(self, node: Node, x: Tensor) -> Tensor:
        if node not in self.log_steps:
            _, step, zero_point, low, high, _ = node.args
            return torch.fake_quantize_per_tensor_affine(x, step, zero_point, low, high)
        rounded: Tensor = Rounded.apply(x, self.log_steps[node].exp(), self.zero_points[node])  # type: ignore[no-untyped-call]
        return rounded

    @torch.no_grad()
    def clip(self) -> None:
        for zero_point in self.zero_points.values():
            zero_point.clamp_(0, LEVELS)

    @torch.no_grad()
    def write(self) -> dict[Node, Numbers]:
        """Store what was learned in the graph, but for convolutions on integers: their weights and biases."""
        graph = self.module
        assert isinstance(graph, fx.GraphModule)
        found: dict[Node, Numbers] = {}
        for conv in convolutions(graph):
            weight, bias = self.weights[conv.args[1]], self.biases.get(conv.args[2]) if len(conv.args) > 2 else None
            if conv.args[1].target is DEQUANTIZE_WEIGHT:
                found[conv] = weight, bias
                continue
            tensor_of(graph, conv.args[1]).copy_(weight)
            if bias is not None:
                tensor_of(graph, conv.args[2]).copy_(bias)
        for node, log_step in self.log_steps.items():
            grid = (float(log_step.exp()), int(self.zero_points[node].round()))
            for each in (node, *node.users):
                each.args = (each.args[0], *grid, *each.args[3:])
        graph.recompile()
        return found
