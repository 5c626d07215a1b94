"""What a connection keeps of a client that does not read, or does not end TLS; how many there can be."""

import asyncio
import contextlib
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState
from websockets.frames import Frame, Opcode

from waypost.node import connections
from waypost.node.connections import BoundedWebSocket, DirectHttp

CERTIFICATE = Path(__file__).parent / "localhost.pem"
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

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def abort(self) -> None:
        pass


@contextlib.asynccontextmanager
async def accepted() -> AsyncIterator[tuple[BoundedWebSocket, Transport]]:
    """A WebSocket of which the application reads nothing."""
    state, transport = ServerState(), Transport()
    config = uvicorn.Config(accept, log_config=None, lifespan="off", ws_ping_interval=None)
    protocol = BoundedWebSocket(config, state, {})
    protocol.connection_made(transport)
    protocol.data_received(UPGRADE)
    while not transport.written.startswith(b"HTTP/1.1 101 "):  # noqa: ASYNC110  # it is accepted by a task
        await asyncio.sleep(0)
    transport.written = b""
    yield protocol, transport
    for task in state.tasks:
        task.cancel()


async def accept(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})
    await asyncio.Event().wait()


def ping(number: int) -> bytes:
    return Frame(Opcode.PING, b"%d" % number).serialize(mask=True)


def pong(number: int) -> bytes:
    return Frame(Opcode.PONG, b"%d" % number).serialize(mask=False)


async def test_who_pings_and_does_not_read_is_kept_one_answer() -> None:
    async with accepted() as (protocol, transport):
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


async def test_empty_parts_of_a_message_are_not_kept() -> None:
    async with accepted() as (protocol, _):
        assert (await protocol.receive())["type"] == "websocket.connect"
        protocol.data_received(Frame(Opcode.TEXT, b"a", fin=False).serialize(mask=True))
        for part in [b""] * 100 + [b"b"]:
            protocol.data_received(Frame(Opcode.CONT, part, fin=False).serialize(mask=True))
        assert protocol.frames == [b"a", b"b"]
        protocol.data_received(Frame(Opcode.CONT, b"").serialize(mask=True))
        assert await protocol.receive() == {"type": "websocket.receive", "text": "ab"}


@pytest.mark.parametrize("most", [256, 0], ids=["silent", "refused"])
async def test_who_does_not_end_tls_keeps_no_connection(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS_OF_AN_ADDRESS", most)
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.1)
    trusting, secure = ssl.create_default_context(cafile=CERTIFICATE), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secure.load_cert_chain(CERTIFICATE)

    def read_to_the_end(address: tuple[str, int]) -> None:
        with (
            socket.create_connection(address, timeout=15) as plain,  # TLS alone waits for 30 s
            trusting.wrap_socket(plain.dup(), server_hostname="localhost"),
            contextlib.suppress(ConnectionResetError),
        ):
            while plain.recv(4096):
                pass

    config, state = uvicorn.Config(accept, log_config=None, lifespan="off"), ServerState()
    async with await asyncio.get_running_loop().create_server(
        lambda: DirectHttp(config, state, {}), "127.0.0.1", ssl=secure
    ) as server:
        await asyncio.to_thread(read_to_the_end, server.sockets[0].getsockname())
        assert not state.connections


@pytest.mark.parametrize(("soft", "then"), [(256, 1000), (1000, 1000)])
def test_a_node_takes_the_files_that_it_may(soft: int, then: int) -> None:
    code = (
        "import resource as r; from waypost.node import server;"
        f"r.setrlimit(r.RLIMIT_NOFILE, ({soft}, 1000)); server._take_files();"
        "print(r.getrlimit(r.RLIMIT_NOFILE)[0])"
    )
    assert int(subprocess.check_output([sys.executable, "-c", code])) == then
