"""A node behind real sockets: its two listeners, connections that misbehave, and how it starts and stops."""

import asyncio
import contextlib
import json
import signal
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.services.node.api.served import ADMIN_TOKEN, Served, message, price_of
from websockets.asyncio.client import connect as connect_socket

from waypost.chain.connection import connect
from waypost.errors import (
    DataInUse,
    InvalidConfig,
    PortInUse,
    RateLimited,
    RpcUnreachable,
    WrongChain,
    WrongContract,
)
from waypost.node import connections, locks, server
from waypost.node.ledger import Charge, Charged
from waypost.node.server import Listening, serve
from waypost.node.settings import NodeSettings
from waypost.node.sync import Sync

CERTIFICATE = Path(__file__).parent / "localhost.pem"


class Running(Served):
    """A node that `serve` runs."""

    stopped = False

    def __init__(self, listening: Listening, http: httpx.AsyncClient, connection: Any) -> None:
        super().__init__(listening.node, http, connection)
        self.port, self.admin_port = listening.port, listening.admin_port

    def stop(self) -> None:
        """As a process manager does, once."""
        if not self.stopped:
            self.stopped = True
            signal.raise_signal(signal.SIGTERM)

    @contextlib.asynccontextmanager
    async def raw(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection to the public listener, and the bytes on it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def running(settings: NodeSettings, **client: Any) -> AsyncIterator[Running]:
    """Runs it until the block is left, or it is stopped."""
    started: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(settings, started.set_result))
    await asyncio.wait((task, started), return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    listening = started.result()
    scheme = "https" if settings.tls_cert else "http"
    base = f"{scheme}://127.0.0.1:{listening.port}"
    async with await connect(settings.rpc_url) as connection:
        async with httpx.AsyncClient(base_url=base, **client) as http:
            node = Running(listening, http, connection)
            await node.caught_up()
            yield node
            node.stop()
        await task


def request(body: bytes, headers: dict[str, str] | None = None, *, length: int | None = None) -> bytes:
    """A POST of a message, as bytes."""
    lines = {"Host": "x", "Content-Type": "application/json", "Content-Length": str(length or len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in {**lines, **(headers or {})}.items())
    return f"POST /v1/messages HTTP/1.1\r\n{head}\r\n".encode() + body


# ---- Start and stop ----


async def test_two_listeners_and_an_orderly_end(settings: NodeSettings) -> None:
    async with running(settings) as node:
        assert (await node.http.get("/healthz")).status_code == 200
        base, token = f"http://127.0.0.1:{node.admin_port}", {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        async with httpx.AsyncClient(base_url=base) as admin:
            assert (await admin.get("/status")).status_code == 401
            assert (await admin.get("/status", headers=token)).status_code == 200
            assert (await admin.get("/v1/node", headers=token)).status_code == 404
        assert "server" not in (await node.http.get("/healthz")).headers
        assert locks.is_held(settings.data_dir, locks.LISTENER)
    assert not locks.is_held(settings.data_dir, locks.LISTENER)
    async with running(settings) as again:
        assert (await again.http.get("/healthz")).status_code == 200


async def test_a_request_in_flight_is_answered_before_the_end(
    settings: NodeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(settings) as node:
        customer, body = await node.customer(), message()
        disk, charging, charge = threading.Event(), asyncio.Event(), node.node.ledger.charge

        async def noticed(asked: Charge[Any]) -> Charged[Any]:
            charging.set()
            return await charge(asked)

        monkeypatch.setattr(node.node.ledger, "charge", noticed)
        slow_disk = asyncio.ensure_future(node.node.db.write(lambda _: disk.wait()))
        headers = customer.pay(price_of(body))
        answer = asyncio.create_task(node.http.post("/v1/messages", json=body, headers=headers))
        await charging.wait()
        node.stop()
        await asyncio.sleep(0.2)  # the node is stopping, and waits
        assert not answer.done()
        disk.set()
        assert (await answer).status_code == 201
        await slow_disk


async def test_a_node_whose_books_stand_still_does_not_go_on(
    settings: NodeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def give_up(self: Sync) -> None:
        raise RuntimeError("the books stand still")

    monkeypatch.setattr(Sync, "run", give_up)
    with pytest.raises(RuntimeError, match="the books stand still"):
        await serve(settings)


@pytest.mark.parametrize("busy", ["port", "admin_port"])
async def test_a_busy_port_is_named_before_anything_is_written(settings: NodeSettings, busy: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=f"127.0.0.1:{port}") as caught:
            await serve(settings.model_copy(update={busy: port}))
    assert caught.value.details["port"] == port
    assert not settings.data_dir.exists()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"host": "no such host"}, InvalidConfig),
        ({"host": "203.0.113.1"}, InvalidConfig),
        ({"rpc_url": "http://127.0.0.1:9"}, RpcUnreachable),
        ({"chain_id": 1}, WrongChain),
        ({"channels": "0x000000000000000000000000000000000000dEaD"}, WrongContract),
        ({"token": "0x000000000000000000000000000000000000dEaD"}, WrongContract),
        ({"registry": "0x000000000000000000000000000000000000dEaD"}, WrongContract),
        ({"min_close_delay": 1}, InvalidConfig),
    ],
)
async def test_what_keeps_a_node_from_starting(
    settings: NodeSettings, change: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await serve(settings.model_copy(update=change))
    assert not settings.data_dir.exists()


async def test_one_folder_serves_one_node(settings: NodeSettings) -> None:
    async with running(settings) as node:
        with pytest.raises(DataInUse):
            await serve(settings)
        assert (await node.http.get("/healthz")).status_code == 200


# ---- Connections ----


async def test_a_client_that_goes_away_half_way_changes_nothing(settings: NodeSettings) -> None:
    async with running(settings) as node:
        customer, body = await node.customer(), message()
        content = json.dumps(body).encode()
        whole = request(content, customer.pay(price_of(body)))
        before = await node.books()
        for end in (10, len(whole) - len(content), len(whole) - 1):
            async with node.raw() as (_, writer):
                writer.write(whole[:end])
                await writer.drain()
        async with node.raw() as (reader, writer):
            writer.write(whole[:-1])
            writer.write_eof()
            await reader.read()
        assert await node.books() == before


async def test_an_answer_that_got_lost_can_be_asked_for_again(settings: NodeSettings) -> None:
    async with running(settings) as node:
        customer, body = await node.customer(), message()
        headers = customer.pay(price_of(body)) | {"Idempotency-Key": "lost"}
        async with node.raw() as (_, writer):
            writer.write(request(json.dumps(body).encode(), headers))
            await writer.drain()
        answer = await node.http.post(
            "/v1/messages",
            content=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"} | headers,
        )
        assert (answer.status_code, answer.json()["spent"]) == (201, str(price_of(body)))


async def answer_to(node: Running, *parts: bytes) -> tuple[int, dict[str, Any]]:
    """What the node says to these bytes, before it hangs up."""
    async with node.raw() as (reader, writer):
        for part in parts:
            writer.write(part)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    return int(head.split()[1]), json.loads(body)


async def test_what_is_no_http_is_refused_in_the_same_form(settings: NodeSettings) -> None:
    async with running(settings) as node:
        for garbage in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
            status, problem = await answer_to(node, garbage)
            assert (status, problem["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "asked",
    [
        request(b"{}"),
        request(b"{}") + request(b"{}"),
        request(b"{}", {"Expect": "100-continue"}),
    ],
    ids=["one", "two", "expecting"],
)
async def test_nonsense_after_a_request_ends_it(
    settings: NodeSettings,
    monkeypatch: pytest.MonkeyPatch,
    asked: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(connections, "LINGER_SECONDS", 0.05)
    async with running(settings) as node, node.raw() as (reader, writer):
        writer.write(asked + b"nonsense\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")
        await reader.read()
    assert not [record for record in caplog.records if record.exc_info]


async def test_heads_are_bounded(settings: NodeSettings) -> None:
    async with running(settings) as node:
        start, header = b"GET /healthz HTTP/1.1\r\n", b"X-Filler: " + b"x" * 1000 + b"\r\n"
        status, problem = await answer_to(node, start, *([header] * 40))
        assert (status, problem["code"]) == (431, "headers_too_large")
        status, problem = await answer_to(node, b"GET /" + b"x" * 40_000)
        assert (status, problem["code"]) == (431, "headers_too_large")
        whole = start + header * 40 + b"\r\n"
        status, problem = await answer_to(node, whole)  # in one piece
        assert (status, problem["code"]) == (431, "headers_too_large")


async def test_heads_that_do_not_arrive_are_given_up(
    settings: NodeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.01)
    async with running(settings) as node:
        for sent in (b"", b"GET /healthz HTTP/1.1\r\nX-Slow: "):
            async with node.raw() as (reader, writer):
                writer.write(sent)
                assert await reader.read() == b""


UPGRADE = (
    b"GET /v1/relay HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


async def test_an_address_has_so_many_connections(
    settings: NodeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WebSockets are among them; places that are left can be taken again."""
    monkeypatch.setattr(connections, "CONNECTIONS_OF_AN_ADDRESS", 4)

    async def ask(source: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port, local_addr=(source, 0))
        with contextlib.closing(writer):
            with contextlib.suppress(ConnectionError):
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return await reader.read()

    async with running(settings) as node:
        await node.http.aclose()
        async with contextlib.AsyncExitStack() as held:
            for _ in range(2):
                await held.enter_async_context(node.raw())
                await held.enter_async_context(connect_socket(f"ws://127.0.0.1:{node.port}/v1/relay"))
            refused = await ask("127.0.0.1")
            assert refused.startswith(b"HTTP/1.1 429 ")
            assert json.loads(refused.partition(b"\r\n\r\n")[2])["code"] == RateLimited.code
            assert (await ask("127.0.0.2")).startswith(b"HTTP/1.1 200 ")
        while not (await ask("127.0.0.1")).startswith(b"HTTP/1.1 200 "):  # noqa: ASYNC110  # they end soon
            await asyncio.sleep(0.05)
    behind = settings.model_copy(update={"trusted_proxy": True})
    async with running(behind) as node, contextlib.AsyncExitStack() as held:
        for _ in range(6):
            await held.enter_async_context(node.raw())
        assert (await ask("127.0.0.1")).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "opening",
    [
        UPGRADE + b"Content-Length: 5\r\n\r\n",
        UPGRADE + b"Content-Length: 5\r\n\r\nhello",
        UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n",
        UPGRADE.replace(b"GET", b"POST") + b"\r\n",
        UPGRADE + b"X-Filler: " + b"x" * 20_000 + b"\r\n\r\n",
        UPGRADE + b"X: 1\r\n" * 300 + b"\r\n",
        UPGRADE + b"Sec-WebSocket-Protocol: \xff\r\n\r\n",
    ],
    ids=["body", "whole body", "chunks", "POST", "long header", "many headers", "protocol"],
)
async def test_upgrades_that_cannot_be_made_are_given_up(
    settings: NodeSettings, monkeypatch: pytest.MonkeyPatch, opening: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.05)
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 4 - settings.relay.max_subscribers)
    async with running(settings) as node:
        for _ in range(4):
            async with node.raw() as (reader, writer):
                writer.write(opening)
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
        assert (await node.http.get("/healthz")).status_code == 200  # they take no places any more
    assert not caplog.records


async def test_bodies_that_go_on_after_the_answer_are_cut_off(
    settings: NodeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "LINGER_SECONDS", 0.01)
    async with running(settings) as node, node.raw() as (reader, writer):
        writer.write(request(b"", length=10**6))
        assert (await reader.readline()).startswith(b"HTTP/1.1 413")
        await reader.read()  # the end, although most of the body never came


async def test_requests_that_follow_each_other_on_one_connection(settings: NodeSettings) -> None:
    async with running(settings) as node, node.raw() as (reader, writer):
        one = b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X-Filler: " + b"x" * 20_000 + b"\r\n\r\n"
        for _ in range(3):  # each head is within bounds, all of them together are not
            writer.write(one)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            await reader.readuntil(b"}")


# ---- TLS ----


async def test_unusable_certificates_are_named(settings: NodeSettings, tmp_path: Path) -> None:
    (tmp_path / "broken.pem").write_text("no certificate")
    for cert in (tmp_path / "missing.pem", tmp_path / "broken.pem"):
        broken = settings.model_copy(update={"tls_cert": cert, "tls_key": cert})
        with pytest.raises(InvalidConfig, match="TLS"):
            await serve(broken)
    assert not settings.data_dir.exists()


async def test_who_says_nothing_gets_no_tls(settings: NodeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.1)
    secure = settings.model_copy(update={"tls_cert": CERTIFICATE, "tls_key": CERTIFICATE})
    trusting = ssl.create_default_context(cafile=CERTIFICATE)
    async with running(secure, verify=trusting) as node, node.raw() as (reader, _):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""


async def test_tls(settings: NodeSettings) -> None:
    secure = settings.model_copy(update={"tls_cert": CERTIFICATE, "tls_key": CERTIFICATE})
    async with running(secure, verify=ssl.create_default_context(cafile=CERTIFICATE)) as node:
        assert (await node.http.get("/healthz")).status_code == 200
        with pytest.raises(httpx.TransportError):
            await httpx.AsyncClient().get(f"http://127.0.0.1:{node.port}/healthz")
