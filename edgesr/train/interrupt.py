"""Ctrl-C, and the SIGTERM of `timeout` and `torchrun`, between two steps and never within one."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Hold the first signal back; what this yields says whether one came. A second one comes through at once."""
    previous = {number: signal.getsignal(number) for number in SIGNALS}
    # no Ctrl-C arrives: not the main thread, or it is ignored as in `nohup`
    held = [number for number, handler in previous.items() if handler is not signal.SIG_IGN]
    if threading.current_thread() is not threading.main_thread() or None in previous.values():
        yield lambda: False
        return
    asked = False

    def note(number: int, frame: object) -> None:
        nonlocal asked
        asked = True
        put_back()

    def put_back() -> None:
        for number in held:
            signal.signal(number, previous[number])

    for number in held:
        signal.signal(number, note)
    try:
        yield lambda: asked
    finally:
        put_back()
