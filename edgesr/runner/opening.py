"""From an artifact folder to a runner."""

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from edgesr.errors import Unsupported
from edgesr.runner.contract import Runner
from edgesr.runner.guarded import Guarded
from edgesr.runner.manifest import read_contents

RUNTIMES: Mapping[str, str] = MappingProxyType(
    {
        "onnxruntime": "edgesr.runner.onnxruntime",
        "openvino": "edgesr.runner.openvino",
        "tensorrt": "edgesr.runner.tensorrt",
        "coreml": "edgesr.runner.coreml",
        "ncnn": "edgesr.runner.ncnn",
        "executorch": "edgesr.runner.executorch",
        "tflite": "edgesr.runner.tflite",
    }
)
"""Target -> module with `open_contents(contents, threads) -> Runner`; imported when first needed."""


def open_artifact(folder: Path, *, threads: int | None = None) -> Runner:
    """Check every file of the artifact in `folder` and load it into its runtime.

    `threads`: how many the runtime computes with; all that this process may use if None.
    Raises ArtifactError (incomplete, changed, unreadable), Unsupported (runs on a device only) or MissingExtra.
    """
    threads = available_threads() if threads is None else threads
    if threads < 1:
        raise Unsupported(f"A runner needs at least one thread; asked for {threads}.")
    contents = read_contents(Path(folder))
    if contents.target not in RUNTIMES:
        raise Unsupported(
            f"{contents.target} artifacts run on their device, or need a newer edgesr. What runs here: "
            f"{', '.join(RUNTIMES)}."
        )
    runner: Runner = importlib.import_module(RUNTIMES[contents.target]).open_contents(contents, threads)
    return Guarded(runner)


def available_threads() -> int:
    """CPUs that this process may use, which in a container or under taskset are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
