"""Measures the artifacts in README's tables of devices: on this machine and on the emulated arm64 board of the tests.

python docs/device_runs.py --data ../shared/data/eval [--only host|emulated] writes docs/runs/, whose lines
docs/generate.py makes tables of. The board needs root, debootstrap and qemu (tests/emulated); each artifact that was
measured is kept, so it can be interrupted. Crops of the images stay in the folder for scratch.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from records import ROOT

from edgesr.devices.ssh import CONFIG_VARIABLE

RUNS = ROOT / "docs" / "runs"
SCRATCH = ROOT / "runs" / "devices"
BOTH = ("fp32", "int8")
ON_HOST = tuple(
    (model, ("onnxruntime", "openvino", "tflite", "executorch"), BOTH)
    for model in ("bsrn-s", "plainusr-t", "plainusr-m")
)
ON_BOARD = (("plainusr-t", ("onnxruntime", "openvino", "tflite"), BOTH), ("bsrn-s", ("onnxruntime",), ("int8",)))
"""Network, targets, precisions."""
PRIVATE = re.compile(r'(?<="executable": ")[^"]*/([^"/]*)(?=")|(?<="kernel": "Linux )([\d.]+)[^"]*(?=")')
"""Where Python lies, whose kernel it is: these lines are published."""
RUNTIMES = ("onnxruntime", "openvino", "litert")
ON_HOST_AT, ON_BOARD_AT = "180x320", "128x128"
"""Input size. On the board each image of Set5 is one tile."""


def edgesr(*words: str | Path) -> None:
    command = [sys.executable, "-m", "edgesr.cli", *map(str, words)]
    print("$ edgesr", *words, flush=True)
    subprocess.run(command, check=True, cwd=ROOT)


def converted(wanted: Sequence[tuple[str, Sequence[str], Sequence[str]]], size: str) -> list[Path]:
    """Artifacts of the weights and recipes in the package."""
    found, out = [], SCRATCH / "artifacts"
    for model, targets, precisions in wanted:
        options = [f"--target={target}" for target in targets] + [f"--precision={each}" for each in precisions]
        edgesr("convert", model, *options, "--size", size, "-o", out)
        found += [out / f"{model}_x4_{target}_{each}_{size}" for target in targets for each in precisions]
    return found


def measured(name: str, artifacts: list[Path], *options: str | Path) -> None:
    """`edgesr bench`, of which the lines alone are kept, in place of those that were there."""
    out = SCRATCH / name
    edgesr("bench", *artifacts, *options, "-o", out)
    (RUNS / name).mkdir(parents=True, exist_ok=True)
    for old in (RUNS / name).glob("*.jsonl"):
        old.unlink()
    for file in newest(out.rglob("*.jsonl")):
        (RUNS / name / file.name).write_text(PRIVATE.sub(lambda found: found[1] or found[2], file.read_text()))


def newest(files: Iterable[Path]) -> list[Path]:
    """Of each artifact, by its name, the last measurement: an earlier one is of other weights or another converter."""
    started = {}
    for file in files:
        first = json.loads(file.read_text().partition("\n")[0])
        started[first["started_at"], first["subject"]["name"]] = file
    last = {name: file for (_, name), file in sorted(started.items())}
    return sorted(last.values())


@contextmanager
def board() -> Iterator[None]:
    """The emulated board, as `ssh:board` for the commands within."""
    sys.path.insert(0, str(ROOT / "tests"))
    from emulated import arm64_root
    from loopback_sshd import client_config, free_port, make_client

    lacks = arm64_root.missing()
    if lacks is not None:
        sys.exit(f"The emulated board needs {lacks}.")
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        make_client(folder)
        with arm64_root.serve((folder / "client.pub").read_text(), port) as running:
            os.environ[CONFIG_VARIABLE] = str(client_config(folder, port, running.host_key, "root"))
            yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="image sets: SET/HR, SET/LRx4")
    parser.add_argument("--only", choices=("host", "emulated"))
    arguments = parser.parse_args()
    data = arguments.data.resolve()
    with tempfile.TemporaryDirectory() as name:
        few = Path(name)
        (few / "Set5").symlink_to(data / "Set5")
        if arguments.only != "emulated":
            artifacts = converted(ON_HOST, ON_HOST_AT)
            measured("host", artifacts, "--threads", "1", "--profile", "smoke", "--data", few)
        if arguments.only != "host":
            artifacts = converted(ON_BOARD, ON_BOARD_AT)
            with board():
                edgesr("device", "setup", "ssh:board", *(f"--runtime={runtime}" for runtime in RUNTIMES))
                options = ("--device", "ssh:board", "--threads", "1", "--profile", "smoke")
                measured("emulated", artifacts, *options, "--data", few)


if __name__ == "__main__":
    main()
