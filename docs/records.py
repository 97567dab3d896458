"""Records of what was measured: a file docs/FOLDER/MODEL.json per network, with a row per name."""

import json
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgesr.doctor import diagnose
from edgesr.models.files import shipped_file
from edgesr.models.registry import SPECS
from edgesr.runner.opening import RUNTIMES
from edgesr.targets import TARGETS
from edgesr.whole_file import write_whole

ROOT = Path(__file__).parent.parent
SCALE = 4
MODELS = tuple(spec.name for spec in SPECS if spec.scale == SCALE and spec.weights.sha256 is not None)
"""Those whose official weights can be downloaded: without weights there is no loss to measure."""
SHIPPED = tuple(spec.name for spec in SPECS if spec.scale == SCALE and shipped_file(spec) is not None)
"""Those that the package has weights of."""
RANDOM_MODELS = ("ditn-real", "elan-light", "hat-s", "hat-l", "hat", "elan", "ditn", "ditn-tiny")
"""The others, with random weights: small ones of each family first."""
RUN_HERE = tuple(name for name in TARGETS if name in RUNTIMES)
"""Targets whose artifacts run in Python, in the order of the table."""


def read(folder: Path, model: str) -> dict[str, Any]:
    """Rows by name; none if nothing was measured yet."""
    path = folder / f"{model}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def write(folder: Path, model: str, rows: dict[str, Any], order: Iterable[str]) -> None:
    """The rows named in `order`, in that order, whatever was measured first."""
    ordered = {name: rows[name] for name in order if name in rows}
    text = json.dumps(ordered, indent=1, allow_nan=False) + "\n"
    write_whole(folder / f"{model}.json", lambda temporary: temporary.write_text(text, encoding="utf-8"), "Make room.")


def machine() -> str:
    found = diagnose()
    return f"{found.cpu}, {platform.system()} {found.machine}, Python {found.python}"
