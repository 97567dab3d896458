"""Photos through an artifact: upscale."""

import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click

from edgesr.cli.options import DEFAULT_OUT, FOLDER, as_json


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", "-o", type=click.Path(path_type=Path), help="Folder or file. Default: NAME_x4 beside the input.")
@click.option("--artifact", "-a", type=FOLDER, help="Artifact folder. Default: the latest in ./artifacts.")
@click.option("--format", "suffix", metavar="SUFFIX", help="Write all as png, jpg, webp, bmp or tif.")
@click.option("--tile", type=click.IntRange(min=1), help="Side of a tile in pixels. Default: from --memory.")
@click.option(
    "--memory", type=click.FloatRange(min=1), default=1000, show_default=True, help="Budget in MB for a tile."
)
@click.option("--max-mpx", type=click.FloatRange(min=0.01), help="Refuse larger inputs (megapixels).")
@click.option("--quality", type=click.IntRange(1, 100), default=95, show_default=True, help="Of JPEG and WebP.")
@click.option("--strip-metadata", is_flag=True, help="Leave EXIF out.")
@click.option("--skip-existing", is_flag=True, help="Go on where an interrupted run stopped.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads. Default: all.")
@as_json
def upscale(
    inputs: tuple[Path, ...],
    out: Path | None,
    artifact: Path | None,
    suffix: str | None,
    tile: int | None,
    memory: float,
    max_mpx: float | None,
    quality: int,
    strip_metadata: bool,
    skip_existing: bool,
    threads: int | None,
    json_: bool,
) -> None:
    """Upscale photos and folders of photos with a converted network."""
    from edgesr import upscale as work
    from edgesr.artifact import latest, read_manifest
    from edgesr.images import DEFAULT_MAX_MPX, left_out
    from edgesr.runner import open_artifact
    from edgesr.terminal import Terminal

    folder = artifact or latest(DEFAULT_OUT)
    manifest = read_manifest(folder)
    planned = work.plan_outputs(inputs, out, manifest.scale, f".{suffix.lstrip('.')}" if suffix else None)
    options = work.Options(tile, memory, max_mpx or DEFAULT_MAX_MPX, quality, not strip_metadata, skip_existing)
    done: list[work.Upscaled] = []
    with Terminal() as terminal:
        terminal.say(f"Upscaling with {folder} (weights: {manifest.weights.kind}).")
        unread = left_out(inputs)
        if unread:
            terminal.say(unread)
        for result in work.upscale_files(planned, open_artifact(folder, threads=threads), manifest, options, terminal):
            done.append(result)
            for line in work.sentences(result):
                terminal.say(line)
        if len(done) > 1:
            counts = Counter(result.status for result in done)
            terminal.say(", ".join(f"{count} {status}" for status, count in sorted(counts.items())) + ".")
    if json_:
        click.echo(json.dumps([asdict(result) for result in done], indent=1))
    sys.exit(next((result.exit_code for result in done if result.exit_code), 0))
