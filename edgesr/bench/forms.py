"""`make bench`: every graph form in every runtime that runs here, interleaved, against the official graph.

What it writes to docs/bench.json decides the table `edgesr.targets.forms.FORMS`.
"""

import contextlib
import importlib
import importlib.metadata
import itertools
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from edgesr.bench.official import PlainSource, official, plain_conversion
from edgesr.datasets import generated_pictures
from edgesr.doctor import diagnose
from edgesr.errors import EdgesrError, WeightsError
from edgesr.interleave import CLOCKS, Clock, Plan, Ratio, Samples, interleave, speedup
from edgesr.metrics import to_input
from edgesr.models.registry import find
from edgesr.models.weights import load
from edgesr.quantization.calibration import from_images
from edgesr.quantization.recipe import recipe_of
from edgesr.quantization.settings import EFFORTS
from edgesr.quantization.toolchain import stage
from edgesr.runner import Array, Runner
from edgesr.runner.contract import InputRule
from edgesr.runner.manifest import Contents
from edgesr.runner.opening import RUNTIMES
from edgesr.targets import TARGETS, convert
from edgesr.targets.forms import CHOICES, FORMS, Form, uint8_output
from edgesr.targets.source import Source
from edgesr.terminal import Terminal
from edgesr.types import Precision, Request, Size
from edgesr.whole_file import write_whole

MODELS = ("bsrn-s", "plainusr-m")
SCALE = 4
SIZE: Size = (180, 320)
SEED = 0
TOLERANCE = 2 / 255
"""Largest difference from the network that a float32 variant may have: a graph that computes something else would be
timed for nothing."""

OPSETS = {"opset 18": 18, "opset 20": 20}
OFFICIAL: tuple[str, ...] = ("official", "opset 18")
OFFICIALS: tuple[tuple[str, ...], ...] = (OFFICIAL, ("official", "opset 20"))
ROUNDED_OUTSIDE = "uint8_by_numpy"
RECIPE = "recipe"
"""INT8 as the greatest effort leaves it: equalized, part of it in float, part of it twice. Not fitted, which changes
numbers and no speed."""
FLOAT_PRECISIONS: dict[str, tuple[Precision, ...]] = {"openvino": ("fp32", "fp16")}
"""Of other targets only fp32 is timed. OpenVINO computes fp16 artifacts in bfloat16 where the CPU has it."""
ONNX_TARGETS = ("onnxruntime", "openvino")
"""Targets that read ONNX: they alone can run the official export."""

PACKAGES = ("torch", "onnx", "onnxruntime", "openvino", "executorch", "ai-edge-litert", "ncnn")


class Variant(NamedTuple):
    """One graph in one runtime. `forms`: names of edgesr.targets.forms, or OFFICIAL."""

    target: str
    precision: Precision
    forms: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.target} {self.precision} {' + '.join(self.forms)}"


BASELINE = Variant("onnxruntime", "fp32", OFFICIAL)


@dataclass(frozen=True, slots=True)
class Row:
    """`speedup`: against the official graph in ONNX Runtime, float32."""

    variant: Variant
    median_ms: float
    speedup: Ratio
    raw_ns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`speedup`: how many times faster `taken` is than `instead`, in the same runtime."""

    taken: Variant
    instead: Variant
    speedup: Ratio


@dataclass(frozen=True, slots=True)
class ModelResult:
    """`choices`: the forms a target takes against each alternative; `int8`: INT8 against float of the same target."""

    model: str
    weights: str
    rows: tuple[Row, ...]
    choices: tuple[Comparison, ...]
    int8: tuple[Comparison, ...]
    skipped: dict[str, str]


class Subject:
    """One model with everything its variants are made of; sources are kept so that targets share exports."""

    def __init__(self, model: str, say: Callable[[str], None]) -> None:
        self.spec = find(model, SCALE)
        self.weights, network, self.folded = _weights(model, say)
        self.official = official(network, self.folded)
        self.image = image_of(SIZE)
        with torch.inference_mode():
            self.expected: Array = self.folded(torch.from_numpy(self.image)).numpy()
        self._sources: dict[tuple[str, ...], Source] = {}

    def source(self, forms: tuple[str, ...]) -> Source:
        if forms not in self._sources:
            self._sources[forms] = self._plain(forms) if {*forms} & {*OPSETS} else self._ours(forms)
        return self._sources[forms]

    def _plain(self, forms: tuple[str, ...]) -> Source:
        opset, least = OPSETS[forms[-1]], self.spec.min_side_px
        network = self.official if forms in OFFICIALS else self._network(forms)
        return PlainSource(network, SIZE, opset, name=self.spec.name, scale=SCALE, min_side_px=least)

    def _ours(self, forms: tuple[str, ...]) -> Source:
        calibration = from_images(generated_pictures(4, 128), count=4, side_px=64)
        network, least = self._network(forms), self.spec.min_side_px
        source = Source(network, name=self.spec.name, scale=SCALE, min_side_px=least, calibration=calibration)
        if RECIPE not in forms:
            return source
        settings = replace(EFFORTS[-1], fit=None)
        found = source.find_recipe(settings, lambda step, done, total: None)
        recipe = recipe_of(found, self.spec.name, SCALE, "", {}, settings)
        return Source(network, name=self.spec.name, scale=SCALE, min_side_px=least, recipe=recipe)

    def _network(self, forms: tuple[str, ...]) -> nn.Module:
        network = self.folded
        for form in (*self.choices(), (uint8_output,)):
            for each in form:
                network = each(network) if each.__name__ in forms else network
        return network

    def choices(self) -> list[tuple[Form, ...]]:
        return [choice.forms for choice in CHOICES if choice.family == self.spec.family]

    def taken(self, target: str) -> tuple[str, ...]:
        """The forms of FORMS that concern this network."""
        mine = [form.__name__ for choice in self.choices() for form in choice]
        return tuple(name for name in FORMS[target] if name in mine)

    def variants(self) -> Iterator[Variant]:
        """All that is timed: official, each choice turned over, all of them, plain exports, uint8 output, INT8."""
        for target in FORMS:
            precisions = FLOAT_PRECISIONS.get(target, ("fp32",))
            for precision in precisions:
                if target in ONNX_TARGETS:
                    yield from (Variant(target, precision, forms) for forms in OFFICIALS)
                for forms in self._combinations(target):
                    yield Variant(target, precision, forms)
            yield Variant(target, "int8", self.taken(target))
            yield Variant(target, "int8", (*self.taken(target), RECIPE))

    def _combinations(self, target: str) -> Iterator[tuple[str, ...]]:
        taken = self.taken(target)
        every = itertools.product(*([form.__name__ for form in choice] for choice in self.choices()))
        for forms in every:
            if target in ONNX_TARGETS or len({*forms} - {*taken}) <= 1:
                yield forms
        if target in ONNX_TARGETS:
            yield from ((*taken, opset) for opset in OPSETS)
            yield (*taken, uint8_output.__name__)
            yield (*taken, ROUNDED_OUTSIDE)


def _weights(model: str, say: Callable[[str], None]) -> tuple[str, nn.Module, nn.Module]:
    """Speed hardly depends on them, but they must be of a usual size: denormal numbers are slow."""
    try:
        loaded = load(model, SCALE, say=say)
        return f"{loaded.provenance.kind} ({loaded.provenance.file})", loaded.network, loaded.folded
    except WeightsError as error:
        say(f"{model} is timed with random weights: {error}")
        torch.manual_seed(SEED)
        network = find(model, SCALE).forms()["train"].eval()
        return f"random (seed {SEED})", network, network.fold()


def image_of(size: Size) -> Array:
    """float32 (1, 3, H, W), RGB in [0, 1]: shapes of all sizes, like a photo."""
    height, width = size
    picture = generated_pictures(1, max(size))[0][:height, :width]
    return to_input(picture)


def prepare(subject: Subject, variant: Variant, threads: int) -> Callable[[], object]:
    """Convert, load and check one variant; the result runs it once on the image of `subject`."""
    outside = ROUNDED_OUTSIDE in variant.forms
    source = subject.source(tuple(name for name in variant.forms if name != ROUNDED_OUTSIDE))
    runner = open_variant(source, variant, threads)
    image = subject.image
    check_output(runner(image), subject.expected, variant)
    return (lambda: _to_uint8(runner(image))) if outside else (lambda: runner(image))


def open_variant(source: Source, variant: Variant, threads: int, size: Size = SIZE) -> Runner:
    """Convert through the target and load through the runner of this kit, as a user's artifact would be."""
    request = Request(source.name, source.scale, variant.target, variant.precision, (size,))
    with stage("prepare"), tempfile.TemporaryDirectory() as name:
        plain = isinstance(source, PlainSource)
        made = plain_conversion(source, request, Path(name)) if plain else convert(source, request, Path(name))
        contents = Contents(
            target=request.target,
            precision=request.precision,
            scale=request.scale,
            accepts=InputRule(request.sizes, source.min_side_px),
            main=made.main,
            input_name=made.inputs[0].name,
            output_name=made.outputs[0].name,
            options=made.runtime_options,
            files={file: (Path(name) / file).read_bytes() for file in made.files},
        )
        runner: Runner = importlib.import_module(RUNTIMES[request.target]).open_contents(contents, threads)
        return runner


def check_output(found: Array, expected: Array, variant: Variant) -> None:
    """Raise EdgesrError unless `found` is finite and, in float32, what the network computes."""
    if found.dtype == np.uint8:
        found = found.astype(np.float32) / np.float32(255)
        expected = expected.clip(0, 1)
    error = float(np.abs(found - expected).max())
    if not np.isfinite(error) or (variant.precision == "fp32" and error > TOLERANCE):
        raise EdgesrError(f"{variant} does not compute the network: it differs by {error:.4f} of the range.")


def _to_uint8(output: Array) -> Any:
    return np.rint(np.clip(output, 0, 1) * np.float32(255)).astype(np.uint8)


def measure(model: str, plan: Plan, threads: int, terminal: Terminal) -> ModelResult:
    """Time every variant of `model`; one that cannot be made is skipped with its reason."""
    subject = Subject(model, terminal.say)
    ready: dict[Variant, Callable[[], object]] = {}
    skipped: dict[str, str] = {}
    variants = list(subject.variants())
    for done, variant in enumerate(variants):
        terminal.progress(f"prepare {model}", done, len(variants), str(variant))
        try:
            _require_row(variant.target)
            ready[variant] = prepare(subject, variant, threads)
        except EdgesrError as error:
            skipped[str(variant)] = str(error)
            terminal.say(f"{model}: {variant} is skipped: {error}")
    terminal.progress(f"prepare {model}", len(variants), len(variants))
    if BASELINE not in ready:
        raise EdgesrError(f"{model}: without {BASELINE} there is nothing to compare with. {skipped[str(BASELINE)]}")
    samples = interleave(
        {str(variant): call for variant, call in ready.items()},
        plan,
        lambda done, total: terminal.progress(f"time {model}", done, total, "rounds"),
    )
    return summarize(subject, {variant: samples[str(variant)] for variant in ready}, skipped)


def _require_row(target: str) -> None:
    if target not in TARGETS or target not in RUNTIMES:
        raise EdgesrError(f"{target} has no converter or no runner in this version.")


def summarize(subject: Subject, samples: dict[Variant, Samples], skipped: dict[str, str]) -> ModelResult:
    def compare(taken: Variant, instead: Variant) -> Comparison:
        return Comparison(taken, instead, speedup(samples[instead].raw_ns, samples[taken].raw_ns))

    base = samples[BASELINE].raw_ns
    rows = [Row(key, each.median_ms, speedup(base, each.raw_ns), each.raw_ns) for key, each in samples.items()]
    choices, int8 = [], []
    for variant in samples:
        taken = variant._replace(forms=subject.taken(variant.target))
        if taken not in samples or variant.forms in OFFICIALS:
            continue
        if variant.precision != "int8" and variant != taken and len({*variant.forms} ^ {*taken.forms}) == 2:
            choices.append(compare(taken, variant))
        if variant == taken and variant.precision != "int8":
            wholes = [variant._replace(precision="int8", forms=(*taken.forms, *more)) for more in ((), (RECIPE,))]
            int8 += [compare(whole, variant) for whole in wholes if whole in samples]
    return ModelResult(subject.spec.name, subject.weights, tuple(rows), tuple(choices), tuple(int8), skipped)


def table(result: ModelResult, plan: Plan, threads: int) -> Table:
    """For a terminal: one row per variant, in the order in which they were made."""
    height, width = SIZE
    drawn = Table(box=None, pad_edge=False, header_style="bold", caption_justify="left")
    drawn.caption = (
        f"{result.model} x{SCALE}, weights: {result.weights}, {width}x{height}, {threads} thread(s), {plan.clock} "
        f"time, median of {plan.rounds} interleaved rounds; speed-up against the official graph in ONNX Runtime "
        f"float32, 95 % interval."
    )
    for name in ("target", "precision", "forms"):
        drawn.add_column(name)
    for name in ("median ms", "speed-up", "interval"):
        drawn.add_column(name, justify="right")
    for row in result.rows:
        ratio, (target, precision, forms) = row.speedup, row.variant
        interval = f"{ratio.low:.2f}-{ratio.high:.2f}"
        drawn.add_row(target, precision, " + ".join(forms), f"{row.median_ms:.1f}", f"{ratio.value:.2f}", interval)
    return drawn


def verdicts(result: ModelResult) -> list[str]:
    """Which form wins, target by target, and what INT8 brings."""
    lines = []
    for comparison in (*result.choices, *result.int8):
        ratio, taken, instead = comparison.speedup, comparison.taken, comparison.instead
        word = "faster than" if ratio.low > 1 else "slower than" if ratio.high < 1 else "as fast as"
        lines.append(
            f"{result.model}: {taken} is {word} {instead}: {ratio.value:.2f}x ({ratio.low:.2f}-{ratio.high:.2f})"
        )
    return lines


def report(results: Sequence[ModelResult], plan: Plan, threads: int) -> dict[str, Any]:
    machine = diagnose()
    return {
        "machine": {"cpu": machine.cpu, "cpu_features": machine.cpu_features, "cpus": os.cpu_count()},
        "system": f"{machine.system}, {machine.machine}, Python {machine.python}",
        "versions": dict(_versions()),
        "input": [1, 3, *SIZE],
        "scale": SCALE,
        "threads": threads,
        "plan": asdict(plan),
        "baseline": BASELINE._asdict(),
        "models": [_with_named_variants(asdict(result)) for result in results],
    }


def _with_named_variants(value: Any) -> Any:
    """Variants as objects: `asdict` leaves them tuples."""
    if isinstance(value, Variant):
        return value._asdict()
    if isinstance(value, dict):
        return {key: _with_named_variants(item) for key, item in value.items()}
    return [_with_named_variants(item) for item in value] if isinstance(value, list | tuple) else value


def _versions() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield package, importlib.metadata.version(package)


def write(content: dict[str, Any], out: Path) -> None:
    """The whole file or none: an interrupted run leaves what was there."""
    text = json.dumps(content, indent=1)
    text = re.sub(r"\[\n\s+([^\[\]{}]*?)\n\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text)
    write_whole(out, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"), "Choose another --out.")


def check_clock(clock: Clock, threads: int) -> None:
    """Raises click.UsageError."""
    if clock == "cpu" and threads > 1:
        raise click.UsageError("--clock cpu adds up the time of all threads; use it with --threads 1.")


@click.command()
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("docs/bench.json"))
@click.option("--model", "models", multiple=True, type=click.Choice(MODELS), default=MODELS, help="Only these.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--rounds", type=click.IntRange(3), default=15, show_default=True, help="Each runs every variant once.")
@click.option("--clock", type=click.Choice(list(CLOCKS)), default="wall", show_default=True)
def main(out: Path, models: tuple[str, ...], threads: int, rounds: int, clock: Clock) -> None:
    """Time the graph forms of every target on this machine.

    `--clock cpu` counts what this process computed, for a machine that is busy with other work; with one thread only.
    """
    check_clock(clock, threads)
    torch.set_num_threads(threads)
    plan = Plan(rounds, seed=SEED, clock=clock)
    console = Console(highlight=False, width=None if Console().is_terminal else 160)
    try:
        with Terminal() as terminal:
            results = [measure(model, plan, threads, terminal) for model in models]
        write(report(results, plan, threads), out)
    except EdgesrError as error:
        raise click.ClickException(str(error)) from error
    for result in results:
        console.print(table(result, plan, threads))
        console.print(*verdicts(result), sep="\n", soft_wrap=True, end="\n\n")


if __name__ == "__main__":
    main()
