"""Nodes with real listeners in one process, registered with stake, and subscribers on real sockets."""

import asyncio
import contextlib
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from tests.services.node.api.served import PRICES, Clock, Served, message, node_settings
from tests.services.node.world import Deployed, World
from websockets.asyncio.client import ClientConnection, connect

from waypost.chain import presets
from waypost.chain.connection import connect as connect_chain
from waypost.chain.registry import Registry
from waypost.chain.transactions import Sender
from waypost.node.app import create_app
from waypost.node.descriptor import OFFERED
from waypost.node.rate_gate import Verdict
from waypost.node.server import _configuration, _Server, listen
from waypost.node.settings import NodeSettings, RelaySettings
from waypost.protocol.nodes import NodeKey
from waypost.protocol.relay import Envelope
from waypost.protocol.signatures import address_of

FREE = PRICES.model_copy(update={"relay_per_kib": 0, "store_per_kib_hour": 0})


class OpenGate:
    """Lets every proof pass; a nullifier is one share."""

    async def check(self, envelope: Envelope, source: str, *, late: bool = False) -> bool:
        """Nothing is wrong with it."""
        return True

    def record(self, connection: sqlite3.Connection, envelope: Envelope) -> Verdict:
        """By the table of the real one."""
        assert envelope.proof is not None
        nullifier, x = envelope.proof.nullifier.to_bytes(32), envelope.message.id
        row = connection.execute("SELECT x FROM shares WHERE nullifier = ?", (nullifier,)).fetchone()
        if row is not None:
            return Verdict.DUPLICATE if row["x"] == x else Verdict.CONFLICT
        connection.execute("INSERT INTO shares VALUES (?, 0, ?, ?, ?)", (nullifier, b"", x, b""))
        return Verdict.NEW


@dataclass
class Subscription:
    """A socket of `WS /v1/relay`, and the frames that came."""

    socket: ClientConnection
    frames: list[dict[str, Any]] = field(default_factory=list)

    async def next(self, kind: str | None = None) -> dict[str, Any]:
        """The next frame, or the next of this kind."""
        while True:
            async with asyncio.timeout(30):
                frame: dict[str, Any] = json.loads(await self.socket.recv())
            self.frames.append(frame)
            if kind in (None, frame["type"]):
                return frame
            assert frame["type"] != "error", frame

    async def messages(self, count: int) -> list[dict[str, Any]]:
        """The next so many messages."""
        return [(await self.next("message"))["message"] for _ in range(count)]

    async def send(self, frame: Mapping[str, Any]) -> None:
        """A frame to the node."""
        await self.socket.send(json.dumps(frame))

    async def closed(self) -> tuple[dict[str, Any], int]:
        """The problem in the last frame, and the close code."""
        problem: dict[str, Any] = (await self.next("error"))["problem"]
        await self.socket.wait_closed()
        assert self.socket.close_code is not None
        return problem, self.socket.close_code


class Listening(Served):
    """A node that listens on a port of its own."""

    port: int

    @contextlib.asynccontextmanager
    async def socket(self, **options: Any) -> AsyncIterator[Subscription]:
        """A connection that has said nothing yet."""
        url = f"ws://127.0.0.1:{self.port}/v1/relay"
        async with connect(url, compression=None, proxy=None, **options) as socket:
            yield Subscription(socket)

    @contextlib.asynccontextmanager
    async def subscribed(self, topics: Sequence[str], **frame: Any) -> AsyncIterator[Subscription]:
        """A subscriber that has been given all that was kept."""
        async with self.socket() as subscription:
            await subscription.send({"topics": list(topics), **frame})
            await subscription.next("live")
            yield subscription


@contextlib.asynccontextmanager
async def listening(settings: NodeSettings, clock: Clock | None = None) -> AsyncIterator[Listening]:
    """Runs the node until the block is left, its public listener included."""
    app = create_app(settings, clock or Clock())
    async with contextlib.AsyncExitStack() as stack:
        listener = stack.enter_context(listen(settings.host, settings.port))
        port = listener.getsockname()[1]
        await stack.enter_async_context(app.router.lifespan_context(app))
        server = _Server(_configuration(settings, app))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        connection = await stack.enter_async_context(await connect_chain(settings.rpc_url))
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False)
        )
        node = Listening(app.state.node, http, connection)
        node.port = port
        try:
            await node.caught_up()
            yield node
        finally:
            await http.aclose()
            server.should_exit = True
            await serving


async def register(world: World, settings: NodeSettings) -> None:
    """The operator stakes, and enters its node."""
    assert settings.payee_key is not None
    sender = Sender(world.connection, settings.payee_key.get_secret_value())
    await world.fund(sender.address)
    await world.mint(sender.address, presets.LOCAL.min_stake)
    registry = Registry(world.connection, settings.registry)
    node_key = settings.node_key.get_secret_value()
    proof = NodeKey(settings.operator, address_of(node_key)).sign(registry.domain(), node_key)
    entry = registry.register(OFFERED, address_of(node_key), settings.payee, settings.endpoint, proof)
    for call in (
        entry,
        world.token.approve(settings.registry, presets.LOCAL.min_stake),
        registry.stake(presets.LOCAL.min_stake),
    ):
        await sender.send(call)


def relay_settings(deployed: Deployed, folder: Path, port: int, **changes: Any) -> NodeSettings:
    """Of a node at this port; delivery is free."""
    free = {"store_per_kib_hour": 0, "fetch_per_kib": 0, "relay_per_kib": 0}
    relay = RelaySettings(max_peers=1000)  # other tests have left their nodes in the registry
    config = {"port": port, "relay": relay, "endpoint": f"http://127.0.0.1:{port}", "prices": free, **changes}
    return node_settings(deployed, folder, **config)


def proof(**changes: Any) -> dict[str, Any]:
    """A proof that only an open gate takes."""
    nullifier = str(int.from_bytes(os.urandom(31)))
    made = {"epoch": 1, "root": "1", "nullifier": nullifier, "y": "3", "proof": "0x" + "11" * 128}
    return {**made, **changes}


def published(text: str = "hello", **changes: Any) -> dict[str, Any]:
    """A body for POST /v1/relay that no other call returns."""
    body = message(text, **changes)
    del body["retention"]
    return body


def as_delivered(body: dict[str, Any]) -> dict[str, Any]:
    """The message of a body as subscribers get it."""
    return {name: body[name] for name in ("topic", "payload", "timestamp", "rateProof") if name in body}


async def publish(node: Listening, body: dict[str, Any], status: int = 201, **options: Any) -> dict[str, Any]:
    """What the node answers to a message."""
    answer = await node.http.post("/v1/relay", json=body, **options)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found
