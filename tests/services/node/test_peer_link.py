"""One link to a node that sends what it wants, and is never done."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from eth_typing import ChecksumAddress
from tests.services.node.books import OPERATOR, Clock, key
from tests.services.node.money_node import until
from tests.services.node.relaying import OpenGate
from websockets.asyncio.server import ServerConnection, serve

from waypost.node import peer_link
from waypost.node.backends.sqlite import Database
from waypost.node.limits import TokenBuckets
from waypost.node.metrics import Metrics
from waypost.node.peer_link import TOKEN_BYTES, PeerLink
from waypost.node.relay import Relay, Relayed, RelayLimits
from waypost.node.subscriptions import Subscriptions
from waypost.protocol.eip712 import node_domain
from waypost.protocol.messages import Message
from waypost.protocol.relay import Envelope, Greeting, RateProof
from waypost.protocol.signatures import Signature

TOPIC = "/waypost/1/test/raw"


def greet(peer: ChecksumAddress) -> tuple[Greeting, Signature]:
    greeting = Greeting(OPERATOR, peer, 2**32)
    return greeting, greeting.sign(node_domain(1, OPERATOR), key("node"))


def frame(clock: Clock, size: int) -> str:
    """A message with a proof that an open gate takes."""
    message = Message(TOPIC, bytes(size), clock.now * 10**9)
    envelope = Envelope(message, RateProof(1, 1, size, 3, bytes(128)))
    return json.dumps({"type": "message", "cursor": "1", "message": envelope.to_json()})


@pytest.fixture
def relay(db: Database, clock: Clock) -> Relay:
    limits = RelayLimits(retention=60, quota_bytes=10**9, clock_tolerance=60)
    return Relay(db, OpenGate(), limits, Subscriptions(1, 1), clock, Metrics())


@contextlib.asynccontextmanager
async def link_to(sent: Sequence[str], db: Database, relay: Relay) -> AsyncIterator[PeerLink]:
    """A link that does not run yet, to a node that sends this and waits."""

    async def handle(socket: ServerConnection) -> None:
        await socket.recv()
        for frame in sent:
            await socket.send(frame)
        await socket.wait_closed()

    async with serve(handle, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield PeerLink(OPERATOR, f"http://127.0.0.1:{port}", db, relay, greet, local=True)


@contextlib.asynccontextmanager
async def running(link: PeerLink) -> AsyncIterator[None]:
    task = asyncio.create_task(link.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_peer_that_sends_without_end_is_read_at_a_pace_and_loses_nothing(
    db: Database, relay: Relay, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, judged = 0.0, 0
    publish = relay.publish

    async def counted(*given: Any, **options: Any) -> Relayed:
        nonlocal judged
        judged += 1
        return await publish(*given, **options)

    monkeypatch.setattr(relay, "publish", counted)
    message, large = frame(clock, 10), frame(clock, TOKEN_BYTES)
    nonsense = '{"type": "of a later version"}'
    sent = [*[message] * 5, *[nonsense] * 5, *[large] * 5, *[message] * 5]
    async with link_to(sent, db, relay) as link:
        link._budget = TokenBuckets(100, 12, 1, lambda: now)  # of which a large one takes two
        async with running(link):
            for seconds, read in ((0.0, 6), (0.02, 7), (0.02, 8), (1.0, 15)):
                now += seconds
                await until(lambda: judged >= read)  # noqa: B023  # it is awaited before the next
                await asyncio.sleep(0.1)
                assert (judged, link.faults.count) == (read, 0)


async def test_a_name_that_is_never_answered_is_given_up(
    db: Database, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_link, "RESOLVE_SECONDS", 0.05)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lambda *_, **__: asyncio.Event().wait())
    link = PeerLink(OPERATOR, "https://slow.example", db, relay, greet, local=False)
    async with running(link):
        await until(lambda: link.faults.count > 0)
