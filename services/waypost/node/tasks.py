"""The loops that run beside the requests. One that ends stops the node: books must not go stale unseen."""

import asyncio
from typing import Protocol, Self

import structlog

log = structlog.get_logger()


class Runner(Protocol):
    """Something that goes on until it is cancelled."""

    async def run(self) -> None:
        """Its loop."""


class Tasks:
    """Starts named loops, and cancels them when the context ends. `failure` is the first loop's error."""

    def __init__(self) -> None:
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running: list[asyncio.Task[None]] = []

    def start(self, runner: Runner) -> None:
        """Runs it until the context ends; it is not expected to return."""
        task = asyncio.create_task(runner.run(), name=type(runner).__name__.lower())
        task.add_done_callback(self._ended)
        self._running.append(task)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in reversed(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        if self.failure.done():
            self.failure.exception()  # it was logged: nobody else has to ask

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception() or RuntimeError(f"{task.get_name()} ended")
        log.error("task_ended", task=task.get_name(), exc_info=error)
        if not self.failure.done():
            self.failure.set_exception(error)
