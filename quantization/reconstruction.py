"""Weights, biases and ranges that make up for rounding: a few hundred gradient steps on calibration crops.

The float network is the teacher, no ground truth is needed. As in BRECQ (Li et al., 2021), with the whole network as
the one block, since a small SR network fits; rounding passes gradients straight through (Bengio et al., 2013), steps
of activations are learned as in LSQ (Esser et al., 2020) and their zero points too. What is drawn at random depends on
the number of the step alone.
"""

import math
from collections.abc import Callable, Sequence
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
from edgesr.quantization.unfinished import Unfinished

DECOMPOSED = torch.ops.quantized_decomposed
QUANTIZE = DECOMPOSED.quantize_per_tensor.default
DEQUANTIZE = DECOMPOSED.dequantize_per_tensor.default
DEQUANTIZE_WEIGHT = DECOMPOSED.dequantize_per_channel.default
WEIGHT_LEVELS, LEVELS = 127, 255

SLACK = 0.05
"""Outputs are compared within [-0.05, 1.05]: what is beyond cannot be seen."""
GAINS = (1.5, 8.0)
"""Of contrast where it is stretched: from harsh light to line art."""
LEAST_CONTRAST = 0.2
"""Of what a crop has, where it is faded."""
SMALLEST_DETAIL = 5e-5
"""Mean square of what is added to a crop, about 2 in 8-bit levels: smoother crops count no more than that."""

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
) -> None:
    """Change a converted PT2E graph in place so that its output comes nearer to that of `prepared`, its float form.

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
    student.write()


def _through(network: Callable[[Tensor], Any], low: Tensor, together: bool) -> Tensor:
    """(N, 3, H, W) -> (N, 3, sH, sW)."""
    output: Tensor = network(low) if together else torch.cat([network(image[None]) for image in low])
    return output


def weighted_error(output: Tensor, wanted: Tensor, low: Tensor) -> Tensor:
    """Mean squared error, each crop by the contrast of what the network adds to bicubic: dB are lost on smooth images
    first. Not by its square, as dB are: a smooth image may have a hard edge, and most of its error there.

    output, wanted: (N, 3, sH, sW); low: (N, 3, H, W).
    """
    with torch.no_grad():
        smooth = F.interpolate(low, wanted.shape[2:], mode="bicubic")
        weight = ((wanted - smooth).square().mean((1, 2, 3)) + SMALLEST_DETAIL).rsqrt()
        weight /= weight.mean()
        wanted = wanted.clamp(-SLACK, 1 + SLACK)
    error = (output.clamp(-SLACK, 1 + SLACK) - wanted).square().mean((1, 2, 3))
    return 100 * (error * weight).mean()


def batch(photos: Sequence[Pixels], fit: Fit, step: int) -> Tensor:
    """The crops of one step: random, turned and mirrored, float32 (batch, 3, side, side) in [0, 1]."""
    random = np.random.default_rng((fit.seed, step))
    side_px = min(fit.side_px, *(min(photo.shape[:2]) for photo in photos))
    chosen = [photos[index] for index in random.integers(len(photos), size=fit.batch)]
    return torch.cat([to_tensor(_crop(photo, side_px, fit, random)) for photo in chosen])


def _crop(photo: Pixels, side_px: int, fit: Fit, random: np.random.Generator) -> Pixels:
    top, left = (int(random.integers(side - side_px + 1)) for side in photo.shape[:2])
    crop = np.rot90(photo[top : top + side_px, left : left + side_px], int(random.integers(4)))
    crop = crop[:, ::-1] if random.random() < 0.5 else crop
    chance = random.random()
    if chance < fit.extremes:
        return stretched(crop, random)
    if chance < fit.extremes + fit.faded:
        return faded(crop, random)
    return flat(crop, random) if chance < fit.extremes + fit.faded + fit.flat else crop


def stretched(crop: Pixels, random: np.random.Generator) -> Pixels:
    """More contrast about a random level, partly saturated, sometimes negative."""
    level, shift = random.uniform(64, 192), random.uniform(-64, 64)
    gain = math.exp(random.uniform(math.log(GAINS[0]), math.log(GAINS[1])))
    values = np.clip((crop.astype(np.float32) - level) * gain + level + shift, 0, 255)
    pixels: Pixels = (255 - values if random.random() < 0.3 else values).round().astype(np.uint8)
    return pixels


def faded(crop: Pixels, random: np.random.Generator) -> Pixels:
    """Less contrast, anywhere between black and white: smooth and bright or dark, where little error costs many dB."""
    gain = math.exp(random.uniform(math.log(LEAST_CONTRAST), 0))
    values = (crop - crop.mean()) * gain
    values += random.uniform(-values.min(), 255 - values.max())
    pixels: Pixels = values.round().clip(0, 255).astype(np.uint8)
    return pixels


def flat(crop: Pixels, random: np.random.Generator) -> Pixels:
    """One colour, often saturated: what lies beside the zero padding of a convolution is nowhere further from it."""
    colour = random.choice((0, 255), size=3) if random.random() < 0.5 else np.repeat(random.integers(256), 3)
    return np.broadcast_to(colour.astype(np.uint8), crop.shape)


def stretched_all(crops: Sequence[Pixels], seed: int = 0) -> list[Pixels]:
    random = np.random.default_rng(seed)
    return [stretched(crop, random) for crop in crops]


def _part_of_rate(step: int, fit: Fit) -> float:
    return min(1.0, (step + 1) / fit.warmup) * (0.01 + 0.99 * (1 + math.cos(math.pi * step / fit.steps)) / 2)


class _Rounded(torch.autograd.Function):
    """x rounded to uint8 levels of a learned step and zero point, with the gradients of LSQ (Esser et al., 2020).

    The same as torch._fake_quantize_learnable_per_tensor_affine, in vectorised passes: much of a fit's time is here.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, zero_point: Tensor) -> Tensor:
        whole = zero_point.round()
        levels = torch.add(whole, x, alpha=1 / float(step)).round_()
        inside = (levels >= 0).logical_and_(levels <= LEVELS)
        output = levels.clamp_(0, LEVELS).sub_(whole).mul_(step)
        ctx.save_for_backward(x, step, inside, output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, step, inside, output = ctx.saved_tensors
        (gradient,) = gradients
        passed = gradient * inside
        of_step = (_dot(gradient, output) - _dot(passed, x)) / step
        return passed, of_step, step * (passed.sum() - gradient.sum())


def _dot(first: Tensor, second: Tensor) -> Tensor:
    return torch.dot(first.flatten(), second.flatten())


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
                self.weight_steps[weight] = tensor_of(graph, weight.args[1]).float()
            exact_bias = bias_of(prepared, exact)
            if isinstance(bias, fx.Node) and exact_bias is not None:
                self.biases[bias] = nn.Parameter(exact_bias.detach().clone())
        for node in graph.graph.nodes:
            if node.target is QUANTIZE and node.args[0].op != "placeholder":
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
        zeros = torch.zeros_like(step, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, step, zeros, 0, -WEIGHT_LEVELS, WEIGHT_LEVELS)

    def _rounded(self, node: Node, x: Tensor) -> Tensor:
        if node not in self.log_steps:
            _, step, zero_point, low, high, _ = node.args
            return torch.fake_quantize_per_tensor_affine(x, step, zero_point, low, high)
        rounded: Tensor = _Rounded.apply(x, self.log_steps[node].exp(), self.zero_points[node])  # type: ignore[no-untyped-call]
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
                step = self.weight_steps[node].reshape(-1, 1, 1, 1)
                levels = (weight / step).round().clamp(-WEIGHT_LEVELS, WEIGHT_LEVELS)
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
