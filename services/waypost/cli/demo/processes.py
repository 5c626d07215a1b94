"""The demo's servers: real processes, each with a log file, stopped by process id."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from random import SystemRandom

from waypost.errors import DemoFailed

READY_SECONDS = 60.0
POLL_SECONDS = 0.1
STOP_SECONDS = 15.0


class Process:
    """One `waypost` command as a process of its own, in a session of its own."""

    def __init__(self, name: str, arguments: list[str], log: Path, environment: Mapping[str, str]) -> None:
        self.name, self.log = name, log
        with log.open("wb") as output:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "waypost", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,  # Ctrl-C reaches the demo alone, which stops its servers in order
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._child.pid

    async def until(self, ready: Callable[[], Awaitable[bool]]) -> None:
        """Waits for the server to answer. Raises DemoFailed when it ends, or takes a minute."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + READY_SECONDS
        while not await ready():
            if self._child.poll() is not None or loop.time() > give_up:
                state = "ended" if self._child.poll() is not None else "does not answer"
                raise DemoFailed(f"The {self.name} {state}: {self._last_words()} (log: {self.log})")
            await asyncio.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Ends it in order, by force if it takes too long."""
        self._child.terminate()
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def free_ports(count: int) -> list[int]:
    """Consecutive TCP ports of 127.0.0.1 that nobody uses, below those that systems give to connections."""
    while True:
        first = SystemRandom().randrange(10_240, 32_768 - count)
        with suppress(OSError), ExitStack() as stack:
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return list(range(first, first + count))
