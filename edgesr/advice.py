"""Is INT8 worth it here? An INT8 artifact against a float one of the same target, timed in turns on this machine."""

import functools
from dataclasses import dataclass
from pathlib import Path

from edgesr.datasets import generated_pictures
from edgesr.interleave import Plan, Ratio, interleave, speedup
from edgesr.listener import Listener
from edgesr.metrics import to_input
from edgesr.runner import open_artifact
from edgesr.runner.opening import RUNTIMES
from edgesr.targets import TARGETS
from edgesr.types import Precision, Size

EMULATED = ("coreml", "tensorrt")
"""What runs them here says nothing of their speed."""
SIZE: Size = (128, 128)
PLAN = Plan(rounds=9)


@dataclass(frozen=True, slots=True)
class TimeJob:
    """What the process that times gets: two artifacts that take inputs of `size`."""

    integer: Path
    floating: Path
    size: Size


def rival(target: str) -> Precision | None:
    """The float precision to compare INT8 with: half where the target has it; None if its speed cannot be seen here."""
    if target not in RUNTIMES or target in EMULATED:
        return None
    return "fp16" if "fp16" in TARGETS[target].precisions else "fp32"


def run_timing(job: TimeJob, listener: Listener) -> Ratio:
    """How many times faster INT8 is."""
    height, width = job.size
    picture = generated_pictures(1, max(job.size))[0][:height, :width]
    image = to_input(picture)
    runners = {"int8": open_artifact(job.integer), "float": open_artifact(job.floating)}
    calls = {name: functools.partial(runner, image) for name, runner in runners.items()}
    samples = interleave(calls, PLAN, lambda done, total: listener.progress("time INT8 against float", done, total))
    return speedup(samples["float"].raw_ns, samples["int8"].raw_ns)


def sentence(target: str, precision: Precision, size: Size, ratio: Ratio) -> str:
    """`ratio`: how many times faster INT8 is than `precision`."""
    measured = f"(95 % interval {ratio.low:.2f} to {ratio.high:.2f}, {size[1]}x{size[0]} input)"
    if ratio.high < 1:
        return (
            f"{target}: on this machine INT8 runs at only {ratio.value:.2f} times the speed of {precision} {measured}: "
            f"take --precision {precision}, unless the artifact is for another device."
        )
    return f"{target}: on this machine INT8 runs at {ratio.value:.2f} times the speed of {precision} {measured}."
