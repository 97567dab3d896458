"""Weights: train."""

import json
from pathlib import Path

import click

from edgesr.cli.options import FILE, FOLDER, as_json


@click.command()
@click.argument("model")
@click.option("--data", type=FOLDER, required=True, help="Folder of high-resolution photos.")
@click.option("--run", "run_", type=FOLDER, required=True, help="Folder of this run; give it again to resume.")
@click.option("--start", type=FILE, help="Weights (training form) to begin with; ditn-real takes those of ditn-tiny.")
@click.option("--teacher", metavar="NAME", help="Learn from the output of this network too (distillation).")
@click.option("--teacher-weights", type=FILE, help="Its checkpoint. Default: found as for 'convert'.")
@click.option("--teacher-share", type=float, metavar="0..1", help="Its share of the loss. Default: 0.5.")
@click.option("--scale", type=int, help="Upscaling factor (default: 4 where it exists).")
@click.option("--steps", type=int, default=20_000, show_default=True)
@click.option("--batch", type=int, default=16, show_default=True)
@click.option("--patch", type=int, default=48, show_default=True, help="Side of a low-resolution patch in pixels.")
@click.option("--learning-rate", type=float, default=1e-3, show_default=True)
@click.option("--bf16", is_flag=True, help="bfloat16 autocast: faster on CPUs that have it.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads. Default: all.")
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
    bf16: bool,
    seed: int,
    threads: int | None,
    eval_: Path | None,
    json_: bool,
) -> None:
    """Train MODEL on photos, from scratch or on from weights (L1, Adam, cosine, EMA); resumes where it stopped."""
    from edgesr.extras import require
    from edgesr.models.registry import find
    from edgesr.terminal import Terminal
    from edgesr.train.recipe import DEFAULT_TEACHER_SHARE, Recipe

    require("torch", "train")
    from edgesr.train.run import train_model

    spec = find(model, scale)
    recipe = Recipe(
        spec.name,
        spec.scale,
        steps=steps,
        batch=batch,
        patch_px=patch,
        learning_rate=learning_rate,
        bf16=bf16,
        seed=seed,
        teacher=teacher,
        teacher_share=DEFAULT_TEACHER_SHARE if teacher is not None and teacher_share is None else teacher_share,
    )
    with Terminal() as terminal:
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
        )
    click.echo(json.dumps(card, indent=1) if json_ else f"{run_ / 'weights.safetensors'}")
