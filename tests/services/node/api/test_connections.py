"""What a WebSocket keeps for a client that does not read."""

import asyncio
from typing import Any

import uvicorn
from uvicorn.server import ServerState
from websockets.frames import Frame, Opcode

from waypost.node.connections import BoundedWebSocket

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Transport(asyncio.Transport):
    """Remembers what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        pass


async def accept(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})
    await asyncio.Event().wait()


def ping(number: int) -> bytes:
    return Frame(Opcode.PING, b"%d" % number).serialize(mask=True)


def pong(number: int) -> bytes:
    return Frame(Opcode.PONG, b"%d" % number).serialize(mask=False)


async def test_who_pings_and_does_not_read_is_kept_one_answer() -> None:
    state, transport = ServerState(), Transport()
    config = uvicorn.Config(accept, log_config=None, lifespan="off", ws_ping_interval=None)
    protocol = BoundedWebSocket(config, state, {})
    protocol.connection_made(transport)
    protocol.data_received(UPGRADE)
    while not transport.written.startswith(b"HTTP/1.1 101 "):  # noqa: ASYNC110  # it is accepted by a task
        await asyncio.sleep(0)
    transport.written = b""
    protocol.data_received(ping(1))
    assert transport.written == pong(1)
    protocol.pause_writing()
    for number in range(2, 100, 2):
        protocol.data_received(ping(number) + ping(number + 1))
    assert transport.written == pong(1)
    protocol.resume_writing()
    assert transport.written == pong(1) + pong(98) + pong(99)
    protocol.data_received(ping(100))
    assert transport.written == pong(1) + pong(98) + pong(99) + pong(100)
    for task in state.tasks:
        task.cancel()
