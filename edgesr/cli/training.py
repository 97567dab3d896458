"""Weights: train, and the photos for it: pack."""

import json
from pathlib import Path
from typing import Literal

import click

from edgesr.cli.options import FILE, FOLDER, as_json

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
@click.option("--schedule", default="cosine", show_default=True, help="cosine, or multi-step: halved four times.")
@click.option("--finish-loss", metavar="l2|fft", help="Takes the place of L1 in the last steps.")
@click.option("--finish-steps", type=int, default=0, help="How many of the steps those are.")
@click.option(
    "--degradation", default="bicubic", show_default=True, help="bicubic, or real-world: blur, noise and JPEG."
)
@click.option("--bf16", is_flag=True, help="bfloat16 autocast: faster on CPUs that have it, and on CUDA.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--compile", "compile_", is_flag=True, help="Through torch.compile: a slow start, then faster on CUDA.")
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
    """Train MODEL on photos, from scratch or on from weights (Adam, EMA); resumes where it stopped.

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
