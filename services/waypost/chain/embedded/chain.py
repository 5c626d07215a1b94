"""The embedded chain's life: starts and stops the server, the worker thread and the block clock."""

import asyncio
import errno
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from typing import Self

from waypost.chain.embedded.miner import Miner
from waypost.chain.embedded.rpc import Rpc
from waypost.chain.embedded.server import Server, application, bind
from waypost.errors import PortInUse


class EmbeddedChain:
    """`async with EmbeddedChain() as chain:` serves JSON-RPC at `chain.url`. It lives in memory only."""

    def __init__(self, port: int = 0, *, host: str = "127.0.0.1", block_time: float | None = None) -> None:
        """Port 0 takes a free one. `block_time`: seconds between blocks that are mined even if empty;
        None mines only what is sent."""
        self.url = ""
        self._address = host, port
        self._block_time = block_time
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Raises PortInUse."""
        host, port = self._address
        try:
            listener = bind(host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise PortInUse(f"Port {port} of {host} is in use.", port=port) from None
        name = f"[{host}]" if ":" in host else host
        self.url = f"http://{name}:{listener.getsockname()[1]}"
        async with AsyncExitStack() as stack:
            stack.callback(listener.close)
            worker = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="chain"))
            loop = asyncio.get_running_loop()
            miner = await loop.run_in_executor(worker, Miner)
            server = Server(application(Rpc(miner).methods, worker))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            stack.push_async_callback(_stop, server, serving)
            if self._block_time is not None:
                clock = asyncio.create_task(_tick(miner, worker, self._block_time))
                stack.push_async_callback(_cancel, clock)
            self._running = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._running.aclose()


async def _tick(miner: Miner, worker: ThreadPoolExecutor, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(seconds)
        await loop.run_in_executor(worker, miner.mine)


async def _stop(server: Server, serving: "asyncio.Task[None]") -> None:
    server.should_exit = True
    await serving


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
