"""The curves of a run for people: TensorBoard events while it goes on, and a picture.

Both are drawn from what the log holds, so nothing is lost with them.
"""

import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

from edgesr.errors import MissingExtra, OutputError
from edgesr.extras import require
from edgesr.train.loop import Progress
from edgesr.train.run_folder import ADVICE, read_log
from edgesr.whole_file import write_whole, writing

EVENTS, PICTURE = "tensorboard", "curve.png"


class Events:
    """Writes scalars below `folder`/tensorboard, which is made with the first. A run that goes on, or goes back, hides
    what it had written of the steps that it does again."""

    def __init__(self, folder: Path) -> None:
        # tensorboardX: 0.1 MB of Python; TensorBoard itself, which shows the files, brings a server
        self._writer_of = require("tensorboardX", "train").SummaryWriter
        self._folder = folder / EVENTS
        self._writer: Any = None

    def __enter__(self) -> "Events":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def add(self, progress: Progress) -> None:
        """Raises OutputError."""
        if progress.rolled_back is not None:
            self._close()
            return
        values = {
            "loss": progress.loss,
            "held_out_psnr_db": progress.psnr_db,
            "learning_rate": progress.learning_rate,
            "steps_per_second": progress.steps_per_second,
        }
        with writing(self._folder, ADVICE):
            writer = self._writer = self._writer or self._writer_of(str(self._folder), purge_step=progress.step)
            for name, value in values.items():
                if value is not None:
                    writer.add_scalar(name, value, progress.step)
            writer.flush()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def draw_curve(folder: Path, title: str) -> str | None:
    """Draw loss, PSNR and learning rate of the log into curve.png; return why not, where it was not drawn."""
    try:
        figure_of = require("matplotlib.figure", "report").Figure
    except MissingExtra as error:
        return f"{PICTURE} was not drawn. {error}"
    entries = [entry for entry in read_log(folder) if entry.get("loss") is not None]
    figure = figure_of(figsize=(8, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    upper.plot([entry["step"] for entry in entries], [entry["loss"] for entry in entries], color="tab:blue")
    upper.set(yscale="log", ylabel="loss", title=title)
    scored = [entry for entry in entries if entry.get("psnr_db") is not None]
    lower.plot([entry["step"] for entry in scored], [entry["psnr_db"] for entry in scored], "o-", markersize=3)
    lower.set(xlabel="step", ylabel="PSNR on held-out photos, dB")
    for entry in read_log(folder):
        if "rollback" in entry:
            upper.axvline(entry["step"], color="tab:red", linestyle=":")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a log scale on which nothing is positive
            write_whole(folder / PICTURE, lambda temporary: figure.savefig(temporary, format="png", dpi=100), ADVICE)
    except OutputError as error:
        return str(error)
    return None
