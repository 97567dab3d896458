"""The folder of a run: what survives an interruption, a crash or a full disk.

recipe.json; log.jsonl, one line per report; state.pt, all that the next step needs; lock. Each but the log is replaced
whole or not at all; the log is cut back to the state when the run goes on.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from edgesr.errors import TrainingError
from edgesr.lock import alone
from edgesr.train.recipe import Saved
from edgesr.whole_file import write_whole, writing

STATE, LOG, RECIPE = "state.pt", "log.jsonl", "recipe.json"
ADVICE = "Make room, or choose another --run folder."


@contextmanager
def claimed(folder: Path, recipe: Saved, fingerprint: str) -> Iterator[None]:
    """`folder` as the run of this recipe on these photos, and of this process alone.

    Raises TrainingError if it is the run of others, or if another process is at it.
    """
    taken = TrainingError(f"Another process is training in {folder}. Wait for its end, or choose another --run folder.")
    with alone(folder, "train", taken, ADVICE):
        _claim(folder, recipe, fingerprint)
        yield


def _claim(folder: Path, recipe: Saved, fingerprint: str) -> None:
    file = folder / RECIPE
    wanted = {**recipe.to_json(), "photos_sha256": fingerprint}
    if not file.exists():
        write_whole(file, lambda temporary: temporary.write_text(json.dumps(wanted, indent=1) + "\n"), ADVICE)
        return
    found = _read_recipe(file)
    changes = recipe.changes_from(found)
    if found.get("photos_sha256") != fingerprint:
        changes.append("other photos")
    if changes:
        raise TrainingError(
            f"{folder} holds a run with another recipe ({'; '.join(changes)}). Use the same options to resume it, or "
            "choose another --run folder."
        )


def save_state(folder: Path, state: dict[str, Any]) -> None:
    write_whole(folder / STATE, lambda temporary: torch.save(state, temporary), ADVICE)


def read_state(folder: Path) -> dict[str, Any] | None:
    """What `save_state` wrote last, None in a new run. Raises TrainingError for a damaged file."""
    file = folder / STATE
    if not file.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises a dozen kinds for a damaged file
        raise not_resumable(folder, error) from error
    return state


def not_resumable(folder: Path, error: Exception) -> TrainingError:
    reason = (str(error).splitlines() or [""])[0] or type(error).__name__
    return TrainingError(f"{folder / STATE} cannot be resumed ({reason}). Delete it to start this run again.")


def append_log(folder: Path, entry: dict[str, Any]) -> None:
    with writing(folder / LOG, ADVICE), (folder / LOG).open("a", encoding="utf-8") as log:
        log.write(json.dumps(entry) + "\n")


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The entries, in order; a line that was cut short by a crash is left out."""
    file = folder / LOG
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
    return [entry for line in lines if (entry := _entry(line)) is not None]


def cut_log(folder: Path, step: int, rollbacks: int) -> None:
    """Forget what was logged after `step`, and rollbacks beyond the number that the state knows of: a resumed run does
    those again."""
    if (folder / LOG).exists():
        entries = [entry for entry in read_log(folder) if entry["step"] <= step]
        kept = "".join(json.dumps(entry) + "\n" for entry in entries if entry.get("rollback", 0) <= rollbacks)
        write_whole(folder / LOG, lambda temporary: temporary.write_text(kept, encoding="utf-8"), ADVICE)


def _read_recipe(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no recipe")
    except (OSError, ValueError) as error:
        raise TrainingError(f"{file} is damaged ({error}). Choose another --run folder.") from error
    return found


def _entry(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("step"), int) else None
