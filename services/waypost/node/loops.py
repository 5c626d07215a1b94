"""What the node's long-running tasks share: they repeat a step, outlive its faults, and say so once.
A signal wakes them when there is something to do."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from waypost.errors import WaypostError

MAX_BACKOFF = 30.0

log = structlog.get_logger(__name__)


class Signal:
    """Says that something changed to whoever waits at that moment."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def ring(self) -> None:
        """Something changed."""
        self._next.set()
        self._next = asyncio.Event()

    def next(self) -> asyncio.Event:
        """The next ring. Take it before looking at what may change, so that no change is missed."""
        return self._next


async def ring_or_pause(ring: asyncio.Event, seconds: float) -> None:
    """Waits for a ring, at most so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await ring.wait()


async def until_one_ends(*runs: Coroutine[Any, Any, None]) -> None:
    """Runs all until one ends, cancels the others, and raises what ended it."""
    tasks = [asyncio.ensure_future(run) for run in runs]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


class Faults:
    """What is wrong with a task now. Logged when it changes, not every time it is tried again."""

    def __init__(self, name: str) -> None:
        self._log = log.bind(task=name)
        self.code: str | None = None
        self.count = 0
        """Failures in a row."""

    def failed(self, error: Exception) -> None:
        """A step failed; it will be tried again."""
        code = error.code if isinstance(error, WaypostError) else "internal_error"
        self.count += 1
        if code != self.code:
            self.code = code
            trace = None if isinstance(error, WaypostError) else error
            self._log.warning("task_failed", code=code, reason=str(error), exc_info=trace)

    def passed(self) -> None:
        """A step went well."""
        if self.code is not None:
            self._log.info("task_recovered", code=self.code, failures=self.count)
        self.code, self.count = None, 0


class Loop:
    """Runs `step` every so many seconds, and whenever `signal` rings.

    A failing step is tried again, ever more slowly, for as long as the task lives.
    """

    def __init__(
        self, name: str, step: Callable[[], Awaitable[object]], seconds: float, signal: Signal
    ) -> None:
        self._step = step
        self._seconds = seconds
        self._signal = signal
        self.faults = Faults(name)

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            ring = self._signal.next()
            try:
                await self._step()
            except Exception as error:
                self.faults.failed(error)
                await ring_or_pause(ring, backoff(self._seconds, self.faults.count))
            else:
                self.faults.passed()
                await ring_or_pause(ring, self._seconds)


def backoff(seconds: float, failures: int) -> float:
    """How long to wait after that many failures in a row: twice as long each time, half a minute at most."""
    return min(MAX_BACKOFF, seconds * 2.0 ** min(failures - 1, 10))
