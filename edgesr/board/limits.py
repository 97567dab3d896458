"""How much the photo service takes from whom."""

import ipaddress
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

MINUTE_S = 60.0
MOST_CLIENTS = 1000
"""Remembered at a time; beyond, those are forgotten that were heard of longest ago."""


class Rate:
    """At most `per_minute` of each client in any minute."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute, self._clock = per_minute, clock
        self._lock = threading.Lock()
        self._taken: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, client: str) -> float:
        """0 if `client` may go on, which counts; else how long until it may."""
        with self._lock:
            now = self._clock()
            taken = self._taken.pop(client, deque())
            while taken and now - taken[0] >= MINUTE_S:
                taken.popleft()
            self._taken[client] = taken
            while len(self._taken) > MOST_CLIENTS:
                self._taken.popitem(last=False)
            if len(taken) >= self._per_minute:
                return MINUTE_S - (now - taken[0])
            taken.append(now)
            return 0.0


class Turn:
    """One at a time; at most `waiting` more stand in line."""

    def __init__(self, waiting: int) -> None:
        self._places = threading.BoundedSemaphore(waiting + 1)
        self._work = threading.Lock()

    @contextmanager
    def take(self) -> Iterator[bool]:
        """True when it is one's turn; False at once if the line is full."""
        if not self._places.acquire(blocking=False):
            yield False
            return
        try:
            with self._work:
                yield True
        finally:
            self._places.release()


def is_known_host(header: str, names: Sequence[str]) -> bool:
    """Whether a Host header is an address, `localhost` or one of `names`. Another name is a foreign page's, made to
    lead here (DNS rebinding)."""
    host = _without_port(header).lower().rstrip(".")
    if host == "localhost" or host in {name.lower() for name in names}:
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _without_port(header: str) -> str:
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]
