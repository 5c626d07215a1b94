"""Subscriptions over real sockets: each message once, through breaks, at the right price."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.services.client.people import open_channel
from tests.services.client.relaying import RelayNode, relay_node
from tests.services.client.scripted import Refusal
from tests.services.client.world import World

from waypost.client import subscription as subscriptions
from waypost.client.client import Client
from waypost.client.subscription import BUFFERED, Heard, Subscription
from waypost.errors import (
    ChannelMissing,
    InvalidAnswer,
    InvalidTopic,
    MessageForged,
    NodeDisagrees,
    NodeRefused,
    PriceTooHigh,
    WaypostError,
)
from waypost.protocol.messages import Message
from waypost.protocol.relay import Envelope, RateProof

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOPIC, OTHER = "/chat/1/lobby/plain", "/chat/1/kitchen/plain"
PROOF = RateProof(7, 1, 2, 3, bytes(128))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(subscriptions, "SAVE_SECONDS", 0)


@pytest_asyncio.fixture(loop_scope="module")
async def nodes(world: World) -> AsyncIterator[list[RelayNode]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(relay_node(world, time.time)) for _ in range(2)]


@pytest_asyncio.fixture(loop_scope="module")
async def client(world: World, tmp_path: Path) -> AsyncIterator[Client]:
    async with world.client(await world.account(), tmp_path) as opened:
        yield opened


def messages(count: int, *, topic: str = TOPIC, size: int = 10) -> list[Envelope]:
    return [
        Envelope(Message(topic, b"%d " % number + b"x" * size, 1_000_000 + number), PROOF)
        for number in range(count)
    ]


async def listen(client: Client, *nodes: RelayNode, **options: Any) -> Subscription:
    operators = [node.operator.address for node in nodes]
    return await client.mailbox.subscribe([TOPIC], operators=operators, **options)


async def take(subscription: Subscription, count: int) -> list[Heard]:
    found = []
    async with asyncio.timeout(60):
        async for heard in subscription:
            found.append(heard)
            if len(found) == count:
                return found
    raise AssertionError("it ended")


def texts(found: list[Heard]) -> list[bytes]:
    return [heard.message.payload for heard in found]


def sent(envelopes: list[Envelope]) -> list[bytes]:
    return [envelope.message.payload for envelope in envelopes]


async def until_live(subscription: Subscription) -> None:
    async with asyncio.timeout(60):
        await subscription.live.wait()


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


# ---- Paid ----


async def paid(world: World, client: Client, stack: AsyncExitStack, **options: Any) -> RelayNode:
    node = await stack.enter_async_context(relay_node(world, time.time, relay_per_kib=1000, **options))
    await open_channel(client, node)
    return node


async def test_each_batch_is_paid_once_and_both_books_agree(world: World, client: Client) -> None:
    wanted = messages(100, size=4_000)
    async with AsyncExitStack() as stack:
        node = await paid(world, client, stack)
        (channel,) = client.channels.all()
        async with await listen(client, node, cursor="0") as subscription:
            await node.publish(*wanted)
            assert texts(await take(subscription, 100)) == sent(wanted)
            await node.publish(*messages(101, size=4_000)[100:])
            await take(subscription, 1)
        account, books = node.accounts[channel.signer], channel.books
        delivered = sum(e.message.size for e in node.relayed)
        cost = books.spent - node.opening
        assert node.prices.relay_cost(delivered) <= cost <= node.prices.relay_cost(delivered) + 20
        assert (account.paid, account.spent) == (books.paid, books.spent)
        assert (books.reserved, books.interrupted, books.unanswered, books.stopped) == (0, 0, 0, "")
        assert node.firsts[0]["session"] in node.tokens


async def test_a_node_that_charges_too_much_is_distrusted_after_what_it_delivered(
    world: World, client: Client
) -> None:
    async with AsyncExitStack() as stack:
        node = await paid(world, client, stack)
        (channel,) = client.channels.all()
        node.overcharge = 1
        async with await listen(client, node, cursor="0") as subscription:
            await node.publish(*messages(3))
            with pytest.raises(NodeDisagrees):
                await take(subscription, 4)
        assert channel.books.stopped


async def test_a_node_that_delivers_one_message_twice_for_money_is_distrusted(
    world: World, client: Client
) -> None:
    async with AsyncExitStack() as stack:
        node = await paid(world, client, stack)
        (channel,) = client.channels.all()
        (twice,) = messages(1, size=5_000)
        async with await listen(client, node, cursor="0") as subscription:
            await node.publish(twice, twice)
            with pytest.raises(NodeDisagrees, match="for messages that cost"):
                await take(subscription, 2)
        assert "messages that cost" in channel.books.stopped


async def test_a_node_that_delivers_again_after_a_break_for_money_is_distrusted(
    world: World, client: Client
) -> None:
    async with AsyncExitStack() as stack:
        node = await paid(world, client, stack)
        (channel,) = client.channels.all()
        async with await listen(client, node, cursor="0") as subscription:
            await node.publish(*messages(3))
            await take(subscription, 3)
            deliver = node._deliver
            node._deliver = lambda socket, first: deliver(socket, {**first, "cursor": "0"})  # type: ignore[method-assign]
            node.sockets[-1].transport.abort()
            with pytest.raises(NodeDisagrees, match="for messages that cost 0"):
                await take(subscription, 1)
        assert len(node.sockets) == 2
        assert "for messages that cost 0" in channel.books.stopped


async def test_each_node_is_paid_for_the_messages_that_it_delivers(world: World, client: Client) -> None:
    async with AsyncExitStack() as stack:
        both = [await paid(world, client, stack) for _ in range(2)]
        async with await listen(client, *both, cursor="0") as subscription:
            for node, last in zip(both, (b"of one", b"of the other"), strict=True):
                await node.publish(*messages(3), Envelope(Message(TOPIC, last, 5)))
            await take(subscription, 5)  # the last ones come after what both have
        assert [channel.books.stopped for channel in client.channels.all()] == ["", ""]


async def test_a_batch_beyond_the_price_is_not_paid(world: World, client: Client) -> None:
    async with AsyncExitStack() as stack:
        node = await paid(world, client, stack)
        (channel,) = client.channels.all()
        node.junk = [json.dumps({"type": "payment_required", "amount": "256001", "required": ""})]
        async with await listen(client, node) as subscription:
            with pytest.raises(PriceTooHigh, match="256001"):
                await take(subscription, 1)
        assert channel.books.signed == channel.books.spent == node.opening


async def test_a_connection_that_breaks_after_the_payment_leaves_a_doubt_that_is_settled(
    world: World, client: Client
) -> None:
    async with AsyncExitStack() as stack:
        node = await paid(world, client, stack)
        (channel,) = client.channels.all()
        honest = node._send
        broken: list[int] = []

        async def breaks(socket: Any, first: Any, batch: Any, size: int) -> None:
            if broken:
                await honest(socket, first, batch, size)
                return
            broken.append(size)
            demand = {"type": "payment_required", "amount": str(node.prices.relay_cost(size)), "required": ""}
            await socket.send(json.dumps(demand))
            await socket.recv()
            account = node.accounts[channel.signer]
            await socket.close()
            assert account.spent == node.opening  # it charged nothing

        node._send = breaks  # type: ignore[method-assign]
        wanted = messages(3)
        async with await listen(client, node, cursor="0") as subscription:
            await node.publish(*wanted)
            assert texts(await take(subscription, 3)) == sent(wanted)
        assert len(broken) == 1
        account, books = node.accounts[channel.signer], channel.books
        assert account.spent == books.spent
        assert not books.doubtful


async def test_breaks_within_batches_cost_nothing_twice_and_no_trust(world: World, client: Client) -> None:
    """The node charged, the messages came, and the account of it was lost each time."""
    async with AsyncExitStack() as stack:
        node = await paid(world, client, stack)
        (channel,) = client.channels.all()
        honest = node._send
        cut: list[int] = []

        async def cuts(socket: Any, first: Any, batch: Any, size: int) -> None:
            class Cutting:
                async def send(self, text: str) -> None:
                    if json.loads(text)["type"] == "account" and len(cut) < 3:
                        cut.append(size)
                        await socket.close()
                    else:
                        await socket.send(text)

                async def recv(self) -> Any:
                    return await socket.recv()

            await honest(Cutting(), first, batch, size)  # type: ignore[arg-type]

        node._send = cuts  # type: ignore[method-assign]
        wanted = messages(5)
        async with await listen(client, node, cursor="0") as subscription:
            for envelope in wanted:
                await node.publish(envelope)
                assert texts(await take(subscription, 1)) == sent([envelope])
        account, books = node.accounts[channel.signer], channel.books
        assert len(cut) == 3
        assert (
            account.spent
            == books.spent
            == node.opening + sum(node.prices.relay_cost(envelope.message.size) for envelope in wanted)
        )
        assert (books.strikes, books.stopped) == (0, "")


async def test_an_ended_session_is_replaced(world: World, client: Client) -> None:
    async with AsyncExitStack() as stack:
        node = await paid(world, client, stack)
        async with await listen(client, node, cursor="0") as subscription:
            await until_live(subscription)
            node.tokens.clear()
            await node.publish(*messages(2))
            assert len(await take(subscription, 2)) == 2
        assert node.firsts[0]["session"] != node.firsts[-1]["session"]


async def test_without_a_channel_a_node_with_a_price_says_so(world: World, client: Client) -> None:
    async with (
        relay_node(world, time.time, relay_per_kib=1000) as node,
        await listen(client, node) as subscription,
    ):
        with pytest.raises(ChannelMissing, match="open a channel first"):
            await take(subscription, 1)


async def test_ending_in_the_middle_of_a_batch_books_it_as_broken_off(world: World, client: Client) -> None:
    async with AsyncExitStack() as stack:
        node = await paid(world, client, stack)
        (channel,) = client.channels.all()
        asked = asyncio.Event()

        async def hangs(socket: Any, first: Any, batch: Any, size: int) -> None:
            demand = {"type": "payment_required", "amount": "1", "required": ""}
            await socket.send(json.dumps(demand))
            await socket.recv()
            asked.set()
            await asyncio.Event().wait()

        node._send = hangs  # type: ignore[method-assign]
        async with await listen(client, node, cursor="0"):
            await node.publish(*messages(1))
            async with asyncio.timeout(60):
                await asked.wait()
        assert channel.books.interrupted == 1
        assert channel.books.reserved == 0
