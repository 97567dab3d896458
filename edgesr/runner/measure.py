"""The process that measures on a device: `python -m edgesr.runner.measure JOB.json`. It knows nothing of models.

Prints one JSON object a line, each with an "event": opened, samples, closed; memory; output; error. What a runtime
prints itself goes to stderr. A job has a "task":

- time: open, one first inference, warm-up, then inferences over all inputs in turn until there is enough.
- memory: open and run the first inputs; apart from timing, so that nothing disturbs it.
- run: each image once; the outputs as files.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from edgesr.errors import ArtifactError, EdgesrError, UsageError
from edgesr.metrics import to_input, to_uint8
from edgesr.runner.contract import Array, InputRule, Runner
from edgesr.runner.foreign import Foreign, open_foreign
from edgesr.runner.opening import open_artifact

FAILED = 1
BYTES_PER_MB = 1e6
FOR_MEMORY = 2
"""Inferences: after the first a runtime may plan its memory anew; all inputs have one size, so no third takes more."""
MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024
THERMAL_ZONES = Path("/sys/class/thermal")
Send = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Job:
    """`artifact`: a folder of this kit, or with `foreign` any file; neither with `idle_ms`, a runner that takes just so
    long, to measure the measuring. `inputs`: .npy of uint8 (count, H, W, 3) for time and memory. `images`: .npy of
    uint8 (H, W, 3) each, whose outputs are written into `outputs` under the same names. `cpus`: to be bound to.
    `whole_s`: timing ends at the latest so long after the artifact began to be opened, with one sample at least.
    """

    task: str
    artifact: str | None = None
    foreign: Foreign | None = None
    idle_ms: float | None = None
    threads: int | None = None
    cpus: tuple[int, ...] | None = None
    inputs: str | None = None
    images: tuple[str, ...] = ()
    outputs: str | None = None
    warmup: int = 3
    least_s: float = 0.0
    least_samples: int = 1
    most_s: float = 60.0
    whole_s: float | None = None
    report_every_s: float = 1.0


@dataclass(frozen=True, slots=True)
class IdleRunner:
    """Keeps the CPU busy for `ms` and gives nothing of use."""

    ms: float
    scale: int = 1
    accepts: InputRule = field(default_factory=InputRule)

    def __call__(self, x: Array) -> Array:
        until = time.perf_counter_ns() + int(self.ms * 1e6)
        while time.perf_counter_ns() < until:
            pass
        return x

    def describe(self) -> dict[str, str]:
        return {"runtime": f"none: {self.ms:g} ms", "precision": "none", "threads": "1"}


def perform(job: Job, send: Send) -> None:
    """Do what `job` asks. Raises EdgesrError."""
    if job.cpus is not None:
        _bind(job.cpus)
    tasks = {"time": _time, "memory": _memory, "run": _run}
    if job.task not in tasks:
        raise UsageError(f"There is no task {job.task!r}. Known: {', '.join(tasks)}.")
    tasks[job.task](job, send)


def temperature_c() -> float | None:
    """Of the hottest thermal zone that Linux shows; None where it shows none."""
    found = []
    for zone in THERMAL_ZONES.glob("thermal_zone*/temp"):
        try:
            found.append(int(zone.read_text()) / 1000)
        except (OSError, ValueError):
            continue  # a sensor that is asleep cannot be read
    return max(found, default=None)


def _open(job: Job) -> Runner:
    if job.idle_ms is not None:
        return IdleRunner(job.idle_ms)
    if job.artifact is None:
        raise UsageError("The job names no artifact.")
    if job.foreign is not None:
        return open_foreign(Path(job.artifact), job.foreign, threads=job.threads)
    return open_artifact(Path(job.artifact), threads=job.threads)


def _time(job: Job, send: Send) -> None:
    inputs = [to_input(image) for image in _images(job.inputs)]
    start = time.perf_counter_ns()
    runner = _open(job)
    opened = time.perf_counter_ns()
    first = runner(inputs[0])
    first_ns = time.perf_counter_ns() - opened
    _check_finite(first)
    warmup_ns = [_timed(runner, inputs[index % len(inputs)]) for index in range(1, job.warmup + 1)]
    facts = {"load_ns": opened - start, "first_ns": first_ns, "warmup_ns": warmup_ns, "runtime": runner.describe()}
    send("opened", facts)
    send("closed", {"reason": _timed_inferences(job, runner, inputs, send, start)})


def _timed(runner: Runner, x: Array) -> int:
    start = time.perf_counter_ns()
    runner(x)
    return time.perf_counter_ns() - start


def _timed_inferences(job: Job, runner: Runner, inputs: Sequence[Array], send: Send, started_ns: int) -> str:
    """Until there is enough. What is done between two samples is not in them: it is done once in `report_every_s`."""
    begin = time.perf_counter_ns()
    most_s = job.most_s if job.whole_s is None else min(job.most_s, job.whole_s - (begin - started_ns) / 1e9)
    raw_ns: list[int] = []
    count, reported = 0, begin
    while True:
        raw_ns.append(_timed(runner, inputs[count % len(inputs)]))
        count += 1
        now = time.perf_counter_ns()
        elapsed_s = (now - begin) / 1e9
        enough = elapsed_s >= job.least_s and count >= job.least_samples
        over = elapsed_s >= most_s
        if enough or over or now - reported >= job.report_every_s * 1e9:
            send("samples", {"raw_ns": raw_ns, "at_s": round(elapsed_s, 3), "temperature_c": temperature_c()})
            raw_ns, reported = [], now
        if enough or over:
            return "enough" if enough else "time"


def _memory(job: Job, send: Send) -> None:
    inputs = [to_input(image) for image in _images(job.inputs)[:FOR_MEMORY]]
    before_mb = _peak_mb()
    runner = _open(job)
    for x in inputs:
        runner(x)
    send("memory", {"before_mb": round(before_mb, 1), "peak_mb": round(_peak_mb(), 1)})


def _run(job: Job, send: Send) -> None:
    if job.outputs is None:
        raise UsageError("The job names no folder for outputs.")
    runner = _open(job)
    for name in job.images:
        output = runner(to_input(_image(name)))
        _check_finite(output)
        target = Path(job.outputs, Path(name).name)
        np.save(target, to_uint8(output[0].transpose(1, 2, 0)))
        send("output", {"file": target.name})


def _images(name: str | None) -> Sequence[Any]:
    if name is None:
        raise UsageError("The job names no inputs.")
    images = _load(name)
    if images.ndim != 4 or images.dtype != np.uint8 or not len(images):
        raise UsageError(f"{name} must hold uint8 (count, H, W, 3); found {images.dtype} {images.shape}.")
    return list(images)


def _image(name: str) -> Any:
    image = _load(name)
    if image.ndim != 3 or image.dtype != np.uint8:
        raise UsageError(f"{name} must hold uint8 (H, W, 3); found {image.dtype} {image.shape}.")
    return image


def _load(name: str) -> Any:
    try:
        return np.load(name, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"{name} cannot be read: {error}") from error


def _check_finite(output: Array) -> None:
    if not np.isfinite(output).all():
        raise ArtifactError("The output holds NaN or infinity: this artifact does not work in this runtime.")


def _peak_mb() -> float:
    """The largest resident memory so far. Not `ru_maxrss` on Linux: it begins with that of the process before exec."""
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024 / BYTES_PER_MB
    except (OSError, KeyError):
        return _peak_by_getrusage_mb()


def _peak_by_getrusage_mb() -> float:
    try:
        import resource
    except ImportError as error:
        raise UsageError("This system does not tell the largest memory of a process.") from error
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_BYTES / BYTES_PER_MB


def _bind(cpus: tuple[int, ...]) -> None:
    if not hasattr(os, "sched_setaffinity"):
        raise UsageError("This system binds no process to CPUs. Leave --cpus out.")
    try:
        os.sched_setaffinity(0, cpus)
    except (OSError, ValueError) as error:
        there = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
        raise UsageError(
            f"Cannot be bound to CPUs {', '.join(map(str, cpus))}: {error}. There are: {there}."
        ) from error


def read_job(file: Path) -> Job:
    """Raises UsageError."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        foreign, cpus = values.pop("foreign", None), values.pop("cpus", None)
        known = {entry.name for entry in fields(Job)}
        images = tuple(values.pop("images", ()))
        return Job(
            **{key: value for key, value in values.items() if key in known},
            images=images,
            foreign=None if foreign is None else Foreign(**foreign),
            cpus=None if cpus is None else tuple(cpus),
        )
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{file} is no job: {error}") from error


def main(arguments: Sequence[str]) -> int:
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # runtimes print

    def send(event: str, facts: Mapping[str, Any]) -> None:
        channel.write(json.dumps({"event": event, **facts}) + "\n")
        channel.flush()

    try:
        perform(read_job(Path(arguments[0])), send)
    except EdgesrError as error:
        send("error", {"error": type(error).__name__, "message": str(error)})
        return FAILED
    except MemoryError:
        send("error", {"error": "MemoryError", "message": "The device has too little memory for this artifact."})
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
