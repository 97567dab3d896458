"""upscale, bench and check, on the board itself."""

import sys
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np
import numpy.typing as npt

import edgesr
from edgesr.board.chosen import Chosen, artifacts, choose
from edgesr.board.console import Console
from edgesr.errors import ArtifactError
from edgesr.images import DEFAULT_MAX_MPX, read_photo
from edgesr.metrics import to_input, to_uint8
from edgesr.runner import open_artifact
from edgesr.types import Size

ABOVE = Path(edgesr.__file__).parents[1]
CHECKED: Size = (64, 64)
"""Enough for the least side of every network here."""


def upscale(asked: Namespace) -> int:
    """Raises EdgesrError; photos that fail are named, and the code is that of the first."""
    from edgesr import upscale as work

    console, one = Console(), choose(artifacts(asked.bundle), asked.model)
    suffix = f".{asked.format.lstrip('.')}" if asked.format else None
    planned = work.plan_outputs(asked.inputs, asked.out, one.manifest.scale, suffix)
    options = work.Options(
        tile_px=asked.tile,
        memory_mb=asked.memory,
        max_mpx=asked.max_mpx or DEFAULT_MAX_MPX,
        quality=asked.quality,
        keep_metadata=not asked.strip_metadata,
        skip_existing=asked.skip_existing,
    )
    runner = open_artifact(one.folder, threads=asked.threads)
    console.say(f"Upscaling with {one.manifest.slug}: {_words(runner.describe())}.")
    code = 0
    for result in work.upscale_files(planned, runner, one.manifest, options, console):
        code = code or result.exit_code
        for line in work.sentences(result):
            console.say(line)
    return code


def bench(asked: Namespace) -> int:
    """Writes the records of edgesr.bench.records and prints what they come to."""
    from edgesr.bench.inputs import crops
    from edgesr.bench.measure import Plan, Site, measured
    from edgesr.bench.plan import find
    from edgesr.bench.records import Memory, Samples, Where
    from edgesr.bench.subject import read_item
    from edgesr.devices.local import LocalDevice

    console, one = Console(), choose(artifacts(asked.bundle), asked.model)
    item, device = read_item(one.folder, asked.size, None), LocalDevice()
    facts = device.facts()
    name = facts.board or facts.soc or facts.arch
    kind: Literal["device", "emulated"] = "emulated" if facts.kind == "emulated" else "device"
    where = Where(name, "local", kind, asdict(facts))
    site = Site(device, where, _python, device.folder, here=True, governor=", ".join(facts.governors) or None)
    photo, source = (_drawn(), "drawn") if asked.photo is None else (_pixels(asked.photo), "a photo")
    inputs = crops([photo], item.subject.size, source)
    file, records = measured(item, site, Plan(find(asked.profile), asked.threads), inputs, (), asked.out, console)
    taken_ms = sorted(value / 1e6 for record in records if isinstance(record, Samples) for value in record.raw_ns)
    memory_mb = next((record.peak_mb for record in records if isinstance(record, Memory)), None)
    height, width = item.subject.size
    emulated = " EMULATED: these times say nothing about a board." if kind == "emulated" else ""
    print(
        f"{one.manifest.slug}, {height}x{width}: median {median(taken_ms):.1f} ms, 90th percentile "
        f"{taken_ms[int(0.9 * (len(taken_ms) - 1))]:.1f} ms over {len(taken_ms)} inferences, "
        f"{memory_mb or 0:.0f} MB at most.{emulated}"
    )
    console.say(f"Written: {file}. On a computer with edgesr: edgesr report {file.name}")
    return 0


def check(asked: Namespace) -> int:
    """Every artifact is opened, its hashes checked, and run once on a drawn picture."""
    for one in artifacts(asked.bundle):
        runner = open_artifact(one.folder)
        size = runner.accepts.sizes[0] if runner.accepts.sizes else CHECKED
        x = to_input(_drawn()[: size[0], : size[1]])
        x = np.pad(x, ((0, 0), (0, 0), (0, size[0] - x.shape[2]), (0, size[1] - x.shape[3])), mode="symmetric")
        _check_output(one, x, runner(np.ascontiguousarray(x)))
        print(f"{one.manifest.slug}: {_words(runner.describe())}")
    return 0


def _check_output(one: Chosen, x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> None:
    """A smooth picture stays what it is: finite, larger, of the same mean colour."""
    scale = one.manifest.scale
    if y.shape != (1, 3, x.shape[2] * scale, x.shape[3] * scale) or not np.isfinite(y).all():
        raise ArtifactError(
            f"{one.manifest.slug} gave {y.shape} with NaN or infinity, or the wrong size, on this board."
        )
    off = float(np.abs(y.mean((0, 2, 3)) - x.mean((0, 2, 3))).max())
    if off > 0.05:
        raise ArtifactError(f"{one.manifest.slug} moves the mean colour by {off * 255:.0f}/255 on this board.")


def _drawn() -> npt.NDArray[np.uint8]:
    """uint8 (720, 1280, 3): waves of growing frequency and edges, as photos have; the same everywhere."""
    y, x = np.mgrid[0:720, 0:1280].astype(np.float32)
    waves = np.sin(x * x / 9000) * np.cos(y * y / 7000)
    edges = np.where((x // 90 + y // 70) % 2 > 0, 0.25, -0.25)
    image = np.stack([0.5 + 0.2 * waves + edges * share for share in (1.0, 0.6, 0.2)])
    return to_uint8(image.transpose(1, 2, 0).astype(np.float32))


def _pixels(file: Path) -> npt.NDArray[np.uint8]:
    return to_uint8(read_photo(file).rgb)


def _python(target: str) -> list[str]:
    """The interpreter that runs this, with the same packages and none of the folder that it happens to run in."""
    packages = sys.path if sys.flags.safe_path else sys.path[1:]
    return ["env", "PYTHONSAFEPATH=1", f"PYTHONPATH={':'.join((str(ABOVE), *packages))}", sys.executable]


def _words(facts: dict[str, str]) -> str:
    return ", ".join(f"{name} {text}" if name == "threads" else text for name, text in facts.items())
