"""Weights: train, and the photos for it: pack."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from edgesr.cli.options import FILE, FOLDER, as_json, stdout

if TYPE_CHECKING:
    from edgesr.artifact import Proof
    from edgesr.quantization.recipe import Recipe
    from edgesr.report import Row

DATA = click.Path(path_type=Path)


@click.command()
@click.argument("model")
@click.option("--data", type=DATA, required=True, help="Folder of high-resolution photos, what 'pack' wrote, or div2k.")
@click.option("--run", "run_", type=FOLDER, required=True, help="Folder of this run; give it again to resume.")
@click.option("--start", type=FILE, help="Weights (training form) to begin with; those of another scale serve too.")
@click.option("--teacher", metavar="NAME", help="Learn from the output of this network too (distillation).")
@click.option("--teacher-weights", type=FILE, help="Its checkpoint. Default: found as for 'convert'.")
@click.option("--teacher-share", type=float, metavar="0..1", help="Its share of the loss. Default: 0.5.")
@click.option("--scale", type=int, help="Upscaling factor (default: 4 where it exists).")
@click.option("--steps", type=int, default=20_000, show_default=True)
@click.option("--batch", type=int, default=16, show_default=True, help="Patches a step, over all ranks.")
@click.option("--patch", type=int, default=48, show_default=True, help="Side of a low-resolution patch in pixels.")
@click.option("--learning-rate", type=float, default=1e-3, show_default=True)
@click.option("--final-learning-rate", type=float, default=1e-6, show_default=True, help="Of the cosine.")
@click.option(
    "--optimizer", default="adam", show_default=True, help="adam, or muon: fewer steps where kernels mix channels."
)
@click.option("--schedule", default="cosine", show_default=True, help="cosine, or multi-step: halved four times.")
@click.option("--finish-loss", metavar="l2|fft", help="Takes the place of L1 in the last steps.")
@click.option("--finish-steps", type=int, default=0, help="How many of the steps those are.")
@click.option(
    "--degradation", default="bicubic", show_default=True, help="bicubic, or real-world: blur, noise and JPEG."
)
@click.option("--bf16", is_flag=True, help="bfloat16 autocast: faster on CPUs that have it, and on CUDA.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option(
    "--compile",
    "compile_",
    is_flag=True,
    help="Through torch.compile: minutes to start, then faster (ELAN on CPUs; CUDA).",
)
@click.option("--workers", type=click.IntRange(min=0), default=2, show_default=True, help="Threads that cut patches.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads. Default: all.")
@click.option("--cache", type=FOLDER, help="Where the decoded photos are kept. Default: the user's cache.")
@click.option("--eval", "eval_", type=FOLDER, help="Image sets for the PSNR in the model card; not used in training.")
@as_json
def train(
    model: str,
    data: Path,
    run_: Path,
    start: Path | None,
    teacher: str | None,
    teacher_weights: Path | None,
    teacher_share: float | None,
    scale: int | None,
    steps: int,
    batch: int,
    patch: int,
    learning_rate: float,
    final_learning_rate: float,
    optimizer: str,
    schedule: str,
    finish_loss: str | None,
    finish_steps: int,
    degradation: str,
    bf16: bool,
    seed: int,
    device: Literal["auto", "cpu", "cuda"],
    compile_: bool,
    workers: int,
    threads: int | None,
    cache: Path | None,
    eval_: Path | None,
    json_: bool,
) -> None:
    """Train MODEL on photos, from scratch or on from weights; resumes where it stopped.

    \b
    On several GPUs, or in several processes of the CPU:
    torchrun --nproc-per-node 2 -m edgesr.cli -- train MODEL ...
    """
    from edgesr.extras import require
    from edgesr.models.registry import find
    from edgesr.terminal import Terminal
    from edgesr.train.recipe import DEFAULT_TEACHER_SHARE, Recipe

    require("torch", "train")
    from edgesr.train.machine import machine
    from edgesr.train.run import train_model

    spec = find(model, scale)
    recipe = Recipe(
        spec.name,
        spec.scale,
        steps=steps,
        batch=batch,
        patch_px=patch,
        learning_rate=learning_rate,
        final_learning_rate=final_learning_rate,
        optimizer=optimizer,
        schedule=schedule,
        finish_loss=finish_loss,
        finish_steps=finish_steps,
        degradation=degradation,
        bf16=bf16,
        seed=seed,
        teacher=teacher,
        teacher_share=DEFAULT_TEACHER_SHARE if teacher is not None and teacher_share is None else teacher_share,
    )
    with machine(device, workers, compile_) as here, Terminal() as terminal:
        card = train_model(
            spec,
            recipe,
            data,
            run_,
            start=start,
            teacher_weights=teacher_weights,
            threads=threads,
            evaluate_on=eval_,
            listener=terminal,
            machine=here,
            cache=cache,
        )
    if here.leads:
        click.echo(json.dumps(card, indent=1) if json_ else f"{run_ / 'weights.safetensors'}")


@click.command()
@click.argument("model")
@click.option("--out", "-o", type=FILE, required=True, help="The recipe (.json); its numbers lie beside it.")
@click.option("--photos", type=FOLDER, help="Low-resolution photos to learn on (DIV2K's layout is recognised).")
@click.option("--high", type=FOLDER, help="High-resolution photos instead; they are shrunk (MATLAB bicubic).")
@click.option("--recipe", type=FILE, help="What to begin with, by 'quantize'. Default: made first, all on integers.")
@click.option("--split-last", is_flag=True, help="Two grids for what the last convolutions read: finer, more work.")
@click.option(
    "--split-work",
    type=click.FloatRange(0, 1),
    help="Most work to add for two grids of what others write, a part of all.  [default: 0.05]",
)
@click.option(
    "--reproducible",
    is_flag=True,
    help="INT8 that hangs on no last bit: ONNX Runtime gives the same pixels everywhere.",
)
@click.option("--run", "run_", type=FOLDER, help="Folder of this run; give it again to resume. Default: beside --out.")
@click.option("--scale", type=int, help="Upscaling factor (default: 4 where it exists).")
@click.option("--weights", type=FILE, help="Your own checkpoint (.pth or .safetensors).")
@click.option("--steps", type=int, default=1500, show_default=True)
@click.option("--batch", type=int, default=8, show_default=True, help="Patches a step.")
@click.option("--patch", type=int, default=64, show_default=True, help="Side of a low-resolution patch in pixels.")
@click.option("--learning-rate", type=float, default=0.02, show_default=True, help="In levels of an int8 weight.")
@click.option(
    "--weight-bits",
    type=click.Choice(["7", "8"]),
    default="8",
    show_default=True,
    help="7 overflows nowhere: for x86 without VNNI.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--workers", type=click.IntRange(min=0), default=1, show_default=True, help="Threads that cut patches.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads. Default: all.")
@click.option("--stop", is_flag=True, help="Write the recipe of what --run has reached, without another step.")
@click.option("--data", type=FOLDER, help="Image sets to measure on: SET/HR, SET/LRx4, or a folder of photos.")
@as_json
def qat(
    model: str,
    out: Path,
    photos: Path | None,
    high: Path | None,
    recipe: Path | None,
    split_last: bool,
    split_work: float | None,
    reproducible: bool,
    run_: Path | None,
    scale: int | None,
    weights: Path | None,
    steps: int,
    batch: int,
    patch: int,
    learning_rate: float,
    weight_bits: str,
    seed: int,
    device: Literal["auto", "cpu", "cuda"],
    workers: int,
    threads: int | None,
    stop: bool,
    data: Path | None,
    json_: bool,
) -> None:
    """Train MODEL for INT8 (quantization-aware): a recipe for 'edgesr convert --recipe'; resumes where it stopped.

    The float network is the teacher, so low-resolution photos suffice. Measured in torch, onnxruntime and openvino.
    """
    from edgesr.errors import UsageError
    from edgesr.extras import require
    from edgesr.models.registry import find
    from edgesr.terminal import Terminal

    require("torch", "train")
    from edgesr.qat.photos import low_photos, made_from_high
    from edgesr.qat.run import make_start, measured, read_start, train_recipe
    from edgesr.qat.settings import SPLIT_WORK, Settings
    from edgesr.quantization.recipe import save
    from edgesr.train.machine import check_alone, machine, with_threads
    from edgesr.train.run import say_skipped

    check_alone("qat")
    if out.suffix != ".json":
        raise UsageError(f"A recipe is a .json file; found -o {out}. Give, for example, -o {out.with_suffix('.json')}")
    place = photos or high
    if place is None or (photos and high):
        raise UsageError("Give the photos to learn on: either --photos (low-resolution) or --high (high-resolution).")
    split = "--split-last" if split_last else "--split-work" if split_work is not None else None
    if recipe and split:
        raise UsageError(f"{split} is of the recipe that is made first; --recipe brings its own. Leave one out.")
    spec = find(model, scale)
    settings = Settings(
        spec.name,
        spec.scale,
        steps=steps,
        batch=batch,
        patch_px=patch,
        learning_rate=learning_rate,
        final_learning_rate=learning_rate / 100,
        seed=seed,
        weight_bits=int(weight_bits),
    )
    folder = run_ or out.with_suffix(".run")
    with machine(device, workers, False) as here, Terminal() as terminal:
        with_threads(threads)

        def told(done: int, total: int) -> None:
            terminal.progress("read photos", done, total)

        read = low_photos if photos else made_from_high
        found = read(place, spec.scale, patch, told)
        say_skipped(found.skipped, terminal)
        if recipe is None:
            part = SPLIT_WORK if split_work is None else split_work
            begin = make_start(
                spec, weights, found, terminal, split_last=split_last, split_work=part, reproducible=reproducible
            )
        else:
            begin = read_start(spec, weights, recipe, terminal, reproducible=reproducible)
        made = train_recipe(begin, settings, found, folder, terminal, here, stop=stop)
        save(made, out)
        proof, rows = measured(spec, weights, out, data, terminal)
    _say_recipe(made, out, proof, rows, json_)


def _say_recipe(made: "Recipe", out: Path, proof: "Proof", rows: "list[Row]", json_: bool) -> None:
    from edgesr.report import recipe_table, table

    if json_:
        measured = [asdict(row) for row in rows]
        content = {"recipe": str(out), **asdict(made.facts), "proof": asdict(proof), "runtimes": measured}
        click.echo(json.dumps(content, indent=1))
    else:
        stdout(recipe_table(made.facts, proof))
        stdout(table(rows))
    click.echo(f"{out}", err=True)


@click.command()
@click.argument("data", type=FOLDER)
@click.option("--out", "-o", type=FILE, required=True, help="The file to write; give it to 'train --data'.")
@click.option("--scale", type=int, default=4, show_default=True)
@click.option("--patch", type=int, default=48, show_default=True, help="Smallest low-resolution side to take.")
@click.option("--limit-mb", type=click.FloatRange(min=0, min_open=True), help="Cut each photo so that all fit.")
def pack(data: Path, out: Path, scale: int, patch: int, limit_mb: float | None) -> None:
    """Decode the photos in the folder DATA into one file, to train from it elsewhere."""
    from edgesr.errors import UsageError
    from edgesr.extras import require
    from edgesr.terminal import Terminal

    require("torch", "train")
    from edgesr.train.div2k import photo_source
    from edgesr.train.photos import pack_photos
    from edgesr.train.run import say_skipped

    if not (1 <= scale <= 16 and patch >= 1):
        raise UsageError(f"--scale must be in 1..16 and --patch at least 1, got {scale} and {patch}.")
    limit_bytes = None if limit_mb is None else int(limit_mb * 1e6)
    with Terminal() as terminal:

        def told(done: int, total: int) -> None:
            terminal.progress("read photos", done, total)

        skipped = pack_photos(photo_source(data, terminal), out, scale, patch, limit_bytes, told)
        say_skipped(skipped, terminal)
    click.echo(str(out))
