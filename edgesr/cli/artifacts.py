"""Make artifacts and check them: convert, quantize, verify."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgesr.cli.options import (
    DEFAULT_OUT,
    FILE,
    FOLDER,
    as_json,
    is_given,
    precisions_of,
    print_rows,
    sizes_of,
    stdout,
)
from edgesr.errors import UsageError
from edgesr.quantization.settings import EFFORTS
from edgesr.types import IOS, PRECISIONS, Io, Size

if TYPE_CHECKING:
    from edgesr.verify import Limit

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


@click.command()
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
    callback=sizes_of,
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
    precisions = precisions_of((*precision, *["fp16"] * fp16, *["int8"] * int8))
    for_int8 = [
        option
        for option, given in {
            "--calib": calib is not None and not any(precision in INTEGER for precision in precisions),
            "--recipe": recipe is not None and "int8" not in precisions,
            "--quick": quick and "int8" not in precisions,
            "--max-drop": max_drop is not None and "int8" not in precisions,
            "--max-worst-drop": is_given("max_worst_drop") and "int8" not in precisions,
        }.items()
        if given
    ]
    if for_int8:
        raise UsageError(f"{' and '.join(for_int8)}: for INT8 only. Add --int8, or leave it out.")
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
    print_rows(outcome.rows, json_, table)
    for artifact_row in outcome.rows:
        if artifact_row.status == "done":
            click.echo(f"{out / artifact_row.slug}", err=True)
    if outcome.first_error is not None:
        raise outcome.first_error


@click.command()
@click.argument("model")
@click.option("--out", "-o", type=FILE, required=True, help="The recipe (.json); its numbers lie beside it.")
@click.option("--scale", type=int, help="Upscaling factor (default: 4 where it exists).")
@click.option("--weights", type=FILE, help="Your own checkpoint (.pth or .safetensors).")
@click.option("--calib", type=FOLDER, help="Low-resolution photos (DIV2K's layout is recognised).")
@MAX_DROP
@MAX_WORST_DROP
@click.option(
    "--effort",
    type=click.IntRange(1, len(EFFORTS)),
    metavar="N",
    help=f"Begin with effort N; {len(EFFORTS)} is the greatest. Default: the least.",
)
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
    effort: int | None,
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

        made, proof = session.quantize(_limit(max_drop, max_worst_drop), effort)
        save(made, out)
        if report is not None:
            kind, explained = session.loaded.provenance.kind, session.explain(made)
            layers_page.write(layers_page.Page(made.facts, kind, proof, explained), report)
    if json_:
        click.echo(json.dumps({"recipe": str(out), **asdict(made.facts), "proof": asdict(proof)}, indent=1))
    else:
        stdout(recipe_table(made.facts, proof))
    for path in filter(None, (out, report)):
        click.echo(f"{path}", err=True)


@click.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--weights", type=FILE, help="The checkpoint that it was made from, if it was your own.")
@click.option("--data", type=FOLDER, help="Image sets to verify on: SET/HR, SET/LRx4, or a folder of photos.")
@as_json
def verify(artifact: Path, weights: Path | None, data: Path | None, json_: bool) -> None:
    """Check ARTIFACT (a folder): its files, and its output in its own runtime against torch."""
    from edgesr.earlier import verify_artifact
    from edgesr.report import table
    from edgesr.terminal import Terminal

    with Terminal() as terminal:
        found = verify_artifact(artifact, weights=weights, data=data, listener=terminal)
    print_rows([found], json_, table)


def _limit(max_drop: float | None, max_worst_drop: float) -> "Limit":
    from edgesr.verify import Limit

    return Limit(worst_db=max_worst_drop) if max_drop is None else Limit(max_drop, max_worst_drop)
