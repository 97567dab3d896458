"""Listeners for tests."""


class Heard:
    """Remembers the sentences."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def progress(self, task: str, done: int, total: int, note: str = "") -> None:
        pass
