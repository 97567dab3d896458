"""What the folded forms of networks with attention in windows are worth, against other equal ones.

DITN-Real: `official` (edgesr.bench.official); `joined`, where one convolution writes what is cut in parts afterwards;
`folded`, this kit's, in torch as it runs there (edgesr.models.eager); `as exported`: in torch as converters get it.
ELAN-light: its shift-convolutions as a depthwise convolution and a 1x1 (`folded`), as one `dense` 3x3 with a single
tap per input channel, and `gathered` from a padded map. All forms interleaved, in torch and in the runtimes.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.bench.forms import SCALE, SEED, Variant, check_clock, check_output, image_of, open_variant, write
from edgesr.bench.official import official
from edgesr.doctor import diagnose
from edgesr.errors import EdgesrError
from edgesr.interleave import CLOCKS, Clock, Plan, Ratio, interleave, speedup
from edgesr.models.ditn import DITN, FoldedAttention, FoldedFeedForward, FoldedSpatialAttention, attended, gated
from edgesr.models.eager import for_torch
from edgesr.models.elan import DIRECTIONS, ELAN, RANGE, FoldedShift
from edgesr.models.network import Network, swapped
from edgesr.models.registry import find
from edgesr.runner import Array
from edgesr.targets.forms import Form
from edgesr.targets.source import Source
from edgesr.terminal import Terminal
from edgesr.types import Precision, Size

RUNTIMES: tuple[tuple[str, Precision], ...] = (
    *(("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "fp16"), ("tflite", "fp32")),
)
"""OpenVINO computes fp16 artifacts in bfloat16 where the CPU has it."""


class JoinedAttention(nn.Module):
    """Queries, keys and values from one convolution."""

    def __init__(self, source: FoldedAttention) -> None:
        super().__init__()
        self.qkv, self.out = joined(source.queries, source.keys, source.values), source.out
        self.temperature = source.temperature

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).flatten(2).chunk(3, dim=1)
        mixed: Tensor = self.out(attended(q, k, v, self.temperature).view(x.shape))
        return mixed


class JoinedSpatialAttention(nn.Module):
    """Weights and values from one convolution."""

    def __init__(self, source: FoldedSpatialAttention) -> None:
        super().__init__()
        to_weights, *others = source.weights
        self.first, self.weights, self.last = joined(to_weights, source.values), nn.Sequential(*others), source.last

    def forward(self, x: Tensor) -> Tensor:
        weights, values = self.first(x).chunk(2, dim=1)
        mixed: Tensor = self.last(self.weights(weights) * values)
        return mixed


class JoinedFeedForward(nn.Module):
    """Both halves from one convolution each."""

    def __init__(self, source: FoldedFeedForward) -> None:
        super().__init__()
        self.both = nn.Sequential(*(joined(source.gate[index], source.values[index]) for index in range(2)))
        self.project_out = source.project_out

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.project_out(gated(self.both(x)))
        return mixed


class GatheredShift(nn.Module):
    """Each fifth of the channels as a slice of the padded map, put together for the 1x1."""

    def __init__(self, source: FoldedShift) -> None:
        super().__init__()
        self.mix, self.group = source.mix, source.mix.in_channels // len(DIRECTIONS)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        around, last = F.pad(x, (1, 1, 1, 1)), len(DIRECTIONS) - 1
        parts = []
        for index, (row, column) in enumerate(DIRECTIONS):
            channels = slice(index * self.group, None if index == last else (index + 1) * self.group)
            parts.append(around[:, channels, row : row + height, column : column + width])
        mixed: Tensor = self.mix(torch.cat(parts, dim=1))
        return mixed


def joined(*parts: nn.Module) -> nn.Conv2d:
    """Convolutions of one input, or depthwise ones of the parts of one, as one convolution."""
    convs = [part for part in parts if isinstance(part, nn.Conv2d)]
    like = convs[0]
    depthwise = like.groups > 1
    inputs = sum(conv.in_channels for conv in convs) if depthwise else like.in_channels
    side, outputs = like.weight.shape[2], sum(conv.out_channels for conv in convs)
    conv = nn.Conv2d(inputs, outputs, side, padding=side // 2, groups=inputs if depthwise else 1)
    conv.weight = nn.Parameter(torch.cat([each.weight.detach() for each in convs]))
    biases = [each.bias.detach() for each in convs if each.bias is not None]
    conv.bias = nn.Parameter(torch.cat(biases)) if biases else None
    return conv


def dense_shift(source: FoldedShift) -> nn.Conv2d:
    conv = nn.Conv2d(source.mix.in_channels, source.mix.out_channels, 3, padding=1)
    conv.weight = nn.Parameter(source.mix.weight.detach() * source.shift.weight.detach()[None, :, 0])
    conv.bias = source.mix.bias
    return conv


def joined_form(network: nn.Module) -> nn.Module:
    network = swapped(network, FoldedAttention, JoinedAttention)
    network = swapped(network, FoldedSpatialAttention, JoinedSpatialAttention)
    return swapped(network, FoldedFeedForward, JoinedFeedForward)


def dense_form(network: nn.Module) -> nn.Module:
    return swapped(network, FoldedShift, dense_shift)


def gathered_form(network: nn.Module) -> nn.Module:
    return swapped(network, FoldedShift, GatheredShift)


@dataclass(frozen=True, slots=True)
class Subject:
    size: Size
    forms: Mapping[str, Form]
    """Of the folded network."""


SUBJECTS: Mapping[str, Subject] = MappingProxyType(
    {
        "ditn-real": Subject((184, 320), MappingProxyType({"joined": joined_form})),
        "elan-light": Subject((64, 96), MappingProxyType({"dense": dense_form, "gathered": gathered_form})),
    }
)


@dataclass(frozen=True, slots=True)
class Row:
    """`speedup`: of the folded form over this one, in the same runtime."""

    model: str
    runtime: str
    precision: Precision
    form: str
    median_ms: float
    speedup: Ratio
    raw_ns: tuple[int, ...]


def networks_of(model: str) -> dict[str, nn.Module]:
    """Every form, on one set of random weights: speed does not depend on them.

    ELAN's head takes photos from 0 to 255 to values of its own size; scaled, so that its attention is no choice of one
    position each, which the rounding of every form would decide otherwise.
    """
    torch.manual_seed(SEED)
    network: Network = find(model, SCALE).forms()["train"].eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("SDA.scale"):
                parameter.fill_(0.1)  # zero, as it begins, lets a converter leave the branch out
        if isinstance(network, ELAN):
            head = network.head[0]
            assert isinstance(head, nn.Conv2d)
            head.weight.div_(RANGE)
    folded = network.fold()
    made = {name: form(folded) for name, form in SUBJECTS[model].forms.items()}
    return {"folded": folded, **made} | ({"official": official(network, folded)} if isinstance(network, DITN) else {})


def measure(model: str, plan: Plan, threads: int, terminal: Terminal) -> list[Row]:
    spec, size = find(model, SCALE), SUBJECTS[model].size
    image, networks = image_of(size), networks_of(model)
    expected = in_torch(networks["folded"], image)
    calls: dict[tuple[str, Precision, str], Callable[[], Array]] = {}
    in_torch_itself = for_torch(networks["folded"])
    if in_torch_itself is not networks["folded"]:
        calls["torch", "fp32", "as exported"] = functools.partial(in_torch, networks["folded"], image)
    for form, network in networks.items():
        eager = in_torch_itself if form == "folded" else network
        calls["torch", "fp32", form] = functools.partial(in_torch, eager, image)
        source = Source(network, name=model, scale=SCALE, min_side_px=spec.min_side_px, multiple_px=spec.multiple_px)
        for target, precision in RUNTIMES:
            terminal.progress(f"prepare {model}", len(calls), len(networks) * (len(RUNTIMES) + 1), form)
            try:
                runner = open_variant(source, Variant(target, precision, (form,)), threads, size)
            except EdgesrError as error:  # the official graph is not made for every converter
                terminal.say(f"{model} {form} is left out in {target}: {error}")
                continue
            calls[target, precision, form] = functools.partial(runner, image)
    for (target, precision, form), call in calls.items():
        check_output(call(), expected, Variant(target, precision, (form,)))
    named = {" ".join(key): call for key, call in calls.items()}
    samples = interleave(named, plan, lambda done, total: terminal.progress(f"time {model}", done, total, "rounds"))
    rows = []
    for key in calls:
        own, folded = samples[" ".join(key)], samples[" ".join((*key[:2], "folded"))]
        rows.append(Row(model, *key, own.median_ms, speedup(own.raw_ns, folded.raw_ns), own.raw_ns))
    return rows


def in_torch(network: nn.Module, image: Array) -> Array:
    with torch.inference_mode():
        output: Array = network(torch.from_numpy(image)).numpy()
    return output


def table(rows: list[Row]) -> Table:
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("network", "runtime", "precision", "form"):
        drawn.add_column(name)
    for name in ("median ms", "folded is faster", "interval"):
        drawn.add_column(name, justify="right")
    for row in rows:
        ratio = row.speedup
        times = (f"{row.median_ms:.0f}", f"{ratio.value:.2f}x", f"{ratio.low:.2f}-{ratio.high:.2f}")
        drawn.add_row(row.model, row.runtime, row.precision, row.form, *times)
    return drawn


def report(rows: list[Row], plan: Plan, threads: int) -> dict[str, Any]:
    machine = diagnose()
    return {
        "machine": {"cpu": machine.cpu, "cpu_features": machine.cpu_features},
        "threads": threads,
        "sizes": {model: subject.size for model, subject in SUBJECTS.items()},
        "plan": asdict(plan),
        "rows": [asdict(row) for row in rows],
    }


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("docs/bench-windows.json"))
@click.option("--model", "models", multiple=True, type=click.Choice(list(SUBJECTS)), default=tuple(SUBJECTS))
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--rounds", type=click.IntRange(3), default=7, show_default=True)
@click.option("--clock", type=click.Choice(list(CLOCKS)), default="wall", show_default=True)
def main(out: Path, models: tuple[str, ...], threads: int, rounds: int, clock: Clock) -> None:
    check_clock(clock, threads)
    torch.set_num_threads(threads)
    plan = Plan(rounds, warmup_rounds=1, seed=SEED, clock=clock)
    try:
        with Terminal() as terminal:
            rows = [row for model in models for row in measure(model, plan, threads, terminal)]
        write(report(rows, plan, threads), out)
    except EdgesrError as error:
        raise click.ClickException(str(error)) from error
    Console(highlight=False, width=None if Console().is_terminal else 120).print(table(rows))


if __name__ == "__main__":
    main()
