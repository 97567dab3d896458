"""Weights, biases and ranges that make up for rounding: a few hundred gradient steps on calibration crops.

The float network is the teacher, no ground truth is needed. As in BRECQ (Li et al., 2021), with the whole network as
the one block, since a small SR network fits; rounding passes gradients straight through (Bengio et al., 2013), steps
of activations are learned as in LSQ (Esser et al., 2020) and their zero points too.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torchao.quantization.pt2e  # noqa: F401 - registers the operators quantized_decomposed
from torch import Tensor, fx, nn
from torch.nn import functional as F

from edgesr.errors import ConversionError
from edgesr.quantization.calibration import Pixels
from edgesr.quantization.pixels import to_tensor
from edgesr.quantization.prepared import Node, bias_of, convolutions, tensor_of, weight_of
from edgesr.quantization.settings import Fit

DECOMPOSED = torch.ops.quantized_decomposed
QUANTIZE = DECOMPOSED.quantize_per_tensor.default
DEQUANTIZE = DECOMPOSED.dequantize_per_tensor.default
DEQUANTIZE_WEIGHT = DECOMPOSED.dequantize_per_channel.default
WEIGHT_LEVELS, LEVELS = 127, 255

SLACK = 0.05
"""Outputs are compared within [-0.05, 1.05]: what is beyond cannot be seen."""
SMALLEST_DETAIL = 5e-5
"""Squared detail of a crop, about 2 in 8-bit levels: smoother crops count no more than that."""

Progress = Callable[[int, int], None]


def reconstruct(
    graph: fx.GraphModule,
    prepared: fx.GraphModule,
    photos: Sequence[Pixels],
    fit: Fit,
    progress: Progress | None = None,
) -> None:
    """Change a converted PT2E graph in place so that its output comes nearer to that of `prepared`, its float form.

    `photos`: uint8 (H, W, 3). Raises ConversionError if the error is not finite.
    """
    student = Trainable(graph, prepared)
    optimizer = torch.optim.Adam(student.groups(fit), betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, fit))
    crops = batches(photos, fit)
    for step in range(fit.steps):
        low = next(crops)
        with torch.no_grad():
            wanted = prepared(low)
        loss = weighted_error(student.run(low), wanted, low)
        if not torch.isfinite(loss):
            raise ConversionError("reconstruct", f"the error is not finite at step {step + 1} of {fit.steps}")
        optimizer.zero_grad()
        torch.autograd.backward([loss])
        optimizer.step()
        schedule.step()
        student.clip()
        if progress is not None:
            progress(step + 1, fit.steps)
    student.write()


def weighted_error(output: Tensor, wanted: Tensor, low: Tensor) -> Tensor:
    """Mean squared error, each crop by the detail that the network adds to bicubic: dB are lost on smooth images first.

    output, wanted: (N, 3, sH, sW); low: (N, 3, H, W).
    """
    with torch.no_grad():
        smooth = F.interpolate(low, wanted.shape[2:], mode="bicubic")
        weight = 1 / ((wanted - smooth).square().mean((1, 2, 3)) + SMALLEST_DETAIL)
        weight /= weight.mean()
        wanted = wanted.clamp(-SLACK, 1 + SLACK)
    error = (output.clamp(-SLACK, 1 + SLACK) - wanted).square().mean((1, 2, 3))
    return 100 * (error * weight).mean()


def batches(photos: Sequence[Pixels], fit: Fit) -> Iterator[Tensor]:
    """Random crops, turned and mirrored, float32 (batch, 3, side, side) in [0, 1]."""
    random = np.random.default_rng(fit.seed)
    side_px = min(fit.side_px, *(min(photo.shape[:2]) for photo in photos))
    while True:
        chosen = [photos[index] for index in random.integers(len(photos), size=fit.batch)]
        yield torch.cat([to_tensor(_crop(photo, side_px, fit.extremes, random)) for photo in chosen])


def _crop(photo: Pixels, side_px: int, extremes: float, random: np.random.Generator) -> Pixels:
    top, left = (int(random.integers(side - side_px + 1)) for side in photo.shape[:2])
    crop = np.rot90(photo[top : top + side_px, left : left + side_px], int(random.integers(4)))
    crop = crop[:, ::-1] if random.random() < 0.5 else crop
    return stretched(crop, random) if random.random() < extremes else crop


def stretched(crop: Pixels, random: np.random.Generator) -> Pixels:
    """More contrast about a random level, partly saturated, sometimes negative."""
    level, gain, shift = random.uniform(64, 192), random.uniform(1.5, 3), random.uniform(-64, 64)
    values = np.clip((crop.astype(np.float32) - level) * gain + level + shift, 0, 255)
    pixels: Pixels = (255 - values if random.random() < 0.3 else values).round().astype(np.uint8)
    return pixels


def stretched_all(crops: Sequence[Pixels], seed: int = 0) -> list[Pixels]:
    random = np.random.default_rng(seed)
    return [stretched(crop, random) for crop in crops]


def _rate(step: int, fit: Fit) -> float:
    return min(1.0, (step + 1) / fit.warmup) * (0.01 + 0.99 * (1 + math.cos(math.pi * step / fit.steps)) / 2)


class _Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def _round(x: Tensor) -> Tensor:
    """Nearest whole numbers; the gradient passes as if nothing had been rounded."""
    rounded: Tensor = _Straight.apply(x)  # type: ignore[no-untyped-call]
    return rounded


class Trainable(fx.Interpreter):
    """A converted PT2E graph that computes on float weights, rounded on the way, and passes gradients to them."""

    def __init__(self, graph: fx.GraphModule, prepared: fx.GraphModule) -> None:
        super().__init__(graph)
        self.weights: dict[Node, nn.Parameter] = {}
        self.weight_steps: dict[Node, Tensor] = {}
        self.biases: dict[Node, nn.Parameter] = {}
        self.log_steps: dict[Node, nn.Parameter] = {}
        self.zero_points: dict[Node, nn.Parameter] = {}
        for conv, exact in zip(convolutions(graph), convolutions(prepared), strict=True):
            weight, bias = conv.args[1], conv.args[2] if len(conv.args) > 2 else None
            self.weights[weight] = nn.Parameter(weight_of(prepared, exact).detach().clone())
            if weight.target is DEQUANTIZE_WEIGHT:
                self.weight_steps[weight] = tensor_of(graph, weight.args[1]).float().reshape(-1, 1, 1, 1)
            exact_bias = bias_of(prepared, exact)
            if isinstance(bias, fx.Node) and exact_bias is not None:
                self.biases[bias] = nn.Parameter(exact_bias.detach().clone())
        for node in graph.graph.nodes:
            if node.target is QUANTIZE and node.args[0].op != "placeholder":
                self.log_steps[node] = nn.Parameter(torch.tensor(math.log(node.args[1])))
                self.zero_points[node] = nn.Parameter(torch.tensor(float(node.args[2])))

    def groups(self, fit: Fit) -> list[dict[str, Any]]:
        return [
            {"params": [*self.weights.values(), *self.biases.values()], "lr": fit.rate},
            {"params": list(self.log_steps.values()), "lr": fit.step_rate},
            {"params": list(self.zero_points.values()), "lr": fit.zero_point_rate},
        ]

    def run_node(self, n: Node) -> Any:
        if n in self.weights:
            return self._weight(n)
        if n in self.biases:
            return self.biases[n]
        if n.target is DEQUANTIZE:
            return self.fetch_args_kwargs_from_env(n)[0][0]
        if n.target is QUANTIZE:
            return self._rounded(n, self.fetch_args_kwargs_from_env(n)[0][0])
        return super().run_node(n)

    def _weight(self, node: Node) -> Tensor:
        weight = self.weights[node]
        if node not in self.weight_steps:
            return weight
        step = self.weight_steps[node]
        return _round((weight / step).clamp(-WEIGHT_LEVELS, WEIGHT_LEVELS)) * step

    def _rounded(self, node: Node, x: Tensor) -> Tensor:
        if node not in self.log_steps:
            _, step, zero_point, low, high, _ = node.args
            return torch.fake_quantize_per_tensor_affine(x, step, zero_point, low, high)
        step, zero_point = self.log_steps[node].exp().reshape(1), self.zero_points[node].reshape(1)
        # PyTorch's own kernel for learned steps and zero points (torch.ao.quantization), one pass each way.
        rounded: Tensor = torch._fake_quantize_learnable_per_tensor_affine(x, step, zero_point, 0, LEVELS, 1.0)
        return rounded

    @torch.no_grad()
    def clip(self) -> None:
        for zero_point in self.zero_points.values():
            zero_point.clamp_(0, LEVELS)

    @torch.no_grad()
    def write(self) -> None:
        """Store what was learned in the graph."""
        graph = self.module
        assert isinstance(graph, fx.GraphModule)
        for node, weight in self.weights.items():
            if node in self.weight_steps:
                stored = tensor_of(graph, node.args[0])
                levels = (weight / self.weight_steps[node]).round().clamp(-WEIGHT_LEVELS, WEIGHT_LEVELS)
                stored.copy_(levels.to(stored.dtype))
            else:
                tensor_of(graph, node).copy_(weight)
        for node, bias in self.biases.items():
            tensor_of(graph, node).copy_(bias)
        for node, log_step in self.log_steps.items():
            grid = (float(log_step.exp()), int(self.zero_points[node].round()))
            for each in (node, *node.users):
                each.args = (each.args[0], *grid, *each.args[3:])
        graph.recompile()
