"""One artifact on one device in one regime: cold processes that are timed, one for memory, the images for quality.

All that is measured is written down at once, so a run that was interrupted goes on where it stopped.
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from edgesr import __version__
from edgesr.bench import before_after, records
from edgesr.bench.inputs import Crops
from edgesr.bench.names import file_name
from edgesr.bench.plan import COOL_FOR_S, COOL_MARGIN_C, COOL_TO_C, Profile
from edgesr.bench.quality import Shot, judge
from edgesr.bench.records import (
    Closed,
    End,
    Failure,
    Image,
    Memory,
    Opened,
    Record,
    Regime,
    Samples,
    Start,
    Thermal,
    Where,
)
from edgesr.bench.subject import Item
from edgesr.bench.summary import Summary, drop_db, repeats, summarise
from edgesr.devices import Device, thermal
from edgesr.devices.process import pause
from edgesr.errors import ConnectionLost, DeviceError, EdgesrError, restored
from edgesr.listener import Listener

T = TypeVar("T")
RUNNER = "edgesr.runner.measure"
BATCH = 8
"""Images whose outputs are brought back together."""
SLACK_S = 600.0
"""What opening, the first inference and warm-up may take besides the timed ones; a slow board needs minutes."""
RETRY_AFTER_S = (2.0, 10.0, 30.0)
POLL_S = 5.0


@dataclass(frozen=True, slots=True)
class Site:
    """A device that is ready: `python` of a target is an interpreter there that finds the runner and the runtime;
    `folder` is ours to fill; `here`: it is this machine, so files need no copying. `governor`: of its clocks, None if
    it does not say. `version` of a target: of the runtime that its artifacts run in; with another one they are
    measured anew."""

    device: Device
    where: Where
    python: Callable[[str], list[str]]
    folder: str
    here: bool
    governor: str | None = None
    version: Callable[[str], str] = lambda target: ""


@dataclass(frozen=True, slots=True)
class Plan:
    """`cool_to_c`: temperature to wait for before each repeat; None: by the kind of device (edgesr.bench.plan)."""

    profile: Profile
    threads: int | None = None
    cpus: tuple[int, ...] | None = None
    cool_to_c: float | None = None

    @property
    def regime(self) -> Regime:
        return Regime(self.profile.name, self.threads, self.cpus)


def measure(
    item: Item, site: Site, plan: Plan, crops: Crops, shots: Sequence[Shot], runs: Path, listener: Listener
) -> Summary:
    """Measure what is not in `runs` yet and return all of it, summed up. Arguments and errors: as `measured`."""
    return summarise(measured(item, site, plan, crops, shots, runs, listener)[1])


def measured(
    item: Item, site: Site, plan: Plan, crops: Crops, shots: Sequence[Shot], runs: Path, listener: Listener
) -> tuple[Path, Sequence[Record]]:
    """Measure what is not in `runs` yet; the file and all that it holds.

    `shots`: images for quality, empty for none. Raises DeviceError, ConnectionLost, ArtifactError, OutputError; what
    was measured before is kept, and the failure is written down.
    """
    start = _start(item, site, plan, crops)
    file = folder_of(runs, site.where.name) / f"{start.run}{records.SUFFIX}"
    run = _Run(item, site, plan, file, listener)
    before = len(run.records)
    if not run.records:
        run.append(start)
    with tempfile.TemporaryDirectory(prefix="edgesr-bench-") as name:
        run.step("copy", lambda: run.prepare(Path(name), crops))
        run.step("time", run.time)
        run.step("memory", run.memory)
        run.step("quality", lambda: run.quality(shots))
    if not isinstance(run.records[-1], End):
        run.append(End())
    if len(run.records) == before and isinstance(run.records[0], Start):
        when = run.records[0].started_at
        listener.say(f"{item.subject.name} was measured before ({when}); to measure it anew, delete {file}.")
    return file, run.records


def _start(item: Item, site: Site, plan: Plan, crops: Crops) -> Start:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    regime = asdict(plan.regime)
    profile, version = asdict(plan.profile), site.version(item.subject.target)
    key = [item.subject.sha256, item.subject.size, regime, profile, site.where.address, version, crops.facts.sha256]
    run = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    return Start(run, now, __version__, item.subject, plan.regime, site.where, crops.facts)


def folder_of(runs: Path, device: str) -> Path:
    """Where the measurements of a device lie."""
    return runs / file_name(device, "device")


class _Run:
    """What the steps of one measurement share. `records` is what its file holds."""

    def __init__(self, item: Item, site: Site, plan: Plan, file: Path, listener: Listener) -> None:
        self.item, self.site, self.plan, self.file, self.listener = item, site, plan, file, listener
        self.records: list[Record] = records.read(file) if file.exists() else []
        self.artifact = self.inputs = ""
        self.here = Path()
        self.base_c: float | None = None

    @property
    def name(self) -> str:
        """For progress, where several devices are measured at once."""
        return f"{self.item.subject.name} on {self.site.where.name}"

    def append(self, *new: Record) -> None:
        records.append(self.file, *new)
        self.records.extend(new)

    def step(self, stage: str, work: Callable[[], None]) -> None:
        """Do a part of the measurement; a failure is written down before it is raised."""
        try:
            work()
        except EdgesrError as error:
            self.append(Failure(stage, str(error)))
            raise

    def prepare(self, here: Path, crops: Crops) -> None:
        """Artifact and inputs to the device, unless they are there from another run."""
        self.here = here
        np.save(here / "inputs.npy", crops.pixels)
        if self.site.here:
            self.artifact, self.inputs = str(self.item.path.resolve()), str(here / "inputs.npy")
            return
        self.artifact = self._pushed(self.item.path, f"artifacts/{self.item.subject.sha256[:16]}", self.item.files)
        self.inputs = self._pushed(here / "inputs.npy", f"inputs/{crops.facts.sha256[:16]}", (here / "inputs.npy",))

    def time(self) -> None:
        done = {repeat.opened.repeat for repeat in repeats(self.records) if repeat.closed is not None}
        profile = self.plan.profile
        for number in range(profile.repeats):
            if number not in done:
                self._again(lambda number=number: self._repeat(number))  # type: ignore[misc]
            self.listener.progress(f"time {self.name}", number + 1, profile.repeats)

    def memory(self) -> None:
        if not any(isinstance(record, Memory) for record in self.records):
            self._again(self._memory)

    def quality(self, shots: Sequence[Shot]) -> None:
        last = {(record.set_name, record.name): record.pair for record in self.records if isinstance(record, Image)}
        missing = [shot for shot in shots if last.get((shot.set_name, shot.name)) != shot.pair]
        for index in range(0, len(missing), BATCH):
            batch = missing[index : index + BATCH]
            for shot, output in zip(batch, self._again(lambda batch=batch: self._outputs(batch)), strict=True):  # type: ignore[misc]
                self._judge(shot, output)
            self.listener.progress(f"quality of {self.name}", index + len(batch), len(missing))

    def _repeat(self, number: int) -> None:
        profile, waited_s, hot = self.plan.profile, *self._cool()
        before = self._thermal()

        def take(event: str, facts: Mapping[str, Any]) -> None:
            if event == "opened":
                self.append(Opened(number, thermal=before, waited_s=waited_s, hot=hot, **_opened(facts)))
            elif event == "samples":
                self.append(Samples(number, tuple(facts["raw_ns"]), facts["at_s"], facts["temperature_c"]))
            elif event == "closed":
                self.append(Closed(number, facts["reason"], self._thermal()))

        share = {"least_s": profile.least_s / profile.repeats, "most_s": profile.most_s / profile.repeats}
        if profile.whole_s is not None:
            share["whole_s"] = profile.whole_s / profile.repeats
        least = -(-profile.least_samples // profile.repeats)
        job = {"task": "time", "inputs": self.inputs, "warmup": profile.warmup, "least_samples": least, **share}
        self._job(job, share["most_s"] + SLACK_S, take)

    def _memory(self) -> None:
        def take(event: str, facts: Mapping[str, Any]) -> None:
            if event == "memory":
                self.append(Memory(facts["peak_mb"], facts["before_mb"]))

        self._job({"task": "memory", "inputs": self.inputs}, SLACK_S, take)

    def _outputs(self, batch: Sequence[Shot]) -> list[Any]:
        """uint8 RGB of every shot, through the device."""
        with tempfile.TemporaryDirectory(dir=self.here) as name:
            images, outputs = Path(name, "images"), Path(name, "outputs")
            images.mkdir()
            outputs.mkdir()
            for index, shot in enumerate(batch):
                np.save(images / f"{index}.npy", shot.low)
            with self._folder_there(Path(name)) as there:
                files = [f"{there}/images/{index}.npy" for index in range(len(batch))]
                job = {"task": "run", "images": files, "outputs": f"{there}/outputs"}
                self._job(job, SLACK_S, lambda event, facts: None)
                if not self.site.here:
                    self.site.device.pull(f"{there}/outputs", outputs)
            return [self._output(outputs / f"{index}.npy") for index in range(len(batch))]

    def _output(self, file: Path) -> Any:
        try:
            return np.load(file, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DeviceError(f"{self.site.where.name}: an output did not come back: {error}.") from error

    @contextmanager
    def _folder_there(self, folder: Path) -> Iterator[str]:
        """`folder` as the device sees it; what was copied there is removed again."""
        if self.site.here:
            yield str(folder)
            return
        there = f"{self.site.folder}/batches/{folder.name}"
        self.site.device.push(folder, there)
        try:
            yield there
        finally:
            self.site.device.run(["rm", "-rf", there], timeout_s=60)

    def _judge(self, shot: Shot, output: Any) -> None:
        """Write down what `output` is worth; keep crops of the worst image so far and of the first."""
        try:
            image = judge(shot, output, self.item.subject.scale)
        except ValueError as error:
            raise DeviceError(f"{self.site.where.name}: {error}.") from error
        before = [record for record in self.records if isinstance(record, Image)]
        folder = before_after.folder_of(self.file.parent, self.item.subject.sha256)
        worst = max(before, key=_lost, default=None)
        if worst is None or _lost(image) > _lost(worst):
            if worst is not None and worst is not before[0]:
                before_after.remove(folder, worst.set_name, worst.name)
            before_after.write(folder, shot, output, self.item.subject.scale)
        self.append(image)

    def _job(self, job: Mapping[str, Any], timeout_s: float, take: Callable[[str, Mapping[str, Any]], None]) -> None:
        """Run `job` on the device; `take` gets every event as it comes. Raises what the device's process says."""
        whole = {
            **job,
            "artifact": self.artifact,
            "foreign": None if self.item.foreign is None else asdict(self.item.foreign),
            "threads": self.plan.threads,
            "cpus": self.plan.cpus,
        }
        failed: list[EdgesrError] = []
        python = self.site.python(self.item.subject.target)

        def line(text: str) -> None:
            event, facts = _event(text)
            if event == "error":
                failed.append(restored(str(facts.get("error")), f"{self.site.where.name}: {facts.get('message')}"))
            elif event:
                take(event, facts)

        (self.here / "job.json").write_text(json.dumps(whole))
        place = str(self.here / "job.json")
        if not self.site.here:
            place = f"{self.site.folder}/job.json"
            self.site.device.push(self.here / "job.json", place)
        done = self.site.device.run([*python, "-m", RUNNER, place], timeout_s=timeout_s, on_line=line)
        if failed:
            raise failed[0]
        if done.code != 0:
            raise DeviceError(
                f"{self.site.where.name}: the process that measures ended with {done.code}. {done.stderr_tail}"
            )

    def _pushed(self, path: Path, folder: str, files: Sequence[Path]) -> str:
        """Where `path` is on the device."""
        there = f"{self.site.folder}/{folder}"
        if self.site.device.run(["test", "-e", f"{there}/complete"], timeout_s=60).code != 0:
            self.listener.say(f"Copying {path.name} to {self.site.where.name} ...")
            self._again(lambda: self._push_all(path, there, files))
        return f"{there}/{path.name}"

    def _push_all(self, path: Path, there: str, files: Sequence[Path]) -> None:
        marker = self.here / "complete"
        marker.touch()
        for file in files:
            self.site.device.push(file, f"{there}/{file.relative_to(path.parent).as_posix()}")
        self.site.device.push(marker, f"{there}/complete")

    def _cool(self) -> tuple[float, bool]:
        """Wait until the device is cool enough. Seconds waited, and whether it is still too hot."""
        now = self._thermal().temperature_c
        if now is None:
            return 0.0, False
        if self.base_c is None:
            self.base_c = now
        phone = self.site.where.address.startswith("adb:")
        limit_c = self.plan.cool_to_c or (COOL_TO_C if phone else self.base_c + COOL_MARGIN_C)
        begin = time.monotonic()
        while now is not None and now > limit_c:
            waited_s = time.monotonic() - begin
            self.listener.progress(
                f"cool {self.site.where.name} to {limit_c:.0f} C", int(waited_s), int(COOL_FOR_S), f"{now:.0f} C"
            )
            if waited_s > COOL_FOR_S:
                return waited_s, True
            pause(POLL_S)
            now = self._thermal().temperature_c
        return round(time.monotonic() - begin, 1), False

    def _thermal(self) -> Thermal:
        found = thermal(self.site.device)
        known = found.temperature_c is not None or bool(found.throttled)
        return Thermal(found.temperature_c, found.throttled_now if known else None, found.clock_mhz, self.site.governor)

    def _again(self, step: Callable[[], T]) -> T:
        """`step`, tried again when the connection is lost."""
        for wait_s in RETRY_AFTER_S:
            try:
                return step()
            except ConnectionLost as error:
                self.listener.say(f"{error} Trying again in {wait_s:.0f} s.")
                pause(wait_s)
        return step()


def _opened(facts: Mapping[str, Any]) -> dict[str, Any]:
    names = ("load_ns", "first_ns", "runtime")
    return {**{name: facts[name] for name in names}, "warmup_ns": tuple(facts["warmup_ns"])}


def _lost(image: Image) -> float:
    """For finding the worst: the drop, or without a reference how bad the image is."""
    drop = drop_db(image.reference_y_db, image.psnr_y_db)
    return drop if drop is not None else -(image.psnr_y_db or 0.0)


def _event(text: str) -> tuple[str, Mapping[str, Any]]:
    """Name and facts of a line; an empty name for a line that is none of ours."""
    try:
        facts = json.loads(text)
    except ValueError:
        return "", {}
    if not isinstance(facts, dict) or not isinstance(facts.get("event"), str):
        return "", {}
    return facts["event"], facts
