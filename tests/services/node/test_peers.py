"""Three registered nodes on loopback: what is published at one reaches the subscribers at all, once each."""

import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from eth_typing import ChecksumAddress
from tests.services.node.api.served import TOPIC, message
from tests.services.node.money_node import until
from tests.services.node.relaying import (
    Listening,
    OpenGate,
    listening,
    register,
    relay_settings,
)
from tests.services.node.world import Deployed, World
from websockets.asyncio.server import ServerConnection, serve

from waypost.cli.demo.processes import free_ports
from waypost.errors import DataCorrupt, InternalError, NodeNotReady, PeerRefused, RateLimited, StorageFull
from waypost.node import app, peer_link
from waypost.node.peer_link import PeerLink
from waypost.node.relay import Relay, Relayed
from waypost.node.settings import NodeSettings
from waypost.protocol.relay import Greeting
from waypost.protocol.signatures import Signature


def proved(text: str, **changes: Any) -> dict[str, Any]:
    """A body for POST /v1/relay that an open gate passes."""
    nullifier = str(int.from_bytes(os.urandom(31)))
    proof = {"epoch": 1, "root": "1", "nullifier": nullifier, "y": "3", "proof": "0x" + "11" * 128}
    body = message(text, rateProof={**proof, **changes})
    del body["retention"]
    return body


def ids(messages: list[dict[str, Any]]) -> list[str]:
    """What tells messages apart."""
    return [each["timestamp"] for each in messages]


@contextlib.asynccontextmanager
async def relaying(settings: NodeSettings) -> AsyncIterator[Listening]:
    """A node that takes every proof, from its start."""
    with patch.object(app, "Relay", lambda db, gate, *rest: Relay(db, OpenGate(), *rest)):
        running = listening(settings)
        node = await running.__aenter__()
    try:
        yield node
    finally:
        await running.__aexit__(None, None, None)


@pytest.fixture
async def net(deployed: Deployed, world: World, tmp_path: Path) -> list[NodeSettings]:
    """Three registered nodes that are not running."""
    ports = free_ports(3)
    found = [relay_settings(deployed, tmp_path / str(i), port) for i, port in enumerate(ports)]
    for each in found:
        await register(world, each)
    return found


async def linked(node: Listening, *others: Listening) -> None:
    """Waits until the node has read what the others have."""

    async def read() -> bool:
        known = await node.node.db.read(lambda c: {r["operator"] for r in c.execute("SELECT * FROM peers")})
        return {other.settings.operator for other in others} <= known

    await until(read)


async def all_linked(*nodes: Listening) -> None:
    """Each has read from each."""
    for node in nodes:
        await linked(node, *(other for other in nodes if other is not node))


async def publish(node: Listening, body: dict[str, Any]) -> None:
    answer = await node.http.post("/v1/relay", json=body)
    assert answer.status_code == 201, answer.text


async def test_a_message_reaches_the_subscribers_of_all_nodes_once(net: list[NodeSettings]) -> None:
    async with relaying(net[0]) as a, relaying(net[1]) as b, relaying(net[2]) as c:
        await all_linked(a, b, c)
        async with contextlib.AsyncExitStack() as stack:
            subscribers = [await stack.enter_async_context(node.subscribed([TOPIC])) for node in (a, b, c)]
            bodies = [proved(str(i)) for i in range(30)]
            for i, body in enumerate(bodies):
                await publish((a, b, c)[i % 3], body)
            for there in subscribers:
                assert sorted(ids(await there.messages(30))) == sorted(ids(bodies))
            last = proved("last")
            await publish(a, last)
            for there in subscribers:  # and nothing came in between
                assert ids(await there.messages(1)) == ids([last])


async def test_the_same_message_at_two_nodes_is_one(net: list[NodeSettings]) -> None:
    async with relaying(net[0]) as a, relaying(net[1]) as b:
        await all_linked(a, b)
        async with a.subscribed([TOPIC]) as at_a, b.subscribed([TOPIC]) as at_b:
            for i in range(5):
                body = proved(str(i))
                for node in (a, b):
                    assert (await node.http.post("/v1/relay", json=body)).status_code in (200, 201)
            last = proved("last")
            await publish(b, last)
            for there in (at_a, at_b):
                given = ids(await there.messages(6))
                assert len(set(given)) == 6
                assert given[-1] == last["timestamp"]


async def test_a_node_that_was_away_catches_up(net: list[NodeSettings]) -> None:
    async with relaying(net[0]) as a, relaying(net[1]) as b:
        async with relaying(net[2]) as c:
            await all_linked(a, b, c)
            async with c.subscribed([TOPIC]) as there:
                await publish(a, proved("first"))
                cursor = (await there.next("message"))["cursor"]
        missed = [proved(str(i)) for i in range(100)]
        for i, body in enumerate(missed):
            await publish((a, b)[i % 2], body)
        async with relaying(net[2]) as c, c.socket() as there:
            await there.send({"topics": [TOPIC], "cursor": cursor})
            assert sorted(ids(await there.messages(100))) == sorted(ids(missed))
            await publish(b, last := proved("last"))
            assert ids(await there.messages(1)) == ids([last])


async def test_a_node_in_between_is_enough(net: list[NodeSettings]) -> None:
    """Where two nodes never meet, a third passes on what it read."""
    async with relaying(net[1]) as b:
        async with relaying(net[0]) as a:
            await linked(b, a)
            await publish(a, body := proved("from a"))
            async with b.subscribed([TOPIC]) as at_b:
                await publish(a, proved("mark"))
                await at_b.messages(1)
        async with relaying(net[2]) as c:
            await linked(c, b)
            held = await c.node.db.read(
                lambda db: [r["timestamp_ns"] for r in db.execute("SELECT * FROM relayed")]
            )
            assert int(body["timestamp"]) in held


async def test_paid_messages_stay_where_they_were_paid(net: list[NodeSettings]) -> None:
    async with relaying(net[0]) as a, relaying(net[1]) as b:
        await all_linked(a, b)
        async with a.subscribed([TOPIC]) as at_a, b.subscribed([TOPIC]) as at_b:
            paid = message("paid")
            del paid["retention"]
            await publish(a, paid)
            await publish(a, last := proved("proved"))
            assert ids(await at_a.messages(2)) == ids([paid, last])
            assert ids(await at_b.messages(1)) == ids([last])


async def test_evidence_reaches_nodes_and_no_subscriber(net: list[NodeSettings]) -> None:
    async with relaying(net[0]) as a, relaying(net[1]) as b:
        await all_linked(a, b)
        async with b.subscribed([TOPIC]) as at_b:
            one, other = proved("one", nullifier="9"), proved("other", nullifier="9")
            await publish(a, one)
            assert (await a.http.post("/v1/relay", json=other)).status_code == 429
            await publish(a, last := proved("last"))
            assert ids(await at_b.messages(2)) == ids([one, last])

        async def found() -> bool:
            rows = await b.node.db.read(lambda db: db.execute("SELECT nodes_only FROM relayed").fetchall())
            return [row["nodes_only"] for row in rows].count(1) == 1

        await until(found)


MISBEHAVIOUR = [
    ["no json"],
    ["[]"],
    ['{"type": "message", "cursor": "x", "message": {"topic": "t"}}'],
    ['{"type": "message", "message": {}}'],
    ["x" * (peer_link.MAX_FRAME + 1)],
    ['{"type": "error", "problem": {"code": "invalid_cursor"}}'],
    ['{"type": "error"}'],
    ['{"type": "later"}'],
    [],
]


async def test_nodes_that_misbehave_disturb_no_other(
    deployed: Deployed, world: World, tmp_path: Path
) -> None:
    greeted: Counter[int] = Counter()

    def misbehaving(kind: int) -> Callable[[ServerConnection], Awaitable[None]]:
        async def serve_one(socket: ServerConnection) -> None:
            await socket.recv()
            greeted[kind] += 1
            for frame in MISBEHAVIOUR[kind]:
                await socket.send(frame)

        return serve_one

    async with contextlib.AsyncExitStack() as stack:
        for kind in range(len(MISBEHAVIOUR)):
            bad = await stack.enter_async_context(serve(misbehaving(kind), "127.0.0.1", 0))
            port = next(iter(bad.sockets)).getsockname()[1]
            await register(world, relay_settings(deployed, tmp_path / f"bad{kind}", port))
        good = [relay_settings(deployed, tmp_path / str(i), port) for i, port in enumerate(free_ports(2))]
        for each in good:
            await register(world, each)
        async with relaying(good[0]) as a, relaying(good[1]) as b:

            async def all_were_met() -> bool:
                return len(greeted) == len(MISBEHAVIOUR) and min(greeted.values()) > 2  # and again

            await until(all_were_met)
            await all_linked(a, b)
            async with b.subscribed([TOPIC]) as there:
                await publish(a, body := proved("good"))
                assert ids(await there.messages(1)) == ids([body])


async def test_nobody_can_send_a_node_into_its_own_network(net: list[NodeSettings]) -> None:
    async with relaying(net[0]) as node:
        for endpoint in (f"http://127.0.0.1:{node.port}", "https://10.0.0.1", "https://169.254.169.254"):
            link = PeerLink(
                net[1].operator, endpoint, node.node.db, node.node.relay, _no_greeting, local=False
            )
            with pytest.raises(PeerRefused, match="private network"):
                await link._read()


def _no_greeting(peer: ChecksumAddress) -> tuple[Greeting, Signature]:
    raise AssertionError(peer)


async def test_our_own_fault_loses_nothing(net: list[NodeSettings], monkeypatch: pytest.MonkeyPatch) -> None:
    async with relaying(net[0]) as a, relaying(net[1]) as b:
        await all_linked(a, b)
        relaying_there = b.node.relay.publish
        failures = [StorageFull(), DataCorrupt(), InternalError(), NodeNotReady(), RateLimited()]

        async def failing_first(*given: Any, **options: Any) -> Relayed:
            if failures:
                raise failures.pop()
            return await relaying_there(*given, **options)

        monkeypatch.setattr(b.node.relay, "publish", failing_first)
        async with b.subscribed([TOPIC]) as there:
            await publish(a, body := proved("kept"))
            assert ids(await there.messages(1)) == ids([body])
        assert not failures


async def test_a_paid_message_can_be_proved_later(net: list[NodeSettings]) -> None:
    async with relaying(net[0]) as a, relaying(net[1]) as b:
        await all_linked(a, b)
        async with a.subscribed([TOPIC]) as at_a, b.subscribed([TOPIC]) as at_b:
            body = proved("both")
            paid = {name: value for name, value in body.items() if name != "rateProof"}
            await publish(a, paid)
            await publish(a, body)
            assert (await a.http.post("/v1/relay", json=body)).status_code == 200
            await publish(a, last := proved("last"))
            assert ids(await at_a.messages(2)) == ids([paid, last])
            assert ids(await at_b.messages(2)) == ids([body, last])
