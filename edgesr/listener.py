"""How long work reports: words and progress, never data. The command line draws it; Python callers may ignore it."""

from typing import Protocol


class Listener(Protocol):
    """Two members because a terminal, a log file and a test each show them in their own way."""

    def say(self, text: str) -> None:
        """One sentence for the user."""
        ...

    def progress(self, task: str, done: int, total: int, note: str = "") -> None:
        """`done` of `total` steps of `task`; the task ends when they are equal. `note` stands beside the bar."""
        ...


class Silent:
    """The default listener."""

    def say(self, text: str) -> None:
        pass

    def progress(self, task: str, done: int, total: int, note: str = "") -> None:
        pass
