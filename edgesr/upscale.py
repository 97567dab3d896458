"""Photos and folders of photos through an artifact, in tiles, into files."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgesr.artifact import Manifest
from edgesr.errors import EdgesrError, ImageError, Unsupported, UsageError
from edgesr.images import (
    DEFAULT_MAX_MPX,
    UNREAD_SUFFIXES,
    WRITE_FORMATS,
    check_writable,
    expand_inputs,
    read_photo,
    upscale_photo,
    write_photo,
)
from edgesr.listener import Listener
from edgesr.runner import Runner
from edgesr.tiling import TilePlan, plan_tiles, run_tiled, tile_for_budget
from edgesr.types import Size

DEFAULT_MEMORY_MB = 1000
UNWRITTEN = (*UNREAD_SUFFIXES, ".gif", ".psd", ".svg", ".pdf", ".exr")
"""Such a name is meant to be a file, not a folder."""


@dataclass(frozen=True, slots=True)
class Options:
    """`tile_px`: side of a square tile, or None to derive it from `memory_mb`. `quality`: of JPEG and WebP."""

    tile_px: int | None = None
    memory_mb: float = DEFAULT_MEMORY_MB
    max_mpx: float = DEFAULT_MAX_MPX
    quality: int = 95
    keep_metadata: bool = True
    skip_existing: bool = False


@dataclass(frozen=True, slots=True)
class Upscaled:
    """One photo. `status`: "done", "skipped" or "failed", then with `error` and the exit code of that error."""

    input: str
    output: str
    status: str
    seconds: float
    height: int | None = None
    width: int | None = None
    tiles: int | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None
    exit_code: int = 0


def plan_outputs(inputs: Sequence[Path], out: Path | None, scale: int, suffix: str | None) -> list[tuple[Path, Path]]:
    """Input and output file of every photo.

    `out`: a folder, or a file name if there is one input; None writes `photo_x4.png` beside `photo.png`.
    Raises ImageError, UsageError (an output would overwrite an input, two inputs one output).
    """
    if out is None:
        planned = expand_inputs(inputs, suffix, lambda file, relative: _beside(file, relative, scale))
    elif out.suffix.lower() in WRITE_FORMATS and not out.is_dir():
        if suffix is not None and suffix.lower() != out.suffix.lower():
            raise UsageError(f"-o {out} and --format {suffix.lstrip('.')} contradict each other. Leave --format out.")
        pairs = expand_inputs(inputs, suffix)
        if len(pairs) > 1:
            raise UsageError(f"{len(pairs)} photos cannot all be written to the file {out}. Name a folder with -o.")
        planned = [(pairs[0][0], out)]
    elif out.suffix.lower() in UNWRITTEN and not out.is_dir():
        raise Unsupported(f"Cannot write files like {out.name}. Known: {', '.join(WRITE_FORMATS)}.")
    else:
        planned = expand_inputs(inputs, suffix, lambda file, relative: out / relative)
    sources = {file.resolve() for file, _ in planned}
    for file, output in planned:
        if output.resolve() in sources:
            raise UsageError(f"{output} would overwrite an input ({file}). Choose another folder with -o.")
    return planned


def upscale_files(
    planned: Sequence[tuple[Path, Path]], runner: Runner, manifest: Manifest, options: Options, listener: Listener
) -> Iterator[Upscaled]:
    """Upscale one photo after another; one that fails does not stop the rest."""
    for index, (source, output) in enumerate(planned):
        start = time.perf_counter()
        if options.skip_existing and output.exists():
            yield Upscaled(str(source), str(output), "skipped", 0.0)
        else:
            try:
                yield upscale_file(source, output, runner, manifest, options, listener)
            except (EdgesrError, MemoryError) as error:
                seconds, found = time.perf_counter() - start, _said(error, source)
                yield Upscaled(str(source), str(output), "failed", seconds, error=str(found), exit_code=found.exit_code)
        if len(planned) > 1:
            listener.progress("photos", index + 1, len(planned))


def sentences(result: Upscaled) -> list[str]:
    """What to tell the user about one photo."""
    if result.status == "failed":
        return [f"❌ {result.error}"]
    if result.status == "skipped":
        return [f"{result.output} exists: skipped."]
    size = f"{result.width}x{result.height}, {result.tiles} {'tile' if result.tiles == 1 else 'tiles'}"
    return [f"✅ {result.output} ({size}, {result.seconds:.1f} s)", *(f"   {note}" for note in result.notes)]


def plan(height: int, width: int, manifest: Manifest, options: Options) -> TilePlan:
    """Tiles for one image: the artifact's own size where it is fixed, else from the option or the memory budget."""
    sizes, halo_px, minimum = manifest.request.sizes, manifest.halo_px, manifest.min_side_px
    if sizes:
        plans = [_plan(height, width, manifest, size) for size in sizes]
        return min(plans, key=lambda found: found.waste)
    tile: Size | None
    if options.tile_px is not None:
        # a side that fits whole needs no halo
        tile = (max(minimum, min(options.tile_px, height)), max(minimum, min(options.tile_px, width)))
    else:
        tile = tile_for_budget(
            height,
            width,
            bytes_per_pixel=manifest.peak_bytes_per_px,
            budget_mb=options.memory_mb,
            halo_px=halo_px,
            min_side_px=minimum,
        )
    return _plan(height, width, manifest, tile)


def _plan(height: int, width: int, manifest: Manifest, tile: Size | None) -> TilePlan:
    return plan_tiles(
        height,
        width,
        scale=manifest.scale,
        halo_px=manifest.halo_px,
        tile_hw=tile,
        min_side_px=manifest.min_side_px,
        multiple=manifest.multiple_px,
    )


def upscale_file(
    source: Path, output: Path, runner: Runner, manifest: Manifest, options: Options, listener: Listener
) -> Upscaled:
    """One photo into one file. Raises EdgesrError, MemoryError."""
    start = time.perf_counter()
    photo = read_photo(source, options.max_mpx)
    check_writable(photo, output, manifest.scale)
    tiles = plan(photo.height, photo.width, manifest, options)

    def network(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return run_tiled(
            runner, image, tiles, lambda done, total: listener.progress(f"tiles of {source.name}", done, total)
        )

    larger = upscale_photo(photo, network, manifest.scale)
    notes = write_photo(larger, output, quality=options.quality, keep_metadata=options.keep_metadata)
    return Upscaled(
        input=str(source),
        output=str(output),
        status="done",
        seconds=round(time.perf_counter() - start, 3),
        height=larger.height,
        width=larger.width,
        tiles=len(tiles.boxes),
        notes=(*photo.notes, *notes),
    )


def _said(error: EdgesrError | MemoryError, source: Path) -> EdgesrError:
    if isinstance(error, EdgesrError):
        return error
    return ImageError(f"There is too little memory for {source}. Try a smaller --tile or --memory.")


def _beside(file: Path, relative: Path, scale: int) -> Path:
    return file.with_name(f"{relative.stem}_x{scale}{relative.suffix}")
