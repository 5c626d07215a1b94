"""Subscribers of `WS /v1/relay` that note when each message came, and publishers that keep to a rate."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Sequence

from tests.benchmarks.load import exchange
from websockets.asyncio.client import ClientConnection, connect

PATIENCE_SECONDS = 120


class Subscriber:
    """One connection. `came`: when each message did, by its payload as it travels."""

    def __init__(self) -> None:
        self.came: dict[str, float] = {}
        self._more = asyncio.Event()

    async def read(self, socket: ClientConnection) -> None:
        """Until it is cancelled. Asserts that nothing comes twice."""
        async for text in socket:
            now = time.perf_counter()
            frame = json.loads(text)
            assert frame["type"] in ("message", "live"), frame
            if frame["type"] == "message":
                payload = frame["message"]["payload"]
                assert payload not in self.came, "A message came twice."
                self.came[payload] = now
                self._more.set()
        raise AssertionError("The node ended the subscription.")

    async def until(self, count: int) -> None:
        """Waits until so many messages have come since the beginning."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.came) < count:
                self._more.clear()
                await self._more.wait()


@contextlib.asynccontextmanager
async def subscribers(ports: Sequence[int], topic: str) -> AsyncIterator[list[Subscriber]]:
    """One at each port, in that order. What fails in one ends the block."""
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        found, tasks = [], []
        for port in ports:
            url = f"ws://127.0.0.1:{port}/v1/relay"
            socket = await stack.enter_async_context(connect(url, compression=None, proxy=None))
            await socket.send(json.dumps({"topics": [topic]}))
            assert json.loads(await socket.recv())["type"] == "live"
            found.append(Subscriber())
            tasks.append(group.create_task(found[-1].read(socket)))
        yield found
        for task in tasks:
            task.cancel()


async def send_evenly(
    ports: Sequence[int], requests: Sequence[bytes], per_second: float, connections: int
) -> list[float]:
    """Sends at the ports in turn, over so many connections to each; returns when each request was due. Who
    counts from there counts also what a request waits for its connection."""
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(connections) for port in ports]
    begin = time.perf_counter() + 0.1
    due = [begin + number / per_second for number in range(len(requests))]

    async def client(first: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(first, len(requests), len(opened)):
            await asyncio.sleep(due[number] - time.perf_counter())
            await exchange(reader, writer, requests[number], b"HTTP/1.1 201 ")
        writer.close()

    await asyncio.gather(*(client(first, *streams) for first, streams in enumerate(opened)))
    return due
