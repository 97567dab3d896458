"""Made-up measurements, written as real ones are, that tests of reports, comparisons and choices read."""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgesr.bench import records
from edgesr.bench.records import (
    Closed,
    DeviceKind,
    End,
    Failure,
    Image,
    Inputs,
    Memory,
    Opened,
    Record,
    Regime,
    Samples,
    Start,
    Subject,
    Thermal,
    Where,
)

SETS = {"SetA": ("first", "second"), "SetB": ("third",)}


@dataclass(frozen=True)
class Made:
    """A made-up run. `ms`: median of its latencies, of each cold process; `psnr_db`, `drop_db`: of all its images."""

    name: str = "net_x4_onnxruntime_int8"
    model: str | None = "net"
    device: str = "test board"
    kind: DeviceKind = "device"
    ms: tuple[float, ...] = (20.0, 20.2, 19.9)
    samples: int = 40
    noise: float = 0.02
    psnr_db: float | None = 30.0
    drop_db: float | None = 0.05
    megabytes: float = 1.0
    scale: int = 4
    size: tuple[int, int] = (180, 320)
    halo_px: int | None = 10
    threads: int | None = 2
    profile: str = "quick"
    cpus: tuple[int, ...] | None = None
    inputs: str = "a" * 64
    thermal: Thermal = field(default_factory=lambda: Thermal(40.0, False, 1800.0, "performance"))
    ended: bool = True
    failure: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    sets: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(SETS))
    peak_mb: float = 120.0
    every_s: float = 1.0
    seed: int = 0

    @property
    def sha256(self) -> str:
        return hashlib.sha256(f"{self.name} {self.megabytes}".encode()).hexdigest()

    @property
    def run(self) -> str:
        threads = "all" if self.threads is None else self.threads
        return f"{self.name}-{self.device}-{threads}-{self.profile}".replace(" ", "-")


def records_of(made: Made) -> list[Record]:
    found: list[Record] = [_start(made)]
    rng = np.random.default_rng(made.seed)
    for number, median_ms in enumerate(made.ms):
        opened = Opened(number, 150_000_000, 90_000_000, (30_000_000,), {"runtime": "test 1.0"}, made.thermal)
        found += [opened, *_samples(made, number, median_ms, rng), Closed(number, "enough", made.thermal)]
    found.append(Memory(made.peak_mb, 30.0))
    if made.psnr_db is not None:
        found += [
            _image(made, name, image, index) for name, images in made.sets.items() for index, image in enumerate(images)
        ]
    if made.failure is not None:
        found.append(Failure("measure", made.failure))
    return [*found, End()] if made.ended and made.failure is None else found


def write(folder: Path, made: Made, **changes: Any) -> Path:
    """One file, where a measurement would put it."""
    made = replace(made, **changes)
    file = folder / made.device.replace(" ", "-") / f"{made.run}{records.SUFFIX}"
    file.unlink(missing_ok=True)
    records.append(file, *records_of(made))
    return file


def _start(made: Made) -> Start:
    parts = made.name.split("_")
    subject = Subject(
        sha256=made.sha256,
        name=made.name,
        target=parts[2] if len(parts) > 2 else "onnxruntime",
        precision=parts[3] if len(parts) > 3 else "fp32",
        scale=made.scale,
        size=made.size,
        bytes=int(made.megabytes * 1e6),
        model=made.model,
        halo_px=made.halo_px,
        int8_share=0.95 if "int8" in made.name else None,
    )
    regime = Regime(made.profile, made.threads, made.cpus)
    where = Where(made.device, "ssh:test", made.kind, made.facts)
    inputs = Inputs(16, "test pictures", made.inputs)
    return Start(made.run, "2026-01-02T03:04:05+00:00", "0.0.test", subject, regime, where, inputs)


def _samples(made: Made, number: int, median_ms: float, rng: np.random.Generator) -> list[Samples]:
    raw_ns = [max(1, int(value)) for value in rng.normal(median_ms, made.noise * median_ms, made.samples) * 1e6]
    chunk = max(1, int(made.every_s * 1000 / median_ms))
    found, at_s = [], 0.0
    for index in range(0, len(raw_ns), chunk):
        at_s += sum(raw_ns[index : index + chunk]) / 1e9
        found.append(Samples(number, tuple(raw_ns[index : index + chunk]), at_s, 40 + at_s / 20))
    return found


def _image(made: Made, set_name: str, name: str, index: int) -> Image:
    assert made.psnr_db is not None
    reference_db = None if made.drop_db is None else made.psnr_db + made.drop_db * (1 + index)
    shift = None if made.drop_db is None else (0.5, -0.25, 0.125)
    off = None if made.drop_db is None else 0.25
    return Image(set_name, name, made.psnr_db, made.psnr_db - 2, 0.9, reference_db, reference_db, shift, off)
