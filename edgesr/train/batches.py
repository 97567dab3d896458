"""Batches of the next steps, drawn in the background while this one is computed."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar

B = TypeVar("B")

AHEAD = 2
"""Batches that are drawn ahead for each worker."""


@dataclass(frozen=True, slots=True)
class LoaderSpeed:
    """Of the last report: `samples_per_second` that all workers could draw together; `waited` is the share of the time
    that the training step waited for them, in [0, 1]."""

    samples_per_second: float
    waited: float


class Batches(Generic[B]):
    """`draw(step)` for any step, a batch of `samples`, those after it ahead; threads, because cutting patches is
    copying of memory.

    What a step gets depends on its number alone, so the number of workers changes nothing but the time. Without
    workers, a batch is drawn when it is asked for.
    """

    def __init__(self, draw: Callable[[int], B], steps: int, workers: int, samples: int) -> None:
        self._draw, self._steps, self._workers, self._each = draw, steps, workers, samples
        self._pool = ThreadPoolExecutor(workers, "patches") if workers else None
        self._waiting: dict[int, Future[tuple[B, float]]] = {}
        self._restart()

    def __enter__(self) -> "Batches[B]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def at(self, step: int) -> B:
        """The batch of `step`; raises what `draw` raised."""
        begin = time.perf_counter()
        if self._pool is None:
            batch, seconds = self._timed(step)
        else:
            self._fill(self._pool, step)
            batch, seconds = self._waiting.pop(step).result()
        self._waited_s += time.perf_counter() - begin
        self._drawing_s += seconds
        self._samples += self._each
        return batch

    def speed(self) -> LoaderSpeed:
        """Since the last call."""
        elapsed = time.perf_counter() - self._since
        found = LoaderSpeed(
            self._samples * max(1, self._workers) / max(self._drawing_s, 1e-9), self._waited_s / max(elapsed, 1e-9)
        )
        self._restart()
        return found

    def _restart(self) -> None:
        self._since = time.perf_counter()
        self._samples, self._drawing_s, self._waited_s = 0, 0.0, 0.0

    def _fill(self, pool: ThreadPoolExecutor, step: int) -> None:
        wanted = range(step, min(step + 1 + AHEAD * self._workers, self._steps))
        for other in self._waiting.keys() - {*wanted}:  # a run that went back to an earlier step
            self._waiting.pop(other).cancel()
        for number in wanted:
            if number not in self._waiting:
                self._waiting[number] = pool.submit(self._timed, number)

    def _timed(self, step: int) -> tuple[B, float]:
        begin = time.perf_counter()
        return self._draw(step), time.perf_counter() - begin
