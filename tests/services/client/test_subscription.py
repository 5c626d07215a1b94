"""Subscriptions over real sockets: each message once, through breaks and what no node may send."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from tests.services.client.relaying import (
    OTHER,
    TOPIC,
    RelayNode,
    listen,
    messages,
    relay_node,
    sent,
    take,
    texts,
    until_live,
)
from tests.services.client.scripted import Refusal
from tests.services.client.world import World

from waypost.client import subscription as subscriptions
from waypost.client.client import Client
from waypost.client.subscription import BUFFERED
from waypost.errors import (
    InvalidAnswer,
    InvalidTopic,
    MessageForged,
    NodeRefused,
    WaypostError,
)
from waypost.protocol.messages import Message
from waypost.protocol.relay import Envelope

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("impatient")]


@pytest_asyncio.fixture(loop_scope="module")
async def nodes(world: World) -> AsyncIterator[list[RelayNode]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(relay_node(world, time.time)) for _ in range(2)]


async def test_what_comes_is_heard_in_order(client: Client, nodes: list[RelayNode]) -> None:
    await nodes[0].publish(*messages(3))  # before: not for who gives no cursor
    async with await listen(client, nodes[0]) as subscription:
        await until_live(subscription)
        later = messages(200)[3:]
        await nodes[0].publish(*messages(5, topic=OTHER), *later)
        found = await take(subscription, len(later))
    assert texts(found) == sent(later)
    assert {(heard.operator, heard.proved) for heard in found} == {(nodes[0].operator.address, True)}
    assert "session" not in nodes[0].firsts[0]  # at no price nobody says who listens


async def test_two_nodes_deliver_each_message_once(client: Client, nodes: list[RelayNode]) -> None:
    wanted = messages(100)
    async with await listen(client, *nodes, cursor="0") as subscription:
        await nodes[0].publish(*wanted)
        await nodes[1].publish(*reversed(wanted), Envelope(Message(TOPIC, b"last", 5)))
        found = await take(subscription, 101)
    assert sorted(texts(found)) == sorted([*sent(wanted), b"last"])


async def test_a_break_is_healed_from_the_cursor(client: Client, nodes: list[RelayNode]) -> None:
    node, wanted = nodes[0], messages(60)
    async with await listen(client, node) as subscription:
        await until_live(subscription)
        found = []
        for start in range(0, 60, 20):
            await node.publish(*wanted[start : start + 20])
            found += await take(subscription, 20)
            node.sockets[-1].transport.abort()
        assert texts(found) == sent(wanted)
        await node.publish(*messages(61)[60:])
        assert len(await take(subscription, 1)) == 1
    assert len(node.sockets) == 4


async def test_the_next_run_goes_on_and_repeats_only_what_was_not_consumed(
    world: World, nodes: list[RelayNode], tmp_path: Path
) -> None:
    account, wanted = await world.account(), messages(10)
    async with world.client(account, tmp_path) as client, await listen(client, *nodes) as subscription:
        await until_live(subscription)
        await asyncio.sleep(0)
        for node in nodes:
            async with asyncio.timeout(60):
                while not node.firsts:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        await nodes[0].publish(*wanted)
        await nodes[1].publish(*wanted)
        first = await take(subscription, 4)  # the fourth was given out, and nobody asked for the next
    async with (
        world.client(account, tmp_path) as client,
        await listen(client, *nodes, cursor="0") as subscription,
    ):
        second = await take(subscription, 7)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                second.append(await anext(subscription))
    assert texts(first) == sent(wanted[:4])
    assert sorted(texts(second)) == sorted(sent(wanted[3:]))


async def test_a_cursor_that_a_node_does_not_know_is_dropped(client: Client, nodes: list[RelayNode]) -> None:
    async with await listen(client, nodes[0], cursor="of another node") as subscription:
        await until_live(subscription)
        await nodes[0].publish(*messages(1))
        assert len(await take(subscription, 1)) == 1
    assert [first.get("cursor") for first in nodes[0].firsts] == ["of another node", None]


async def test_what_was_pruned_is_passed_over(client: Client, nodes: list[RelayNode]) -> None:
    wanted = messages(10)
    await nodes[0].publish(*wanted)
    nodes[0].forget_before = 4
    async with await listen(client, nodes[0], cursor="0") as subscription:
        assert texts(await take(subscription, 6)) == sent(wanted[4:])


async def test_a_consumer_that_does_nothing_holds_up_the_node(
    client: Client, nodes: list[RelayNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "SAVE_SECONDS", 1)
    wanted = messages(400, size=40_000)
    async with await listen(client, nodes[0], cursor="0") as subscription:
        await nodes[0].publish(*wanted)
        first = await take(subscription, 1)
        await asyncio.sleep(0.3)
        assert subscription._queue.qsize() == BUFFERED
        assert nodes[0].sockets[0].transport.get_write_buffer_size() > 0  # it cannot go on
        found = first + await take(subscription, len(wanted) - 1)
    assert texts(found) == sent(wanted)


async def test_a_node_that_cuts_off_the_slow_is_asked_again(client: Client, nodes: list[RelayNode]) -> None:
    nodes[0].refuse_next = [Refusal(429, "subscriber_too_slow"), Refusal(503, "node_not_ready")]
    async with await listen(client, nodes[0], cursor="0") as subscription:
        await nodes[0].publish(*messages(2))
        assert len(await take(subscription, 2)) == 2
    assert subscription.faults == {}


@pytest.mark.parametrize("status", [404, 400])
async def test_a_refusal_for_good_ends_that_node(client: Client, nodes: list[RelayNode], status: int) -> None:
    nodes[0].refuse_next = [Refusal(status, "rln_unavailable")]
    async with await listen(client, *nodes, cursor="0") as subscription:
        await nodes[1].publish(*messages(2))
        assert {heard.operator for heard in await take(subscription, 2)} == {nodes[1].operator.address}
        async with asyncio.timeout(60):
            while nodes[0].operator.address not in subscription.faults:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        fault = subscription.faults[nodes[0].operator.address]
    assert isinstance(fault, NodeRefused)
    assert fault.details["reason"] == "rln_unavailable"
    nodes[0].refuse_next = [Refusal(status, "rln_unavailable")]
    async with await listen(client, nodes[0]) as subscription:
        with pytest.raises(NodeRefused, match=r"127\.0\.0\.1.*rln_unavailable"):
            await take(subscription, 1)


FORGED: list[tuple[str, type[WaypostError]]] = [
    ("nonsense", InvalidAnswer),
    ("[]", InvalidAnswer),
    ("[" * 100_000, InvalidAnswer),
    ('{"type": 7}', InvalidAnswer),
    ('{"type": "message", "cursor": "1", "message": {}}', MessageForged),
    ('{"type": "message", "cursor": "1"}', MessageForged),
    ('{"type": "live"}', InvalidAnswer),
    ('{"type": "payment_required", "amount": "5", "required": ""}', InvalidAnswer),
    ('{"type": "payment_required", "amount": "-5", "required": ""}', InvalidAnswer),
    (
        json.dumps({"type": "message", "cursor": "1", "message": messages(1, topic=OTHER)[0].to_json()}),
        MessageForged,
    ),
    (json.dumps({"type": "message", "message": messages(1)[0].to_json()}), InvalidAnswer),
]


@pytest.mark.parametrize(("frame", "error"), FORGED, ids=range(len(FORGED)))
async def test_what_no_node_may_send_ends_the_subscription_there(
    client: Client, nodes: list[RelayNode], frame: str, error: type[WaypostError]
) -> None:
    nodes[0].junk = [frame]
    async with await listen(client, nodes[0]) as subscription:
        with pytest.raises(error):
            await take(subscription, 1)


async def test_a_frame_that_is_too_large_is_not_read(client: Client, nodes: list[RelayNode]) -> None:
    nodes[0].junk = [json.dumps({"type": "ignored", "filling": "x" * 600_000})]
    async with await listen(client, nodes[0]) as subscription:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await take(subscription, 1)
        assert subscription.faults[nodes[0].operator.address].code == "answer_lost"


async def test_words_of_later_versions_are_passed_over(client: Client, nodes: list[RelayNode]) -> None:
    nodes[0].junk = ['{"type": "weather", "cursor": "9"}']
    await nodes[0].publish(*messages(1))
    async with await listen(client, nodes[0], cursor="0") as subscription:
        assert len(await take(subscription, 1)) == 1


async def test_a_mailbox_opens_what_is_sealed_to_it(client: Client, nodes: list[RelayNode]) -> None:
    mine = client.mailbox.compose(client.mailbox.address, b"for me")
    junk = Message(mine.topic, b"junk", 3)
    operators = [nodes[0].operator.address]
    async with await client.mailbox.subscribe(operators=operators, cursor="0") as subscription:
        await nodes[0].publish(Envelope(junk), Envelope(mine))
        (heard,) = await take(subscription, 1)
    assert (heard.plaintext, heard.proved) == (b"for me", False)
    assert len(nodes[0].firsts[0]["topics"]) <= 64


async def test_a_malformed_topic_is_refused_here(client: Client, nodes: list[RelayNode]) -> None:
    with pytest.raises(InvalidTopic):
        await client.mailbox.subscribe(["lobby"], operators=[nodes[0].operator.address])
