"""The command line: each command parses, makes one library call, prints. Data on stdout, words on stderr.

Nothing heavy is imported before a command runs: `edgesr --help` must start in under 0.3 s.
"""

import functools
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgesr import __version__
from edgesr.errors import EdgesrError, UnknownName, UsageError
from edgesr.types import IOS, PRECISIONS, Io, Precision, Size

if TYPE_CHECKING:
    from edgesr.verify import Limit

INTERRUPTED = 130
DEFAULT_OUT = Path("artifacts")
FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)


MAX_DROP = click.option(
    "--max-drop",
    type=click.FloatRange(min=0, min_open=True),
    metavar="DB",
    help="INT8 contract: the most that may be lost on the mean of the image sets. Default: 0.10.",
)
MAX_WORST_DROP = click.option(
    "--max-worst-drop",
    type=click.FloatRange(min=0, min_open=True),
    default=0.5,
    show_default=True,
    metavar="DB",
    help="... and on the worst image.",
)


class Commands(click.Group):
    """Names the nearest command when a name is mistyped."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            raise UnknownName("command", args[0], self.commands)
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="edgesr")
def cli() -> None:
    """Convert, quantize, verify and run image super-resolution networks on edge devices.

    \b
    edgesr convert bsrn-s --target openvino --int8
    edgesr upscale photo.png
    """


def as_json(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "json_", is_flag=True, help="Print JSON on stdout instead of a table.")(command)


def _size(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[Size, ...]:
    return tuple(_one_size(value) for value in values)


def _one_size(text: str) -> Size:
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isascii() and side.isdigit() and 0 < int(side) < 100_000 for side in sides):
        raise UsageError(
            f"--size {text!r} is not HEIGHTxWIDTH in pixels of the low-resolution input, for example 180x320."
        )
    return int(sides[0]), int(sides[1])


@cli.command()
@click.option("--identify", type=FILE, metavar="FILE", help="Only the network whose weights this file holds.")
@as_json
def models(identify: Path | None, json_: bool) -> None:
    """List the networks: scales, size, cost, licence, PSNR and where weights come from."""
    from edgesr.models.listing import rows, rows_of_file, table

    _print(rows() if identify is None else rows_of_file(identify), json_, table)


@cli.command()
@click.option("--explain", is_flag=True, help="What each target rewrites, and why; what it does not have, and why.")
@as_json
def targets(explain: bool, json_: bool) -> None:
    """List the formats that networks can be converted to."""
    from edgesr.targets import TARGETS
    from edgesr.targets.listing import explained, explanation, table

    if explain:
        _print([explained(info) for info in TARGETS.values()], json_, explanation)
    else:
        _print(list(TARGETS.values()), json_, table)


@cli.command()
@click.argument("model")
@click.option("--target", "-t", "targets_", multiple=True, required=True, help="Target, repeatable, or 'all'.")
@click.option("--scale", type=int, help="Upscaling factor (default: 4 where it exists).")
@click.option(
    "--precision", "-p", multiple=True, help=f"{', '.join(PRECISIONS)}; repeatable. Default: fp32.", metavar="PRECISION"
)
@click.option("--int8", is_flag=True, help="Same as --precision int8.")
@click.option("--fp16", is_flag=True, help="Same as --precision fp16.")
@click.option(
    "--size",
    "sizes",
    multiple=True,
    callback=_size,
    metavar="HxW",
    help="Fixed input size; repeat for several (enumerated). Default: any size; 256x256 where a target needs one.",
)
@click.option(
    "--io", type=click.Choice(IOS), default="float32", show_default=True, help="What the artifact takes and gives."
)
@click.option("--weights", type=FILE, help="Your own checkpoint (.pth or .safetensors).")
@click.option("--calib", type=FOLDER, help="Low-resolution photos for INT8 ranges (DIV2K's layout is recognised).")
@click.option("--recipe", type=FILE, help="Take INT8 from what 'edgesr quantize' wrote.")
@MAX_DROP
@MAX_WORST_DROP
@click.option("--quick", is_flag=True, help="INT8 without a contract: ranges alone, in seconds; loses 0.4 to 1.1 dB.")
@click.option("--data", type=FOLDER, help="Image sets to verify on: SET/HR, SET/LRx4, or a folder of photos.")
@click.option("--out", "-o", type=FOLDER, default=DEFAULT_OUT, show_default=True, help="Folder for the artifacts.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=1800,
    show_default=True,
    help="Seconds for one step of one artifact.",
)
@as_json
def convert(
    model: str,
    targets_: tuple[str, ...],
    scale: int | None,
    precision: tuple[str, ...],
    int8: bool,
    fp16: bool,
    sizes: tuple[Size, ...],
    io: Io,
    weights: Path | None,
    calib: Path | None,
    recipe: Path | None,
    max_drop: float | None,
    max_worst_drop: float,
    quick: bool,
    data: Path | None,
    out: Path,
    timeout: float,
    json_: bool,
) -> None:
    """Convert MODEL, verify the result in its own runtime, keep it if it passes.

    Each conversion runs in a process of its own. With --target all, what a target cannot do is a row with the reason.
    INT8 is quantized with more and more effort until the loss measured in the target's runtime is within --max-drop;
    what was found is kept for the next time.
    """
    from edgesr.extras import require
    from edgesr.models.registry import find
    from edgesr.pipeline import Session, convert_all
    from edgesr.planned import plan
    from edgesr.report import table
    from edgesr.targets import INTEGER, TARGETS
    from edgesr.terminal import Terminal

    spec = find(model, scale)
    spec.check_sizes(sizes)
    precisions = _precisions((*precision, *["fp16"] * fp16, *["int8"] * int8))
    if "int8" not in precisions and (recipe or quick or max_drop is not None):
        raise UsageError("--recipe, --quick and --max-drop are for INT8. Add --int8, or leave them out.")
    if recipe and calib:
        raise UsageError("A recipe brings its own ranges, so --calib would change nothing. Give --recipe or --calib.")
    if quick and (recipe or max_drop is not None):
        raise UsageError("--quick promises nothing and takes no recipe. Leave it out, or --recipe and --max-drop.")
    # A recipe has kept a contract when it was made; it is judged again only if asked.
    limit = None if quick or (recipe and max_drop is None) else _limit(max_drop, max_worst_drop)
    planned = plan(spec.name, spec.scale, targets_, precisions, sizes, io)
    require("torch", TARGETS[planned[0].request.target].extra)
    with Terminal() as terminal:
        session = Session(
            spec.name,
            spec.scale,
            weights=weights,
            calib=calib,
            data=data,
            int8=any(precision in INTEGER for precision in precisions),
            recipe=recipe,
            timeout_s=timeout,
            listener=terminal,
        )
        outcome = convert_all(session, planned, out, limit, advise=not quick)
    _print(outcome.rows, json_, table)
    for artifact_row in outcome.rows:
        if artifact_row.status == "done":
            click.echo(f"{out / artifact_row.slug}", err=True)
    if outcome.first_error is not None:
        raise outcome.first_error


@cli.command()
@click.argument("model")
@click.option("--out", "-o", type=FILE, required=True, help="The recipe (.json); its numbers lie beside it.")
@click.option("--scale", type=int, help="Upscaling factor (default: 4 where it exists).")
@click.option("--weights", type=FILE, help="Your own checkpoint (.pth or .safetensors).")
@click.option("--calib", type=FOLDER, help="Low-resolution photos (DIV2K's layout is recognised).")
@MAX_DROP
@MAX_WORST_DROP
@click.option("--data", type=FOLDER, help="Image sets to measure on: SET/HR, SET/LRx4, or a folder of photos.")
@click.option("--report", type=FILE, help="A page (.html) on every layer: bits, ranges, error; its rows lie beside it.")
@click.option(
    "--timeout", type=click.FloatRange(min=1), default=3600, show_default=True, help="Seconds for one attempt."
)
@as_json
def quantize(
    model: str,
    out: Path,
    scale: int | None,
    weights: Path | None,
    calib: Path | None,
    max_drop: float | None,
    max_worst_drop: float,
    data: Path | None,
    report: Path | None,
    timeout: float,
    json_: bool,
) -> None:
    """Quantize MODEL to INT8 once, for every target: a recipe for 'edgesr convert --recipe'.

    Measured on image sets in torch; --max-drop (default: 0.10) says what may be lost, and how much effort is made.
    """
    from edgesr import layers_page
    from edgesr.models.registry import find
    from edgesr.pipeline import Session
    from edgesr.report import recipe_table
    from edgesr.terminal import Terminal

    if out.suffix != ".json":
        raise UsageError(f"A recipe is a .json file; found -o {out}. Give, for example, -o {out.with_suffix('.json')}")
    spec = find(model, scale)
    if report is not None:
        layers_page.check_place(report, out)
    with Terminal() as terminal:
        session = Session(
            spec.name,
            spec.scale,
            weights=weights,
            calib=calib,
            data=data,
            int8=True,
            timeout_s=timeout,
            listener=terminal,
        )
        from edgesr.quantization.recipe import save

        made, proof = session.quantize(_limit(max_drop, max_worst_drop))
        save(made, out)
        if report is not None:
            kind, explained = session.loaded.provenance.kind, session.explain(made)
            layers_page.write(layers_page.Page(made.facts, kind, proof, explained), report)
    if json_:
        click.echo(json.dumps({"recipe": str(out), **asdict(made.facts), "proof": asdict(proof)}, indent=1))
    else:
        _stdout(recipe_table(made.facts, proof))
    for path in filter(None, (out, report)):
        click.echo(f"{path}", err=True)


@cli.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--weights", type=FILE, help="The checkpoint that it was made from, if it was your own.")
@click.option("--data", type=FOLDER, help="Image sets to verify on: SET/HR, SET/LRx4, or a folder of photos.")
@as_json
def verify(artifact: Path, weights: Path | None, data: Path | None, json_: bool) -> None:
    """Check ARTIFACT (a folder): its files, and its output in its own runtime against torch."""
    from edgesr.pipeline import verify_artifact
    from edgesr.report import table
    from edgesr.terminal import Terminal

    with Terminal() as terminal:
        found = verify_artifact(artifact, weights=weights, data=data, listener=terminal)
    _print([found], json_, table)


@cli.command()
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
    from edgesr.images import DEFAULT_MAX_MPX
    from edgesr.runner import open_artifact
    from edgesr.terminal import Terminal

    folder = artifact or latest(DEFAULT_OUT)
    manifest = read_manifest(folder)
    planned = work.plan_outputs(inputs, out, manifest.scale, f".{suffix.lstrip('.')}" if suffix else None)
    options = work.Options(tile, memory, max_mpx or DEFAULT_MAX_MPX, quality, not strip_metadata, skip_existing)
    done: list[work.Upscaled] = []
    with Terminal() as terminal:
        terminal.say(f"Upscaling with {folder} (weights: {manifest.weights.kind}).")
        for result in work.upscale_files(planned, open_artifact(folder, threads=threads), manifest, options, terminal):
            done.append(result)
            for line in work.sentences(result):
                terminal.say(line)
    if json_:
        click.echo(json.dumps([asdict(result) for result in done], indent=1))
    sys.exit(next((result.exit_code for result in done if result.exit_code), 0))


@cli.command()
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


@cli.command()
@as_json
def doctor(json_: bool) -> None:
    """Say what is installed, what can be converted and run here, and how to get the rest."""
    from edgesr.doctor import diagnose, report

    diagnosis = diagnose()
    if json_:
        click.echo(json.dumps(asdict(diagnosis), indent=1))
    else:
        _stdout(report(diagnosis))


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: runs a command and turns every error into one line and its exit code."""
    try:
        cli.main(args=arguments, prog_name="edgesr", standalone_mode=False)
    except EdgesrError as error:
        _fail(str(error), error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _fail("Interrupted. Nothing half-made was left behind; finished files are kept.", INTERRUPTED)


def _fail(text: str, code: int) -> None:
    click.echo(f"Error: {text}", err=True)
    sys.exit(code)


def _limit(max_drop: float | None, max_worst_drop: float) -> "Limit":
    from edgesr.verify import Limit

    return Limit(worst_db=max_worst_drop) if max_drop is None else Limit(max_drop, max_worst_drop)


def _precisions(names: tuple[str, ...]) -> list[Precision]:
    for name in names:
        if name not in PRECISIONS:
            raise UnknownName("precision", name, PRECISIONS)
    return [precision for precision in PRECISIONS if precision in (names or ("fp32",))]


def _print(rows: Sequence[Any], json_: bool, table: Callable[[Any], Any]) -> None:
    if json_:
        click.echo(json.dumps([row if isinstance(row, dict) else asdict(row) for row in rows], indent=1))
    else:
        _stdout(table(rows))


@functools.cache
def _console() -> Any:
    from rich.console import Console

    # A pipe has no width: rich would cut columns at 80.
    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160)


def _stdout(renderable: Any) -> None:
    _console().print(renderable)


if __name__ == "__main__":
    main()
