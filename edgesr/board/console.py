"""Words and progress on stderr, with nothing but the standard library."""

import sys

WIDTH = 40


class Console:
    """A Listener. Progress is one line that is written over; without a terminal only sentences are printed."""

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def progress(self, task: str, done: int, total: int, note: str = "") -> None:
        if not sys.stderr.isatty():
            return
        filled = WIDTH * done // max(total, 1)
        end = "\r\033[K" if done >= total else ""
        bar = "#" * filled + "." * (WIDTH - filled)
        sys.stderr.write(f"\r\033[K{task} [{bar}] {done}/{total} {note}{end}")
        sys.stderr.flush()
